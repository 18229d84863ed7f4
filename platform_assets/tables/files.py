"""Parquet files of a Delta table: written durably, described by statistics that readers prune with.

The platform writes its own files and hands them to delta-rs as add actions, so that a file is complete on disk before
the commit that makes it visible, and so that any engine may produce the files that `tables/` commits.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake.transaction import AddAction

from platform_assets.core.coordinates import POSITION

STATISTICS_COLUMNS = ("seq", "_seq", POSITION, "seq_min", "seq_max", "refresh", "stage")
"""Columns whose minimum and maximum go into the Delta log, where the table has them; so do those of every time."""

ROW_GROUP_ROWS = 131_072
_MEMORY = b"assay.memory_bytes"
"""A file's own note of what its rows take in memory: Parquet counts a text that repeats itself once."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """One live file of a snapshot. `low` and `high` map a column to its bounds (integers, or aware datetimes)."""

    path: str
    size: int
    rows: int
    partition: str | None
    low: dict[str, Any]
    high: dict[str, Any]


def _json_value(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    return value


def _statistics(table: pa.Table) -> str:
    low: dict[str, object] = {}
    high: dict[str, object] = {}
    nulls: dict[str, int] = {}
    for name, kind in zip(table.column_names, table.schema.types, strict=True):
        if name in STATISTICS_COLUMNS or pa.types.is_timestamp(kind):
            bounds = pc.min_max(table.column(name)).as_py()
            nulls[name] = table.column(name).null_count
            if bounds["min"] is not None:
                low[name], high[name] = _json_value(bounds["min"]), _json_value(bounds["max"])
    return json.dumps({"numRecords": table.num_rows, "minValues": low, "maxValues": high, "nullCount": nulls})


def write_file(
    root: Path, table: pa.Table, partition_by: str | None, value: str | None, *, data_change: bool = True
) -> AddAction:
    """Write one partition's rows as one Parquet file under `root`, synced to disk; the action that would add it.

    `table` carries no partition column. Raises OSError (disk full, permissions); a partial file is removed.
    """
    folder = "" if partition_by is None else f"{partition_by}={value}"
    relative = Path(folder) / f"part-{uuid.uuid4().hex}.parquet"
    target = root / relative
    new = not target.parent.exists()
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with target.open("wb") as sink:
            pq.write_table(
                table.replace_schema_metadata({_MEMORY: str(table.nbytes)}),
                sink,
                compression="zstd",
                compression_level=1,
                row_group_size=ROW_GROUP_ROWS,
                use_dictionary=_dictionary_columns(table),
            )
            sink.flush()
            os.fsync(sink.fileno())
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    sync(target.parent)
    if new:
        sync(root)
    return AddAction(
        path=relative.as_posix(),
        size=target.stat().st_size,
        partition_values={} if partition_by is None else {partition_by: value},
        modification_time=int(time.time() * 1000),
        data_change=data_change,
        stats=_statistics(table),
    )


def memory_bytes(path: str) -> int | None:
    """What a file's rows take in memory; None where another engine wrote it."""
    noted = (pq.read_metadata(path).metadata or {}).get(_MEMORY)
    return None if noted is None else int(noted)


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of files, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_log(table: Path, first: int, last: int) -> None:
    """Wait until a table's log entries of these versions are on the disk: delta-rs links them into place without waiting."""
    log = table / "_delta_log"
    for version in range(first, last + 1):
        with suppress(FileNotFoundError):  # covered by a checkpoint, and cleaned away
            sync(log / f"{version:020d}.json")
        checkpoint = log / f"{version:020d}.checkpoint.parquet"
        if checkpoint.exists():
            sync(checkpoint)
            sync(log / "_last_checkpoint")
    sync(log)


def overlapping(files: Iterable[DataFile], column: str, low: int, high: int) -> list[DataFile]:
    """Those of the files that may hold `low <= column <= high`, by their statistics."""
    return [f for f in files if column not in f.low or (f.low[column] <= high and f.high[column] >= low)]


def older(paths: Iterable[Path], before: float) -> list[Path]:
    """Those of the paths that were last changed before a Unix time; what another process deletes meanwhile is left out."""
    found = []
    for path in paths:
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                found.append(path)
    return found


def _dictionary_columns(table: pa.Table) -> list[str]:
    """Columns worth a dictionary: not the raw bytes and not numbers that never repeat."""
    never = {"value", POSITION, "_hash", "event_id"}
    return [f.name for f in table.schema if f.name not in never and not pa.types.is_floating(f.type)]


def split_by_partition(table: pa.Table, partition_by: str) -> Iterable[tuple[str, pa.Table]]:
    """(value as text, rows without the column) for each distinct partition value; row order is kept."""
    column = table.column(partition_by)
    rest = table.drop_columns([partition_by])
    values: Sequence[object] = pc.unique(column).to_pylist()
    if len(values) == 1:
        yield str(values[0]), rest
        return
    for value in values:
        yield str(value), rest.filter(pc.equal(column, pa.scalar(value, column.type)))
