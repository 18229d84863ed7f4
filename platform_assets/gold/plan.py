"""What one refresh has to do: the snapshot of silver that it reads, and the slots that it replaces.

Belongs here: touched slots, and how far each mart has consumed silver. Does not: reading rows for models (`prepare.py`).

Every mart's Delta table records, as application transactions of the commit that replaced its slots, `seq:<table>` and
`rewrite:<table>` (how far it has consumed each silver table) and `refresh` (the number of the refresh). What is consumed is
the least over all marts: where a refresh died half-way, the next one does the same again.

A day of which retention has dropped rows from a silver table is *closed*: made anew it would lose what was dropped. No slot of it
is replaced any more, however late a row comes for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt

from platform_assets.contracts.model import Contract, Table
from platform_assets.errors import AssayError
from platform_assets.gold.marts import Mart, Slot, ledger_table
from platform_assets.lake.files import DataFile
from platform_assets.lake.layout import Lake
from platform_assets.lake.table import LakeTable
from platform_assets.lane.land import SEQ
from platform_assets.lane.settle import REWRITE, expired_mark, rewrite_mark

REFRESH = "refresh"
WINDOW_ROWS = 1_000_000
"""Rows of a silver table that one refresh takes in, by its commits; what is beyond waits for the next."""

_MINUTE_US = 60_000_000
Minutes = npt.NDArray[np.int64]
"""Minutes since 1970, ascending, each once."""


@dataclass(frozen=True, slots=True)
class Source:
    """A silver table in one snapshot: the files with rows of the touched minutes, and up to where it is then consumed."""

    contract: Table
    silver: LakeTable
    files: tuple[DataFile, ...]
    seq: int
    rewrite: int


@dataclass(frozen=True, slots=True)
class Plan:
    """One refresh. `expect` is each mart's number of its last refresh (None: never), `more` whether silver holds more.

    `minutes` are those of open days; `closed` are the closed days near them, in days since 1970.
    """

    system: str
    number: int
    claimed: int | None  # the ledger's number at the start
    expect: Mapping[str, int | None]
    sources: tuple[Source, ...]
    minutes: Minutes
    closed: Minutes
    moves: bool  # whether anything is consumed, be it commits without a row
    more: bool

    @property
    def hours(self) -> Minutes:
        """Hours since 1970 that hold a touched minute."""
        return np.unique(self.minutes // 60)

    @property
    def touched_days(self) -> Minutes:
        """Days since 1970 that hold a touched minute."""
        return np.unique(self.minutes // 1440)

    @property
    def days(self) -> Minutes:
        """The touched days, and the days after, whose reports show these beside their own; no closed one."""
        return np.setdiff1d(_with_next(self.touched_days), self.closed)

    def slots(self, grain: Slot) -> Minutes:
        """The slots of a grain, in units of that grain."""
        return {Slot.MINUTE: self.minutes, Slot.HOUR: self.hours, Slot.DAY: self.days}[grain]


@dataclass(frozen=True, slots=True)
class Consumed:
    """How far gold is, and silver beside it, for one silver table."""

    seq: int
    rewrite: int
    silver_seq: int
    silver_rewrite: int

    @property
    def behind(self) -> bool:
        """Whether silver holds what gold has not."""
        return self.seq < self.silver_seq or self.rewrite < self.silver_rewrite


def marks_of(table: str) -> tuple[str, str]:
    """The application transactions that say how far a mart has consumed a silver table: by commits, by rewrites."""
    return f"seq:{table}", f"rewrite:{table}"


def consumed(lake: Path, contract: Contract, marts: Sequence[Mart]) -> dict[str, Consumed]:
    """Where gold stands, by silver table, from the Delta logs alone; tables that were never made count as empty."""
    tables = [table for mart in marts if (table := mart.table(lake)).exists()]
    found: dict[str, Consumed] = {}
    for source in contract.tables:
        silver = Lake(lake).tables(source).silver
        marks = silver.transactions((SEQ, REWRITE)) if silver.exists() else {SEQ: 0, REWRITE: 0}
        seqs, rewrites = ([table.transaction(mark) or 0 for table in tables] for mark in marks_of(source.name))
        complete = len(tables) == len(marts)
        found[source.name] = Consumed(
            min(seqs, default=0) if complete else 0,
            min(rewrites, default=0) if complete else 0,
            marks[SEQ] or 0,
            marks[REWRITE] or 0,
        )
    return found


def plan(
    lake: Path,
    contract: Contract,
    marts: Sequence[Mart],
    con: duckdb.DuckDBPyConnection,
    day: date | None = None,
    window_rows: int = WINDOW_ROWS,
) -> Plan:
    """The next refresh: what silver has gained since the last one, at most about `window_rows` a table, or one `day` anew.

    Raises AssayError when that day is closed.
    """
    ledger = ledger_table(lake, contract.system)
    claimed = ledger.transaction(REFRESH) if ledger.exists() else None
    tables = {mart.name: mart.table(lake) for mart in marts}
    expect = {name: table.transaction(REFRESH) if table.exists() else None for name, table in tables.items()}
    number = max(claimed or 0, *(value or 0 for value in expect.values())) + 1
    # After the marts: what silver gains in between is in the snapshot that follows.
    done = consumed(lake, contract, marts)
    # Days that gold shows: a rebuild may leave nothing of one. (A mart that is new asks for all of silver, and must not clear
    # what silver has forgotten since.)
    shown = {
        p for mart in marts if mart.grain is Slot.HOUR and expect[mart.name] for p in tables[mart.name].partitions()
    }
    known = shown if all(expect.values()) else set()
    touched: list[Minutes] = []
    seen: list[tuple[Table, LakeTable, int, int]] = []
    moves = more = False
    for source in contract.tables:
        silver = Lake(lake).tables(source).silver
        mine = done[source.name]
        seq, rewrite = mine.seq, mine.rewrite
        if not silver.exists():
            seen.append((source, silver, seq, rewrite))
            continue
        if day is None:
            last = silver.transaction(SEQ) or 0
            seq = _window(silver, mine.seq, last, window_rows)
            touched.append(_touched(source, silver, con, mine.seq, seq))
            partitions, rewrite = _rewritten(silver, known, mine.rewrite, window_rows)
            touched += [_minutes_of(partition) for partition in partitions]
            moves |= seq > mine.seq or rewrite > mine.rewrite
            more |= seq < last or rewrite < (silver.transaction(REWRITE) or 0)
        seen.append((source, silver, seq, rewrite))
    if day is not None:
        touched.append(_minutes_of(day.isoformat()))
    minutes = np.unique(np.concatenate(touched)) if touched else np.empty(0, np.int64)
    closed = _closed([silver for _, silver, _, _ in seen], _with_next(np.unique(minutes // 1440)))
    if day is not None and minutes[0] // 1440 in closed:
        raise AssayError(
            f"{contract.system}: retention has dropped rows of {day}, which its marts still count",
            "its marts stay as they are; choose a later day",
        )
    minutes = minutes[~np.isin(minutes // 1440, closed)]
    sources = tuple(
        Source(source, silver, _holding(silver, source.event_time, minutes), seq, rewrite)
        for source, silver, seq, rewrite in seen
    )
    return Plan(contract.system, number, claimed, expect, sources, minutes, closed, moves or day is not None, more)


def reading(lake: Path, contract: Contract, minutes: Minutes) -> Plan:
    """A plan that only reads: silver's rows of these minutes in the newest snapshot, closed days too. It has no number."""
    silvers = [Lake(lake).tables(source).silver for source in contract.tables]
    sources = []
    for source, silver in zip(contract.tables, silvers, strict=True):
        marks = silver.transactions((SEQ, REWRITE)) if silver.exists() else {SEQ: 0, REWRITE: 0}
        files = _holding(silver, source.event_time, minutes)
        sources.append(Source(source, silver, files, marks[SEQ] or 0, marks[REWRITE] or 0))
    closed = _closed(silvers, _with_next(np.unique(minutes // 1440)))
    return Plan(contract.system, 0, None, {}, tuple(sources), minutes, closed, moves=False, more=False)


def _with_next(days: Minutes) -> Minutes:
    return np.unique(np.concatenate((days, days + 1)))


def _closed(silvers: Sequence[LakeTable], days: Minutes) -> Minutes:
    """Those of these days (since 1970) of which retention has dropped rows from any of the tables. In the snapshots in hand."""
    marks = {int(number): expired_mark(f"{moment(int(number), Slot.DAY):%Y-%m-%d}") for number in days}
    known = [silver for silver in silvers if silver.exists()]
    gone = [number for number, mark in marks.items() if any(silver.transaction(mark) is not None for silver in known)]
    return np.array(gone, np.int64)


def _window(silver: LakeTable, after: int, last: int, rows: int) -> int:
    """The commit up to which about `rows` rows follow `after`, by the statistics of files: nothing is read."""
    total = 0
    for f in sorted(silver.between("_seq", after + 1, last), key=lambda f: f.high.get("_seq", last)):
        total += f.rows
        if total >= rows:
            return min(last, max(after + 1, int(f.high.get("_seq", last))))
    return last


def _touched(source: Table, silver: LakeTable, con: duckdb.DuckDBPyConnection, after: int, upto: int) -> Minutes:
    """Minutes of the rows of commits (`after`, `upto`]."""
    files = silver.between("_seq", after + 1, upto) if upto > after else []
    if not files:
        return np.empty(0, np.int64)
    rows = silver.relation(con, files).filter(f"_seq > {after} AND _seq <= {upto}")
    # Rounded down, for times before 1970 too.
    minute = f'CAST(floor(epoch_us("{source.event_time}") / {_MINUTE_US}) AS BIGINT) AS minute'
    found: Minutes = rows.project(minute).distinct().fetchnumpy()["minute"]
    return np.sort(np.asarray(found, np.int64))


def _rewritten(silver: LakeTable, known: set[str], after: int, rows: int) -> tuple[list[str], int]:
    """Event partitions that rebuilds and replays have rewritten since, the oldest rewrite first and about `rows` rows at most
    (one rewrite at least), and the last rewrite that is then covered. `known` are days to look at besides silver's own."""
    last = silver.transaction(REWRITE) or 0
    if last <= after:
        return [], after
    sizes = silver.partitions()
    candidates = {*sizes, *known, *(f"{day}T{hour:02d}" for day in known for hour in range(24))}
    waiting = sorted((m, p) for p in candidates if (m := silver.transaction(rewrite_mark(p)) or 0) > after)
    chosen: list[str] = []
    total, covered = 0, after
    for mark, partition in waiting:
        if total >= rows and mark > covered:
            return chosen, covered
        chosen.append(partition)
        total, covered = total + sizes.get(partition, 0), mark
    return chosen, last


def _minutes_of(partition: str) -> Minutes:
    """All minutes of an event partition (a day, or an hour of one)."""
    begin = datetime.fromisoformat(partition).replace(tzinfo=UTC)
    length = 60 if "T" in partition else 1440
    first = int(begin.timestamp()) // 60
    return np.arange(first, first + length, dtype=np.int64)


def ranges(minutes: Minutes) -> list[tuple[datetime, datetime]]:
    """The minutes as ranges [begin, end) of time, those that touch joined."""
    if len(minutes) == 0:
        return []
    cuts = np.flatnonzero(np.diff(minutes) > 1)
    firsts = minutes[np.concatenate(([0], cuts + 1))]
    lasts = minutes[np.concatenate((cuts, [len(minutes) - 1]))]
    return [(moment(int(a), Slot.MINUTE), moment(int(b) + 1, Slot.MINUTE)) for a, b in zip(firsts, lasts, strict=True)]


def moment(number: int, grain: Slot) -> datetime:
    """The beginning of a slot."""
    minutes = {Slot.MINUTE: 1, Slot.HOUR: 60, Slot.DAY: 1440}[grain]
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(minutes=number * minutes)


def _holding(silver: LakeTable, column: str, minutes: Minutes) -> tuple[DataFile, ...]:
    """Files that may hold rows of these minutes, by their statistics."""

    def touches(f: DataFile) -> bool:
        if column not in f.low:
            return True
        low, high = (_minute(bounds[column]) for bounds in (f.low, f.high))
        return bool(np.searchsorted(minutes, low) < np.searchsorted(minutes, high, side="right"))

    return tuple(f for f in silver.files() if touches(f)) if silver.exists() else ()


def _minute(when: datetime) -> int:
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(minutes=1)
