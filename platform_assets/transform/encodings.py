r"""Texts as a reader would decode them, with the way back to what was written.

Belongs here: undoing encodings of single characters (percent, HTML and XML references, backslash escapes, quoted-printable),
folding characters that look alike, and the map from each decoded character to the characters that encode it. Does not belong
here: what is looked for in the decoded text (`personal.py`).

A `Copy` holds many texts at once, with NUL between them. Encodings may be nested: `copies` yields a copy for each layer, at most
`MAX_LAYERS`. Quoted-printable is ambiguous (`card=4111` begins with an encoded `A`), so it is undone in three readings.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import lru_cache
from html.entities import html5

import numpy as np
import numpy.typing as npt

from platform_assets.core.ansi import SEQUENCE

Reading = Callable[[re.Match[str], str], str | None]
"""The character that a match stands for; None if it is no encoding."""
Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint32]

MAX_LAYERS = 8
"""How many layers of encodings are undone."""
GONE = "\x7f"
"""Stands for a character without width; folding removes it."""

_H = "[0-9A-Fa-f]"
_NEXT = "[89ABab]"  # the first hexadecimal digit of a continuation byte
_UNIT = re.compile(
    rf"%[uU](?P<percent_code>{_H}{{4}})"
    rf"|(?P<percent>%[CDcd]{_H}%{_NEXT}{_H}|%[Ee]{_H}(?:%{_NEXT}{_H}){{2}}|%[Ff][0-7](?:%{_NEXT}{_H}){{3}}|%{_H}{{2}})"
    # Without a semicolon, what follows may be quoted-printable, unless this is a sign of ASCII already: no part of one's number
    # is the number of another.
    rf"|&#[xX]0{{0,8}}(?P<hexadecimal>[2-7]{_H}(?!{_H})|{_H}{{1,6}}(?![0-9A-Fa-f=]));?"
    r"|&#0{0,8}(?P<decimal>(?:3[2-9]|[4-9][0-9]|1[01][0-9]|12[0-6])(?![0-9])|[0-9]{1,7}(?![0-9=]));?"
    r"|&(?P<name>[A-Za-z][A-Za-z0-9]{1,30});"
    rf"|\\+[uU](?P<high>[dD][89ABab]{_H}{{2}})\\+[uU](?P<low>[dD][C-Fc-f]{_H}{{2}})"
    rf"|\\+[uUxX]\{{(?P<braced>{_H}{{1,6}})\}}"
    rf"|\\+U(?P<long>{_H}{{8}})|\\+[uU](?P<short>{_H}{{4}})|\\+[xX](?P<byte>{_H}{{2}})"
    r"|\\+(?P<octal>[0-3][0-7]{2})"
    r"""|\\+(?P<plain>[nrtbfv"'/@.:_+\-\[\](){}#;, ])"""
    rf"|(?P<sequence>{SEQUENCE})"
)
_JSON_ESCAPE = re.compile(
    rf"\\(?:u(?P<high>[dD][89ABab]{_H}{{2}})\\u(?P<low>[dD][C-Fc-f]{_H}{{2}})|u(?P<short>{_H}{{4}})"
    r"|(?P<plain>[nrtbf\"\\/]))"
)
_PRINTABLE = re.compile(
    rf"(?P<percent>=[CDcd]{_H}={_NEXT}{_H}|=[Ee]{_H}(?:={_NEXT}{_H}){{2}}|=[Ff][0-7](?:={_NEXT}{_H}){{3}}|={_H}{{2}})"
    r"|(?P<soft>=\r?\n)"
)
_CONTROL = {"n": "\n", "r": "\r", "t": " ", "b": " ", "f": " ", "v": " "}
_NONE: Ints = np.zeros(0, np.int64)
_ASCII = 0x80
_DOTS = "\u00b7\u2022\u2219\u22c5\u30fb\u3002"
_SLASHES = "\u2044\u2215\u29f8"
_COLONS = "\ua789\u2236\u02d0"
_DASHES = "\u2043\u2212"
_UNSEEN = re.compile("[\u115f\u1160\u2065\u3164\ufff0-\ufff8\ufffd\U000e0000-\U000e0fff]")
"""What shows nothing although its category does not say so, and what stands for bytes that are no character."""
_STEERING = "\0\r\n\x1b\x07\x90\x98\x9b\x9c\x9d\x9e\x9f"
"""Control characters that are not blanks alone: some end a text or a line, the others begin and end escape sequences."""


@dataclass(frozen=True, slots=True)
class Copy:
    """Text whose characters stand for raw ones: character i for `first[i]` up to (not with) `last[i]`."""

    text: str
    first: Ints
    last: Ints

    def raw(self, starts: Ints, ends: Ints) -> tuple[Ints, Ints]:
        """The raw ranges of ranges of this copy."""
        return self.first[starts], self.last[ends - 1]


def codes(text: str) -> Codes:
    """The code points of a text."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def plain_copy(text: str, *, json: bool) -> Copy:
    """The text itself, folded; of JSON text what its strings hold, so that no escape can be torn."""
    at = np.arange(len(text), dtype=np.int64)
    copy = Copy(text, at, at + 1)
    if json:
        copy, _, _ = _undone(copy, _JSON_ESCAPE, _character)
    return _folded(copy)


def copies(copy: Copy) -> Iterator[tuple[Copy, Ints, Ints]]:
    """Each layer of a text, from the copy itself on, and where the next layer's encoded characters begin and end in it."""
    copy = yield from _layers(copy)
    if _PRINTABLE.search(copy.text):
        for reading in (_punctuation_only, _character, _not_behind_letters):
            yield from _printable_layers(copy, reading)


def _layers(copy: Copy) -> Generator[tuple[Copy, Ints, Ints], None, Copy]:
    for _ in range(MAX_LAYERS):
        deeper, starts, ends = _undone(copy, _UNIT, _character)
        yield copy, starts, ends
        if len(starts) == 0:
            return copy
        copy = _folded(deeper)
    yield copy, _NONE, _NONE
    return copy


def _printable_layers(copy: Copy, reading: Reading) -> Iterator[tuple[Copy, Ints, Ints]]:
    for _ in range(MAX_LAYERS):
        copy, starts, _ = _undone(copy, _PRINTABLE, reading)
        if len(starts) == 0:
            return
        copy = yield from _layers(_folded(copy))


def _undone(copy: Copy, pattern: re.Pattern[str], reading: Reading) -> tuple[Copy, Ints, Ints]:
    """The copy with each match that has a reading as that one character, and where those matches begin and end."""
    begins: list[int] = []
    stops: list[int] = []

    def one(match: re.Match[str]) -> str:
        # What ends where this match begins was a character of its own already.
        joined = bool(stops) and stops[-1] == match.start()
        character = reading(match, "" if joined else match.string[match.start() - 1 : match.start()])
        if character is None:
            return match[0]
        begins.append(match.start())
        stops.append(match.end())
        return character

    text = pattern.sub(one, copy.text)
    starts, ends = np.array(begins, np.int64), np.array(stops, np.int64)
    if not begins:
        return copy, starts, ends
    # Of each match only the first character stays, and reaches to where the match ends.
    depth = np.zeros(len(copy.text) + 1, np.int8)
    depth[starts + 1] += 1
    depth[ends] -= 1
    kept = np.cumsum(depth[:-1], dtype=np.int8) == 0
    last = copy.last.copy()
    last[starts] = copy.last[ends - 1]
    return Copy(text, copy.first[kept], last[kept]), starts, ends


def _character(match: re.Match[str], _before: str = "") -> str | None:
    kind = match.lastgroup or ""
    value = match[kind]
    match kind:
        case "percent":
            return _from_bytes(bytes.fromhex(value.replace(value[0], "")))
        case "plain":
            return _CONTROL.get(value, value)
        case "name":
            known = html5.get(f"{value};") or html5.get(f"{value.lower()};") or ""
            return known if len(known) == 1 else None
        case "soft" | "sequence":
            return GONE
        case "low":
            return chr(0x10000 + ((int(match["high"], 16) & 0x3FF) << 10) + (int(value, 16) & 0x3FF))
        case "decimal":
            return _from_code(int(value))
        case "octal":
            return _from_code(int(value, 8))
        case _:
            return _from_code(int(value, 16))


def _from_code(code: int) -> str:
    if code == 0:  # half of a character of UTF-16
        return GONE
    return "\ufffd" if code > 0x10FFFF or 0xD800 <= code < 0xE000 else chr(code)


def _from_bytes(encoded: bytes) -> str:
    """One character of UTF-8, also one that takes more bytes than it should; of Windows-1252 where it is a single byte."""
    if len(encoded) == 1:
        return _from_code(encoded[0]) if encoded[0] < _ASCII else encoded.decode("cp1252", "replace")
    code = encoded[0] & (0x7F >> len(encoded))
    for byte in encoded[1:]:
        code = code << 6 | byte & 0x3F
    return _from_code(code)


def _punctuation_only(match: re.Match[str], _before: str) -> str | None:
    character = _character(match)
    return None if character is not None and character.isalnum() else character


def _not_behind_letters(match: re.Match[str], before: str) -> str | None:
    """`q=30` is a name and its value; the second of `=3B=26` is encoded like the first."""
    return None if before.isalpha() or before == "_" else _character(match)


def mapped(points: Codes, of: Callable[[int], int]) -> Codes:
    """A function of code points, applied to each."""
    plain = np.array([of(code) for code in range(_ASCII)], np.uint32)
    found = plain[np.minimum(points, _ASCII - 1)]
    others = np.flatnonzero(points >= _ASCII)
    if len(others):
        distinct, which = np.unique(points[others], return_inverse=True)
        found[others] = np.array([of(code) for code in distinct.tolist()], np.uint32)[which]
    return found


def _folded(copy: Copy) -> Copy:
    """Digits, letters and punctuation of any script or width as their ASCII likes, without characters that show nothing.

    A mark belongs to the character before it.
    """
    points = codes(copy.text)
    folded = mapped(points, _fold)
    shown = folded != ord(GONE)
    last = copy.last
    if not shown.all():
        last = last.copy()
        for at in np.flatnonzero(~shown)[::-1].tolist():
            if at and unicodedata.category(chr(points[at])) in ("Mn", "Mc"):
                last[at - 1] = last[at]
    return Copy(folded[shown].tobytes().decode("utf-32-le", "replace"), copy.first[shown], last[shown])


@lru_cache(maxsize=1 << 16)
def _fold(code: int) -> int:
    character = chr(code)
    if 0x20 <= code <= 0x7F or character in _STEERING:
        return code
    digit = unicodedata.digit(character, None)
    if digit is not None:
        return ord("0") + digit
    compatible = unicodedata.normalize("NFKC", character)
    category = unicodedata.category(character)
    character = compatible if len(compatible) == 1 else character
    if category in ("Cf", "Mn", "Mc", "Me") or _UNSEEN.match(character):
        return ord(GONE)
    if category in ("Zs", "Zl", "Zp", "Cc") or code == 0x2800:
        return ord(" ")
    if category == "Pd" or character in _DASHES:
        return ord("-")
    for likes, plain in ((_DOTS, "."), (_SLASHES, "/"), (_COLONS, ":")):
        if character in likes:
            return ord(plain)
    return ord(character) if " " < character < GONE else code
