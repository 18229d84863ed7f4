"""What things are called in the index: periods, physical indices, aliases, documents.

Identifiers of systems and tables hold no hyphen, so that the parts of a name cannot run into each other.

A *period* names what one index holds: an hour, day, month or year of event time (`2026-11`), or of history (`history-2026`). The
period of a document follows from two columns of its row and two values of the contract, and from nothing else: workers, rebuilds
and replays cannot disagree about it, and a document has one index.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Protocol

from platform_assets.contracts.model import Field, IndexPeriod

PROGRESS_INDEX = "assay-progress"
PROGRESS_ID = "_progress"

DOCUMENT_LAYOUT = 1
"""The version of what a document holds beside its contract's fields (`mappings.SYSTEM`): raise it when that changes."""
HISTORY = "history-"
"""Begins the periods of history, where those are not the periods of the other rows."""
_LENGTHS = {IndexPeriod.HOUR: 13, IndexPeriod.DAY: 10, IndexPeriod.MONTH: 7, IndexPeriod.YEAR: 4}
"""How much of a partition's name (`2026-11-21T08`) is the period's."""
_PERIOD = re.compile(rf"({HISTORY})?\d{{4}}(-\d{{2}}(-\d{{2}}(T\d{{2}})?)?)?")
_GENERATION = 6  # digits


class DocumentSet(Protocol):
    """What documents are made from: a contract's table, or anything else with fields and a time."""

    @property
    def system(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def qualified_name(self) -> str: ...
    @property
    def fields(self) -> tuple[Field, ...]: ...
    @property
    def event_time(self) -> str: ...
    @property
    def index_period(self) -> IndexPeriod: ...
    @property
    def history_period(self) -> IndexPeriod: ...
    @property
    def attributes(self) -> str | None: ...
    @property
    def attributes_max_bytes(self) -> int: ...
    @property
    def max_depth(self) -> int: ...
    @property
    def row_policy(self) -> str | None:
        """The field whose value limits who sees a document; None: only readers without a limit see any."""

    @property
    def summed(self) -> bool:
        """Whether sums over documents are asked for."""


def read_alias(table: DocumentSet) -> str:
    """Over every serving index of the table; people and dashboards read here."""
    return f"{table.system}-{table.name}"


def layout(table: DocumentSet) -> str:
    """How documents are made and divided into indices, e.g. `day, history by year, documents 1`; a change needs a new index."""
    return f"{table.index_period}, history by {table.history_period}, documents {DOCUMENT_LAYOUT}"


def period_of(table: DocumentSet, partition: str, *, history: bool = False) -> str:
    """The period whose index holds the rows of an event partition (`2026-11-21` or `2026-11-21T08`): its history, or the others.

    A partition that is longer than the period (a mart's month in an index by day) is a caller's mistake: ValueError.
    """
    apart = history and table.history_period is not table.index_period
    length = _LENGTHS[table.history_period if apart else table.index_period]
    if len(partition) < length or partition.startswith(HISTORY) or not _PERIOD.fullmatch(partition):
        raise ValueError(f"not a partition of {table.qualified_name}: {partition!r}")
    return (HISTORY if apart else "") + partition[:length]


def periods_of(table: DocumentSet, partition: str) -> tuple[str, ...]:
    """The periods whose indices may hold rows of an event partition: one, or two where history is apart."""
    return tuple(dict.fromkeys(period_of(table, partition, history=history) for history in (False, True)))


def holds(table: DocumentSet, period: str, partitions: Collection[str]) -> list[str]:
    """Those of the event partitions whose rows the period's index may hold."""
    return [partition for partition in partitions if period in periods_of(table, partition)]


def span_of(name: str) -> tuple[datetime, datetime]:
    """Begin (inclusive) and end (exclusive) of a partition, or of a period: its history, too. ValueError if it names neither."""
    text = name.removeprefix(HISTORY)
    if not _PERIOD.fullmatch(text):
        raise ValueError(f"not a period: {name!r}")
    begin = datetime.fromisoformat(text + "-01-01"[len(text) - 4 :] if len(text) < 10 else text).replace(tzinfo=UTC)
    try:
        match len(text):
            case 4:
                return begin, begin.replace(year=begin.year + 1)
            case 7:
                return begin, (begin + timedelta(days=31)).replace(day=1)
            case 10:
                return begin, begin + timedelta(days=1)
            case _:
                return begin, begin + timedelta(hours=1)
    except (ValueError, OverflowError):  # the calendar ends
        return begin, datetime.max.replace(tzinfo=UTC)


def period_alias(table: DocumentSet, period: str) -> str:
    """Names the one physical index that serves this period. ValueError if it is no period's name."""
    if not _PERIOD.fullmatch(period):
        raise ValueError(f"not a period: {period!r}")
    return f"{read_alias(table)}-{period.lower()}"


def generation_name(alias: str, generation: int) -> str:
    """A physical index behind an alias, e.g. `logs-alerts-000001`."""
    return f"{alias}-{generation:0{_GENERATION}d}"


def generation_of(name: str) -> int:
    """The generation in a physical index's name. ValueError if it has none."""
    return int(name.rpartition("-")[2])


def index_name(table: DocumentSet, period: str, generation: int) -> str:
    """The physical index of a period, e.g. `logs-events-2026-11-21-000001`."""
    return generation_name(period_alias(table, period), generation)


def split_index_name(table: DocumentSet, name: str) -> tuple[str, int] | None:
    """(period, generation) of a physical index of this table; None if the name is not one."""
    head, _, generation = name.removeprefix(f"{read_alias(table)}-").rpartition("-")
    apart = HISTORY if head.startswith(HISTORY) else ""
    period = apart + head.removeprefix(apart).upper()
    if not (generation.isdigit() and len(generation) == _GENERATION and _PERIOD.fullmatch(period)):
        return None
    return (period, int(generation)) if name == index_name(table, period, int(generation)) else None
