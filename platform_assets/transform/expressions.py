"""Whether an expression of a contract or an alert rule may be run for each row: what it may use, and the type it must have.

Belongs here: the allow-list, and the questions to the engine. Does not belong here: where expressions stand in a statement.

An expression sees the columns that it is given and nothing else. Only functions that always answer alike are allowed;
no subquery, no aggregate, no window, nothing that reads files or the clock.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb

from platform_assets.contracts.model import FieldType, Mask, Table
from platform_assets.contracts.types import operand_type, type_name
from platform_assets.core.errors import one_line
from platform_assets.transform.sql import identifier, literal, select

MAX_CHARACTERS = 4000
_ALLOWED = {
    "operators": "+ - * / // % || ~~ !~~ ~~* !~~* ->>",
    "numbers": "abs ceil ceiling floor round trunc sign sqrt cbrt pow power exp ln log10 mod greatest least isfinite isnan",
    "absent values and choices": "coalesce ifnull nullif if",
    "texts": (
        "length strlen lower upper trim ltrim rtrim left right substring substr replace concat concat_ws contains starts_with"
        " prefix ends_with suffix position strpos split_part regexp_matches regexp_full_match regexp_extract regexp_replace"
        " json_extract_string"
    ),
    "times": (
        "date_diff datediff date_part datepart date_trunc datetrunc date_add strftime to_timestamp epoch epoch_ms epoch_us"
        " year quarter month week day hour minute second dayofweek dayofyear isodow"
        " to_days to_hours to_minutes to_seconds to_milliseconds to_microseconds"
    ),
}
FUNCTIONS = frozenset(name for names in _ALLOWED.values() for name in names.split())
_CLASSES = frozenset(
    ["COLUMN_REF", "CONSTANT", "COMPARISON", "CONJUNCTION", "FUNCTION", "OPERATOR", "CASE", "CAST", "BETWEEN", "TYPE"]
)
_WHOLE_NUMBERS = r"U?(?:TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)"
_FITTING = {
    FieldType.STRING: "VARCHAR",
    FieldType.INTEGER: rf"{_WHOLE_NUMBERS}|DECIMAL\(.*\)|FLOAT|DOUBLE",
    FieldType.NUMBER: rf"{_WHOLE_NUMBERS}|DECIMAL\(.*\)|FLOAT|DOUBLE",
    FieldType.DECIMAL: rf"{_WHOLE_NUMBERS}|DECIMAL\(.*\)",
    FieldType.BOOLEAN: "BOOLEAN",
    FieldType.TIMESTAMP: "TIMESTAMP WITH TIME ZONE",
}
"""What an expression may give for each type of column: a value of it is stored as it is, or the row is rejected."""


class ExpressionError(ValueError):
    """An expression that must not be run, in one line."""


def condition_mistake(con: duckdb.DuckDBPyConnection, expression: str, columns: Mapping[str, str]) -> str | None:
    """What is wrong with a condition over columns (name: SQL type), in one line; None when it can be run."""
    try:
        kind = _kind_of(con, expression, columns)
    except ExpressionError as error:
        return str(error)
    return None if kind in ("BOOLEAN", '"NULL"') else f"gives {kind}, not a condition"


def rule_mistakes(con: duckdb.DuckDBPyConnection, table: Table) -> Iterator[tuple[str, str]]:
    """(place below the table, mistake) of each rule that cannot be run."""
    columns = {field.name: operand_type(field) for field in table.fields}
    for rule in table.rules:
        if said := condition_mistake(con, rule.expression, columns):
            yield f".quality[{rule.name}].implementation", said


def computed_mistakes(con: duckdb.DuckDBPyConnection, table: Table) -> Iterator[tuple[str, str]]:
    """(place below the table, mistake) of each computed column that cannot be computed.

    A column may use fields of the message, times that are composed of them, and columns that are declared before it. Masked
    fields are in clear where expressions run, so none may be used: what is made of them would be stored in clear.
    """
    sent = (*table.sent, *table.composed)
    columns = {field.name: operand_type(field) for field in sent if field.mask is Mask.NONE}
    hidden = {
        field.name: f"{field.name} is masked, and what is computed of it would be stored in clear"
        for field in sent
        if field.mask is not Mask.NONE
    }
    later = {
        field.name: f"{field.name} is not computed yet: only columns that are declared before can be used"
        for field, _ in table.computed
    }
    for field, expression in table.computed:
        try:
            kind = _kind_of(con, expression, columns, hidden | later)
            if not re.fullmatch(_FITTING[field.type], kind):
                raise ExpressionError(f"gives {kind}, not {type_name(field)}: cast it where nothing is lost by it")
        except ExpressionError as error:
            yield f".properties[{field.name}].customProperties[computed]", str(error)
        columns[field.name] = operand_type(field)
        del later[field.name]


def _kind_of(
    con: duckdb.DuckDBPyConnection,
    expression: str,
    columns: Mapping[str, str],
    unfit: Mapping[str, str] | None = None,
) -> str:
    """The SQL type of an expression over columns (name: SQL type). `unfit` says why other columns cannot be used.

    Raises ExpressionError.
    """
    if len(expression) > MAX_CHARACTERS or "\0" in expression:
        raise ExpressionError(f"is longer than {MAX_CHARACTERS} characters, or holds a NUL")
    try:
        duckdb.SQLExpression(expression)  # one expression: nothing that closes a bracket early
        asked = literal(select(f"(\n{expression}\n)", "rows"))
        ((text,),) = con.execute(f"SELECT json_serialize_sql({asked})").fetchall()
        tree = json.loads(text)
        if tree["error"]:
            raise ExpressionError(one_line(tree["error_message"]))
        for said in _refused(tree["statements"][0]["node"]["select_list"], columns, unfit or {}):
            raise ExpressionError(said)
        nulls = ", ".join(f"CAST(NULL AS {kind}) AS {identifier(name)}" for name, kind in columns.items())
        ((kind,),) = con.execute(select(f"typeof((\n{expression}\n))", f"({select(nulls, '(SELECT 1)')})")).fetchall()
        return str(kind)
    except duckdb.Error as error:
        raise ExpressionError(one_line(str(error).split("\n\n")[0])) from error
    except RecursionError as error:
        raise ExpressionError("is nested too deep") from error


def _refused(tree: Sequence[Any], columns: Mapping[str, str], unfit: Mapping[str, str]) -> Iterator[str]:
    """Whatever of a parsed expression is not allowed. Not recursive: an expression may be as deep as the parser lets it."""
    nodes = list(tree)
    while nodes:
        node = nodes.pop(0)
        if isinstance(node, list):
            nodes += node
        if not isinstance(node, dict):
            continue
        kind, name = node.get("class"), ".".join(node.get("column_names", ()))
        if kind is not None and kind not in _CLASSES:
            yield f"{kind.lower()} is not allowed"
        elif kind == "COLUMN_REF" and (len(node["column_names"]) != 1 or name not in columns):
            yield unfit.get(name, f"there is no field '{name}'")
        elif kind == "FUNCTION" and node["function_name"] not in FUNCTIONS:
            yield f"the function {node['function_name']} is not allowed"
        nodes += node.values()
