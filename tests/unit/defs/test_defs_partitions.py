"""Days: the calendar that every asset shares."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from platform_assets.defs.partitions import DAYS, by_day, day_of, known


def test_today_is_a_partition_before_it_is_over() -> None:
    now = datetime(2026, 11, 21, 0, 0, 1, tzinfo=UTC)
    assert DAYS.get_partition_keys(current_time=now)[-1] == "2026-11-21"
    assert DAYS.get_first_partition_key() == "2015-01-01"


def test_the_day_is_that_of_utc() -> None:
    evening_in_new_york = datetime(2026, 11, 20, 22, 0, tzinfo=timezone(timedelta(hours=-5)))
    assert day_of(evening_in_new_york) == "2026-11-21"


def test_hours_are_summed_into_their_day_in_order() -> None:
    counts = {"2026-11-21T08": 2, "2026-11-20T23": 1, "2026-11-21T09": 3, "2015-05-17": 4}
    assert list(by_day(counts).items()) == [("2015-05-17", 4), ("2026-11-20", 1), ("2026-11-21", 5)]


def test_days_before_the_calendar_are_unknown_to_dagster() -> None:
    assert known("2015-01-01")
    assert not known("2014-12-31")
