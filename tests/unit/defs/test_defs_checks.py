"""Verdicts: what passes, what warns, what is an error."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from dagster import AssetCheckResult, AssetCheckSeverity
from shop_system import ORDERS, State

from platform_assets.defs.checks import Check, report_checks, state_checks
from platform_assets.ingest.report import TableReport
from platform_assets.sources.base import Gap

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
OK, WARN, ERROR = None, AssetCheckSeverity.WARN, AssetCheckSeverity.ERROR


def verdict(result: AssetCheckResult) -> AssetCheckSeverity | None:
    """None when passed, else how bad it is."""
    return None if result.passed else result.severity


def of_report(report: TableReport, check: Check) -> AssetCheckResult:
    return next(found for found in report_checks(ORDERS, report) if found.check_name == check)


def of_state(state: State, check: Check, report: TableReport | None = None) -> AssetCheckResult:
    found = state_checks(ORDERS, cast(Any, state), report, NOW)
    return next(result for result in found if result.check_name == check)


@pytest.mark.parametrize(
    ("accepted", "refused", "expected"),
    [(0, 0, OK), (99, 1, OK), (95, 5, OK), (94, 6, WARN), (1, 1000, WARN), (0, 9, WARN), (0, 10, ERROR)],
)
def test_rejects(accepted: int, refused: int, expected: AssetCheckSeverity | None) -> None:
    """All refused is a broken producer; a handful of bad lines in a quiet minute is not."""
    report = TableReport("orders")
    report.silver["2026-11-21T11"] = accepted
    report.rejected["malformed_json"] = refused
    assert verdict(of_report(report, Check.REJECTS)) is expected


def test_duplicates_with_other_values_warn() -> None:
    assert verdict(of_report(TableReport("orders", duplicates=5), Check.CONFLICTS)) is OK
    result = of_report(TableReport("orders", duplicates=5, conflicts=2), Check.CONFLICTS)
    assert verdict(result) is WARN
    assert result.metadata["conflicts"].value == 2


def test_a_gap_is_an_error_that_names_its_offsets() -> None:
    report = TableReport("orders", gaps=[Gap("shop.orders", 2, 100, 150)])
    result = of_report(report, Check.NO_GAP)
    assert verdict(result) is ERROR
    assert "[2] 100..150" in (result.description or "")


@pytest.mark.parametrize(
    ("late", "expected"), [(-60, OK), (0, OK), (180, OK), (181, WARN), (600, WARN), (601, ERROR), (90_000, ERROR)]
)
def test_watermark(late: int, expected: AssetCheckSeverity | None) -> None:
    state = State(watermark=NOW - timedelta(seconds=late))
    assert verdict(of_state(state, Check.WATERMARK)) is expected


def test_history_alone_is_not_late() -> None:
    """Files of 2015 move no watermark, so there is none to be late."""
    assert verdict(of_state(State(watermark=None), Check.WATERMARK)) is OK


def test_lateness_says_whether_the_worker_or_the_source_is_behind() -> None:
    state = State(watermark=NOW - timedelta(hours=1))
    waiting = of_state(state, Check.WATERMARK, TableReport("orders", lag={0: 5}))
    silent = of_state(state, Check.WATERMARK, TableReport("orders", lag={0: 0}))
    assert "5 records wait" in (waiting.description or "")
    assert "nothing newer" in (silent.description or "")


@pytest.mark.parametrize(("behind", "expected"), [(0, OK), (60, OK), (61, WARN), (600, WARN), (601, ERROR)])
def test_hops(behind: int, expected: AssetCheckSeverity | None) -> None:
    state = State(bronze_seq=1000, silver_seq=1000 - behind, index_behind=behind)
    assert verdict(of_state(state, Check.COMPLETE)) is expected
    assert verdict(of_state(state, Check.INDEXED)) is expected


def test_an_index_that_cannot_be_asked_is_not_called_complete() -> None:
    assert verdict(of_state(State(index_behind=None), Check.INDEXED)) is WARN


def test_days_are_whole_once_the_watermark_has_passed_them() -> None:
    result = of_state(State(watermark=datetime(2026, 11, 21, 0, 5, tzinfo=UTC)), Check.COMPLETE)
    days = {name: value.value for name, value in result.metadata.items() if name.endswith("through")}
    assert days == {"passed_through": "2026-11-20", "final_through": "2026-11-18"}


def test_an_index_that_takes_nothing_warns_before_it_is_behind() -> None:
    result = of_state(State(), Check.INDEXED, TableReport("orders", index_error="the index is read-only"))
    assert verdict(result) is WARN
    assert "read-only" in (result.description or "")
