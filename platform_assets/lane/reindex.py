"""The index of one event partition, built anew from silver while the lane goes on."""

from __future__ import annotations

from collections.abc import Callable

import duckdb

from platform_assets.contracts.model import Table
from platform_assets.lake.layout import TableSet
from platform_assets.lake.table import LakeTable
from platform_assets.lane.land import SEQ
from platform_assets.lane.publish import BATCH_ROWS, connect_indices
from platform_assets.lane.refusals import quarantine_refused
from platform_assets.lane.sessions import session
from platform_assets.lane.settle import REWRITE
from platform_assets.search.bulk import BulkWriter
from platform_assets.search.progress import ensure_progress_index
from platform_assets.search.rebuild import Snapshot, SnapshotLost, rebuild
from platform_assets.settings import Settings


def rebuild_index(
    settings: Settings, contract: Table, tables: TableSet, partition: str, progress: Callable[[int], None] | None = None
) -> int:
    """Fill a new generation of the partition's index from silver and swap it in; documents written.

    Raises SearchError when the index cannot; the old one then serves as before.
    """
    indices = connect_indices(settings)
    try:
        indices.ensure_template(contract)
        ensure_progress_index(indices.client)
        with session() as con, BulkWriter(indices) as writer:
            rows = _SilverRows(tables.silver, con, partition)
            report = rebuild(indices, writer, contract, partition, rows.read, con=con, progress=progress)
            if report.refused:
                offsets = ", ".join(refused.document_id.rsplit(".", 1)[1] for refused in report.refused)
                files = tables.silver.files(partition)
                found = tables.silver.read(con, files=files, where=f"_offset IN ({offsets})")
                quarantine_refused(tables.quarantine, con, found, report.refused)
            return report.documents
    finally:
        indices.client.close()


class _SilverRows:
    """Snapshots of one silver partition, each the rows that came after the one before."""

    def __init__(self, silver: LakeTable, con: duckdb.DuckDBPyConnection, partition: str) -> None:
        self._silver = silver
        self._con = con
        self._partition = partition
        self._rewrite: int | None = None

    def read(self, since: Snapshot | None) -> Snapshot:
        version = self._silver.refresh()
        rewrite = self._silver.transaction(REWRITE)
        if since is None:
            self._rewrite = rewrite
        elif rewrite != self._rewrite:
            raise SnapshotLost  # rows changed behind what was read: begin again
        after = -1 if since is None else since.seq
        files = self._silver.between("_seq", after + 1, partition=self._partition)
        where = f"_seq > {after}"
        fresh = self._silver.relation(self._con, files).filter(where)
        ends = fresh.aggregate(
            "_topic_id, _kafka_partition, max(_offset) + 1", "_topic_id, _kafka_partition"
        ).fetchall()
        offsets = dict(since.offsets if since else {}) | {f"{topic}:{part}": int(end) for topic, part, end in ends}
        batches = self._silver.batches(self._con, files, BATCH_ROWS, where=where)
        return Snapshot(version, offsets, self._silver.transaction(SEQ) or 0, batches)
