"""The one home of partitions: days, in UTC, from 2015 to today.

Silver may be cut finer in the lake (an hour); here its partition is the day that holds it, because Dagster keeps a status for
every key since 2015 and hours would be a hundred thousand of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime

from dagster import DailyPartitionsDefinition

FIRST_DAY = date(2015, 1, 1)
DAYS = DailyPartitionsDefinition(start_date=FIRST_DAY.isoformat(), end_offset=1)
"""`end_offset=1`: today is a partition, although it is not over."""


def day_of(when: datetime | None = None) -> str:
    """The partition key of this moment (aware), by default of now."""
    return (when or datetime.now(UTC)).astimezone(UTC).date().isoformat()


def by_day(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts by lake partition (`2026-11-21` or `2026-11-21T08`) summed by day, in order of days."""
    days: dict[str, int] = {}
    for partition in sorted(counts):
        day = partition[:10]
        days[day] = days.get(day, 0) + counts[partition]
    return days


def known(day: str) -> bool:
    """Whether Dagster shows this day: what is older lies in the lake, but has no partition here."""
    return day >= FIRST_DAY.isoformat()
