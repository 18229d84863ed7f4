"""Silver rows as `_bulk` bodies.

Belongs here: how a row becomes a document, and how bodies are cut. Does not belong here: sending them.

DuckDB renders whole columns; the NDJSON is the result column's own buffer, cut at row boundaries, so no row is ever a Python
object.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from platform_assets.contracts.model import Field, FieldType, IndexType, Table
from platform_assets.contracts.types import decimal_text
from platform_assets.core.coordinates import COLUMNS, Coordinates, document_id_sql
from platform_assets.index.decimals import DECIMALS, KEY, limb_name, limbs_sql, sort_key_sql
from platform_assets.index.mappings import FLAT_DEPTH_LIMIT, SYSTEM
from platform_assets.index.names import DocumentSet, period_of

BODY_BYTES = 3 * 1024 * 1024
"""Measured from 1 to 25 MB with 1 to 4 requests at a time: 2 to 6 MB are best; above 10 MB it falls by a third, and above a
tenth of the node's heap (all requests together) it is refused."""

_ISO = "%Y-%m-%dT%H:%M:%S.%fZ"
_CHUNK_ROWS = 500_000


@dataclass(frozen=True, slots=True)
class Refused:
    """A document that the index will never take. `reason` is one line without the document's values."""

    document_id: str
    period: str
    code: str  # machine code, e.g. `mapper_parsing_exception`
    reason: str


@dataclass(frozen=True, slots=True)
class Body:
    """A `_bulk` body: two lines a document."""

    data: bytes
    rows: int


@dataclass(frozen=True, slots=True)
class Documents:
    """Rows ready to send, by the period whose index holds them, and those that must not be sent at all."""

    version: int
    bodies: dict[str, list[Body]] = field(default_factory=dict)
    refused: tuple[Refused, ...] = ()

    @property
    def rows(self) -> int:
        """Documents to send."""
        return sum(body.rows for bodies in self.bodies.values() for body in bodies)

    @property
    def size(self) -> int:
        """Bytes to send."""
        return sum(len(body.data) for bodies in self.bodies.values() for body in bodies)


def to_ndjson(
    table: Table,
    batch: pa.Table,
    version: int,
    *,
    con: duckdb.DuckDBPyConnection | None = None,
    body_bytes: int = BODY_BYTES,
) -> Documents:
    """Render silver rows as documents of external version `version` (the silver version they were read at).

    `batch` has silver's columns (others are ignored). Bodies hold up to `body_bytes`, and one document at least; rows of a
    period keep their order. About 0.4 M rows/s on two cores.
    """
    batch, refused = _without_too_deep(table, batch)
    return _documents(table, batch, _expression(table, version), version, refused, con, body_bytes)


def keyed_ndjson(
    documents: DocumentSet,
    batch: pa.Table,
    version: int,
    key: Sequence[str],
    *,
    con: duckdb.DuckDBPyConnection | None = None,
    body_bytes: int = BODY_BYTES,
) -> Documents:
    """Render rows that a business key identifies as documents of external version `version`, their `_assay.seq` too.

    `batch` has the collection's columns, without nulls in `key`, and `event_partition`.
    """
    return _documents(documents, batch, _keyed_expression(documents, version, key), version, (), con, body_bytes)


def period_column(table: DocumentSet, batch: pa.Table) -> pa.Array:
    """The period of each row, by its `event_partition` and `_history`; in a batch without the latter none is history."""
    encoded = batch.column("event_partition").combine_chunks().dictionary_encode()
    names = encoded.dictionary.to_pylist()
    live = pa.array([period_of(table, name) for name in names], pa.string()).take(encoded.indices)
    if "_history" not in batch.column_names:
        return live
    late = pa.array([period_of(table, name, history=True) for name in names], pa.string()).take(encoded.indices)
    return pc.if_else(batch.column("_history").combine_chunks(), late, live)


