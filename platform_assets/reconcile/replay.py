"""Replay: rejects go through the present contract again, and what it accepts now becomes silver, once.

Each step may be the last: feed, silver, documents, and only then out of quarantine. Whoever replays again finds what is in
silver already, sends its documents once more and finishes. Raising silver's `rewrite` makes every worker read its keys anew,
and a silver that moved meanwhile is compared again, so that no key gets in twice while a worker goes on.

A record that is still rejected keeps the row that it has, with the reason and contract version of its first rejection; the
report counts the reasons of today.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import duckdb
import numpy as np
import pyarrow as pa

from platform_assets.contracts.arrow import silver_schema
from platform_assets.contracts.model import Contract, Table
from platform_assets.contracts.registry import accept_contract
from platform_assets.core.coordinates import COLUMNS, COORDINATES, ORDER
from platform_assets.core.errors import AssayError
from platform_assets.core.settings import Settings
from platform_assets.core.transactions import REWRITE, SEQ, rewrite_mark
from platform_assets.ingest.dead_letters import STAGE as INDEX_STAGE
from platform_assets.ingest.keys import KeyIndex
from platform_assets.ingest.settle import counts, feed_rows
from platform_assets.reconcile.replay_index import Documents
from platform_assets.reconcile.replay_report import ReplayReport, TableReplay
from platform_assets.tables.layout import KEY_FOLDER, Lake, TableSet
from platform_assets.tables.session import session
from platform_assets.tables.table import Conflict
from platform_assets.transform import Transformer
from platform_assets.transform.masking import masker

TRANSFORM_STAGE = "transform"
WINDOW_ROWS = 100_000
WINDOW_BYTES = 64 * 1024 * 1024
_TRIES = 30

Progress = Callable[[str, int, int], None]
"""Called with (table, rows looked at, rows in all)."""

_RECORDS = """
    SELECT bronze.* FROM bronze SEMI JOIN wanted USING (_source, _shard, _position)
    WHERE kind = 'record'
"""
_INSIDE = "SELECT source.* FROM source SEMI JOIN wanted USING (_source, _shard, _position)"
_OUTSIDE = "SELECT source.* FROM source ANTI JOIN wanted USING (_source, _shard, _position)"
_KEPT = """
    SELECT source.* FROM source WHERE stage <> ? OR NOT EXISTS (
        SELECT 1 FROM wanted WHERE wanted._source = source._source
        AND wanted._shard = source._shard AND wanted._position = source._position)
