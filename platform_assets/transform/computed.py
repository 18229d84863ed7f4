"""Columns that are computed from other fields of the row, and conditions over several fields, in SQL.

Belongs here: how an expression of a contract stands in the SELECT, and what a result that does not fit leads to. Does not belong
here: which expressions are allowed (`expressions.py`), checks of a value (`fields.py`).

An expression may fail on a row's values (an overflow, a text that is no number). It then rejects that row alone. The result of a
computed column is packed into a struct, so that a failure (no struct) is told from an absent value (a struct that holds NULL).
"""

from __future__ import annotations

from collections.abc import Iterable

from platform_assets.contracts.model import Field, FieldType, Rule, Table
from platform_assets.contracts.types import operand_type, sql_type
from platform_assets.transform.fields import check_cases, no_time
from platform_assets.transform.reasons import FieldFault
from platform_assets.transform.sql import identifier, literal, select


def with_operands(fields: Iterable[Field], relation: str) -> str:
    """SELECT of all columns of a relation, with the fields of these names in the types as which expressions see them."""
    wide = [
        f"CAST({identifier(field.name)} AS {operand_type(field)}) AS {identifier(field.name)}"
        for field in fields
        if operand_type(field) != sql_type(field)
    ]
    return select(f"* REPLACE ({', '.join(wide)})" if wide else "*", relation)


def computed_stages(table: Table, before: str) -> list[tuple[str, str]]:
    """(CTE name, SELECT) that add each computed column as `_c<i>` (struct of the result `v`) and, typed, by its name.

    They follow the relation `before`, which has the typed values of the fields that were sent. From them on decimals are as
    wide as expressions see them.
    """
    stages: list[tuple[str, str]] = []
    if table.computed or table.rules:
        stages.append(("operands", with_operands(table.sent, before)))
        before = "operands"
    for i, (field, expression) in enumerate(table.computed, 1):
        result = f"try({{'v': (\n{expression}\n)}}) AS _c{i}"
        typed = f"CAST(try_cast(_c{i}.v AS {sql_type(field)}) AS {operand_type(field)}) AS {identifier(field.name)}"
        stages.append((f"computed{i}", select(f"*, {result}", before)))
        stages.append((f"typed{i}", select(f"*, {typed}", f"computed{i}")))
        before = f"typed{i}"
    return stages


def computed_cases(table: Table) -> list[tuple[str, str]]:
    """(condition, reason code as SQL) for every computed column: that it is computed, fits its type, and keeps its checks."""
    return [case for i, (field, _) in enumerate(table.computed, 1) for case in _cases(field, f"_c{i}")]


def _cases(field: Field, result: str) -> list[tuple[str, str]]:
    column = identifier(field.name)
    cases = [
        (f"{result} IS NULL", literal(FieldFault.COMPUTED.of(field))),
        (f"{result}.v IS NOT NULL AND {column} IS NULL", literal(FieldFault.RANGE.of(field))),
    ]
    if field.required:
        cases.append((f"{column} IS NULL", literal(FieldFault.MISSING.of(field))))
    # Casts round. Where even the comparison does not fit a type, digits were certainly lost.
    rounded = f"{column} IS NOT NULL AND coalesce(try({column} <> {result}.v), true)"
    if field.type is FieldType.INTEGER:
        cases.append((rounded, literal(FieldFault.TYPE.of(field))))
    elif field.type is FieldType.DECIMAL:
        cases.append((rounded, literal(FieldFault.SCALE.of(field))))
    elif field.type is FieldType.NUMBER:
        cases.append((f"NOT isfinite({column})", literal(FieldFault.RANGE.of(field))))
    elif field.type is FieldType.TIMESTAMP:
        cases.append((no_time(column), literal(FieldFault.RANGE.of(field))))
    return [*cases, *check_cases(field, column)]


def broken(rule: Rule) -> str:
    """SQL that is true where the rule is false or fails; unknown (NULL) keeps it."""
    condition = f"(\n{rule.expression}\n)"
    # Only where it is not known whether the rule holds, it is asked whether that is because the condition fails.
    return f"coalesce(try(NOT {condition}), try({condition} IS NULL) IS NULL)"
