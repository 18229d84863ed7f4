"""What one refresh has to do: the snapshot of silver that it reads, and the slots that it replaces.

Belongs here: touched slots, and how far each mart has consumed silver. Does not: reading rows for models (`prepare.py`).

Every mart's Delta table records, as application transactions of the commit that replaced its slots, `seq:<table>` and
`rewrite:<table>` (how far it has consumed each silver table) and `refresh` (the number of the refresh). What is consumed is
the least over all marts: where a refresh died half-way, the next one does the same again.

A refresh reads silver's rows up to the commits that are then consumed, and no further. So a mart's published slots are what
its models make of exactly those rows, which an audit can repeat. Where it has to read further (a day made anew by hand; marts of
which some are ahead of others), the commit records up to which commit (`ahead:<table>`).

A day of which retention has dropped rows from a silver table is *closed*: made anew it would lose what was dropped. No slot of it
is replaced any more, however late a row comes for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb
import numpy as np

from platform_assets.contracts.model import Contract, Table
from platform_assets.core.errors import AssayError
from platform_assets.core.transactions import REFRESH, REWRITE, SEQ, expired_mark, marks_of, rewrite_mark
from platform_assets.marts.graph import Graph
from platform_assets.marts.marts import Mart, Slot, refresh_log_table
from platform_assets.marts.reach import days_read, replaced
from platform_assets.marts.spans import NONE, Numbers, Spans, minute_of, minutes_of, moment, names, spans_of, union
from platform_assets.tables.files import DataFile
from platform_assets.tables.layout import Lake
from platform_assets.tables.table import LakeTable

WINDOW_ROWS = 1_000_000
"""Rows of a silver table that one refresh takes in, by its commits; what is beyond waits for the next."""

_MINUTE_US = 60_000_000


@dataclass(frozen=True, slots=True)
class Source:
    """A silver table in one snapshot: rows of commits up to `cut` are read; up to `seq` and `rewrite` it is then consumed."""

    contract: Table
    silver: LakeTable
    seq: int
    rewrite: int
    cut: int

    def holding(self, spans: Spans) -> tuple[DataFile, ...]:
        """The files that may hold rows of these spans, by their statistics."""
        if not self.silver.exists():
            return ()
        column = self.contract.event_time

        def meets(f: DataFile) -> bool:
            return column not in f.low or spans.meets(minute_of(f.low[column]), minute_of(f.high[column]))

        return tuple(f for f in self.silver.files() if meets(f))


@dataclass(frozen=True, slots=True)
class Plan:
    """One refresh. `expect` is each mart's number of its last refresh (None: never), `more` whether silver holds more.

    `minutes` are the touched ones of open days; `slots` are those to replace, by mart (one that is always built whole has none);
    `closed` are the closed days near them, in days since 1970.
    """

    system: str
    number: int
    claimed: int | None  # the refresh_log's number at the start
    expect: Mapping[str, int | None]
    sources: tuple[Source, ...]
    minutes: Numbers
    slots: Mapping[str, Numbers]
    closed: Numbers
    moves: bool  # whether anything is consumed, be it commits without a row
    more: bool

    @property
    def days(self) -> tuple[str, ...]:
        """The touched days, by name."""
        return tuple(names(spans_of(self.minutes, Slot.MINUTE).slots(Slot.DAY), Slot.DAY, "%Y-%m-%d"))


@dataclass(frozen=True, slots=True)
class Consumed:
    """How far gold is, and silver beside it, for one silver table. `furthest` is the mart that is ahead of the others."""

    seq: int
    rewrite: int
    silver_seq: int
    silver_rewrite: int
    furthest: int

    @property
    def behind(self) -> bool:
        """Whether silver holds what gold has not."""
        return self.seq < self.silver_seq or self.rewrite < self.silver_rewrite


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
            max(seqs, default=0),
        )
    return found


def plan(
    lake: Path,
    contract: Contract,
    graph: Graph,
    con: duckdb.DuckDBPyConnection,
    day: date | None = None,
    window_rows: int = WINDOW_ROWS,
) -> Plan:
    """The next refresh: what silver has gained since the last one, at most about `window_rows` a table, or one `day` anew.

    Raises AssayError when that day is closed.
    """
    marts = graph.marts
    refresh_log = refresh_log_table(lake, contract.system)
    claimed = refresh_log.transaction(REFRESH) if refresh_log.exists() else None
    tables = {mart.name: mart.table(lake) for mart in marts}
    expect = {name: table.transaction(REFRESH) if table.exists() else None for name, table in tables.items()}
    number = max(claimed or 0, *(value or 0 for value in expect.values())) + 1
    # After the marts: what silver gains in between is in the snapshot that follows.
    done = consumed(lake, contract, marts)
    # A rebuild may leave nothing of a day that gold shows. (A mart that is new asks for all of silver, and must not clear
    # what silver has forgotten since.)
    known = _shown(marts, tables) if all(expect.values()) else set()
    touched: list[Numbers] = []
    sources: list[Source] = []
    moves = more = False
    for source in contract.tables:
        silver = Lake(lake).tables(source).silver
        mine = done[source.name]
        seq, rewrite = mine.seq, mine.rewrite
        last = (silver.transaction(SEQ) or 0) if silver.exists() else 0
        if silver.exists() and day is None:
            seq = _window(silver, mine.seq, last, window_rows)
            touched.append(_touched(source, silver, con, mine.seq, seq))
            partitions, rewrite = _rewritten(silver, known, mine.rewrite, window_rows)
            touched += [minutes_of(partition) for partition in partitions]
            moves |= seq > mine.seq or rewrite > mine.rewrite
            more |= seq < last or rewrite < (silver.transaction(REWRITE) or 0)
        # Never less than a mart has consumed: its slots would fall behind its own marks.
        cut = max(seq, min(mine.furthest, last)) if day is None else last
        sources.append(Source(source, silver, seq, rewrite, cut))
    if day is not None:
        touched.append(minutes_of(day.isoformat()))
    minutes = union(touched)
    closed = _closed([source.silver for source in sources], graph, minutes)
    if day is not None and minutes[0] // 1440 in closed:
        raise AssayError(
            f"{contract.system}: retention has dropped rows of {day}, which its marts still count",
            "its marts stay as they are; choose a later day",
        )
    minutes = minutes[~np.isin(minutes // 1440, closed)]
    slots = replaced(graph, minutes, closed)
    moves |= day is not None
    return Plan(contract.system, number, claimed, expect, tuple(sources), minutes, slots, closed, moves, more)


def reading(lake: Path, contract: Contract, graph: Graph, minutes: Numbers) -> Plan:
    """A plan that only reads: silver's rows of these minutes in the newest snapshot, closed days too. It has no number."""
    silvers = [Lake(lake).tables(source).silver for source in contract.tables]
    sources = []
    for source, silver in zip(contract.tables, silvers, strict=True):
        marks = silver.transactions((SEQ, REWRITE)) if silver.exists() else {SEQ: 0, REWRITE: 0}
        last = marks[SEQ] or 0
        sources.append(Source(source, silver, last, marks[REWRITE] or 0, last))
    closed = _closed(silvers, graph, minutes)
    slots = replaced(graph, minutes, NONE)
    return Plan(contract.system, 0, None, {}, tuple(sources), minutes, slots, closed, moves=False, more=False)


