"""Whether an object of a JSON text has a member name twice, at any depth.

Belongs here: the cheap test in SQL, and the exact one that the engine calls where the cheap one calls for it. Does not belong
here: what becomes of such a record (`formats/json.py`).

Names are compared as they read: `"a"` and `"\\u0061"` are the same. A name that occurs in two objects is no fault, but costs the
exact test.
"""

from __future__ import annotations

import json

import duckdb
import pyarrow as pa
from duckdb.func import PythonUDFType
from duckdb.sqltypes import BOOLEAN, VARCHAR

from platform_assets.transform.sql import JSON_STRING, literal

_FUNCTION = "has_name_twice"


def has_name_twice(sql: str) -> str:
    """True where the minified, valid JSON text `sql` has an object with a name twice."""
    strings = f"regexp_extract_all({sql}, {literal(f'(?s){JSON_STRING}:?')})"
    names = f"list_filter({strings}, lambda text: ends_with(text, '\":'))"
    # Only a name that occurs twice somewhere in the text can occur twice in one object.
    return f"CASE WHEN len(list_distinct({names})) < len({names}) THEN {_FUNCTION}({sql}) ELSE false END"


def register(connection: duckdb.DuckDBPyConnection) -> None:
    """Give the connection the function that the expression calls."""
    # DuckDB evaluates the annotations of a function, and Arrow's types have no subscripts then: a lambda has none.
    connection.create_function(
        _FUNCTION,
        lambda column: pa.array([_has_name_twice(text) for text in column.to_pylist()], pa.bool_()),
        [VARCHAR],
        BOOLEAN,
        type=PythonUDFType.ARROW,
    )


def _has_name_twice(text: str) -> bool:
    found = False

    def look(members: list[tuple[str, object]]) -> None:
        nonlocal found
        found = found or len({name for name, _ in members}) < len(members)

    # Numbers stay text: Python refuses to read very long ones.
    json.loads(text, object_pairs_hook=look, parse_int=str, parse_float=str)
    return found
