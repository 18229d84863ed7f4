"""How long the periods of the index are: declared, by default, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from platform_assets.contracts.checks import mistakes_of
from platform_assets.contracts.model import Contract, Grain, IndexPeriod
from platform_assets.contracts.periods import MAX_INDICES, default_period, indices_needed
from platform_assets.contracts.read import load_contracts

HOUR, DAY, MONTH, YEAR = IndexPeriod


@pytest.mark.parametrize(
    ("grain", "days", "expected"),
    [
        (Grain.DAY, 30, MONTH),
        (Grain.DAY, 4 * 365, MONTH),
        (Grain.DAY, 100 * 365, YEAR),
        (Grain.HOUR, 30, DAY),
        (Grain.HOUR, 5 * 365, MONTH),
        (Grain.HOUR, 365_000, YEAR),
    ],
)
def test_the_default_follows_what_the_contract_says_of_volume_and_time(
    grain: Grain, days: int, expected: IndexPeriod
) -> None:
    assert default_period(grain, timedelta(days=days)) is expected
    assert indices_needed(expected, timedelta(days=days)) <= MAX_INDICES


def changed(**changes: object) -> Contract:
    logs = load_contracts()["logs"]
    return replace(logs, tables=(replace(logs.tables[0], **changes),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"index_period": HOUR}, "shorter than a partition"),
        ({"index_period": MONTH, "history_period": DAY}, "shorter than the indexPeriod"),
        ({"index_period": DAY, "retention": timedelta(days=5 * 365)}, "would make 1,828 indices"),
        ({"index_period": DAY, "lateness": timedelta(days=2000), "retention": timedelta(days=2000),
          "bronze_retention": timedelta(days=2000)}, "would make 4,001 indices"),
    ],
)  # fmt: skip
def test_periods_that_cannot_be_kept_are_refused(changes: dict[str, object], said: str) -> None:
    found = [str(mistake) for mistake in mistakes_of(changed(**changes))]
    assert [text for text in found if said in text]


def test_periods_that_can_be_kept_are_taken() -> None:
    assert not [*mistakes_of(changed(index_period=DAY, history_period=DAY))]
    hourly = changed(index_period=HOUR, grain=Grain.HOUR, retention=timedelta(days=7), dedupe_window=None)
    assert not [*mistakes_of(hourly)]
    assert not [*mistakes_of(changed(index_period=YEAR, retention=timedelta(days=36_500)))]
    assert {table.index_period for table in load_contracts()["logs"].tables} == {DAY}
