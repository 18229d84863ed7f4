"""Whether an expression of a contract may be run for each row: what it may use, and the type it must have.

Belongs here: the allow-list, and the questions to the engine. Does not belong here: where expressions stand in the SELECT.

An expression sees the typed fields of its own table and nothing else. Only functions that always answer alike are allowed;
no subquery, no aggregate, no window, nothing that reads files or the clock.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import duckdb

from platform_assets.contracts.model import Table
from platform_assets.contracts.types import sql_type
from platform_assets.errors import one_line
from platform_assets.refine.sql import identifier, literal, select

FUNCTIONS = frozenset(
    [
        "+",
        "-",
        "*",
        "/",
        "//",
        "%",
        "||",
        "~~",
        "!~~",
        "~~*",
        "!~~*",
        "abs",
        "ceil",
        "floor",
        "round",
        "trunc",
        "sign",
        "sqrt",
        "pow",
        "power",
        "exp",
        "ln",
        "log10",
        "greatest",
        "least",
        "coalesce",
        "nullif",
        "isfinite",
        "isnan",
        "length",
        "strlen",
        "lower",
        "upper",
        "trim",
        "ltrim",
        "rtrim",
        "left",
        "right",
        "substring",
        "substr",
        "replace",
        "concat",
        "concat_ws",
        "contains",
        "starts_with",
        "prefix",
        "ends_with",
        "suffix",
        "position",
        "strpos",
        "regexp_matches",
        "regexp_full_match",
        "date_diff",
        "datediff",
        "date_part",
        "date_trunc",
        "epoch",
        "epoch_ms",
        "epoch_us",
        "year",
        "month",
        "day",
        "hour",
        "minute",
        "second",
        "dayofweek",
        "isodow",
    ]
)
_CLASSES = frozenset(
    ["COLUMN_REF", "CONSTANT", "COMPARISON", "CONJUNCTION", "FUNCTION", "OPERATOR", "CASE", "CAST", "BETWEEN", "TYPE"]
)


def mistake_of(con: duckdb.DuckDBPyConnection, table: Table, expression: str) -> str | None:
    """What is wrong with a condition over the fields of a table, in one line; None when it can be run."""
    try:
        duckdb.SQLExpression(expression)  # one expression: nothing that closes a bracket early
        asked = literal(select(f"(\n{expression}\n)", "fields"))
        ((text,),) = con.execute(f"SELECT json_serialize_sql({asked})").fetchall()
        tree = json.loads(text)
        if tree["error"]:
            return one_line(tree["error_message"])
        names = {field.name for field in table.fields}
        for said in _refused(tree["statements"][0]["node"]["select_list"], names):
            return said
        columns = ", ".join(f"CAST(NULL AS {sql_type(field)}) AS {identifier(field.name)}" for field in table.fields)
        query = select(f"typeof((\n{expression}\n))", f"(SELECT {columns})")
        ((kind,),) = con.execute(query).fetchall()
        return None if kind in ("BOOLEAN", '"NULL"') else f"gives {kind}, not a condition"
    except duckdb.Error as error:
        return one_line(str(error).split("\n\n")[0])


def _refused(node: Any, names: set[str]) -> Iterator[str]:
    if isinstance(node, list):
        for part in node:
            yield from _refused(part, names)
    if not isinstance(node, dict):
        return
    kind = node.get("class")
    if kind is not None and kind not in _CLASSES:
        yield f"{kind.lower()} is not allowed"
    elif kind == "COLUMN_REF" and (len(node["column_names"]) != 1 or node["column_names"][0] not in names):
        yield f"there is no field '{'.'.join(node['column_names'])}'"
    elif kind == "FUNCTION" and node["function_name"] not in FUNCTIONS:
        yield f"the function {node['function_name']} is not allowed"
    for part in node.values():
        yield from _refused(part, names)
