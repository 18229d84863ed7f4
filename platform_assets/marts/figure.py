"""Which rows of a mart somebody means: one slot of it, by values of columns, or by the id of the row's document in the index.

Belongs here: finding them as they were published. Does not: what they count (`lineage.py`).
"""
# ruff: noqa: S608 (the project's names; values are bound)

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from platform_assets.core.errors import AssayError
from platform_assets.index.documents import keyed_id
from platform_assets.index.times import parse_time
from platform_assets.marts.marts import LENGTHS, Mart, Slot
from platform_assets.tables.session import session
from platform_assets.tables.table import LakeTable

MAX_ROWS = 10_000
"""Rows that are asked about at once."""

_PRECISION = {
    Slot.MINUTE: (re.compile(r".*[T ]\d\d:?\d\d.*"), "2026-11-21T14:05"),
    Slot.HOUR: (re.compile(r".*[T ]\d\d.*"), "2026-11-21T14"),
    Slot.DAY: (re.compile(r".*"), "2026-11-21"),
}


class UnknownFigure(AssayError):
    """There is no such mart or no such row."""


@dataclass(frozen=True, slots=True)
class Figure:
    """Rows of one slot of a mart as they are published, with all columns of the mart, and the table in that snapshot."""

    mart: Mart
    slot: datetime
    rows: pa.Table
    table: LakeTable

    @property
    def end(self) -> datetime:
        """The end of the slot."""
        return self.slot + LENGTHS[self.mart.grain]


def find_mart(marts: Sequence[Mart], system: str, name: str) -> Mart:
    """The mart of that name. Raises UnknownFigure that names those there are."""
    for mart in marts:
        if name in (mart.name, f"{system}.{mart.name}"):
            return mart
    raise UnknownFigure(
        f"{system} has no mart {name!r}", f"known: {', '.join(mart.name for mart in marts)}; or a document's id"
    )


def find_rows(lake: Path, mart: Mart, at: str, where: Mapping[str, str]) -> Figure:
    """The rows of the slot that holds the time `at` (ISO 8601, UTC) whose columns have these values, as text.

    Raises UnknownFigure when there is none, AssayError for a time or a column that cannot be meant.
    """
    slot = slot_of(mart, at)
    table = _table(lake, mart)
    columns = {column.name: column for column in mart.columns}
    conditions = [f'"{mart.grain}" = CAST($slot AS {columns[mart.grain].type})']
    bound: dict[str, object] = {"slot": slot}
    for number, (name, value) in enumerate(where.items()):
        if name not in columns:
            raise AssayError(f"{mart.name} has no column {name!r}", f"it has {', '.join(columns)}")
        conditions.append(f'"{name}" = CAST($v{number} AS {columns[name].type})')
        bound[f"v{number}"] = value
    with session() as con:
        names = ", ".join(f'"{name}"' for name in columns)
        relation = table.relation(con, table.files(mart.partition(slot)))  # alive as long as its text is used
        rows = relation.sql_query()
        sql = f"SELECT {names} FROM ({rows}) WHERE {' AND '.join(conditions)} ORDER BY {names} LIMIT {MAX_ROWS + 1}"
        try:
            found = con.sql(sql, params=bound).to_arrow_table()
        except duckdb.ConversionException as error:
            raise AssayError(f"{mart.name}: {_first_line(error)}", "write values as the mart shows them") from error
    if not found.num_rows:
        given = "".join(f" {name}={value}" for name, value in where.items())
        raise UnknownFigure(
            f"{mart.name} has no row{' with' + given if given else ''} at {slot:%Y-%m-%dT%H:%M}",
            "leave out --where to see all rows of that time" if where else "nothing of that time was counted yet",
        )
    if found.num_rows > MAX_ROWS:
        raise AssayError(f"{mart.name} has more than {MAX_ROWS:,} such rows", "narrow it with --where")
    return Figure(mart, slot, found, table)


def find_document(lake: Path, mart: Mart, id: str) -> Figure:
    """The row of a mart whose document in the index has that id. Raises UnknownFigure when there is none."""
    table = _table(lake, mart)
    # As documents are made: times without a zone, a day as its first moment.
    times = [f.name for f in mart.schema if pa.types.is_temporal(f.type) and f.name in mart.key]
    plain = ", ".join(f'CAST("{name}" AS TIMESTAMP) AS "{name}"' for name in times)
    columns = ", ".join(f'CAST("{column.name}" AS {column.type}) AS "{column.name}"' for column in mart.columns)
    with session() as con:
        relation = table.relation(con)
        rows = f"SELECT * REPLACE ({plain}) FROM ({relation.sql_query()})"
        sql = f"SELECT {columns} FROM ({rows}) WHERE {keyed_id(mart.key)} = $id"
        found = con.sql(sql, params={"id": id}).to_arrow_table()
    if not found.num_rows:
        raise UnknownFigure(f"{mart.name} has no row whose document is {id}", "is it another mart's?")
    begin = found.column(str(mart.grain))[0].as_py()
    slot = begin if isinstance(begin, datetime) else datetime(begin.year, begin.month, begin.day, tzinfo=UTC)
    return Figure(mart, slot.astimezone(UTC), found, table)


def slot_of(mart: Mart, at: str) -> datetime:
    """The slot of a mart that holds a time. Raises AssayError for what is no time, or too coarse to tell."""
    time = parse_time(at)
    pattern, example = _PRECISION[mart.grain]
    if not pattern.fullmatch(at.strip()):
        raise AssayError(f"{mart.name} has rows for each {mart.grain}, {at} is more than one", f"name one: {example}")
    midnight = time.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + (time - midnight) // LENGTHS[mart.grain] * LENGTHS[mart.grain]


def _table(lake: Path, mart: Mart) -> LakeTable:
    table = mart.table(lake)
    if not table.exists():
        raise UnknownFigure(f"{mart.name} was never refreshed", f"`assay gold refresh {mart.system}`")
    table.refresh()
    return table


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].removeprefix("Conversion Error: ")
