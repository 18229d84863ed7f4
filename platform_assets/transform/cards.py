r"""Where a text holds card numbers.

Belongs here: what a card number looks like once it is decoded. Does not belong here: undoing encodings (`encodings.py`), other
personal data and the replacement (`personal.py`).

A card number is 13 to 19 digits with a valid checksum (Luhn) that begin as issuers' numbers do: 2221-2720, 30x, 34-39, 4,
50-58, 6; or 16 digits that begin with 2200-2204, 81, 82 or 9792. Up to four separators (blanks, hyphens, dots, slashes and other
signs, but none that divide lists or clock readings) may stand between digits; then it must be of the issuer's usual length.
So must it behind zeros, behind another card number, and where further digits follow at once; then all must be more than 19, for
ids may begin as card numbers do.

Clock readings in milliseconds, microseconds or nanoseconds begin with 1. UUIDs, hexadecimal ids, decimals and longer numbers
that do not begin with a card number stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import cast

import numpy as np
import numpy.typing as npt

from platform_assets.transform.encodings import Codes, Ints, codes

Flags = npt.NDArray[np.bool_]

_SEPARATORS = " \r\n\x07\x1b\x90\x98\x9b\x9c\x9d\x9e\x9f.-/+_|~\\*#^`"
_MAX_GAP = 4
_DECIMALS = re.compile(r"(?!\d{4}\.\d{4}[^\d.]+\d{4}\.\d{4}$)\d+\.\d+(?:[^\d.]+\d+\.\d+)+")
"""Several of them, as coordinates are written; groups of four may be a card number all the same."""
_LENGTHS = (19, 18, 17, 16, 15, 14, 13)
_ID_LENGTHS = (16, 24, 32, 40, 48, 56, 64, 96, 128)
_ID = re.compile(
    r"(?<![0-9A-Za-z])(?:[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}|[0-9A-Fa-f]{16,128})(?![0-9A-Za-z])"
)
_ID_REACH = 128


def card_numbers(text: str, points: Codes) -> list[tuple[int, int]]:
    """Where card numbers begin and end in the text, whose code points these are; all windows of digits are evaluated together."""
    is_digit = (points >= 48) & (points <= 57)
    at = np.flatnonzero(is_digit)
    if len(at) < _LENGTHS[-1]:
        return []
    digits = points[at].astype(np.int64) - 48
    new_run, new_group = _borders(points, is_digit, at)
    run = np.cumsum(new_run)
    head = _head(digits)
    first = np.maximum.accumulate(np.where(new_group, np.arange(len(at)), 0))  # of each digit's group
    group = np.cumsum(new_group)
    nonzero = np.cumsum(digits != 0)
    significant = nonzero - nonzero[first] + (digits[first] != 0)  # digits of the group so far that are no zeros
    leads = (digits != 0) & (significant == 1)
    is_long = np.bincount(group[significant > 0], minlength=len(at) + 1)[group] > _LENGTHS[0]
    may_begin = (leads | is_long) & ~_decimals(points, at)[first]
    twice = digits * 2 - np.where(digits > 4, 9, 0)
    even = np.arange(len(at)) % 2 == 0
    sums = [np.concatenate([[0], np.cumsum(np.where(even == first, twice, digits))]) for first in (True, False)]
    found: list[tuple[int, int]] = []  # the first and the last digit
    for length in _LENGTHS:
        begins = may_begin & _issued(head, length)
        starts = np.flatnonzero(begins[: max(0, len(at) - length + 1)])
        stops = starts + length - 1
        starts = starts[run[starts] == run[stops]]
        stops = starts + length - 1
        # The last digit counts once, the one before it twice, and so on.
        by_parity = [sums[parity][stops + 1] - sums[parity][starts] for parity in (0, 1)]
        total = np.where(stops % 2 == 1, by_parity[0], by_parity[1])
        starts = starts[total % 10 == 0]
        shaped = starts[_well_shaped(points, at, new_group, is_long, head, starts, length)]
        found += [(start, start + length - 1) for start in shaped.tolist()]
    windows = ((int(at[start]), int(at[stop]) + 1) for start, stop in _reached(found, leads))
    return [(a, z) for a, z in windows if not _in_id(text, a) and not _DECIMALS.fullmatch(text, a, z)]


def _reached(found: list[tuple[int, int]], leads: Flags) -> Iterator[tuple[int, int]]:
    """Those that begin where a group's first digit is that is no zero, or where another one that counts has ended."""
    ends: set[int] = set()
    for start, stop in sorted(found):
        if leads[start] or start in ends:
            ends.add(stop + 1)
            yield start, stop


