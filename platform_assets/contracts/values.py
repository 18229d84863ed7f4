"""Single values of a contract's document, as the model has them.

Belongs here: reading one value and refusing what it must not be. Does not belong here: which property it is of (`mapping.py`).
Every reader raises ContractError that names the place and what is allowed.
"""

from __future__ import annotations

import re
from decimal import Decimal, localcontext
from enum import StrEnum
from typing import Any, TypeVar

from platform_assets.contracts.errors import at

EXACT_DIGITS = 15
"""Digits of a number that YAML, which reads it as a float, certainly keeps."""
MAX_BOUND = 80
"""Characters of a bound."""
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]{1,3})?")
_E = TypeVar("_E", bound=StrEnum)


def text(value: Any, place: str, allowed: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise at(place, "is missing" if value in (None, "") else f"{value!r} is no text", allowed)
    return value


def block(value: Any, place: str) -> str:
    """A text that YAML may end with a line break of its own."""
    return text(value, place, "a text").rstrip("\n")


def blocks(value: Any, place: str) -> tuple[str, ...]:
    """One text, or a list of them."""
    return (block(value, place),) if isinstance(value, str) else texts(value, place)


def texts(value: Any, place: str) -> tuple[str, ...]:
    if (
        not isinstance(value, list)
        or not all(isinstance(entry, str) for entry in value)
        or len(set(value)) != len(value)
    ):
        raise at(
            place, f"{value!r} is no list of distinct texts", "a list of texts (quote yes, no, on, off and numbers)"
        )
    return tuple(value)


def whole(value: Any, place: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
        raise at(place, f"{value!r} is not a positive whole number", "1 to 2147483647")
    return int(value)


def bound(value: Any, place: str) -> Decimal | None:
    """A bound, exactly as it is written."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise at(place, f"{value!r} is no bound", "a number, or a number in quotes")
    written = value.strip() if isinstance(value, str) else repr(value)
    # The length bounds what `Decimal` has to hold.
    if len(written) > MAX_BOUND or not _NUMBER.fullmatch(written):
        raise at(place, f"{value!r} is no bound", f"a number of at most {MAX_BOUND} characters")
    with localcontext(prec=MAX_BOUND):
        exact = Decimal(written).normalize()
    if isinstance(value, float) and len(exact.as_tuple().digits) > EXACT_DIGITS:
        raise at(place, f"{value!r} may not be what was written: YAML rounds so many digits", "the number in quotes")
    return Decimal(f"{exact:f}")


def flag(value: Any, place: str) -> bool:
    if not isinstance(value, bool):
        raise at(place, f"is {value!r}", "true, false")
    return value


def choice(kind: type[_E], value: Any, place: str) -> _E:
    try:
        return kind(value)
    except ValueError as error:
        raise at(place, "is missing" if value is None else f"is {value!r}", ", ".join(kind)) from error
