"""Keeping a table small and quick: merge the small files of a partition, forget what retention says, free the disk.

A commit every few seconds leaves thousands of files a day; the table's one writer merges them while the partition is
still open. Contents never change here (`data_change=False`), except by retention.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import duckdb
import pyarrow.parquet as pq
from deltalake import DeltaTable

from platform_assets.faultpoints import fault_point
from platform_assets.lake.files import DataFile
from platform_assets.lake.table import Conflict, LakeTable

TIERS = (512 * 1024, 4 * 1024 * 1024, 16 * 1024 * 1024)
"""Files are merged with their own size class (bytes), so that a row is rewritten three times at most, whatever the day holds."""
MERGE_AT = (24, 24, 4)
"""How many files of each tier make a merge worth while: at 10,000 events/s what comes out is large enough to be left alone."""
KEEP_VERSIONS = timedelta(days=1)
"""How long files that no snapshot needs any more stay for readers of older snapshots, and for files not yet committed."""
MERGE_BYTES = 64 * 1024 * 1024
"""Compressed bytes merged at once."""
MERGE_RAW_BYTES = 256 * 1024 * 1024
"""Bytes of rows merged at once: what repeats itself is compressed thirty times."""


def mergeable(files: list[DataFile]) -> list[list[DataFile]]:
    """Groups of files of one partition and one size class that are worth merging, oldest first."""
    groups: dict[tuple[str | None, int], list[DataFile]] = {}
    for f in sorted(files, key=lambda f: f.low.get("_seq", f.low.get("seq", 0))):
        tier = next((i for i, limit in enumerate(TIERS) if f.size < limit), None)
        if tier is not None:
            groups.setdefault((f.partition, tier), []).append(f)
    chosen = []
    for (_, tier), group in groups.items():
        total = 0
        bounded = [f for f in group if (total := total + f.size) <= MERGE_BYTES]
        if len(bounded) >= MERGE_AT[tier]:
            chosen.append(bounded)
    return chosen


def compact(table: LakeTable, con: duckdb.DuckDBPyConnection, order: str) -> int:
    """Merge small files, rows ordered by `order` (a SQL list of columns); how many files went away.

    A partition that a rebuild replaced meanwhile is left for the next call.
    """
    merged = 0
    table.refresh()
    for candidates in mergeable(table.files()):
        group = _fitting(table, candidates)
        if len(group) < 2:
            continue
        rows = table.read(con, files=group, order=order)
        adds = table.write(rows, data_change=False)
        fault_point("compact_file_written")
        try:
            table.commit(adds, removes=group, data_change=False)
        except Conflict:
            continue
        merged += len(group) - len(adds)
    return merged


def _fitting(table: LakeTable, group: list[DataFile]) -> list[DataFile]:
    """The first files of a group that fit into memory together when they are read."""
    total = 0
    fitting = []
    for f, path in zip(group, table.uris(group), strict=True):
        footer = pq.read_metadata(path)
        total += sum(footer.row_group(i).total_byte_size for i in range(footer.num_row_groups))
        if total > MERGE_RAW_BYTES:
            break
        fitting.append(f)
    return fitting


def expire(table: LakeTable, before: str) -> int:
    """Drop partitions whose value sorts before `before`; rows removed. For date-like partition columns only."""
    table.refresh()
    return drop(table, [f for f in table.files() if f.partition is not None and f.partition < before])


def drop(table: LakeTable, files: list[DataFile], advance: Mapping[str, int] | None = None) -> int:
    """Remove files with their rows, and advance application transactions in the same commit; rows removed."""
    if files:
        table.commit([], removes=files, advance=advance)
    return sum(f.rows for f in files)


def vacuum(table: LakeTable, keep: timedelta = KEEP_VERSIONS) -> int:
    """Delete files that no snapshot younger than `keep` refers to (tombstones, and orphans of crashes); files deleted."""
    if not table.exists():
        return 0
    deleted = DeltaTable(str(table.path)).vacuum(
        retention_hours=int(keep.total_seconds() // 3600), enforce_retention_duration=False, dry_run=False, full=True
    )
    return len(deleted)
