r"""Where a text holds e-mail addresses, card numbers and network addresses, whatever way they are written.

Belongs here: what such a thing looks like once it is decoded, and the replacement in many texts at once. Does not belong here:
undoing encodings (`encodings.py`), which texts are looked at and for what (`scrub.py`).

A card number is 13 to 19 digits with a valid checksum (Luhn) that begin as issuers' numbers do: 2221-2720, 30x, 34-39, 4,
50-58, 6; or 16 digits that begin with 2200-2204, 81, 82 or 9792. Up to four separators (blanks, hyphens, dots, slashes and other
signs, but none that divide lists or clock readings) may stand between digits; then it must be of the issuer's usual length.
Clock readings in milliseconds, microseconds or nanoseconds begin with 1. UUIDs, hexadecimal ids, decimals and longer numbers
that do not begin with a card number stay.

A network address is
- four decimal groups, also beside letters, so that a version of four groups goes too; not if the last three are 0, which is no
  host's address but what browsers give as their version (`Chrome/120.0.0.0`);
- eight hexadecimal groups, or `::` with groups on both sides or two on one (`Foo::Bar` is a name, `::1` is nobody's), the last
  one perhaps an IPv4 address; whole words only. Clock times and hardware addresses have fewer groups.
What stands behind it (port, zone, length of a prefix) stays. Addresses as one number, in hexadecimal, or with other signs between
the groups (`ip-10-1-2-3`) are not seen.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from typing import cast

import numpy as np
import numpy.typing as npt

from platform_assets.transform.encodings import Codes, Ints, codes, copies, mapped, plain_copy

Flags = npt.NDArray[np.bool_]
Ranges = list[tuple[int, int, str]]
"""Ranges of characters (the end is not part of it) and what stands there: `email`, `card` or `ip`."""

_DOMAIN = re.compile(r"(?:[\w-]{1,63}\.){1,40}(?:xn--[\w-]+|[^\W\d_]{2,})")

_GROUP = r"[0-9A-Fa-f]{1,4}"
_NOUGHT, _SOME = r"0{1,3}", r"0{0,2}[1-9]\d{0,2}"
_IPV4 = rf"\d{{1,3}}\.(?:{_SOME}\.\d{{1,3}}\.\d+|{_NOUGHT}\.(?:{_SOME}\.\d+|{_NOUGHT}\.0*[1-9]\d*))"
_IPV4_TAIL = r"(?:\.\d{1,3}){2}\.\d+"
_ENDS = rf"\b(?:{_IPV4_TAIL})?"
_FULL = rf"(?:{_GROUP}:){{6}}(?:(?:{_GROUP}:)+{_GROUP}\b|\d{{1,3}}{_IPV4_TAIL})"
_BOTH_SIDES = rf"{_GROUP}(?::{_GROUP}){{0,7}}::{_GROUP}(?::{_GROUP})*{_ENDS}"
_BEFORE = rf"{_GROUP}(?::{_GROUP}){{1,7}}::\B"
_BEHIND = rf"::{_GROUP}(?::{_GROUP})+{_ENDS}"
# Groups 1 to 3 are what stands before it. IPv6 first: it may end in an IPv4 address.
ADDRESS = rf"(\b|_)(?:{_FULL}|{_BOTH_SIDES}|{_BEFORE})|(\B|_){_BEHIND}|(\b|[A-Za-z_]){_IPV4}"
_ADDRESS = re.compile(ADDRESS, re.ASCII)

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
_JSON_NUMBER = re.compile(r"""(?s)"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]{12,}""")
_BARE_NUMBER = re.compile(r"[:,\[]-?\d[\d.eE+-]{12,}")
_REST_OF_STRING = re.compile(r'(?s)(?:[^"\\]|\\.)*"')
_NUMBER = "number"  # a card number outside strings of JSON
_CHUNK = 1 << 20  # characters looked at together: the map takes 16 bytes for each


def replaced(texts: list[str], *, addresses: bool, json: bool) -> list[str]:
    """The texts with e-mails as `[email]`, card numbers as `[card]` and, if asked, network addresses as `[ip]`.

    `json`: they are minified JSON and stay valid; numbers outside strings become strings, and names of one text that would become
    equal are told apart by a number (`[email 2]`).
    """
    clean: list[str] = []
    for chunk in _chunks([text.replace("\0", "\ufffd") for text in texts]):
        clean += _replaced("\0".join(chunk), addresses=addresses, json=json).split("\0")
    return clean