def _closed(silvers: Sequence[LakeTable], graph: Graph, minutes: Numbers) -> Numbers:
    """The days (since 1970) near these minutes of which retention has dropped rows from any of the tables."""
    own = spans_of(minutes, Slot.MINUTE).slots(Slot.DAY)
    return closed_days(silvers, union([own, days_read(graph, replaced(graph, minutes, NONE))]))


def closed_days(silvers: Sequence[LakeTable], days: Numbers) -> Numbers:
    """Those of these days (since 1970) of which retention has dropped rows from any of the tables. In the snapshots in hand."""
    marks = {int(number): expired_mark(f"{moment(int(number), Slot.DAY):%Y-%m-%d}") for number in days}
    known = [silver for silver in silvers if silver.exists()]
    gone = [number for number, mark in marks.items() if any(silver.transaction(mark) is not None for silver in known)]
    return np.array(gone, np.int64)


def _shown(marts: Sequence[Mart], tables: Mapping[str, LakeTable]) -> set[str]:
    """Days that gold shows rows of, by the partitions of its finest marts."""
    grain = min((mart.grain for mart in marts), key=list(Slot).index)
    partitions = {p for mart in marts if mart.grain is grain for p in tables[mart.name].partitions()}
    if grain is not Slot.DAY:
        return {partition[:10] for partition in partitions}
    firsts = [date.fromisoformat(f"{month}-01") for month in partitions]
    days = (first + timedelta(days=n) for first in firsts for n in range(31))
    return {day.isoformat() for day in days}


def _window(silver: LakeTable, after: int, last: int, rows: int) -> int:
    """The commit up to which about `rows` rows follow `after`, by the statistics of files: nothing is read."""
    total = 0
    for f in sorted(silver.between("_seq", after + 1, last), key=lambda f: f.high.get("_seq", last)):
        total += f.rows
        if total >= rows:
            return min(last, max(after + 1, int(f.high.get("_seq", last))))
    return last


def _touched(source: Table, silver: LakeTable, con: duckdb.DuckDBPyConnection, after: int, upto: int) -> Numbers:
    """Minutes of the rows of commits (`after`, `upto`]."""
    files = silver.between("_seq", after + 1, upto) if upto > after else []
    if not files:
        return NONE
    rows = silver.relation(con, files).filter(f"_seq > {after} AND _seq <= {upto}")
    # Rounded down, for times before 1970 too.
    minute = f'CAST(floor(epoch_us("{source.event_time}") / {_MINUTE_US}) AS BIGINT) AS minute'
    found: Numbers = rows.project(minute).distinct().fetchnumpy()["minute"]
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
