"""The type table: for each logical type what it is in Arrow, DuckDB, JSON, OpenSearch, and what a contract may say of it.

Belongs here: one row a type, and the questions that are answered from the row and the field's precision and scale. Does not
belong here: SQL that decodes and checks values (`transform/fields.py`), JSON Schema documents (`export.py`).

A decimal is exact everywhere: DECIMAL in DuckDB, Arrow and Delta, and a text with exactly `scale` digits after the point in JSON,
because a JSON number passes through a float in most readers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, localcontext
from types import MappingProxyType

import pyarrow as pa

from platform_assets.contracts.model import EPOCHS, Field, FieldType, IndexType

MAX_PRECISION = 38
_PRODUCTS_FROM = 19  # precision from which DuckDB multiplies with 128 bits
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
"""The logicalTypeOptions that bound a number."""
UTC_MICROS = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, slots=True)
class TypeRow:
    """What a logical type is elsewhere. `arrow` and `sql` of a decimal come from `arrow_type` and `sql_type`."""

    arrow: pa.DataType
    sql: str  # DuckDB's and dbt's name
    json: str  # JSON Schema's type of a value in a row of the API
    message: str  # JSON Schema's type of a value in a message
    decoded: tuple[str, ...]  # the types that DuckDB finds in a message's JSON for valid values
    indexes: tuple[IndexType, ...]  # how it may be searched, the default first
    stored: str  # OpenSearch's type where it is not searched
    options: tuple[str, ...]  # logicalTypeOptions
    physical: tuple[str, ...]  # physicalType: names of what is stored


TYPES: Mapping[FieldType, TypeRow] = MappingProxyType(
    {
        FieldType.STRING: TypeRow(
            pa.string(), "varchar", "string", "string", ("VARCHAR",),
            (IndexType.KEYWORD, IndexType.TEXT, IndexType.NONE), "keyword",
            ("maxLength", "pattern"), ("string", "varchar", "text"),
        ),
        FieldType.INTEGER: TypeRow(
            pa.int64(), "bigint", "integer", "integer", ("BIGINT", "UBIGINT"),
            (IndexType.LONG, IndexType.NONE), "long",
            (*BOUNDS, "format"), ("bigint", "int64", "long"),
        ),
        FieldType.NUMBER: TypeRow(
            pa.float64(), "double", "number", "number", ("BIGINT", "UBIGINT", "DOUBLE"),
            (IndexType.DOUBLE, IndexType.NONE), "double",
            (*BOUNDS, "format"), ("double", "double precision", "float64", "float8"),
        ),
        FieldType.DECIMAL: TypeRow(
            pa.decimal128(MAX_PRECISION, 0), "decimal", "string", "number", ("BIGINT", "UBIGINT", "DOUBLE"),
            (IndexType.DECIMAL, IndexType.NONE), "keyword",
            BOUNDS, (),
        ),
        FieldType.BOOLEAN: TypeRow(
            pa.bool_(), "boolean", "boolean", "boolean", ("BOOLEAN",),
            (IndexType.BOOLEAN, IndexType.NONE), "boolean",
            (), ("boolean", "bool"),
        ),
        FieldType.TIMESTAMP: TypeRow(
            UTC_MICROS, "timestamptz", "string", "string", ("VARCHAR",),
            (IndexType.DATE, IndexType.NONE), "date_nanos",
            ("timezone", "defaultTimezone"), ("timestamptz", "timestamp with time zone"),
        ),
    }
)  # fmt: skip

NUMERIC = (FieldType.INTEGER, FieldType.NUMBER, FieldType.DECIMAL)
"""Types that have bounds, and that alerts can sum."""


def arrow_type(field: Field) -> pa.DataType:
    """The Arrow type of a field's column."""
    if field.type is FieldType.DECIMAL:
        return pa.decimal128(field.precision, field.scale)
    return TYPES[field.type].arrow


def sql_type(field: Field) -> str:
    """The DuckDB type of a field's column."""
    if field.type is FieldType.DECIMAL:
        return f"decimal({field.precision},{field.scale})"
    return TYPES[field.type].sql


def operand_type(field: Field) -> str:
    """The DuckDB type as which expressions see a field's column.

    DuckDB keeps the product of two decimals of up to 18 digits within 18 digits, and fails where it has more. With one
    digit more the product of any two has up to 38.
    """
    if field.type is FieldType.DECIMAL:
        return f"decimal({max(field.precision, _PRODUCTS_FROM)},{field.scale})"
    return TYPES[field.type].sql


def type_name(field: Field) -> str:
    """The type as people read it: the logical type, of a decimal with precision and scale."""
    return sql_type(field) if field.type is FieldType.DECIMAL else field.type.value


def decoded_types(field: Field) -> tuple[str, ...]:
    """The types that DuckDB finds in a message's JSON for valid values of a field."""
    if epochs := [one for one in field.time_formats if one in EPOCHS]:
        texts = () if len(epochs) == len(field.time_formats) else TYPES[field.type].decoded
        return (*texts, *TYPES[FieldType.NUMBER].decoded)
    return TYPES[field.type].decoded + (("VARCHAR",) if field.text_too else ())


def decimal_text(sql: str, field: Field) -> str:
    """SQL for a decimal as text, with exactly `scale` digits after the point and one at least before it."""
    text = f"CAST({sql} AS VARCHAR)"
    if field.precision > field.scale:
        return text
    # DuckDB leaves the zero before the point away where no digit can stand there.
    return f"CASE WHEN {sql} < 0 THEN '-0' || substring({text}, 2) ELSE '0' || {text} END"


def canonical_text(sql: str, field: Field) -> str:
    """SQL for a decimal as the same text at every precision and scale: without zeros at its end."""
    text = decimal_text(sql, field)
    return f"rtrim(rtrim({text}, '0'), '.')" if field.scale else text


def scaled(value: Decimal, scale: int, rounding: str) -> Decimal:
    """A number with exactly `scale` digits after the point, rounded as `decimal` names it; of any size."""
    with localcontext(prec=200):
        return value.quantize(Decimal(1).scaleb(-scale), rounding)
