"""Measures that are exact: counts, and sums and maxima of integer and decimal columns.

Belongs here: which measures are exact, and their values and thresholds in units of the last digit, as cells hold them. Does not:
the statements over cells (`sql.py`). Measures of double columns, and ratios, are compared as doubles.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal, localcontext

import pyarrow as pa

from platform_assets.alerts.model import Aggregate, Function, Rule
from platform_assets.contracts.model import FieldType, Table
from platform_assets.contracts.types import MAX_PRECISION

UNITS = pa.decimal128(MAX_PRECISION, 0)
"""The Arrow type of a number of units, each of which is the value of the last digit that a measure can have."""
MOST_UNITS = 10**36
"""What a cell may hold, so that a window of cells cannot overflow: a rule that gets beyond has failed on its data."""
_LARGEST = Decimal(10**MAX_PRECISION - 1)


@dataclass(frozen=True, slots=True)
class Scales:
    """Digits after the point of a measure's parts; of one without a divisor `whole` is 0."""

    part: int
    whole: int = 0


def scales(rule: Rule, table: Table) -> Scales | None:
    """The scales of a measure whose sums are exact; None when a double is among them, or nothing is measured."""
    if rule.measure is None:
        return None
    part = _scale(rule.measure.part, table)
    whole = 0 if rule.measure.whole is None else _scale(rule.measure.whole, table)
    return None if part is None or whole is None else Scales(part, whole)


def _scale(part: Aggregate, table: Table) -> int | None:
    if part.function is Function.COUNT:
        return 0
    field = next(f for f in table.fields if f.name == part.column)
    return None if field.type is FieldType.NUMBER else field.scale


def in_units(aggregate: str) -> str:
    """SQL for the units of an aggregate that is a decimal or an integer: the digits of its text, without the point."""
    return f"CAST(replace(CAST({aggregate} AS VARCHAR), '.', '') AS DECIMAL({MAX_PRECISION}, 0))"


def exceeded(above: Decimal, scale: int) -> Decimal:
    """The units that every value above the threshold exceeds, and no other value of this scale."""
    with localcontext(prec=400):  # a double's largest and smallest values have more than 300 digits
        whole = above.scaleb(scale).to_integral_value(ROUND_FLOOR)
        return max(-_LARGEST, min(_LARGEST, whole))


def from_units(units: Decimal, scale: int) -> Decimal:
    """The value of a number of units."""
    sign, digits, _ = units.as_tuple()
    return Decimal((sign, digits, -scale))
