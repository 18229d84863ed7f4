"""An index built anew from silver while the lane goes on: of one event partition, or of a whole table.

The latter is for an index that another lake has filled: one from before a restore, or of a lake that is gone. Partition by
partition a new generation takes the old one's place; what silver does not have is deleted; then the frontier is replaced, and
lanes publish what came since. Until then their publishers stand still (`history.py`), so that nothing of both lakes mixes.
Gold and alerts have their own (`gold/reindex.py`, `alerts/maintain.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from functools import partial

import duckdb
import pyarrow as pa
from opensearchpy import OpenSearch

from platform_assets.contracts.model import Table
from platform_assets.lake.archive import history
from platform_assets.lake.layout import Lake, TableSet
from platform_assets.lake.table import LakeTable
from platform_assets.lane.land import SEQ
from platform_assets.lane.publish import BATCH_ROWS
from platform_assets.lane.refusals import quarantine_refused
from platform_assets.lane.sessions import connect_indices, session
from platform_assets.lane.settle import REWRITE, dropped_mark, seq_windows
from platform_assets.search.bulk import BulkWriter
from platform_assets.search.errors import Conflict
from platform_assets.search.history import foreign
from platform_assets.search.indices import Indices
from platform_assets.search.names import DocumentSet
from platform_assets.search.progress import START, Frontier, ensure_progress_index, read_frontier, replace_frontier
from platform_assets.search.rebuild import RebuildReport, ReindexReport, Snapshot, SnapshotLost, rebuild
from platform_assets.settings import Settings
from platform_assets.stream.topics import app_id

_TRIES = 10


def reindex(settings: Settings, contract: Table, progress: Callable[[int], None] | None = None) -> ReindexReport:
    """Build a table's whole index anew from silver and make the frontier follow this lake. The old indices serve until then.

    `progress` is told how many documents of a partition are done. Safe beside a running lane, and to be repeated.
    Raises SearchError when the index cannot.
    """
    started = time.perf_counter()
    report = ReindexReport(contract.name)
    tables = Lake(settings.lake_path).tables(contract)
    version = tables.silver.refresh()
    frontier = replace(
        START, silver_version=version, seq=tables.silver.transaction(SEQ) or 0, history=history(tables.silver)
    )
    now = partial(_now, tables.silver)
    report.documents = build_all(now, lambda name: rebuild_index(settings, contract, tables, name, progress).documents)
    indices = connect_indices(settings)
    try:
        report.deleted = take_over(indices, contract, frontier, built=report.documents.keys(), now=now)
    finally:
        indices.client.close()
    report.seconds = time.perf_counter() - started
    return report


Now = Callable[[], tuple[Collection[str], int]]
"""A table's partitions of documents and its last commit, as they are when it is called."""


def build_all(now: Now, build: Callable[[str], int]) -> dict[str, int]:
    """Build every partition that the table has, those included that come meanwhile: the documents of each."""
    documents: dict[str, int] = {}
    while left := sorted(set(now()[0]) - documents.keys()):
        documents |= {partition: build(partition) for partition in left}
    return documents


def _now(silver: LakeTable) -> tuple[Collection[str], int]:
    """The table's partitions, and the last bronze commit in it."""
    silver.refresh()
    return silver.partitions(), silver.transaction(SEQ) or 0


def take_over(
    indices: Indices,
    documents: DocumentSet,
    frontier: Frontier,
    *,
    built: Collection[str],
    now: Now,
) -> list[str]:
    """After the build: delete the indices that are not of this lake, and make the frontier follow it.

    Those are the ones of partitions that were not `built`: as long as the frontier is another lake's, this one's publisher makes
    none. Once it is this lake's, what its publisher made meanwhile stays. Returns the partitions deleted. Raises SearchError.
    """
    ensure_progress_index(indices.client)
    found = indices.all(documents)
    stored = read_frontier(indices.client, documents)
    partitions, seq = now()
    known = set(built) if foreign(stored, frontier.history, seq) else {*built, *partitions}
    surplus = [index for index in found if index.event_partition not in known]
    indices.delete([index.name for index in surplus])
    _own_frontier(indices.client, documents, frontier)
    return sorted({index.event_partition for index in surplus})


def _own_frontier(client: OpenSearch, documents: DocumentSet, value: Frontier) -> None:
    """Make the frontier follow this lake, from `value` on. Raises SearchError."""
    for _ in range(_TRIES):
        found = read_frontier(client, documents)
        if value.history and found.history == value.history and found.seq > value.seq:
            return  # this lake's own publisher is further, and what it published is there
        try:
            replace_frontier(client, documents, replace(value, token=found.token))
        except Conflict:
            continue
        return
    raise Conflict(
        f"the frontier of {documents.qualified_name} moved again and again", "end the lanes of the other lake"
    )


def rebuild_index(
    settings: Settings, contract: Table, tables: TableSet, partition: str, progress: Callable[[int], None] | None = None
) -> RebuildReport:
    """Fill a new generation of the partition's index from silver and swap it in; what it refuses goes to quarantine.

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
            return report
    finally:
        indices.client.close()


class _SilverRows:
    """Snapshots of one silver partition, each the rows that came after the one before."""

    def __init__(self, silver: LakeTable, con: duckdb.DuckDBPyConnection, partition: str) -> None:
        self._silver = silver
        self._con = con
        self._partition = partition
        self._changes: tuple[int | None, ...] = ()

    def read(self, since: Snapshot | None) -> Snapshot:
        version = self._silver.refresh()
        changes = self._silver.transaction(REWRITE), self._silver.transaction(dropped_mark(self._partition))
        if since is None:
            self._changes = changes
        elif changes != self._changes:
            raise SnapshotLost  # rows changed behind what was read: begin again
        after = -1 if since is None else since.seq
        files = self._silver.between("_seq", after + 1, partition=self._partition)
        where = f"_seq > {after}"
        fresh = self._silver.relation(self._con, files).filter(where)
        ends = fresh.aggregate(
            "_topic_id, _kafka_partition, max(_offset) + 1, max(_seq)", "_topic_id, _kafka_partition"
        ).fetchall()
        offsets = dict(since.offsets if since else {}) | {app_id(topic, part): int(end) for topic, part, end, _ in ends}
        last = max((int(seq) for *_, seq in ends), default=after)
        return Snapshot(version, offsets, self._silver.transaction(SEQ) or 0, self._batches(after, last))

    def _batches(self, after: int, last: int) -> Iterator[pa.Table]:
        """The rows of bronze commits (`after`, `last`], bounded in rows and in bytes."""
        for low, high in seq_windows(self._silver, self._con, after, last, "_seq", BATCH_ROWS, self._partition):
            files = self._silver.between("_seq", low + 1, high, partition=self._partition)
            yield from self._silver.batches(self._con, files, BATCH_ROWS, where=f"_seq > {low} AND _seq <= {high}")
