"""Lengths of time as people write them: `90s`, `15m`, `24h`, `7d`, `2w`.

Belongs here: the one grammar of them. Does not: which lengths a setting allows, and what its error says.
"""

from __future__ import annotations

import re
from datetime import timedelta

_LENGTH = re.compile(r"([1-9]\d{0,8})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_duration(text: str) -> timedelta:
    """A whole number, not 0, with s, m, h, d or w. Raises ValueError for anything else, and for what no timedelta can hold."""
    match = _LENGTH.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no duration such as 90s, 15m, 24h, 7d or 2w")
    try:
        return timedelta(**{_UNITS[match[2]]: int(match[1])})
    except OverflowError:
        raise ValueError(f"{text!r} is too long") from None