def _borders(points: Codes, is_digit: Flags, at: Ints) -> tuple[Flags, Flags]:
    """For each digit whether a run of digits and separators begins with it, and whether a group without separators does."""
    foreign = np.cumsum(~is_digit & ~np.isin(points, codes(_SEPARATORS)))
    gap = np.diff(at) - 1
    new_group = np.concatenate([[True], gap > 0])
    new_run = np.concatenate([[True], (gap > _MAX_GAP) | (foreign[at[1:]] != foreign[at[:-1]])])
    return new_run, new_group


def _head(digits: Ints) -> Ints:
    """The number that each digit and the three behind it make; -1 where there are fewer."""
    head = np.full(len(digits), -1, np.int64)
    head[:-3] = digits[:-3] * 1000 + digits[1:-2] * 100 + digits[2:-1] * 10 + digits[3:]
    return head


def _between(head: Ints, low: int, high: int) -> Flags:
    return (head >= low) & (head <= high)


def _issued(head: Ints, length: int) -> Flags:
    found = _between(head, 4000, 4999) | _between(head, 5000, 5899) | _between(head, 6000, 6999)
    found = found | _between(head, 2221, 2720) | _between(head, 3000, 3059) | _between(head, 3400, 3999)
    if length == 16:
        found = found | _between(head, 2200, 2204) | _between(head, 8100, 8299) | _between(head, 9792, 9792)
    return found


def _usual(head: Ints) -> Ints:
    """How many digits such a number has in most cases."""
    express = _between(head, 3400, 3499) | _between(head, 3700, 3799)
    diners = _between(head, 3000, 3059) | _between(head, 3600, 3699) | _between(head, 3800, 3999)
    return np.where(express, 15, np.where(diners, 14, 16))


def _decimals(points: Codes, at: Ints) -> Flags:
    """Whether a digit and a point stand before each digit: then it belongs to a decimal."""
    padded = np.concatenate([[0, 0], points])
    point, digit = padded[at + 1], padded[at]
    return cast(Flags, (point == ord(".")) & (digit >= 48) & (digit <= 57))


def _well_shaped(
    points: Codes, at: Ints, new_group: Flags, is_long: Flags, head: Ints, starts: Ints, length: int
) -> Flags:
    """Which windows of that length end where a number may: at the end of a group, or before digits that follow on."""
    if len(starts) == 0:
        return np.zeros(0, np.bool_)
    stops = starts + length - 1
    groups = np.concatenate([[0], np.cumsum(new_group)])
    inner = groups[stops + 1] - groups[starts + 1]
    usual = _usual(head[starts]) == length
    closed = np.concatenate([new_group, [True]])[stops + 1]
    separators = at[stops] - at[starts] - (length - 1)
    decimal = (inner == 1) & (separators == 1) & _holds_point(points, at[starts], at[stops])
    fours = np.logical_and.reduce([new_group[starts + 4 * i] for i in (1, 2, 3)]) if length == 16 else False
    whole = new_group[starts]
    alone = (inner == 0) & np.where(closed, usual | whole, usual & is_long[starts])
    apart = (inner > 0) & ~decimal & (usual | (whole & (length == 19))) & (closed | (fours & (inner == 3)))
    return cast(Flags, alone | apart)


def _holds_point(points: Codes, starts: Ints, stops: Ints) -> Flags:
    count = np.concatenate([[0], np.cumsum(points == ord("."))])
    return count[stops + 1] > count[starts]


def _in_id(text: str, at: int) -> bool:
    """Whether a UUID or a hexadecimal id (with a letter in it) covers the character."""
    begin = max(0, at - _ID_REACH)
    for match in _ID.finditer(text, begin, at + _ID_REACH):
        if match.start() <= at < match.end():
            found = match[0]
            return "-" in found or (len(found) in _ID_LENGTHS and not found.isdigit())
    return False
