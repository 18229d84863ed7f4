"""An index built anew from silver while the worker goes on: of one period, of those that hold a partition, or of a whole table.

The last is for an index that another lake has filled (one from before a restore, or of a lake that is gone), or whose periods the
contract has changed. Period by period a new generation takes the old one's place; what silver does not have is deleted; then the
checkpoint is replaced, and workers publish what came since. Until then their publishers stand still (`history.py`), so that
nothing of both mixes. Gold and alerts have their own (`marts/reindex.py`, `alerts/maintain.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from functools import partial

import duckdb
import pyarrow as pa

from platform_assets.contracts.model import Table
from platform_assets.core.coordinates import POSITION, parse_document_id
from platform_assets.core.settings import Settings
from platform_assets.core.transactions import REWRITE, SEQ, app_id
from platform_assets.index.bulk import BulkWriter
from platform_assets.index.checkpoints import (
    START,
    ensure_progress_index,
)
from platform_assets.index.connect import connect_indices
from platform_assets.index.names import HISTORY, holds, period_of, periods_of
from platform_assets.index.rebuild import RebuildReport, ReindexReport, Snapshot, SnapshotLost, rebuild
from platform_assets.index.retire import PATIENCE_S, holds_any
from platform_assets.index.takeover import build_all, take_over
from platform_assets.ingest.dead_letters import quarantine_refused
from platform_assets.ingest.publish import BATCH_ROWS
from platform_assets.tables.archive import history
from platform_assets.tables.files import DataFile, overlapping
from platform_assets.tables.layout import Lake, TableSet
from platform_assets.tables.session import session
from platform_assets.tables.table import LakeTable
from platform_assets.tables.windows import seq_windows


def reindex(settings: Settings, contract: Table, progress: Callable[[int], None] | None = None) -> ReindexReport:
    """Build a table's whole index anew from silver and make the checkpoint follow this lake. The old indices serve until then.

    `progress` is told how many documents of a period are done. Safe beside a running worker, and to be repeated.
    Raises SearchError when the index cannot.
    """
    started = time.perf_counter()
    report = ReindexReport(contract.name)
    tables = Lake(settings.lake_path).tables(contract)
    version = tables.silver.refresh()
    checkpoint = replace(
        START, silver_version=version, seq=tables.silver.transaction(SEQ) or 0, history=history(tables.silver)
    )
    now = partial(_now, contract, tables.silver)
    report.documents = build_all(now, lambda name: rebuild_index(settings, contract, tables, name, progress).documents)
    indices = connect_indices(settings)
    try:
        report.deleted = take_over(indices, contract, checkpoint, built=report.documents.keys(), now=now)
    finally:
        indices.client.close()
    report.seconds = time.perf_counter() - started
    return report


def _now(contract: Table, silver: LakeTable) -> tuple[Collection[str], int]:
    """The periods that silver has rows of, and the last bronze commit in it."""
    silver.refresh()
    with session() as con:
        return periods_held(contract, silver, con), silver.transaction(SEQ) or 0


def periods_held(
    contract: Table, silver: LakeTable, con: duckdb.DuckDBPyConnection, partitions: Collection[str] | None = None
) -> set[str]:
    """The periods whose indices the rows of silver, or of some of its partitions, belong to; in the snapshot in hand."""
    files = [f for f in silver.files() if partitions is None or f.partition in partitions]
    rows = silver.relation(con, files).project("event_partition, _history").distinct().fetchall()
    return {period_of(contract, str(partition), history=bool(history)) for partition, history in rows}


def rebuild_indices(
    settings: Settings,
    contract: Table,
    tables: TableSet,
    partitions: Collection[str],
    progress: Callable[[int], None] | None = None,
) -> list[RebuildReport]:
    """Build every index anew that holds rows or documents of these event partitions. Raises SearchError."""
    tables.silver.refresh()
    with session() as con:
        held = periods_held(contract, tables.silver, con, partitions)
    indices = connect_indices(settings)
    try:
        serving = {index.period: index for index in indices.all(contract) if index.serving}
        for partition in partitions:
            for period in periods_of(contract, partition):
                if (
                    period not in held
                    and period in serving
                    and holds_any(indices, contract, serving[period], partition)
                ):
                    held.add(period)
    finally:
        indices.client.close()
    return [rebuild_index(settings, contract, tables, period, progress) for period in sorted(held)]


def rebuild_index(
    settings: Settings, contract: Table, tables: TableSet, period: str, progress: Callable[[int], None] | None = None
) -> RebuildReport:
    """Fill a new generation of the period's index from silver and swap it in; what it refuses goes to quarantine.

    Waits for another rebuild of it. Raises SearchError when the index cannot; the old one then serves as before.
    """
    indices = connect_indices(settings)
    try:
        indices.ensure_template(contract)
        ensure_progress_index(indices.client)
        with session() as con, BulkWriter(indices) as writer:
            rows = _SilverRows(contract, tables.silver, con, period)
            report = rebuild(
                indices, writer, contract, period, rows.read, con=con, progress=progress, patience_s=PATIENCE_S
            )
            if report.refused:
                positions = ", ".join(str(parse_document_id(one.document_id).position) for one in report.refused)
                found = tables.silver.read(con, files=rows.files(), where=f"{POSITION} IN ({positions})")
                quarantine_refused(tables.quarantine, con, found, report.refused)
            return report
    finally:
        indices.client.close()


class _SilverRows:
    """Snapshots of silver's rows of one period, each the rows that came after the one before."""

    def __init__(self, contract: Table, silver: LakeTable, con: duckdb.DuckDBPyConnection, period: str) -> None:
        self._contract = contract
        self._silver = silver
        self._con = con
        self._period = period
        self._rewrite: int | None = None
        self._held: set[str] = set()

    def files(self) -> list[DataFile]:
        """Files of the partitions whose rows the index may hold, in the snapshot in hand."""
        files = self._silver.files()
        mine = set(holds(self._contract, self._period, {str(f.partition) for f in files}))
        return [f for f in files if f.partition in mine]

    def read(self, since: Snapshot | None) -> Snapshot:
        version = self._silver.refresh()
        rewrite, seq, files = self._silver.transaction(REWRITE), self._silver.transaction(SEQ) or 0, self.files()
        if since is None:
            self._rewrite = rewrite
        elif rewrite != self._rewrite or not self._held <= _held(files, since.seq):
            raise SnapshotLost  # rows changed or went behind what was read: begin again
        self._held = _held(files, seq)
        after = -1 if since is None else since.seq
        fresh = self._silver.relation(self._con, overlapping(files, "_seq", after + 1, seq)).filter(
            self._where(after, seq)
        )
        ends = fresh.aggregate("_source, _shard, max(_position) + 1, max(_seq)", "_source, _shard").fetchall()
        positions = dict(since.positions if since else {})
        positions |= {app_id(source, shard): int(end) for source, shard, end, _ in ends}
        last = max((int(seq) for *_, seq in ends), default=after)
        return Snapshot(version, positions, seq, self._batches(files, after, last))

    def _where(self, after: int, last: int) -> str:
        """SQL for rows of bronze commits (`after`, `last`] that the index holds: history, where it is apart, or the others."""
        where = f"_seq > {after} AND _seq <= {last}"
        if self._contract.history_period is self._contract.index_period:
            return where
        return f"{where} AND {'' if self._period.startswith(HISTORY) else 'NOT '}_history"

    def _batches(self, files: list[DataFile], after: int, last: int) -> Iterator[pa.Table]:
        """The rows of bronze commits (`after`, `last`], bounded in rows and in bytes."""
        mine = {str(f.partition) for f in files}
        for low, high in seq_windows(self._silver, self._con, after, last, "_seq", BATCH_ROWS, mine):
            chosen = overlapping(files, "_seq", low + 1, high)
            yield from self._silver.batches(self._con, chosen, BATCH_ROWS, where=self._where(low, high))


def _held(files: list[DataFile], seq: int) -> set[str]:
    """Partitions with rows of bronze commits up to `seq`: one that retention drops has none of them any more."""
    return {str(f.partition) for f in files if f.low.get("_seq", seq) <= seq}
