"""Rebuilding a day of silver, and its index, from bronze, while the worker goes on.

Read is what the feed says fed the partition, up to the bronze commit that silver holds in the snapshot in hand; what the
worker appends meanwhile is carried over as it is. The replacement is one transaction on top of the newest snapshot: whoever
commits in between makes it look again. Within one contract version and masking key the rows are those of the live path.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from typing import Literal, TypeVar

import duckdb
import numpy as np
import pyarrow as pa
from deltalake.transaction import AddAction

from platform_assets.contracts.arrow import QUARANTINE_SCHEMA, silver_schema
from platform_assets.contracts.model import Grain, Table
from platform_assets.core.coordinates import BRONZE_ORDER, COLUMNS, COORDINATES, ORDER
from platform_assets.core.errors import AssayError
from platform_assets.core.settings import Settings
from platform_assets.core.transactions import REWRITE, SEQ, rewrite_mark
from platform_assets.ingest.keys import Keys, KeySet
from platform_assets.ingest.reindex import rebuild_indices
from platform_assets.tables.files import DataFile, overlapping
from platform_assets.tables.layout import Lake, TableSet
from platform_assets.tables.session import session
from platform_assets.tables.table import Conflict, select_from
from platform_assets.tables.windows import seq_windows
from platform_assets.transform import Transformer, key_select
from platform_assets.transform.masking import masker

FILE_ROWS = 1_000_000
FILE_BYTES = 128 * 1024 * 1024
"""Of rows, as they are in memory: a new file is written when it has so many of either."""
_TRIES = 20

T = TypeVar("T")
Progress = Callable[[str, int], None]
"""Called with a phase (`rows`, `documents`) and how many more are done."""


@dataclass
class RebuildReport:
    """What a rebuild did. Rows are counted after the replacement; seconds by phase."""

    table: str
    day: date
    partitions: dict[str, int] = field(default_factory=dict)  # event partition -> rows
    bronze_rows: int = 0
    rejected: int = 0  # rows of the partition that the present contract refuses (another contract version)
    duplicates: int = 0
    conflicts: int = 0  # of them, with other values than the row that stays
    documents: int = 0  # that the new index has
    index_refused: int = 0  # documents that it will never take
    seconds: dict[str, float] = field(default_factory=dict)


def rebuild(
    settings: Settings, contract: Table, day: date, progress: Progress | None = None, *, index: bool = True
) -> RebuildReport:
    """Rebuild every event partition of one day (UTC), then the indices that hold them: of the periods that the day is part of.

    A day that nothing was ever recorded for stays as it is. Documents are those of the whole indices.
    """
    report = RebuildReport(contract.name, day)
    tell = progress or (lambda _phase, _n: None)
    tables = Lake(settings.lake_path).tables(contract)
    with session() as con, Transformer(contract, masker(settings)) as transformer:
        for partition in _partitions(contract, tables, con, day):
            started = time.perf_counter()
            _Rebuild(contract, tables, transformer, con, partition, report, tell).run()
            report.seconds["silver"] = report.seconds.get("silver", 0.0) + time.perf_counter() - started
    if index and report.partitions:
        started = time.perf_counter()
        partitions = report.partitions.keys()
        for built in rebuild_indices(settings, contract, tables, partitions, lambda n: tell("documents", n)):
            report.documents += built.documents
            report.index_refused += len(built.refused)
        report.seconds["index"] = time.perf_counter() - started
    return report


def _partitions(contract: Table, tables: TableSet, con: duckdb.DuckDBPyConnection, day: date) -> list[str]:
    """Event partitions of the day that silver or the feed know."""
    tables.silver.refresh()
    tables.feed.refresh()
    known = set(tables.silver.partitions())
    fed = tables.feed.relation(con).project("event_partition").distinct().fetchall()
    text = day.isoformat()
    wanted = text if contract.grain is Grain.DAY else f"{text}T"
    return sorted(p for p in known | {str(r[0]) for r in fed} if p.startswith(wanted))


@dataclass(frozen=True, slots=True)
class _Transformed:
    """The new partition, written and not yet committed: its files, coordinates and keys, and which old rows were rejected."""

    adds: list[AddAction]
    coordinates: pa.Table
    rejected: pa.Table
    keys: KeySet


class _Rebuild:
    def __init__(
        self,
        contract: Table,
        tables: TableSet,
        transformer: Transformer,
        con: duckdb.DuckDBPyConnection,
        partition: str,
        report: RebuildReport,
        tell: Progress,
    ) -> None:
        self._contract = contract
        self._tables = tables
        self._transformer = transformer
        self._con = con
        self._partition = partition
        self._report = report
        self._tell = tell
        self._schema = silver_schema(contract)

    def run(self) -> None:
        silver = self._tables.silver
        silver.refresh()
        base = silver.transaction(SEQ) or 0
        rewrite = silver.transaction(REWRITE)
        old = silver.files(self._partition)
        transformed = self._transform(old, base)
        self._keep_every_row(old, base, transformed)
        for _ in range(_TRIES):
            silver.refresh()
            live = silver.files(self._partition)
            tail = self._tail([f for f in live if f.path not in {o.path for o in old}], base)
            try:
                silver.commit(
                    [*transformed.adds, *silver.write(tail)],
                    removes=live,
                    advance=dict.fromkeys((REWRITE, rewrite_mark(self._partition)), (rewrite or 0) + 1),
                    expect={REWRITE: rewrite},
                    check=lambda live=live: self._unchanged(live),  # type: ignore[misc]
                )
            except Conflict as conflict:
                if conflict.actual.get(REWRITE, rewrite) != rewrite:
                    raise AssayError(
                        f"{self._contract.qualified_name} {self._partition}: another rebuild or replay finished first",
                        "run it again",
                    ) from conflict
                continue
            self._report.partitions[self._partition] = silver.partitions().get(self._partition, 0)
            return
        raise AssayError(f"{self._contract.qualified_name} {self._partition} never stood still", "run it again")

    def _unchanged(self, live: list[DataFile]) -> None:
        """The tail was read from `live`; a file added since must be read too."""
        if {f.path for f in self._tables.silver.files(self._partition)} != {f.path for f in live}:
            raise Conflict(self._tables.silver.path, {})

    def _tail(self, files: list[DataFile], base: int) -> pa.Table:
        """Rows that the worker appended to the partition after `base`."""
        if not files:
            return self._schema.empty_table()
        return self._tables.silver.read(self._con, files=files, where=f"_seq > {base}", order=ORDER)

    def _transform(self, old: list[DataFile], base: int) -> _Transformed:
        """Write the partition's new files; nothing is visible yet."""
        self._tables.quarantine.refresh()
        keys = KeySet()
        pending, done, refused = [], [], []
        adds: list[AddAction] = []
        writing: Future[list[AddAction]] | None = None
        # One thread each reads, transforms, deduplicates (this one) and writes.
        with (
            session(threads=1) as con,
            ThreadPoolExecutor(1) as reader,
            ThreadPoolExecutor(1) as transformer,
            ThreadPoolExecutor(1) as writer,
        ):
            bronze = _ahead(reader, self._bronze(base, con))
            for transformed in _ahead(transformer, map(self._transformer.transform, bronze)):
                rows = self._fresh(transformed.accepted, base, keys)
                refused.append(self._taken_back(transformed.rejected, old, base))
                pending.append(rows.select(self._schema.names))
                done.append(rows.select(COLUMNS))
                read = transformed.accepted.num_rows + transformed.rejected.num_rows
                self._report.bronze_rows += read
                self._tell("rows", read)
                if sum(p.num_rows for p in pending) >= FILE_ROWS or sum(p.nbytes for p in pending) >= FILE_BYTES:
                    adds += writing.result() if writing else []
                    writing = writer.submit(self._tables.silver.write, pa.concat_tables(pending))
                    pending = []
            adds += writing.result() if writing else []
        adds += self._tables.silver.write(pa.concat_tables(pending)) if pending else []
        none = self._schema.empty_table().select(COLUMNS)
        rejected = pa.concat_tables([QUARANTINE_SCHEMA.empty_table(), *refused])
        return _Transformed(adds, pa.concat_tables([none, *done]), rejected, keys)

    def _fresh(self, accepted: pa.Table, base: int, keys: KeySet) -> pa.Table:
        """Rows of the partition that replay is not for and whose key comes for the first time; `keys` learns theirs."""
        rows = accepted.filter(pa.compute.equal(accepted.column("event_partition"), self._partition))
        rows = _without(self._con, rows, self._quarantined(rows, base))
        if self._contract.key and rows.num_rows:
            mine = Keys.of(rows)
            evaluated = keys.evaluate(mine)
            keys.add(mine.take(evaluated.fresh))
            self._report.duplicates += int(np.count_nonzero(~evaluated.fresh))
            self._report.conflicts += int(np.count_nonzero(evaluated.conflicting))
            rows = rows if evaluated.fresh.all() else rows.filter(pa.array(evaluated.fresh))
        return rows

    def _bronze(self, base: int, con: duckdb.DuckDBPyConnection) -> Iterator[pa.Table]:
        """The bronze rows that may belong to the partition, in bronze order, a bounded number at a time."""
        bronze, feed = self._tables.bronze, self._tables.feed
        bronze.refresh()
        feed.refresh()
        ranges = (
            feed.relation(con)
            .filter(duckdb.ColumnExpression("event_partition") == duckdb.ConstantExpression(self._partition))
            .filter(f"seq_min <= {base}")
            .project("seq_min, least(seq_max, " + str(base) + ") AS seq_max")
            .order("seq_min")
            .fetchall()
        )
        for low, high in _merged(ranges):
            for after, upto in seq_windows(bronze, con, low - 1, high):
                yield bronze.read(
                    con,
                    files=bronze.between("seq", after + 1, upto),
                    where=f"seq > {after} AND seq <= {upto} AND kind = 'record'",
                    order=BRONZE_ORDER,
                )

    def _quarantined(self, rows: pa.Table, base: int) -> pa.Table:
        """Coordinates refused at transform, of the bronze commits that these rows are of.

        A rebuild leaves them there: to send them again is what replay is for.
        """
        quarantine, (low, high) = self._tables.quarantine, _commits(rows)
        where = f"stage = 'transform' AND _seq BETWEEN {low} AND {min(high, base)}"
        return quarantine.read(self._con, columns=COLUMNS, files=quarantine.between("_seq", low, high), where=where)

    def _taken_back(self, rejected: pa.Table, old: list[DataFile], base: int) -> pa.Table:
        """The rejects that the old partition holds as rows. Others are of no interest, and may be very many."""
        if rejected.num_rows == 0:
            return rejected
        low, high = _commits(rejected)
        files = overlapping(old, "_seq", low, high)
        where = f"_seq BETWEEN {low} AND {min(high, base)}"
        held = self._tables.silver.read(self._con, columns=COLUMNS, files=files, where=where)
        return _among(self._con, rejected, held)

    def _keep_every_row(self, old: list[DataFile], base: int, transformed: _Transformed) -> None:
        """A row of the old partition is in the new one, is a duplicate in it, or becomes a reject; else it would be lost."""
        before = self._tables.silver.read(self._con, columns=COLUMNS, files=old, where=f"_seq <= {base}")
        lost = self._without_duplicates(_without(self._con, before, transformed.coordinates), old, transformed.keys)
        if lost.num_rows == 0:
            return
        again = _among(self._con, transformed.rejected, lost)
        if again.num_rows != lost.num_rows:
            raise AssayError(
                f"{self._contract.qualified_name} {self._partition}: the present contract would lose "
                f"{lost.num_rows - again.num_rows} rows (other partition or key)",
                "nothing was changed; put the key, event time and grain back as they were when the rows were written",
            )
        self._report.rejected += again.num_rows
        self._tables.quarantine.refresh()
        fresh = _without(self._con, again, self._quarantined(again, base))  # a rebuild that died here left some already
        self._tables.quarantine.commit(self._tables.quarantine.write(fresh))

    def _without_duplicates(self, lost: pa.Table, old: list[DataFile], keys: KeySet) -> pa.Table:
        """Leave out rows whose key the new partition holds: an older record with the key is accepted now and survives."""
        if lost.num_rows == 0 or not self._contract.key:
            return lost
        keyed = key_select(self._contract, self._transformer.key_id)
        hashed = select_from(self._tables.silver.relation(self._con, old), "silver", keyed)
        mine = _among(self._con, hashed, lost)
        held, _ = keys.find(Keys.of(mine))
        return mine.filter(pa.array(~held)).select(COLUMNS)


