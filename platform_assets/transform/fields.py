"""One field of a contract: how its value is read from text, and the tests it must pass, in SQL.

Belongs here: casts and checks of single fields. Does not belong here: finding the text in the message (`formats/`), reading times
(`times.py`), computed columns (`computed.py`), the order of all reasons (`select.py`).

JSON values are tested by their JSON type before any cast, because DuckDB's casts are generous ("12" is 12, 1.7 is 2).
Timestamps keep microseconds: further digits are cut off.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from platform_assets.contracts.formats import FieldText
from platform_assets.contracts.model import Field, FieldType, Mask, Table
from platform_assets.contracts.types import decoded_types, scaled, sql_type
from platform_assets.transform.decimals import decimal_value, has_more_digits
from platform_assets.transform.reasons import FieldFault, Reason
from platform_assets.transform.scrub import scrub_text
from platform_assets.transform.sql import identifier, literal, matches, one_of
from platform_assets.transform.times import clock_cases, moment

_MIN_MICROS, _MAX_MICROS = -62_135_596_800_000_000, 253_402_300_799_999_999  # years 1 to 9999: what readers can hold
_INTEGER_TEXT = r"[+-]?\d+"
NUMBER_TEXT = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"


def micros(duration: timedelta) -> int:
    """A duration in whole microseconds."""
    return duration // timedelta(microseconds=1)


def value_expression(source: FieldText) -> str:
    """SQL for the typed value; NULL where the text is absent or cannot be read."""
    field, text = source.field, source.text
    match field.type:
        case FieldType.STRING:
            return text
        case FieldType.INTEGER:
            return f"try_cast({text} AS BIGINT)"
        case FieldType.NUMBER:
            return f"try_cast({text} AS DOUBLE)"
        case FieldType.DECIMAL:
            return decimal_value(text, field)
        case FieldType.BOOLEAN:
            return f"CASE lower({text}) WHEN 'true' THEN true WHEN 'false' THEN false END"
        case FieldType.TIMESTAMP:
            return moment(field, text)


def stored_expression(field: Field) -> str:
    """SQL for the silver value from the typed value's column; fields masked by HMAC are still in clear."""
    column = identifier(field.name)
    if field.type is FieldType.DECIMAL:
        return f"CAST({column} AS {sql_type(field)})"  # expressions saw it wider
    if not field.mask.scrubs or field.type is not FieldType.STRING:
        return column
    return scrub_text(column, addresses=field.mask is Mask.SCRUB_ADDRESSES)


def fault_cases(source: FieldText, table: Table) -> list[tuple[str, str]]:
    """(condition, reason code as SQL) in order of testing, over the columns of texts, JSON types and typed values."""
    field, text = source.field, source.text
    cases: list[tuple[str, str]] = []
    if field.required:
        cases.append((f"{text} IS NULL", literal(FieldFault.MISSING.of(field))))
    cases += _type_cases(source)
    cases += _reading_cases(field, text)
    cases += check_cases(field, text)
    if field.name == table.event_time:
        column = f"epoch_us({identifier(field.name)})"
        cases.append((f"{column} < 0", literal(Reason.BEFORE_1970)))
        cases.append((f"{column} > epoch_us(_landed_at) + {micros(table.max_ahead)}", literal(Reason.FUTURE)))
    return cases


def _type_cases(source: FieldText) -> list[tuple[str, str]]:
    field, text, json_type = source.field, source.text, source.json_type
    wrong = literal(FieldFault.TYPE.of(field))
    if json_type is None:
        unlike = {
            FieldType.INTEGER: f"NOT regexp_full_match({text}, {literal(_INTEGER_TEXT)})",
            FieldType.NUMBER: f"NOT regexp_full_match({text}, {literal(NUMBER_TEXT)})",
            FieldType.DECIMAL: f"NOT regexp_full_match({text}, {literal(NUMBER_TEXT)})",
            FieldType.BOOLEAN: f"lower({text}) NOT IN ('true', 'false')",
        }
        return [(unlike[field.type], wrong)] if field.type in unlike else []
    not_finite = f"WHEN {json_type} = 'DOUBLE' AND {matches(text, '[nN]')} THEN {literal(Reason.NON_FINITE)}"
    too_long = ""
    if field.type is FieldType.INTEGER:  # integers past 64 bits have the JSON type DOUBLE
        range_ = literal(FieldFault.RANGE.of(field))
        too_long = f"WHEN {json_type} = 'DOUBLE' AND regexp_full_match({text}, {literal(_INTEGER_TEXT)}) THEN {range_} "
    result = f"CASE {not_finite} {too_long}ELSE {wrong} END"
    cases = []
    if field.text_too:
        cases = [(f"{json_type} = 'VARCHAR' AND NOT regexp_full_match({text}, {literal(NUMBER_TEXT)})", wrong)]
    return [*cases, (f"{text} IS NOT NULL AND NOT {one_of(json_type, decoded_types(field))}", result)]


