"""Sets of time as whole minutes: slots of a grain, and disjoint spans of minutes.

Belongs here: arithmetic on them, all of it on whole arrays. Does not: which of them a refresh needs (`reach.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from platform_assets.marts.marts import LENGTHS, Slot

Numbers = npt.NDArray[np.int64]
"""Slots by their number since 1970 in units of their grain: ascending, each once. Minutes among them."""
MINUTES = {grain: length // timedelta(minutes=1) for grain, length in LENGTHS.items()}
"""How many minutes a slot has."""
NONE: Numbers = np.empty(0, np.int64)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Spans:
    """Spans [begin, end) of minutes since 1970: ascending, disjoint, none that touch."""

    begins: Numbers
    ends: Numbers

    def __len__(self) -> int:
        return len(self.begins)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self.begins.tolist(), self.ends.tolist(), strict=True)

    def times(self) -> list[tuple[datetime, datetime]]:
        """The spans as times."""
        return [(moment(a, Slot.MINUTE), moment(b, Slot.MINUTE)) for a, b in self]

    def meets(self, first: int, last: int) -> bool:
        """Whether a minute from `first` to `last`, both included, lies in a span."""
        at = int(np.searchsorted(self.ends, first, side="right"))
        return at < len(self.begins) and int(self.begins[at]) <= last

    def slots(self, grain: Slot) -> Numbers:
        """The slots of a grain that overlap a span."""
        length = MINUTES[grain]
        firsts, lasts = self.begins // length, (self.ends - 1) // length
        counts = lasts - firsts + 1
        if not len(counts):
            return NONE
        starts = np.repeat(firsts - np.concatenate(([0], np.cumsum(counts)[:-1])), counts)
        return np.unique(starts + np.arange(int(counts.sum()), dtype=np.int64))


def spans_of(slots: Numbers, grain: Slot, before: timedelta = timedelta(0), after: timedelta = timedelta(0)) -> Spans:
    """The spans that slots take up, each from `before` its begin until `after` its end."""
    length, minute = MINUTES[grain], timedelta(minutes=1)
    begins = slots * length - -(-before // minute)
    ends = (slots + 1) * length + -(-after // minute)
    if not len(begins):
        return Spans(NONE, NONE)
    apart = np.flatnonzero(begins[1:] > ends[:-1])
    return Spans(begins[np.concatenate(([0], apart + 1))], ends[np.concatenate((apart, [len(ends) - 1]))])


def union(parts: Sequence[Numbers]) -> Numbers:
    """Numbers that are in any of the parts."""
    return np.unique(np.concatenate(parts)) if parts else NONE


def moment(number: int, grain: Slot) -> datetime:
    """The beginning of a slot."""
    return _EPOCH + timedelta(minutes=number * MINUTES[grain])


def minute_of(when: datetime) -> int:
    """The minute since 1970 that holds a time; a time without a zone is UTC."""
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(minutes=1)


def minutes_of(partition: str) -> Numbers:
    """All minutes of an event partition (a day, or an hour of one)."""
    begin = datetime.fromisoformat(partition).replace(tzinfo=UTC)
    first = minute_of(begin)
    return np.arange(first, first + (60 if "T" in partition else 1440), dtype=np.int64)


def names(slots: Numbers, grain: Slot, form: str) -> list[str]:
    """The beginnings of slots as texts of a format, each once."""
    return list(dict.fromkeys(f"{moment(int(number), grain):{form}}" for number in slots))
