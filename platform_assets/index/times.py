"""Times and lengths of time, as people write them and as the index takes them.

Belongs here: parsing and writing them. Does not belong here: which time range a question has
(`serve/params.py`, `cli/search.py`).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from platform_assets.core import durations
from platform_assets.index.errors import QueryError
from platform_assets.index.mappings import EARLIEST, LATEST

DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_LONGEST = timedelta(weeks=99_999)


def parse_duration(text: str) -> timedelta:
    """`90s`, `15m`, `24h`, `7d`, `2w`. Raises QueryError."""
    try:
        length = durations.parse_duration(text)
    except ValueError:
        length = timedelta.max
    if length > _LONGEST:
        raise QueryError(f"not a duration: {text!r}", "write 90s, 15m, 24h, 7d or 2w")
    return length


def parse_as_of(text: str) -> datetime:
    """The moment that is looked back from: `now`, a time, or a day, which is seen from its end. Raises QueryError."""
    if text.strip() == "now":
        return datetime.now(UTC)
    time = parse_time(text)
    return time + timedelta(days=1) if DAY.fullmatch(text.strip()) else time


def parse_time(text: str) -> datetime:
    """ISO 8601, a date or a time; without a zone it is UTC. Raises QueryError.

    Days are written with dashes and nothing else: it is by them that the callers tell a day from its midnight.
    """
    text = text.strip()
    try:
        time = datetime.fromisoformat(text)
        if len(text) <= len("2026-11-21") and not DAY.fullmatch(text):
            raise ValueError(text)
        time = (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise QueryError(f"not a time: {text!r}", "write 2026-11-21 or 2026-11-21T08:30:00Z") from None
    if not 2 < time.year < 9999:  # a year less or a day more must still be a time
        raise QueryError(f"no event is that old or that new: {text!r}")
    return time


def iso(time: datetime) -> str:
    """ISO 8601; what the index cannot hold becomes the nearest that it can, so that a bound there bounds nothing."""
    return min(max(time.astimezone(UTC), EARLIEST), LATEST).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
