"""A system's gold marts as one caller sees them in the index, which itself leaves out what is not theirs.

Belongs here: finding a mart's index and reading it. Does not belong here: routes (`reporting.py`, `reports.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
from opensearchpy import OpenSearch

from platform_assets.contracts.model import FieldType
from platform_assets.contracts.types import arrow_type
from platform_assets.index.asking import Deadline
from platform_assets.index.marts import DECIMAL, HISTOGRAM, Mart, describe, pages
from platform_assets.marts.marts import Mart as Declared
from platform_assets.serve.limits import MAX_REPORT_ROWS
from platform_assets.serve.problems import refuse

_KINDS = {None: HISTOGRAM, FieldType.DECIMAL: DECIMAL}


def find_mart(client: OpenSearch, declared: Declared, deadline: Deadline | None = None) -> Mart:
    """A mart's index, its columns in the order of the properties file. 404 when there is none or the caller may not see it."""
    found = describe(client, f"{declared.system}-{declared.name}", deadline)
    if found is None:
        raise refuse(404, f"{declared.system} has no mart {declared.name} in its index yet")
    # A column that a newer properties file has may not be in the index yet, and one that it had still be there.
    columns = {column.name: column for column in declared.columns if column.name in found.columns}
    kinds = {name: _KINDS.get(column.kind, found.columns[name]) for name, column in columns.items()}
    decimals = {name: (column.precision, column.scale) for name, column in columns.items() if kinds[name] == DECIMAL}
    return Mart(
        found.index,
        {**kinds, **{n: k for n, k in found.columns.items() if n not in kinds}},
        str(declared.grain),
        decimals,
    )


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
        found = find_mart(self._client, declared, self._deadline)
        plain = [
            column.field(False) for column in declared.columns if found.columns.get(column.name, HISTOGRAM) != HISTOGRAM
        ]
        schema = pa.schema([(field.name, arrow_type(field)) for field in plain])
        parts, count = [schema.empty_table()], 0
        for page in pages(
            self._client, found, key=declared.key, since=begin, until=end, deadline=self._deadline, columns=schema.names
        ):
            count += len(page)
            if count > MAX_REPORT_ROWS:
                raise refuse(422, f"{mart} has more than {MAX_REPORT_ROWS:,} rows in that time: use `assay report`")
            parts.append(_table(page, schema))  # at once: Python's rows take ten times the memory
        return pa.concat_tables(parts)


def _table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    return pa.table({f.name: [_value(row.get(f.name), f.type) for row in rows] for f in schema}, schema=schema)


def _value(value: Any, kind: pa.DataType) -> Any:
    """What JSON gives as text, as Arrow takes it."""
    if value is None:
        return None
    if pa.types.is_timestamp(kind):
        return datetime.fromisoformat(value)
    return Decimal(value) if pa.types.is_decimal(kind) else value
