"""Periods, and the names of the indices that hold them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from platform_assets.contracts.model import IndexPeriod
from platform_assets.contracts.read import load_contracts
from platform_assets.index.names import (
    DOCUMENT_LAYOUT,
    generation_of,
    holds,
    index_name,
    layout,
    period_alias,
    period_of,
    periods_of,
    read_alias,
    span_of,
    split_index_name,
)

EVENTS = load_contracts()["logs"].table("events")
HOUR, DAY, MONTH, YEAR = IndexPeriod


@pytest.mark.parametrize(
    ("live", "late", "partition", "expected"),
    [
        (HOUR, YEAR, "2026-11-21T08", ("2026-11-21T08", "history-2026")),
        (DAY, MONTH, "2026-11-21T08", ("2026-11-21", "history-2026-11")),
        (DAY, YEAR, "2026-11-21", ("2026-11-21", "history-2026")),
        (MONTH, YEAR, "2026-11-21", ("2026-11", "history-2026")),
        (MONTH, MONTH, "2026-11-21", ("2026-11",)),
        (YEAR, YEAR, "2026-11", ("2026",)),
        (HOUR, HOUR, "1970-01-01T00", ("1970-01-01T00",)),
    ],
)
def test_a_row_has_one_period_of_its_partition_and_its_lateness(
    live: IndexPeriod, late: IndexPeriod, partition: str, expected: tuple[str, ...]
) -> None:
    table = replace(EVENTS, index_period=live, history_period=late)
    assert periods_of(table, partition) == expected
    assert period_of(table, partition) == expected[0]
    assert period_of(table, partition, history=True) == expected[-1]
    assert all(holds(table, period, [partition, "2001-01-01T00"]) == [partition] for period in expected)


@pytest.mark.parametrize("wrong", ["2026-11", "2026-1", "*", "2026-11-21,x", "21.11.2026", ""])
def test_what_is_shorter_than_its_period_or_no_partition_has_none(wrong: str) -> None:
    with pytest.raises(ValueError, match="not a partition"):
        period_of(replace(EVENTS, index_period=DAY), wrong)


def test_two_thousand_days_of_any_age_need_few_indices() -> None:
    days = [f"{datetime(2020, 1, 1) + timedelta(days=n):%Y-%m-%d}" for n in range(2000)]
    assert len({period_of(EVENTS, day, history=True) for day in days}) == 6
    assert len({period_of(replace(EVENTS, index_period=MONTH), day) for day in days}) == 66


def test_names() -> None:
    assert read_alias(EVENTS) == "logs-events"
    assert period_alias(EVENTS, "2026-11-21T08") == "logs-events-2026-11-21t08"
    assert period_alias(EVENTS, "history-2026") == "logs-events-history-2026"
    assert index_name(EVENTS, "2026-11-21", 12) == "logs-events-2026-11-21-000012"
    assert generation_of("logs-events-2026-11-21-000012") == 12
    for period in ("2026", "2026-11", "2026-11-21", "2026-11-21T08", "history-2026", "history-2026-11-21T08"):
        for generation in (1, 12, 999_999):
            assert split_index_name(EVENTS, index_name(EVENTS, period, generation)) == (period, generation)
    for other in (
        "logs-events", "logs-events-2026-11-21", "logs-access-2026-11-21-000001", "logs-events-x-000001",
        "logs-events-history-000001", "logs-events-HISTORY-2026-000001",
    ):  # fmt: skip
        assert split_index_name(EVENTS, other) is None
    for wrong in ("26", "2026-1", "*", "2026-11-21,x", "2026-11-21t08", "history", "history-"):
        with pytest.raises(ValueError, match="not a period"):
            period_alias(EVENTS, wrong)


@pytest.mark.parametrize(
    ("period", "begin", "end"),
    [
        ("2026", datetime(2026, 1, 1), datetime(2027, 1, 1)),
        ("history-2026-12", datetime(2026, 12, 1), datetime(2027, 1, 1)),
        ("2028-02-29", datetime(2028, 2, 29), datetime(2028, 3, 1)),
        ("2026-11-21T23", datetime(2026, 11, 21, 23), datetime(2026, 11, 22)),
        ("9999", datetime(9999, 1, 1), datetime.max),
        ("9999-12-31", datetime(9999, 12, 31), datetime.max),
    ],
)
def test_a_period_is_a_span_of_time(period: str, begin: datetime, end: datetime) -> None:
    assert span_of(period) == (begin.replace(tzinfo=UTC), end.replace(tzinfo=UTC))


def test_the_layout_tells_contracts_with_other_indices_apart() -> None:
    assert layout(EVENTS) == f"day, history by year, documents {DOCUMENT_LAYOUT}"
    assert layout(replace(EVENTS, history_period=MONTH)) != layout(EVENTS) != layout(replace(EVENTS, index_period=HOUR))
