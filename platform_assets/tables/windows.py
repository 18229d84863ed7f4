"""Commits of a table cut into windows of bounded rows and bytes, for readers that catch up."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import duckdb

from platform_assets.tables.table import LakeTable

CATCH_UP_ROWS = 200_000


CATCH_UP_BYTES = 128 * 1024 * 1024


def seq_windows(
    table: LakeTable,
    con: duckdb.DuckDBPyConnection,
    after: int,
    last: int,
    column: str = "seq",
    rows: int = CATCH_UP_ROWS,
    partitions: Collection[str] | None = None,
) -> Iterator[tuple[int, int]]:
    """Cut the bronze commits (`after`, `last`] into windows (a, b] of near `rows` rows of the table, one commit at least.

    Of some partitions of the table if they are named.

    Windows are bounded in bytes too: a few commits may hold thousands of large messages.
    """
    files = table.between(column, after + 1, last, partitions=partitions)
    inside = table.relation(con, files).filter(f"{column} > {after} AND {column} <= {last}")
    size = f"sum({table.row_bytes})"
    total = weight = 0
    start = end = after
    for seq, n, heavy in inside.aggregate(f"{column}, count(*), {size}", column).order(column).fetchall():
        if total and (total + n > rows or weight + heavy > CATCH_UP_BYTES):
            yield start, end
            total, weight, start = 0, 0, end
        total, weight, end = total + n, weight + int(heavy), int(seq)
    if start < last:
        yield start, last
