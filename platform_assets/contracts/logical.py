"""Which type a property of a contract has: from the standard's logicalType and physicalType.

Belongs here: what is stored for it, and what there is instead of a type that is not supported. Does not belong here: what a type
is elsewhere (`types.py`).
"""

from __future__ import annotations

import re

from open_data_contract_standard.model import SchemaProperty

from platform_assets.contracts.errors import at
from platform_assets.contracts.model import FieldType
from platform_assets.contracts.types import MAX_PRECISION, TYPES

_DECIMAL = re.compile(r"(?:decimal|numeric)\s*\(\s*([0-9]{1,3})\s*(?:,\s*([0-9]{1,3})\s*)?\)", re.IGNORECASE)
_IN_ATTRIBUTES = "leave it out: what is nested is kept in the object property"
OTHER_TYPES: dict[str, str] = {
    "date": "timestamp with the custom property timeFormat, e.g. '%Y-%m-%d', or string with a pattern",
    "time": "string with a pattern, e.g. '[0-2][0-9]:[0-5][0-9]'",
    "array": _IN_ATTRIBUTES,
    "map": _IN_ATTRIBUTES,
    "struct": _IN_ATTRIBUTES,
    "json": "object, once in a table: it keeps the unknown fields",
    "decimal": "number with physicalType: decimal(precision,scale), e.g. decimal(18,2)",
    "numeric": "number with physicalType: decimal(precision,scale), e.g. decimal(18,2)",
    "float": "number",
    "double": "number",
    "long": "integer",
    "uuid": "string",
    "binary": "string, e.g. in base64",
}
"""Types of the standard, and some that are often written, of which no column can be made; and what there is instead."""


def stored_type(item: SchemaProperty, place: str) -> tuple[FieldType, int, int]:
    """(type, precision, scale) from logicalType and physicalType: what is stored, or an error, never something else."""
    logical, physical = item.logicalType, item.physicalType
    # Decimals are numbers in the standard.
    kinds = [kind for kind in FieldType if kind is not FieldType.DECIMAL]
    if logical not in kinds:
        found = "is missing" if logical is None else f"is {logical!r}, which is not supported"
        raise at(f"{place}.logicalType", found, OTHER_TYPES.get(str(logical), ", ".join([*kinds, "object"])))
    type_ = FieldType(logical)
    where = f"{place}.physicalType"
    if physical is None or " ".join(physical.lower().split()) in TYPES[type_].physical:
        return type_, 0, 0
    decimal = _DECIMAL.fullmatch(physical.strip())
    if decimal is None or type_ is not FieldType.NUMBER:
        names = list(TYPES[type_].physical) + ["decimal(precision,scale)"] * (type_ is FieldType.NUMBER)
        if decimal is not None:
            raise at(where, f"{physical!r} does not fit logicalType {type_}", "logicalType: number")
        raise at(
            where, f"{physical!r} is not what is stored for {type_}", f"leave it out, or one of {', '.join(names)}"
        )
    precision, scale = int(decimal[1]), int(decimal[2] or 0)
    if not (1 <= precision <= MAX_PRECISION and scale <= precision):
        raise at(where, f"is {physical!r}", f"a precision of 1 to {MAX_PRECISION}, a scale of 0 to the precision")
    return FieldType.DECIMAL, precision, scale