def _documents(
    table: DocumentSet,
    batch: pa.Table,
    expression: str,
    version: int,
    refused: tuple[Refused, ...],
    con: duckdb.DuckDBPyConnection | None,
    body_bytes: int,
) -> Documents:
    bodies: dict[str, list[Body]] = {}
    if batch.num_rows == 0:
        return Documents(version, bodies, refused)
    periods = period_column(table, batch)
    names, runs = _runs(periods)
    if len(runs) > len(names):
        order = pc.sort_indices(periods)  # stable
        batch, periods = batch.take(order), periods.take(order)
        names, runs = _runs(periods)
    cursor = (con or duckdb.connect()).cursor()
    try:
        for period, (start, stop) in zip(names, runs, strict=True):
            cut = bodies.setdefault(period, [])
            for at in range(start, stop, _CHUNK_ROWS):
                rows = batch.slice(at, min(_CHUNK_ROWS, stop - at))
                cut.extend(_bodies(_lines(cursor, expression, rows), body_bytes))
    finally:
        cursor.close()
    return Documents(version, bodies, refused)


def _lines(cursor: duckdb.DuckDBPyConnection, expression: str, rows: pa.Table) -> list[pa.Array]:
    """One string a row: action line and document, each with its newline."""
    cursor.register("batch", _without_zones(rows))
    try:
        found = cursor.sql(f"SELECT {expression} FROM batch").to_arrow_table()  # noqa: S608
    finally:
        cursor.unregister("batch")
    return list(found.column(0).chunks)


def _bodies(lines: Sequence[pa.Array], limit: int) -> Iterator[Body]:
    for array in lines:
        ends = _ends(array)
        values = array.buffers()[2]
        start_row, start = 0, int(ends[0])
        while start_row < len(array):
            stop_row = int(np.searchsorted(ends, start + limit, side="right")) - 1
            stop_row = max(stop_row, start_row + 1)
            stop = int(ends[stop_row])
            yield Body(values[start:stop].to_pybytes(), stop_row - start_row)
            start_row, start = stop_row, stop


def _ends(array: pa.Array) -> npt.NDArray[Any]:
    width = np.int64 if pa.types.is_large_string(array.type) else np.int32
    offsets = np.frombuffer(array.buffers()[1], dtype=width)
    return offsets[array.offset : array.offset + len(array) + 1]


def _runs(periods: pa.Array) -> tuple[list[str], list[tuple[int, int]]]:
    """The distinct periods in order of first sight, and the runs of equal ones, each `[start, stop)`."""
    encoded = periods.dictionary_encode()
    codes = encoded.indices.to_numpy()
    starts = np.concatenate(([0], np.flatnonzero(codes[1:] != codes[:-1]) + 1, [len(codes)]))
    return encoded.dictionary.to_pylist(), [(int(a), int(b)) for a, b in pairwise(starts)]


def _without_zones(rows: pa.Table) -> pa.Table:
    """UTC times as plain times: DuckDB formats those without its ICU extension."""
    columns = [
        column.cast(pa.timestamp("us")) if pa.types.is_timestamp(column.type) else column for column in rows.columns
    ]
    return pa.table(columns, names=rows.column_names)


def _without_too_deep(table: Table, batch: pa.Table) -> tuple[pa.Table, tuple[Refused, ...]]:
    """Transform keeps attributes shallow; were one deep all the same, it would take the whole node down."""
    if not table.attributes or batch.num_rows == 0:
        return batch, ()
    column = batch.column(table.attributes)
    brackets = pc.fill_null(pc.add(pc.count_substring(column, "{"), pc.count_substring(column, "[")), 0)
    suspects = np.flatnonzero(brackets.to_numpy() > FLAT_DEPTH_LIMIT)
    deep = [int(row) for row in suspects if _depth(column[int(row)].as_py()) > FLAT_DEPTH_LIMIT]
    if not deep:
        return batch, ()
    found = batch.append_column("period", period_column(table, batch))
    picked = found.select([*COLUMNS, "period"]).take(deep).to_pylist()
    refused = tuple(
        Refused(
            Coordinates.of(row).document_id,
            row["period"],
            "too_deep",
            f"{table.attributes} is nested deeper than {FLAT_DEPTH_LIMIT}",
        )
        for row in picked
    )
    keep = np.ones(batch.num_rows, dtype=bool)
    keep[deep] = False
    return batch.filter(pa.array(keep)), refused