"""


def replay(
    settings: Settings,
    contract: Contract,
    table_names: Sequence[str] | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
    *,
    index: bool = True,
) -> ReplayReport:
    """Replay the system's tables (default: all) while its worker goes on. A `dry_run` changes nothing and says what would happen.

    Raises AssayError for an unknown table, a contract that the lake does not accept, or an index that does not answer (unless
    `index` is false); what was done until then is complete or is finished by the next replay.
    """
    if unknown := set(table_names or ()) - {t.name for t in contract.tables}:
        known = ", ".join(t.name for t in contract.tables)
        raise AssayError(f"{contract.system} has no table {', '.join(sorted(unknown))}", f"it has {known}")
    if not dry_run:
        accept_contract(settings, contract)
    report = ReplayReport(contract.system, dry_run)
    for table in contract.tables:
        if table_names is None or table.name in table_names:
            started = time.perf_counter()
            report.tables[table.name] = mine = TableReplay(table.name)
            _replay_table(settings, table, mine, dry_run, progress or _quiet, index)
            mine.seconds = time.perf_counter() - started
    return report


def _quiet(_table: str, _done: int, _total: int) -> None:
    """Nobody watches."""


def _replay_table(
    settings: Settings, table: Table, report: TableReplay, dry_run: bool, tell: Progress, index: bool
) -> None:
    tables = Lake(settings.lake_path).tables(table)
    if not (tables.quarantine.exists() and tables.silver.exists() and tables.bronze.exists()):
        return
    key = masker(settings)
    with (
        session() as con,
        Transformer(table, key) as transformer,
        Documents(settings, table, tables, con, report, enabled=index and not dry_run) as documents,
    ):
        keys = KeyIndex(table, tables.silver, con, settings.lake_path / KEY_FOLDER, key.key_id) if table.key else None
        _Replay(table, tables, con, transformer, keys, documents, report, dry_run, tell).run()


class _Replay:
    """One table."""

    def __init__(
        self,
        contract: Table,
        tables: TableSet,
        con: duckdb.DuckDBPyConnection,
        transformer: Transformer,
        keys: KeyIndex | None,
        documents: Documents,
        report: TableReplay,
        dry_run: bool,
        tell: Progress,
    ) -> None:
        self._contract = contract
        self._tables = tables
        self._con = con
        self._transformer = transformer
        self._keys = keys
        self._documents = documents
        self._report = report
        self._dry_run = dry_run
        self._tell = tell
        self._schema = silver_schema(contract)

    def run(self) -> None:
        """Both stages, in windows of bronze commits that silver has consumed."""
        for stage, step in ((TRANSFORM_STAGE, self._transform_window), (INDEX_STAGE, self._index_window)):
            self._tables.silver.refresh()
            self._tables.quarantine.refresh()
            windows = list(self._windows(stage))
            total, done = sum(w[2] for w in windows), 0
            for after, upto, rows in windows:
                self._tell(self._contract.name, done, total)
                step(after, upto)
                done += rows
            self._tell(self._contract.name, done, total)

    def _windows(self, stage: str) -> Iterator[tuple[int, int, int]]:
        """(after, upto, rows): bronze commits that have rejects of the stage, a bounded number of rows and bytes at a time."""
        last = self._tables.silver.transaction(SEQ) or 0
        found = (
            self._tables.quarantine.relation(self._con)
            .filter(f"stage = '{stage}' AND _seq <= {last}")
            .aggregate(
                "_seq, count(*), coalesce(sum(least(value_bytes, " + str(self._contract.max_bytes) + ")), 0)", "_seq"
            )
            .order("_seq")
            .fetchall()
        )
        after = upto = rows = size = 0
        for seq, more, heavier in found:
            if rows and (rows + more > WINDOW_ROWS or size + heavier > WINDOW_BYTES):
                yield after, upto, rows
                after, rows, size = upto, 0, 0
            if not rows:
                after = seq - 1
            upto, rows, size = int(seq), rows + int(more), size + int(heavier)
        if rows:
            yield after, upto, rows

    # -- stage transform ------------------------------------------------------------------------------------------------

    def _transform_window(self, after: int, upto: int) -> None:
        wanted = self._rejects(TRANSFORM_STAGE, after, upto)
        records = self._records(wanted, after, upto)
        report = self._report
        report.looked_at += wanted.num_rows
        report.unavailable += wanted.num_rows - records.num_rows
        transformed = self._transformer.transform(records)
        appended, duplicates, finished, conflicts, version = self._append(transformed.accepted, wanted, after, upto)
        report.accepted += appended.num_rows
        report.duplicates += duplicates.num_rows
        report.conflicts += conflicts
        report.finished += finished.num_rows
        report.still_rejected.update(counts(self._join(_OUTSIDE, transformed.rejected, finished).column("reason")))
        if self._dry_run:
            return
        self._documents.send(pa.concat_tables([appended, finished]), version)
        done = [t.select(COLUMNS) for t in (appended, duplicates, finished)]
        self._remove(pa.concat_tables(done), TRANSFORM_STAGE, after, upto)

    def _append(
        self, accepted: pa.Table, wanted: pa.Table, after: int, upto: int
    ) -> tuple[pa.Table, pa.Table, pa.Table, int, int]:
        """Sort accepted rows into those appended now and duplicates; beside them rejects that silver has all the same.

        Those are what an interrupted replay appended, or an interrupted rebuild refused. Also how many duplicates have other
        values than the row that stays, and the silver version in which the rows are. Another writer's commit in between makes it
        look again; raising `rewrite` makes a rebuild do so.
        """
        silver = self._tables.silver
        if accepted.num_rows and not self._dry_run:
            self._tables.feed.commit(self._tables.feed.write(feed_rows(accepted)))
        for _ in range(_TRIES):
            silver.refresh()
            rewrite, seq = silver.transaction(REWRITE), silver.transaction(SEQ)
            finished = self._join(_INSIDE, self._silver(after, upto), wanted)
            fresh, duplicates, conflicts = self._deduplicate(self._join(_OUTSIDE, accepted, finished))
            rows = fresh.select(self._schema.names)
            if not self._dry_run and rows.num_rows + finished.num_rows:
                try:
                    marks = (REWRITE, *map(rewrite_mark, counts(rows.column("event_partition"))))
                    silver.commit(
                        silver.write(rows),
                        advance=dict.fromkeys(marks, (rewrite or 0) + 1),
                        expect={REWRITE: rewrite, SEQ: seq},
                    )
                except Conflict:
                    continue
                if self._keys is not None:
                    self._keys.rewrite = (rewrite or 0) + 1  # our own: the sets will hold these rows
            if self._keys is not None and rows.num_rows:
                self._keys.committed(fresh, seq or 0)
            return rows, duplicates, finished, conflicts, silver.version
        raise AssayError(f"{self._contract.qualified_name} never stood still", "replay again")

    def _deduplicate(self, accepted: pa.Table) -> tuple[pa.Table, pa.Table, int]:
        """Rows whose key silver does not hold, the others, and how many of those have other values than the row that stays."""
        if self._keys is None:
            return accepted, accepted.slice(0, 0), 0
        self._keys.catch_up()
        if accepted.num_rows == 0:
            return accepted, accepted, 0
        evaluated = self._keys.evaluate(accepted)
        fresh, duplicates = (accepted.filter(pa.array(mask)) for mask in (evaluated.fresh, ~evaluated.fresh))
        return fresh, duplicates, int(np.count_nonzero(evaluated.conflicting))

    # -- stage index -------------------------------------------------------------------------------------------------

    def _index_window(self, after: int, upto: int) -> None:
        wanted = self._rejects(INDEX_STAGE, after, upto)
        self._tables.silver.refresh()
        rows = self._join(_INSIDE, self._silver(after, upto), wanted)
        self._report.index_looked_at += wanted.num_rows
        self._report.without_row += wanted.num_rows - rows.num_rows
        if not self._documents.enabled:
            return
        refused = self._documents.send(rows, self._tables.silver.version)
        taken = self._join(_OUTSIDE, rows, refused) if refused.num_rows else rows
        self._report.index_accepted += taken.num_rows
        self._remove(taken.select(COLUMNS), INDEX_STAGE, after, upto)

    # -- reading and removing ----------------------------------------------------------------------------------------

    def _rejects(self, stage: str, after: int, upto: int) -> pa.Table:
        """Coordinates of the window's quarantine rows of a stage, each once."""
        quarantine = self._tables.quarantine
        quarantine.refresh()
        where = f"stage = '{stage}' AND _seq > {after} AND _seq <= {upto}"
        rows = quarantine.relation(self._con, quarantine.between("_seq", after + 1, upto)).filter(where)
        return rows.project(COORDINATES).distinct().to_arrow_table()

    def _records(self, wanted: pa.Table, after: int, upto: int) -> pa.Table:
        """The bronze records of those coordinates, as far as bronze still has them."""
        bronze = self._tables.bronze
        bronze.refresh()
        rows = bronze.relation(self._con, bronze.between("seq", after + 1, upto))
        rows.filter(f"seq > {after} AND seq <= {upto}").create_view("bronze", replace=True)
        self._con.register("wanted", wanted)
        found = self._con.sql(_RECORDS).to_arrow_table()
        self._con.unregister("wanted")
        return found

    def _silver(self, after: int, upto: int) -> duckdb.DuckDBPyRelation:
        silver = self._tables.silver
        rows = silver.relation(self._con, silver.between("_seq", after + 1, upto))
        return rows.filter(f"_seq > {after} AND _seq <= {upto}")

    def _join(self, sql: str, source: pa.Table | duckdb.DuckDBPyRelation, wanted: pa.Table) -> pa.Table:
        """`source` inside or outside of the coordinates of `wanted`, in bronze order and with its own schema."""
        relation = self._con.from_arrow(source) if isinstance(source, pa.Table) else source
        schema = source.schema if isinstance(source, pa.Table) else self._schema
        if wanted.num_rows == 0:
            return source if sql is _OUTSIDE and isinstance(source, pa.Table) else schema.empty_table()
        relation.create_view("source", replace=True)
        self._con.register("wanted", wanted.select(COLUMNS))
        rows = self._con.sql(sql).order(ORDER).to_arrow_table()
        self._con.unregister("wanted")
        return rows.select(schema.names).cast(schema)

    def _remove(self, coordinates: pa.Table, stage: str, after: int, upto: int) -> None:
        """Take rows out of quarantine: the files that hold them are written anew without them, in one commit."""
        if coordinates.num_rows == 0:
            return
        quarantine = self._tables.quarantine
        for _ in range(_TRIES):
            quarantine.refresh()
            adds, removes = [], []
            self._con.register("wanted", coordinates)
            for file in quarantine.between("_seq", after + 1, upto):
                quarantine.relation(self._con, [file]).create_view("source", replace=True)
                kept = self._con.sql(_KEPT, params=[stage]).to_arrow_table()
                if kept.num_rows < file.rows:
                    adds += quarantine.write(kept.cast(quarantine.schema))
                    removes.append(file)
            self._con.unregister("wanted")
            try:
                quarantine.commit(adds, removes=removes)
            except Conflict:
                continue  # a worker has written or merged one of these files
            return
        raise AssayError(f"the quarantine of {self._contract.qualified_name} never stood still", "replay again")