def _reading_cases(field: Field, text: str) -> list[tuple[str, str]]:
    column = identifier(field.name)
    range_ = literal(FieldFault.RANGE.of(field))
    cases: list[tuple[str, str]] = []
    if field.type is FieldType.INTEGER:
        cases.append((f"{text} IS NOT NULL AND {column} IS NULL", range_))
    elif field.type is FieldType.NUMBER:
        named = f"CASE WHEN {matches(text, '[nN]')} THEN {literal(Reason.NON_FINITE)} ELSE {range_} END"
        cases.append((f"{text} IS NOT NULL AND ({column} IS NULL OR NOT isfinite({column}))", named))
    elif field.type is FieldType.DECIMAL:
        named = f"CASE WHEN {matches(text, '[nN]')} THEN {literal(Reason.NON_FINITE)} ELSE {range_} END"
        cases.append((f"{text} IS NOT NULL AND {column} IS NULL", named))
        cases.append((f"{text} IS NOT NULL AND {has_more_digits(text, field)}", literal(FieldFault.SCALE.of(field))))
    elif field.type is FieldType.TIMESTAMP:
        cases += clock_cases(field, text, column)
        unreadable = f"{column} IS NULL OR {no_time(column)}"
        cases.append((f"{text} IS NOT NULL AND ({unreadable})", literal(FieldFault.TIME.of(field))))
    return cases


def no_time(column: str) -> str:
    """True where a timestamp is none that every reader can hold."""
    return f"NOT isfinite({column}) OR epoch_us({column}) NOT BETWEEN {_MIN_MICROS} AND {_MAX_MICROS}"


def check_cases(field: Field, text: str) -> list[tuple[str, str]]:
    """(condition, reason code as SQL) of the checks that the contract declares, over the field's column and its text."""
    column = identifier(field.name)
    range_ = literal(FieldFault.RANGE.of(field))
    cases: list[tuple[str, str]] = []
    if field.minimum is not None:
        cases.append((f"{column} < {_bound(field, field.minimum, ROUND_CEILING)}", range_))
    if field.maximum is not None:
        cases.append((f"{column} > {_bound(field, field.maximum, ROUND_FLOOR)}", range_))
    if field.exclusive_minimum is not None:
        cases.append((f"{column} <= {_bound(field, field.exclusive_minimum, ROUND_FLOOR)}", range_))
    if field.exclusive_maximum is not None:
        cases.append((f"{column} >= {_bound(field, field.exclusive_maximum, ROUND_CEILING)}", range_))
    if field.enum:
        cases.append((f"NOT {one_of(text, field.enum)}", literal(FieldFault.ENUM.of(field))))
    if field.max_length is not None:
        cases.append((f"length({text}) > {field.max_length}", literal(FieldFault.LENGTH.of(field))))
    if field.pattern is not None:
        unlike = f"NOT regexp_full_match({text}, {literal(field.pattern)})"
        cases.append((unlike, literal(FieldFault.PATTERN.of(field))))
    return cases


def _bound(field: Field, bound: Decimal, rounding: str) -> str:
    """SQL for a bound in the field's own type, so that values are compared exactly."""
    if field.type is FieldType.NUMBER:
        return f"CAST('{bound}' AS DOUBLE)"
    # No value of the type lies between the bound and the nearest value on the side that it is rounded to.
    return f"CAST('{scaled(bound, field.scale, rounding)}' AS {sql_type(field)})"