def _depth(text: str) -> int:
    """Nesting of a JSON text, counted without recursion."""
    depth = deepest = 0
    in_string = escaped = False
    for char in text:
        if in_string:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                in_string = False
        elif char == '"':
            in_string = True
        elif char in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "}]":
            depth -= 1
    return deepest


def _expression(table: Table, version: int) -> str:
    """SQL for a row's two lines. `concat` leaves null parts out, and `||` with a null is null: so nulls are absent."""
    action = (
        f"""'{{"index":{{"_id":"', {document_id_sql()}, """
        f"""'","version":{int(version)},"version_type":"external"}}}}', chr(10)"""
    )
    coordinates = ", ".join(
        [
            f"""'{{"{SYSTEM}":{{"seq":'""",
            "_seq",
            """',"shard":'""",
            "_shard",
            """',"position":'""",
            "_position",
            """',"hash":'""",
            "_hash",
            """',"contract":' || to_json(_contract_version)""",
            """',"key_id":' || to_json(_key_id)""",
            """CASE WHEN _history THEN ',"history":true' END""",
            "'}'",
        ]
    )
    fields = [*(_rendered(f) for f in table.fields), *_decimals(table)]
    if table.attributes:
        # A raw newline can only be white space between tokens: within a JSON string it is escaped.
        fields.append(f"""',"{table.attributes}":' || replace("{table.attributes}", chr(10), ' ')""")
    return f"concat({action}, {coordinates}, {', '.join(fields)}, '}}', chr(10))"


def keyed_id(key: Sequence[str]) -> str:
    """SQL for the id of a document that a business key identifies, 32 hexadecimal digits; times have no zone.

    A hash of the key's values, as JSON: they may be long, and hold anything.
    """
    values = ", ".join(f'CAST("{name}" AS VARCHAR)' for name in key)
    return f"left(sha256(CAST(to_json([{values}]) AS VARCHAR)), 32)"


def _keyed_expression(documents: DocumentSet, version: int, key: Sequence[str]) -> str:
    """As `_expression`, with the key's id."""
    action = (
        f"""'{{"index":{{"_id":"', {keyed_id(key)}, """
        f"""'","version":{int(version)},"version_type":"external"}}}}', chr(10)"""
    )
    fields = ", ".join([*(_rendered(f) for f in documents.fields), *_decimals(documents)])
    return f"""concat({action}, '{{"{SYSTEM}":{{"seq":{int(version)}}}', {fields}, '}}', chr(10))"""


def _decimals(documents: DocumentSet) -> list[str]:
    """SQL for the object by which decimals are compared and summed; null ones have no member."""
    searched = [one for one in documents.fields if one.index is IndexType.DECIMAL]
    if not searched:
        return []
    members = []
    for one in searched:
        column = f'"{one.name}"'
        parts = [f"""'"{KEY}":"' || {sort_key_sql(column)} || '"'"""]
        if documents.summed:
            limbs = enumerate(limbs_sql(column, one.precision))
            parts += [f"""',"{limb_name(number)}":' || {limb}""" for number, limb in limbs]
        members.append(f"""'"{one.name}":{{' || {" || ".join(parts)} || '}}'""")
    return [f"""',"{DECIMALS}":{{'""", f"concat_ws(',', {', '.join(members)})", "'}'"]


def _rendered(field: Field) -> str:
    column = f'"{field.name}"'
    match field.type:
        case FieldType.STRING | FieldType.NUMBER:
            value = f"to_json({column})"
        case FieldType.DECIMAL:
            value = f"""'"' || {decimal_text(column, field)} || '"'"""
        case FieldType.TIMESTAMP:
            value = f"""'"' || strftime({column}, '{_ISO}') || '"'"""
        case FieldType.INTEGER | FieldType.BOOLEAN:
            value = f"CAST({column} AS VARCHAR)"
    return f"""',"{field.name}":' || {value}"""