def _chunks(texts: list[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    size = 0
    for text in texts:
        if chunk and size + len(text) > _CHUNK:
            yield chunk
            chunk, size = [], 0
        chunk.append(text)
        size += len(text)
    if chunk:
        yield chunk


def _replaced(raw: str, *, addresses: bool, json: bool) -> str:
    numbers = list(_card_numbers_of_json(raw)) if json else []
    searched = _with(raw, [(start, end, " " * (end - start)) for start, end, _ in numbers])
    ranges = _merged(numbers + _found(searched, addresses=addresses, json=json))
    if json:
        namer = _Namer(raw)
        return _with(raw, [(start, end, namer.label(start, end, kind)) for start, end, kind in ranges])
    return _with(raw, [(start, end, f"[{kind}]") for start, end, kind in ranges])


def _with(raw: str, replacements: Ranges) -> str:
    """The text with these ranges replaced by their third member; they are in order."""
    parts, at = [], 0
    for start, end, text in replacements:
        parts += [raw[at:start], text]
        at = end
    return "".join([*parts, raw[at:]])


def _merged(ranges: Ranges) -> Ranges:
    """In order, without overlaps; what begins first gives the kind, and of those the longest."""
    merged: Ranges = []
    for start, end, kind in sorted(ranges, key=lambda found: (found[0], -found[1])):
        if merged and start < merged[-1][1]:
            before = merged[-1]
            merged[-1] = (before[0], max(before[1], end), before[2])
        else:
            merged.append((start, end, kind))
    return merged


def _found(raw: str, *, addresses: bool, json: bool) -> Ranges:
    """What every layer of the text holds, as raw ranges.

    A range that begins within an encoded character (`%2` before `01:db8::1`) and ends behind it counts only if deeper layers
    leave some of it.
    """
    ranges: Ranges = []
    doubtful: list[tuple[int, int, int, str]] = []
    for layer, starts, ends in copies(plain_copy(raw, json=json)):
        text, points = layer.text, codes(layer.text)
        for kind, begins, stops in _kinds(text, points, addresses=addresses):
            if len(begins) == 0:
                continue
            behind = _ends_of_units(begins, starts, ends)
            firsts, lasts = layer.raw(begins, stops)
            for begin, stop, first, last, end in zip(begins, stops, firsts, lasts, behind, strict=True):
                # An octal escape may as well be a backslash before a number.
                if begin < end < stop and text[begin - 1] != "\\":
                    doubtful.append((int(first), int(layer.last[end - 1]), int(last), kind))
                elif raw[first] == "=":
                    # Quoted-printable, or a sign of equality before what another reading finds.
                    doubtful.append((int(first), int(first) + 1, int(last), kind))
                else:
                    ranges.append((int(first), int(last), kind))
    sure = _merged(ranges)
    return ranges + [(first, last, kind) for first, inner, last, kind in doubtful if not _covered(inner, last, sure)]


def _ends_of_units(begins: Ints, starts: Ints, ends: Ints) -> Ints:
    """For each beginning the end of the encoded character that it is within, itself where it is within none."""
    if len(starts) == 0:
        return begins
    unit = np.searchsorted(starts, begins, side="left") - 1
    inside = (unit >= 0) & (ends[unit] > begins)
    return np.where(inside, ends[unit], begins)


def _covered(start: int, end: int, merged: Ranges) -> bool:
    at = bisect_right(merged, start, key=lambda found: found[0]) - 1
    return at >= 0 and merged[at][1] >= end


def _kinds(text: str, points: Codes, *, addresses: bool) -> Iterator[tuple[str, Ints, Ints]]:
    yield "email", *_emails(text, points)
    yield "card", *_cards(text, points)
    if addresses:
        yield "ip", *_addresses(text)


def _pairs(found: list[tuple[int, int]]) -> tuple[Ints, Ints]:
    table = np.array(found, np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _emails(text: str, points: Codes) -> tuple[Ints, Ints]:
    signs = np.flatnonzero(points == ord("@"))
    if len(signs) == 0:
        return _pairs([])
    # The last character before each sign that no local part has.
    other = np.flatnonzero(mapped(points, _is_local) == 0)
    at = np.searchsorted(other, signs) - 1
    begins = np.where(at >= 0, other[at] + 1, 0)
    found = []
    for begin, sign in zip(begins.tolist(), signs.tolist(), strict=True):
        domain = _DOMAIN.match(text, sign + 1)
        if domain and begin < sign:
            found.append((begin, domain.end()))
    return _pairs(found)


@lru_cache(maxsize=1 << 16)
def _is_local(code: int) -> int:
    character = chr(code)
    return character.isalnum() or character in "._%+'-" or unicodedata.category(character)[0] in "LMN"


def _addresses(text: str) -> tuple[Ints, Ints]:
    found = []
    for match in _ADDRESS.finditer(text):
        before = match[match.lastindex or 0] or ""
        found.append((match.start() + len(before), match.end()))
    return _pairs(found)


def _cards(text: str, points: Codes) -> tuple[Ints, Ints]:
    """Every window of digits that is a card number; all windows are evaluated together."""
    is_digit = (points >= 48) & (points <= 57)
    at = np.flatnonzero(is_digit)
    if len(at) < _LENGTHS[-1]:
        return _pairs([])
    digits = points[at].astype(np.int64) - 48
    new_run, new_group = _borders(points, is_digit, at)
    run = np.cumsum(new_run)
    head = _head(digits)
    may_begin = new_group & ~_decimals(points, at)
    twice = digits * 2 - np.where(digits > 4, 9, 0)
    even = np.arange(len(at)) % 2 == 0
    sums = [np.concatenate([[0], np.cumsum(np.where(even == first, twice, digits))]) for first in (True, False)]
    found: list[tuple[int, int]] = []
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
        shaped = starts[_well_shaped(points, at, new_group, head, starts, length)]
        windows = [(int(at[start]), int(at[start + length - 1]) + 1) for start in shaped]
        found += [(a, z) for a, z in windows if not _in_id(text, a) and not _DECIMALS.fullmatch(text, a, z)]
    return _pairs(found)


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


def _well_shaped(points: Codes, at: Ints, new_group: Flags, head: Ints, starts: Ints, length: int) -> Flags:
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
    alone = (inner == 0) & (closed | usual)
    apart = (inner > 0) & ~decimal & (usual | (length == 19)) & (closed | (fours & (inner == 3)))
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


def _card_numbers_of_json(raw: str) -> Iterator[tuple[int, int, str]]:
    """Numbers outside strings that are card numbers, each whole: what is left of one would be no JSON."""
    if not _BARE_NUMBER.search(raw):
        return
    for match in _JSON_NUMBER.finditer(raw):
        if match[0][0] == '"':
            continue
        number = Decimal(match[0])
        if 12 <= number.adjusted() <= 30:
            text = str(int(abs(number)))
            if len(_cards(text, codes(text))[0]):
                yield match.start(), match.end(), _NUMBER


class _Namer:
    """The replacements in JSON texts: names of one text that were different stay different."""

    def __init__(self, raw: str) -> None:
        self._raw = raw
        self._text_end = -1
        self._numbers: dict[tuple[str, str], int] = {}  # by kind and name, in the present text
        self._counts: Counter[str] = Counter()
        self._string_end = -1
        self._number = 1  # of the present string, 1 when it is no name

    def label(self, start: int, end: int, kind: str) -> str:
        """What stands for the range; ranges must come in their order."""
        if kind == _NUMBER:
            return '"[card]"'
        if start > self._text_end:
            found = self._raw.find("\0", start)
            self._text_end = found if found >= 0 else len(self._raw)
            self._numbers, self._counts = {}, Counter()
        if start > self._string_end:
            self._enter_string(start, end, kind)
        number, self._number = self._number, 1  # one number tells a name apart
        return f"[{kind}]" if number == 1 else f"[{kind} {number}]"

    def _enter_string(self, start: int, end: int, kind: str) -> None:
        rest = _REST_OF_STRING.match(self._raw, end)
        self._string_end = rest.end() if rest else self._text_end
        if self._raw[self._string_end : self._string_end + 1] == ":":
            name = (kind, self._raw[self._opening(start) : self._string_end])
            if name not in self._numbers:
                self._counts[kind] += 1
            self._number = self._numbers.setdefault(name, self._counts[kind])
        else:
            self._number = 1

    def _opening(self, at: int) -> int:
        """Where the string begins that the character is in."""
        while (at := self._raw.rfind('"', 0, at)) >= 0:
            before = self._raw[max(0, at - 64) : at]
            if (len(before) - len(before.rstrip("\\"))) % 2 == 0:
                break
        return max(at, 0)
