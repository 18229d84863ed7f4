"""Casts that a build would make from a model's columns to the types that its properties file declares.

Belongs here: which of them may lose information without an error, and the types that a model's SQL gives. Does not: which types
can be published (`columns.py`). A cast that fails on a value that does not fit loses nothing: the build stops at it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from platform_assets.marts.marts import Mart, Slot
from platform_assets.marts.prepare import no_rows

DATABASE = "gold"
"""What dbt calls the database in the SQL of models: by the name of its file."""
_INTEGERS = frozenset(
    ["tinyint", "smallint", "integer", "bigint", "hugeint", "utinyint", "usmallint", "uinteger", "ubigint", "uhugeint"]
)
_NUMBERS = frozenset({"float", "double", "decimal"})
"""Numbers that are rounded to what is declared: whoever declares a precision means it."""
_TIMES = ("timestamp", "timestamp_s", "timestamp_ms", "timestamp with time zone", "date")


def why_lossy(mart: Mart, sql: str, tables: Mapping[tuple[str, str], pa.Schema], marts: Sequence[Mart]) -> str | None:
    """Which columns' declared types may hold less than the model gives; None when there is none.

    `tables` and `marts` are what the SQL may read. Nothing is said of SQL that does not bind: the build tells.
    """
    with duckdb.connect() as con:
        con.execute(f"ATTACH ':memory:' AS {DATABASE}; USE {DATABASE}; SET TimeZone = 'UTC'")
        for (schema, name), columns in tables.items():
            _view(con, schema, name, no_rows(con, columns))
        for schema, shown in (("main", marts), ("closed", (mart,))):
            for one in shown:
                nulls = ", ".join(f'CAST(NULL AS {column.type}) AS "{column.name}"' for column in one.columns)
                _view(con, schema, one.name, f"SELECT {nulls} WHERE false")
        for grain in Slot:
            kind = "DATE" if grain is Slot.DAY else "TIMESTAMPTZ"
            _view(con, "request", grain, f"SELECT CAST(NULL AS {kind}) AS slot WHERE false")
        try:
            found = con.sql(sql)
            given = dict(zip(found.columns, found.types, strict=True))
        except duckdb.Error:
            return None
        lossy = []
        for column in mart.columns:
            [declared] = con.sql(f"SELECT CAST(NULL AS {column.type})").types
            is_slot = column.name == mart.grain
            if column.name in given and not is_slot and _loses(given[column.name], declared):
                lossy.append(f"{column.name}: the model gives {given[column.name]}, declared is {column.type}")
    if not lossy:
        return None
    return f"casts would lose information silently ({'; '.join(lossy)}); cast in the model, or declare what it gives"


def _view(con: duckdb.DuckDBPyConnection, schema: str, name: str, sql: str) -> None:
    con.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"; CREATE VIEW "{schema}"."{name}" AS {sql}')


def _loses(given: Any, declared: Any) -> bool:
    """Whether the cast may change a value and not fail."""
    source, target = given.id, declared.id
    if given == declared or source in ("null", target if target not in ("decimal", "list") else ""):
        return False
    if target in _INTEGERS:
        return not (source in _INTEGERS or source == "boolean" or (source == "decimal" and not _scale(given)))
    if target in _NUMBERS:
        return source not in _INTEGERS | _NUMBERS | {"boolean"}
    if target == "timestamp with time zone":
        return source not in _TIMES
    return target in ("date", "boolean")


def _scale(decimal: Any) -> int:
    """The digits after the point."""
    return int(dict(decimal.children)["scale"])
