"""A system's gold marts as one caller sees them in the index, which itself leaves out what is not theirs.

Belongs here: finding a mart's index and reading it. Does not belong here: routes (`reporting.py`, `reports.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
from opensearchpy import OpenSearch

from platform_assets.gold.marts import Mart as Declared
from platform_assets.search.asking import Deadline
from platform_assets.search.marts import Mart, describe, pages
from platform_assets.serve.limits import MAX_REPORT_ROWS
from platform_assets.serve.problems import refuse

_ARROW = {
    "date": pa.timestamp("us", tz="UTC"),
    "date_nanos": pa.timestamp("us", tz="UTC"),
    "long": pa.int64(),
    "integer": pa.int64(),
    "double": pa.float64(),
    "float": pa.float64(),
    "boolean": pa.bool_(),
}


def find_mart(client: OpenSearch, system: str, name: str, deadline: Deadline | None = None) -> Mart:
    """A mart's index, which has one time. 404 when there is none or the caller may not see it."""
    found = describe(client, f"{system}-{name}", deadline)
    if found is None:
        raise refuse(404, f"{system} has no mart {name} in its index yet")
    if len(found.times) != 1:
        raise refuse(404, f"{name} is no mart: it has {len(found.times)} times")
    return found


class IndexMarts:
    """A system's marts as one caller's client sees them: the index itself leaves out what is not theirs.

    `deadline` is that of all that is read.
    """

    def __init__(self, client: OpenSearch, marts: Iterable[Declared], deadline: Deadline) -> None:
        self._client = client
        self._marts = {mart.name: mart for mart in marts}
        self._deadline = deadline

    def rows(self, mart: str, begin: datetime, end: datetime) -> pa.Table:
        """The rows whose time is in [begin, end).

        404 when there is no such mart or index, or the caller may not see it; 422 for more than `MAX_REPORT_ROWS` rows. Raises
        Unavailable when the deadline is over.
        """
        declared = self._marts.get(mart)
        if declared is None:
            raise refuse(404, f"there is no mart {mart}")
        found = find_mart(self._client, declared.system, mart, self._deadline)
        schema = pa.schema([(name, _ARROW.get(kind, pa.string())) for name, kind in found.columns.items()])
        parts, count = [schema.empty_table()], 0
        for page in pages(self._client, found, key=declared.key, since=begin, until=end, deadline=self._deadline):
            count += len(page)
            if count > MAX_REPORT_ROWS:
                raise refuse(422, f"{mart} has more than {MAX_REPORT_ROWS:,} rows in that time: use `assay report`")
            parts.append(_table(page, schema, found.times))  # at once: Python's rows take ten times the memory
        return pa.concat_tables(parts)


def _table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema, times: Collection[str]) -> pa.Table:
    columns = {
        name: [datetime.fromisoformat(row[name]) if name in times else row.get(name) for row in rows]
        for name in schema.names
    }
    return pa.table(columns, schema=schema)
