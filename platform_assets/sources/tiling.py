"""Ranges without holes: what a source gave, and marker rows over the positions that gave nothing.

Belongs here: covering and cutting rows by shard and position, for any source. Does not: reading.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from platform_assets.core.coordinates import POSITION, SHARD
from platform_assets.sources.base import RECORD_SCHEMA, SKIPPED, Positions, SourceBatch, SourceError, Stream


def repeat(value: str, n: int) -> pa.Array:
    """A column of one text."""
    return pa.repeat(pa.scalar(value, pa.string()), n)


def tiled(stream: Stream, rows: pa.Table, ends: Mapping[int, int], begin: Mapping[int, int]) -> SourceBatch | None:
    """The batch of records that continue at `begin` by shard; None when nothing moved.

    `ends` says up to where (exclusive) a shard is known to hold nothing more than `rows`. Raises SourceError when positions do
    not grow.
    """
    size = rows.column("value").nbytes
    holes, start, after = _coverage(stream, rows, ends, begin)
    if start == after:
        return None
    if holes.num_rows:
        rows = pa.concat_tables([rows, holes]).sort_by([(SHARD, "ascending"), (POSITION, "ascending")])
    return SourceBatch(stream, rows, start, after, size)


def cut(stream: Stream, rows: pa.Table, ends: dict[int, int], until: Positions) -> tuple[pa.Table, dict[int, int]]:
    """Rows and ends below `until`; a shard without an end there has none."""
    shards = rows.column(SHARD).to_numpy()
    positions = rows.column(POSITION).to_numpy()
    limit = {shard: until.get((stream.name, shard), 0) for shard in stream.shards}
    limits = np.zeros(max(stream.shards) + 1, np.int64)
    for shard, end in limit.items():
        limits[shard] = end
    keep = positions < limits[shards]
    # A hole that ends past the limit still proves the range up to the limit empty.
    return rows if keep.all() else rows.filter(pa.array(keep)), {
        shard: min(end, limit[shard]) for shard, end in ends.items()
    }


def _coverage(
    stream: Stream, rows: pa.Table, ends: Mapping[int, int], begin: Mapping[int, int]
) -> tuple[pa.Table, dict[int, int], dict[int, int]]:
    """Holes between consecutive positions as marker rows, and the half-open range that rows and holes cover together."""
    shards = rows.column(SHARD).to_numpy()
    positions = rows.column(POSITION).to_numpy()
    markers: list[tuple[int, int, int]] = []
    start: dict[int, int] = {}
    after: dict[int, int] = {}
    for shard, first in begin.items():
        mine = positions[shards == shard]
        end = max(int(mine[-1]) + 1 if len(mine) else first, ends.get(shard, first), first)
        if len(mine) and (mine[0] < first or (np.diff(mine) <= 0).any()):
            raise SourceError(
                f"{stream.name}[{shard}] repeated or reordered positions after {first}",
                "the source or its client misbehaves; nothing was written",
            )
        edges = np.concatenate(([first - 1], mine, [end]))
        jumps = np.flatnonzero(np.diff(edges) > 1)
        markers += [(shard, int(edges[j]) + 1, int(edges[j + 1]) - int(edges[j]) - 1) for j in jumps]
        if end > first:
            start[shard], after[shard] = first, end
    return _markers(stream, markers), start, after


def _markers(stream: Stream, markers: list[tuple[int, int, int]]) -> pa.Table:
    n = len(markers)
    columns = list(zip(*markers, strict=True)) if markers else [(), (), ()]
    return pa.table(
        [
            repeat(stream.id, n),
            pa.array(columns[0], pa.int32()),
            pa.array(columns[1], pa.int64()),
            pa.array(columns[2], pa.int64()),
            repeat(SKIPPED, n),
        ]
        + [pa.nulls(n, RECORD_SCHEMA.field(name).type) for name in ("record_time", "key", "value", "headers")],
        schema=RECORD_SCHEMA,
    )
