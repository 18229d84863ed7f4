"""Decimals in the index: how they are compared and summed exactly, though no numeric type of OpenSearch holds them.

Belongs here: a decimal's parts in a document, in SQL and in Python. Does not belong here: whole queries, mappings.

`double` has 15 digits, `scaled_float` and `long` no more than 18, and every sum is computed in doubles. So a document has each
decimal as a text with all its digits (what people get), and under `_decimal.<field>`:
- `key`: a text of 39 characters that sorts as the value does, for equality, ranges and order;
- in marts the limbs `l0`, `l1`, …: six digits each from the lowest on, with the value's sign. Sums of limbs stay exact in a
  double for nine billion documents, and give the exact sum.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext
from typing import Any

from platform_assets.contracts.types import MAX_PRECISION, scaled
from platform_assets.index.errors import QueryError

DECIMALS = "_decimal"
"""The object of the parts; contracts cannot name a field so."""
KEY = "key"
LIMB_DIGITS = 6
LIMBS = -(-MAX_PRECISION // LIMB_DIGITS)
_LEAST, _BEYOND = "", "2"
"""Keys before and behind all others."""
_ABOVE = {"gte": ROUND_CEILING, "gt": ROUND_FLOOR, "lte": ROUND_FLOOR, "lt": ROUND_CEILING}
_WRITTEN = re.compile(r"[+-]?[0-9]{1,60}(\.[0-9]{1,60})?")
_COMPLEMENT = str.maketrans("0123456789", "9876543210")


def key_path(name: str) -> str:
    """The field in the index by which the decimal `name` is compared."""
    return f"{DECIMALS}.{name}.{KEY}"


def limb_name(number: int) -> str:
    """The name of a limb, from the lowest on."""
    return f"l{number}"


def limb_count(precision: int) -> int:
    """How many limbs hold so many digits."""
    return -(-precision // LIMB_DIGITS)


def _digits(column: str) -> str:
    """SQL for the digits of a decimal without sign and point."""
    return f"translate(CAST({column} AS VARCHAR), '-.', '')"


def sort_key_sql(column: str) -> str:
    """SQL for the key of a decimal column."""
    digits = f"lpad({_digits(column)}, {MAX_PRECISION}, '0')"
    return (
        f"CASE WHEN {column} < 0 THEN '0' || translate({digits}, '0123456789', '9876543210') ELSE '1' || {digits} END"
    )


def limbs_sql(column: str, precision: int) -> list[str]:
    """SQL for each limb of a decimal column, as text of a whole number."""
    count = limb_count(precision)
    digits = f"lpad({_digits(column)}, {count * LIMB_DIGITS}, '0')"
    starts = (1 + (count - 1 - number) * LIMB_DIGITS for number in range(count))
    sign = f"CASE WHEN {column} < 0 THEN -1 ELSE 1 END"
    return [
        f"CAST(CAST(substring({digits}, {start}, {LIMB_DIGITS}) AS INTEGER) * {sign} AS VARCHAR)" for start in starts
    ]


def sort_key(value: Decimal, scale: int) -> str:
    """The key of a number that has no more than `scale` digits after the point."""
    digits = "".join(map(str, scaled(abs(value), scale, ROUND_FLOOR).as_tuple().digits)).zfill(MAX_PRECISION)
    if len(digits) > MAX_PRECISION:
        return _LEAST if value < 0 else _BEYOND
    return "0" + digits.translate(_COMPLEMENT) if value < 0 else "1" + digits


def bound_key(bound: str, value: Decimal, scale: int) -> tuple[str, str]:
    """`gte`, `gt`, `lte` or `lt` of any number, as one of these and a key: between values of that scale nothing lies."""
    rounded = scaled(value, scale, _ABOVE[bound])
    return bound, sort_key(rounded, scale)


def decimal_key(name: str, text: str, scale: int) -> str:
    """The key of a decimal that a person wrote. Raises QueryError for what such a field cannot hold."""
    value = _decimal(name, text)
    if scaled(value, scale, ROUND_FLOOR) != value:
        raise QueryError(f"{name} has {scale} digits after the point, not as many as {text!r}", "ask for a range")
    return sort_key(value, scale)


def decimal_range(name: str, bounds: Sequence[tuple[str, str]], scale: int) -> dict[str, str]:
    """The range of keys between the bounds that a person wrote. Raises QueryError."""
    return dict(bound_key(bound, _decimal(name, text), scale) for bound, text in bounds)


def _decimal(name: str, text: str) -> Decimal:
    if not _WRITTEN.fullmatch(text.strip()):
        raise QueryError(f"{name} is a decimal number, not {text[:60]!r}", "write it like 12.50")
    return Decimal(text.strip())


def total(sums: Mapping[str, Any], name: str, precision: int, scale: int) -> Decimal:
    """The exact sum from the sums of the limbs, by `limb_path`."""
    with localcontext(prec=60):
        whole = sum(
            (Decimal(round(sums[limb_path(name, n)])).scaleb(n * LIMB_DIGITS) for n in range(limb_count(precision))),
            Decimal(0),
        )
        return scaled(whole.scaleb(-scale), scale, ROUND_FLOOR)


def limb_path(name: str, number: int) -> str:
    """The field in the index of a limb."""
    return f"{DECIMALS}.{name}.{limb_name(number)}"
