"""Bounds of numbers: which values of a field's type they leave, and how they are told to people.

Belongs here: comparing bounds, of which each end may have two (one that is itself allowed and one that is not). Does not belong
here: the SQL that tests values (`transform/fields.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext

from platform_assets.contracts.errors import at
from platform_assets.contracts.formats import format_of
from platform_assets.contracts.model import Field, FieldType, Table
from platform_assets.contracts.types import BOUNDS, NUMERIC, scaled, type_name
from platform_assets.core.errors import Mistake

_INT64 = (Decimal(-(2**63)), Decimal(2**63 - 1))


def least(field: Field) -> tuple[Decimal, bool] | None:
    """The tightest lower bound, and whether it is itself excluded; None when the contract has none. Tighter is greater.

    Of an exact type it is the least value of the type that is allowed, which is never excluded.
    """
    if field.type is FieldType.NUMBER:
        return max(_given(field.minimum, field.exclusive_minimum), default=None)
    found = []
    if field.minimum is not None:
        found.append(scaled(field.minimum, field.scale, ROUND_CEILING))
    if field.exclusive_minimum is not None:
        found.append(_plus(scaled(field.exclusive_minimum, field.scale, ROUND_FLOOR), _step(field)))
    return max(((bound, False) for bound in found), default=None)


def greatest(field: Field) -> tuple[Decimal, bool] | None:
    """The tightest upper bound, and whether it is itself excluded; None when the contract has none."""
    if field.type is FieldType.NUMBER:
        return min(_given(field.maximum, field.exclusive_maximum), key=_upper, default=None)
    found = []
    if field.maximum is not None:
        found.append(scaled(field.maximum, field.scale, ROUND_FLOOR))
    if field.exclusive_maximum is not None:
        found.append(_plus(scaled(field.exclusive_maximum, field.scale, ROUND_CEILING), -_step(field)))
    return min(((bound, False) for bound in found), default=None)


def rose(old: Field, new: Field) -> bool:
    """Whether the lower bound excludes values that it allowed before; both of the same type."""
    before, after = least(old), least(new)
    return after is not None and (before is None or after > before)


def fell(old: Field, new: Field) -> bool:
    """Whether the upper bound excludes values that it allowed before; both of the same type."""
    before, after = greatest(old), greatest(new)
    return after is not None and (before is None or _upper(after) < _upper(before))


def told_least(field: Field) -> str | None:
    """The lower bound as it is written, e.g. `0` or `0 (excluded)`; None when there is none."""
    return _told(max(_given(field.minimum, field.exclusive_minimum), default=None))


def told_greatest(field: Field) -> str | None:
    """The upper bound as it is written; None when there is none."""
    return _told(min(_given(field.maximum, field.exclusive_maximum), key=_upper, default=None))


def bound_mistakes(table: Table, field: Field, place: str) -> Iterator[Mistake]:
    """Bounds that do not fit the field's type or each other."""
    values = (field.minimum, field.maximum, field.exclusive_minimum, field.exclusive_maximum)
    bounds = {name: bound for name, bound in zip(BOUNDS, values, strict=True) if bound is not None}
    if bounds and field.type not in NUMERIC:
        yield from at(place, f"minimum and maximum do not fit type {field.type}", "integer or number").mistakes
    low, high = value_range(field)
    outside = {name: bound for name, bound in bounds.items() if not low <= bound <= high}
    for name, bound in outside.items():
        where = f"{place}.logicalTypeOptions.{name}"
        yield from at(where, f"{bound} is no {type_name(field)}", f"{low} to {high}").mistakes
    if field.type in NUMERIC and not outside and _empty(field):
        found = f"minimum {told_least(field)} is over maximum {told_greatest(field)}"
        if field.exclusive_minimum is not None or field.exclusive_maximum is not None:
            found = f"no {type_name(field)} lies between {told_least(field)} and {told_greatest(field)}"
        yield from at(place, found, "minimum <= maximum").mistakes
    if field.text_too and (field.type is not FieldType.DECIMAL or not format_of(table).typed):
        where = f"{place}.customProperties[textToo]"
        yield from at(where, "is for decimals of JSON messages", "physicalType: decimal(p,s)").mistakes


def value_range(field: Field) -> tuple[Decimal, Decimal]:
    """The least and the greatest value of a field's type."""
    if field.type is FieldType.INTEGER:
        return _INT64
    if field.type is FieldType.DECIMAL:
        most = Decimal((0, (9,) * field.precision, -field.scale))
        return most.copy_negate(), most
    return Decimal("-1.7976931348623157e308"), Decimal("1.7976931348623157e308")


def _given(included: Decimal | None, excluded: Decimal | None) -> list[tuple[Decimal, bool]]:
    return [(bound, out) for bound, out in ((included, False), (excluded, True)) if bound is not None]


def _upper(bound: tuple[Decimal, bool]) -> tuple[Decimal, bool]:
    """What orders upper bounds, the tightest first: at the same value the excluded one is tighter."""
    return bound[0], not bound[1]


def _empty(field: Field) -> bool:
    low, high = least(field), greatest(field)
    types_low, types_high = value_range(field)
    low, high = low or (types_low, False), high or (types_high, False)
    return low[0] > high[0] or (low[0] == high[0] and (low[1] or high[1]))


def _step(field: Field) -> Decimal:
    return Decimal(1).scaleb(-field.scale)


def _plus(value: Decimal, step: Decimal) -> Decimal:
    with localcontext(prec=200):
        return value + step


def _told(bound: tuple[Decimal, bool] | None) -> str | None:
    return None if bound is None else f"{bound[0]} (excluded)" if bound[1] else f"{bound[0]}"
