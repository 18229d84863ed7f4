r"""Where a text holds e-mail addresses, card numbers and network addresses, whatever way they are written.

Belongs here: what such a thing looks like once it is decoded, and the replacement in many texts at once. Does not belong here:
undoing encodings (`encodings.py`), card numbers (`cards.py`), which texts are looked at and for what (`scrub.py`).

A network address is
- four decimal groups, also beside letters, so that a version of four groups goes too; not if the last three are 0, which is no
  host's address but what browsers give as their version (`Chrome/120.0.0.0`);
- eight hexadecimal groups, or `::` with groups on both sides or two on one (`::1` is nobody's), the last one perhaps an IPv4
  address; whole words only. Clock times and hardware addresses have fewer groups; what has no digit is a name (`dead::beef`)
  unless it stands in brackets, as the host of a URL does.
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

import numpy as np

from platform_assets.transform.cards import card_numbers
from platform_assets.transform.encodings import Codes, Ints, codes, copies, mapped, plain_copy

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
_ANY_DIGIT = re.compile("[0-9]")

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
    yield "card", *_pairs(card_numbers(text, points))
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
        start, end = match.start() + len(match[match.lastindex or 0] or ""), match.end()
        in_brackets = text[start - 1 : start] == "[" and text[end : end + 1] == "]"
        if "::" in match[0] and not in_brackets and not _ANY_DIGIT.search(match[0]):
            continue
        found.append((start, end))
    return _pairs(found)


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
            if card_numbers(text, codes(text)):
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
