"""A system's gold marts as one caller sees them in the index, which itself leaves out what is not theirs.

Belongs here: finding a mart's index and reading it. Does not belong here: routes (`reporting.py`, `reports.py`).
"""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa
from opensearchpy import OpenSearch

from platform_assets.search.asking import Deadline
from platform_assets.search.marts import MAX_GROUPS, Mart, describe, rows
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

    def __init__(self, client: OpenSearch, system: str, deadline: Deadline) -> None:
        self._client = client
        self._system = system
        self._deadline = deadline

    def rows(self, mart: str, begin: datetime, end: datetime) -> pa.Table:
        """The rows whose time is in [begin, end). 404 when there is no such index or the caller may not see it."""
        found = find_mart(self._client, self._system, mart, self._deadline)
        [time] = found.times
        got = rows(
            self._client,
            found,
            time=time,
            since=begin,
            until=end,
            where={},
            limit=MAX_GROUPS,
            deadline=self._deadline,
        )
        if len(got) >= MAX_GROUPS:
            raise refuse(422, f"{mart} has more than {MAX_GROUPS} rows in that time")
        schema = pa.schema([(name, _ARROW.get(kind, pa.string())) for name, kind in found.columns.items()])
        columns = {
            name: [datetime.fromisoformat(row[name]) if name == time else row.get(name) for row in got]
            for name in schema.names
        }
        return pa.table(columns, schema=schema)