def _ahead(pool: ThreadPoolExecutor, items: Iterator[T]) -> Iterator[T]:
    """The same items; the pool's one thread makes the next while this one is worked on."""
    coming = pool.submit(next, items, None)
    while (item := coming.result()) is not None:
        coming = pool.submit(next, items, None)
        yield item


def _merged(ranges: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Ranges in order, joined where they touch."""
    current: tuple[int, int] | None = None
    for low, high in ranges:
        if current is not None and low <= current[1] + 1:
            current = (current[0], max(current[1], high))
        else:
            if current is not None:
                yield current
            current = (low, high)
    if current is not None:
        yield current


def _commits(rows: pa.Table) -> tuple[int, int]:
    """The first and the last bronze commit that rows are of; an empty range where there is none."""
    bounds = pa.compute.min_max(rows.column("_seq")).as_py()
    return (1, 0) if bounds["min"] is None else (int(bounds["min"]), int(bounds["max"]))


def _without(con: duckdb.DuckDBPyConnection, rows: pa.Table, others: pa.Table) -> pa.Table:
    """Rows whose coordinates are not among `others`; order is kept."""
    return rows if others.num_rows == 0 else _joined(con, rows, others, "ANTI")


def _among(con: duckdb.DuckDBPyConnection, rows: pa.Table, others: pa.Table) -> pa.Table:
    """Rows whose coordinates are among `others`; order is kept."""
    return _joined(con, rows, others, "SEMI")


def _joined(con: duckdb.DuckDBPyConnection, rows: pa.Table, others: pa.Table, how: Literal["ANTI", "SEMI"]) -> pa.Table:
    if rows.num_rows == 0:
        return rows
    numbered = con.from_arrow(rows.select(COLUMNS).append_column("_row", pa.array(np.arange(rows.num_rows))))
    con.register("_others", others.select(COLUMNS))
    join = f"SELECT _row FROM mine {how} JOIN _others USING ({COORDINATES}) ORDER BY _row"  # noqa: S608
    kept = select_from(numbered, "mine", join)
    con.unregister("_others")
    return rows if kept.num_rows == rows.num_rows else rows.take(kept.column("_row"))
