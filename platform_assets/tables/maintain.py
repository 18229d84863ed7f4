"""Keeping a table small and quick: merge the small files of a partition, forget what retention says, free the disk.

A commit every few seconds leaves thousands of files a day; the table's one writer merges them while the partition is
still open. Contents never change here (`data_change=False`), except by retention.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta

import duckdb
from deltalake import DeltaTable

from platform_assets.core.faultpoints import fault_point
from platform_assets.tables.files import DataFile, memory_bytes, sync_log
from platform_assets.tables.table import Conflict, LakeTable

TIERS = (512 * 1024, 4 * 1024 * 1024, 16 * 1024 * 1024)
"""Files are merged with their own size class (bytes), so that a row is rewritten three times at most, whatever the day holds."""
MERGE_AT = (24, 24, 4)
"""How many files of each tier make a merge worth while: at 10,000 events/s what comes out is large enough to be left alone."""
KEEP_VERSIONS = timedelta(days=1)
"""How long files that no snapshot needs any more stay for readers of older snapshots, and for files not yet committed."""
MERGE_BYTES = 64 * 1024 * 1024
"""Compressed bytes merged at once."""
MERGE_RAW_BYTES = 256 * 1024 * 1024
"""Bytes of rows merged at once, as they are in memory: what repeats itself is compressed a hundred times."""


def mergeable(files: list[DataFile]) -> list[list[DataFile]]:
    """Groups of files of one partition and one size class that are enough to be worth merging, oldest first."""
    groups: dict[tuple[str | None, int], list[DataFile]] = {}
    for f in sorted(files, key=lambda f: f.low.get("_seq", f.low.get("seq", 0))):
        if (tier := _tier(f)) is not None:
            groups.setdefault((f.partition, tier), []).append(f)
    return [group for (_, tier), group in groups.items() if len(group) >= MERGE_AT[tier]]


def _tier(f: DataFile) -> int | None:
    """A file's size class; None for what is large enough."""
    return next((i for i, limit in enumerate(TIERS) if f.size < limit), None)


def compact(table: LakeTable, con: duckdb.DuckDBPyConnection, order: str) -> int:
    """Merge small files, rows ordered by `order` (a SQL list of columns); how many files went away.

    A partition that a rebuild replaced meanwhile is left for the next call. A merge that fails keeps no other from being
    done: the first error is raised at the end.
    """
    merged = 0
    failed: Exception | None = None
    table.refresh()
    for group in mergeable(table.files()):
        for run in _runs(table, con, group):
            try:
                merged += _merge(table, con, run, order)
            except Conflict:
                break
            except Exception as error:  # memory, disk, a damaged file: not the other files' trouble
                failed = failed or error
    if failed is not None:
        raise failed
    return merged


def _merge(table: LakeTable, con: duckdb.DuckDBPyConnection, run: list[DataFile], order: str) -> int:
    rows = table.read(con, files=run, order=order)
    adds = table.write(rows, data_change=False)
    fault_point("compact_file_written")
    table.commit(adds, removes=run, data_change=False)
    return len(run) - len(adds)


def _runs(table: LakeTable, con: duckdb.DuckDBPyConnection, group: list[DataFile]) -> Iterator[list[DataFile]]:
    """Cut a group into neighbours that fit into memory together: as many as fit, at the end as many as are worth it.

    A file that leaves no room for its neighbour is a run of its own, and stays as it is.
    """
    run: list[DataFile] = []
    size = memory = 0
    for f in group:
        more = _memory(table, con, f)
        if run and (size + f.size > MERGE_BYTES or memory + more > MERGE_RAW_BYTES):
            if len(run) > 1:
                yield run
            run, size, memory = [], 0, 0
        run, size, memory = [*run, f], size + f.size, memory + more
    if len(run) >= MERGE_AT[_tier(group[0]) or 0]:
        yield run


def _memory(table: LakeTable, con: duckdb.DuckDBPyConnection, f: DataFile) -> int:
    """What the rows of a file take in memory: its own note, or measured where it has none."""
    noted = memory_bytes(table.uris([f])[0])
    if noted is not None:
        return noted
    return int(table.relation(con, [f]).aggregate(f"coalesce(sum({table.row_bytes}), 0)").fetchall()[0][0])


def expire(table: LakeTable, before: str) -> int:
    """Drop partitions whose value sorts before `before`; rows removed. For date-like partition columns only."""
    table.refresh()
    return drop(table, [f for f in table.files() if f.partition is not None and f.partition < before])


def drop(
    table: LakeTable,
    files: list[DataFile],
    advance: Mapping[str, int] | None = None,
    check: Callable[[], None] | None = None,
) -> int:
    """Remove files with their rows, and advance application transactions in the same commit; rows removed.

    `check` is `LakeTable.commit`'s.
    """
    if files:
        table.commit([], removes=files, advance=advance, check=check)
    return sum(f.rows for f in files)


def vacuum(table: LakeTable, keep: timedelta = KEEP_VERSIONS) -> int:
    """Delete files that no snapshot younger than `keep` refers to (tombstones, and orphans of crashes); files deleted."""
    if not table.exists():
        return 0
    opened = DeltaTable(str(table.path))
    before = int(opened.version())
    deleted = opened.vacuum(
        retention_hours=int(keep.total_seconds() // 3600), enforce_retention_duration=False, dry_run=False, full=True
    )
    opened.update_incremental()
    sync_log(table.path, before, int(opened.version()))
    return len(deleted)
