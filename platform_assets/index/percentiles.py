"""Percentiles of groups of a mart, from the histograms that its rows carry.

Belongs here: merging histograms, and the value of a bucket. Does not belong here: making histograms, which the dbt macros in
`histograms.sql` do: the constants are theirs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
from opensearchpy import OpenSearch

from platform_assets.index.errors import QueryError
from platform_assets.index.marts import DATES, pages
from platform_assets.index.stats import Question

MAX_ROWS = 50_000
"""Rows whose histograms are merged for one answer."""
BUCKET_VALUE = "CASE WHEN bucket = -1000000 THEN 0.0 ELSE pow(1.01 / 0.99, bucket) / ((1.01 / 0.99 + 1) / 2) END"
"""SQL for the value that stands for a bucket, within 1 % of each in it."""
_MERGED = f"""
SELECT key, min({BUCKET_VALUE}) FILTER (WHERE 100 * running >= $percent * total) AS value
FROM (
    SELECT key, bucket, sum(n) OVER (PARTITION BY key ORDER BY bucket) AS running, sum(n) OVER (PARTITION BY key) AS total
    FROM (SELECT key, bucket, sum(n) AS n FROM parts GROUP BY key, bucket)
)
GROUP BY key
"""  # noqa: S608 (constants)


@dataclass(frozen=True, slots=True)
class Percentile:
    """The value that `percent` of 100 keep within, of the histograms in `column`; never above the greatest of `most`."""

    name: str
    column: str
    percent: float
    most: str | None = None


def add_percentiles(
    client: OpenSearch,
    asked: Question,
    key: Sequence[str],
    step: timedelta | None,
    wanted: Sequence[Percentile],
    rows: Sequence[dict[str, Any]],
) -> list[dict[str, Any]]:
    """The rows of the groups, each with its percentiles; null where nothing was counted. `key` tells the mart's rows apart.

    `step` is the length of `asked.every`. Raises QueryError when they rest on more than 50,000 rows, Unavailable, SearchError.
    """
    found = [dict(row) for row in rows]
    for column, most in dict.fromkeys((one.column, one.most) for one in wanted):
        mine = [one for one in wanted if (one.column, one.most) == (column, most)]
        values = _values(client, asked, key, step, column, most, [one.percent for one in mine])
        for row in found:
            merged = values.get(json.dumps([row[name] for name in asked.by]), {})
            row.update({one.name: merged.get(one.percent) for one in mine})
    return found


def _values(
    client: OpenSearch,
    asked: Question,
    key: Sequence[str],
    step: timedelta | None,
    column: str,
    most: str | None,
    percents: Sequence[float],
) -> dict[str, dict[float, float]]:
    """By group, as JSON: the percentiles of its merged histogram."""
    greatest: dict[str, float] = {}
    columns = [*asked.by, asked.mart.time, column, *([most] if most else [])]
    seen = 0
    with duckdb.connect(config={"threads": 1, "memory_limit": "256MB", "temp_directory": ""}) as con:
        con.execute("CREATE TABLE parts (key VARCHAR, bucket INTEGER, n BIGINT)")
        for page in pages(
            client, asked.mart, key=key, since=asked.since, until=asked.until, where=asked.where, columns=columns,
            deadline=asked.deadline,
        ):  # fmt: skip
            seen += len(page)
            if seen > MAX_ROWS:
                raise QueryError(f"percentiles of more than {MAX_ROWS:,} rows", "a shorter time, or a filter")
            keys = [json.dumps([_group_value(asked, name, row.get(name), step) for name in asked.by]) for row in page]
            for group, row in zip(keys, page, strict=True):
                if most and row.get(most) is not None:
                    greatest[group] = max(greatest.get(group, row[most]), row[most])
            histograms = [[list(one.values()) for one in row.get(column) or ()] for row in page]
            con.register(
                "page", pa.table({"key": keys, "entries": pa.array(histograms, pa.list_(pa.list_(pa.int64())))})
            )
            con.execute(
                "INSERT INTO parts SELECT key, entry[1], sum(entry[2])"
                " FROM (SELECT key, unnest(entries) AS entry FROM page) GROUP BY ALL"
            )
            con.unregister("page")
        found: dict[str, dict[float, float]] = {}
        for percent in percents:
            for group, value in con.execute(_MERGED, {"percent": percent}).fetchall():
                found.setdefault(group, {})[percent] = min(value, greatest.get(group, value))
    return found


def _group_value(asked: Question, name: str, value: Any, step: timedelta | None) -> Any:
    """A row's value as the group of it has it."""
    if value is None or asked.mart.columns[name] not in DATES:
        return value
    moment = datetime.fromisoformat(value)
    if name == asked.mart.time and step is not None:
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        moment = epoch + (moment - epoch) // step * step
    return moment.isoformat().replace("+00:00", "Z")
