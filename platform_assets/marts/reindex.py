"""A mart's index built anew from its Delta table: after a restore, or for an index that another lake has filled.

Belongs here: which rows, and the checkpoint afterwards. Does not: a new generation of an index (`index/rebuild.py`), or
keeping an index up to date (`index.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import duckdb
import pyarrow as pa

from platform_assets.contracts.model import Contract
from platform_assets.core.settings import Settings
from platform_assets.core.transactions import REFRESH
from platform_assets.index.bulk import BULK_PATIENCE_S, BulkWriter
from platform_assets.index.checkpoints import START, Checkpoint, ensure_progress_index
from platform_assets.index.connect import connect_indices
from platform_assets.index.documents import Documents, keyed_ndjson
from platform_assets.index.indices import Indices
from platform_assets.index.names import holds
from platform_assets.index.rebuild import ReindexReport, Snapshot, SnapshotLost, rebuild_documents
from platform_assets.index.takeover import take_over
from platform_assets.marts.index import MartDocuments, accept_all
from platform_assets.marts.marts import Mart
from platform_assets.tables.archive import history
from platform_assets.tables.session import session
from platform_assets.tables.table import LakeTable


def reindex_mart(
    settings: Settings, contract: Contract, mart: Mart, progress: Callable[[int], None] | None = None
) -> ReindexReport:
    """Build a mart's whole index anew from the lake and make its checkpoint follow this lake. The old indices serve until then.

    A mart that this lake does not have loses its index. `progress` is told how many documents of a period are done. Safe
    beside a refresh, and to be repeated. Raises SearchError when the index cannot.
    """
    started = time.perf_counter()
    report = ReindexReport(mart.name)
    documents, table = MartDocuments(mart, contract.version), mart.table(settings.lake_path)
    indices = connect_indices(settings)
    try:
        checkpoint = _fill(indices, documents, table, report, progress) if table.exists() else START
        report.deleted = take_over(
            indices, documents, checkpoint, built=report.documents.keys(), now=lambda: _now(documents, table)
        )
    finally:
        indices.client.close()
    report.seconds = time.perf_counter() - started
    return report


def _now(documents: MartDocuments, table: LakeTable) -> tuple[set[str], int]:
    """The periods that the table has rows of, and its last refresh."""
    if not table.exists():
        return set(), 0
    table.refresh()
    return documents.periods(table.partitions()), table.transaction(REFRESH) or 0


def _fill(
    indices: Indices,
    documents: MartDocuments,
    table: LakeTable,
    report: ReindexReport,
    progress: Callable[[int], None] | None,
) -> Checkpoint:
    """Build every period; the checkpoint that holds then, whatever came meanwhile."""
    checkpoint = replace(START, seq=_now(documents, table)[1], history=history(table))
    indices.ensure_template(documents)
    ensure_progress_index(indices.client)
    with session() as con, BulkWriter(indices, patience_s=BULK_PATIENCE_S) as writer:

        def render(rows: pa.Table, version: int) -> Documents:
            return keyed_ndjson(documents, rows, version, documents.mart.key, con=con)

        while left := sorted(
            _now(documents, table)[0] - report.documents.keys()
        ):  # a refresh may bring others meanwhile
            for period in left:
                rows = _MartRows(table, documents, con, period)
                done = rebuild_documents(indices, writer, documents, period, rows.read, render, progress)
                accept_all(documents, done.refused)
                report.documents[period] = done.documents
    return checkpoint


class _MartRows:
    """Snapshots of the rows of one period. A refresh replaces rows, so that the period is then begun again."""

    def __init__(self, table: LakeTable, documents: MartDocuments, con: duckdb.DuckDBPyConnection, period: str) -> None:
        self._table = table
        self._documents = documents
        self._con = con
        self._period = period

    def read(self, since: Snapshot | None) -> Snapshot:
        self._table.refresh()
        number = self._table.transaction(REFRESH) or 0
        if since is not None:
            if number != since.seq:
                raise SnapshotLost
            return Snapshot(number, {}, number, ())
        files = [f for f in self._table.files() if holds(self._documents, self._period, [str(f.partition)])]
        rows = self._documents.rows(self._table.relation(self._con, files))
        return Snapshot(number, {}, number, (rows,) if rows.num_rows else ())
