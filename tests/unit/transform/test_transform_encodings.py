# ruff: noqa: RUF001 - characters that look like others are what is tested
"""Personal data that is encoded, in any nesting, is found all the same; what only resembles it stays."""

from __future__ import annotations

import html
import json
import random
import re
import unicodedata
import urllib.parse
from collections.abc import Callable

import pytest
from examples import QUICK
from hypothesis import example, given
from hypothesis import strategies as st
from transform_samples import ACCESS, BROKER, EVENTS, MASKER, accepted, bronze, encoded, rejected, transform

from platform_assets.transform import Transformer

MAIL = "jane.doe@mail.example"
CARDS = ["4111111111111111", "5500000000000004", "378282246310005", "30569309025904", "6011111111111117"]
ADDRESSES = ["203.0.113.77", "2001:db8:85a3::8a2e:370:7334"]
MARKS = ("jane", "doe", "example", "0.113", "2001", "8a2e")


def _utf16(character: str) -> str:
    units = character.encode("utf-16-be").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


ENCODERS: dict[str, Callable[[str], str]] = {
    "percent": lambda c: "".join(f"%{byte:02X}" for byte in c.encode()),
    "decimal": lambda c: f"&#{ord(c)};",
    "padded": lambda c: f"&#{ord(c):05};",
    "hexadecimal": lambda c: f"&#x{ord(c):x};",
    "named": lambda c: {"@": "&commat;", ".": "&period;", "&": "&amp;", "%": "&percnt;", " ": "&nbsp;"}.get(c, c),
    "unicode": _utf16,
    "byte": lambda c: f"\\x{ord(c):02x}" if ord(c) < 256 else _utf16(c),
    "braced": lambda c: f"\\u{{{ord(c):x}}}",
    "octal": lambda c: f"\\{ord(c):03o}" if ord(c) < 256 else _utf16(c),
    "printable": lambda c: "".join(f"={byte:02X}" for byte in c.encode()),
    "wide": lambda c: f"%00%{ord(c):02X}" if ord(c) < 127 else c,
}
# Of whole texts: what follows such a reference may not be a digit.
BARE: list[Callable[[str], str]] = [
    lambda c: f"&#{ord(c)}" if ord(c) < 127 else f"&#{ord(c)};",
    lambda c: f"&#X{ord(c):X}" if ord(c) < 127 else f"&#{ord(c)};",
]
SILENT = ["\x1b[1;31m", "\x1b(B", "\x1b]0;title\x07", "\u034f", "\u200b", "\u3164", "\uffa0", "\U000e0041"]
SEPARATORS = ["", " ", "-", "+", ".", "/", "_", "  ", " - ", "\t", "\u00a0", "\u2009", "\u2011", "\u2013", "\u2212"]
SEPARATORS += ["\u200b", "%20", "%C2%A0", "%09", "&nbsp;", "&#32;", "=20", "\\u00a0", "%2520", "%2D", "\u3000"]
SEPARATORS += ["*", "#", "^", "\u2043", "\u2800", "\x1b[0m", "\\x1b[31m"]
DIGITS = [0x30, 0xFF10, 0x0660, 0x0966, 0x1D7CE]


def _encoding(seed: int) -> str:
    """An e-mail address, a card number or a network address in up to three layers of encodings."""
    rand = random.Random(seed)
    kind = rand.choice(["mail", "card", "address"])
    if kind == "card":
        text = _grouped(rand, rand.choice(CARDS))
    else:
        text = rand.choice([MAIL, MAIL.upper()]) if kind == "mail" else rand.choice(ADDRESSES)
        if rand.random() < 0.2:
            text = "".join(chr(ord(c) + 0xFEE0) if rand.random() < 0.5 else c for c in text)
    if kind != "card" and rand.random() < 0.2:
        silent = rand.choice(SILENT)
        text = "".join(c + silent if rand.random() < 0.3 else c for c in text)
    for _ in range(rand.randint(0, 3)):
        if rand.random() < 0.1:
            text = "".join(map(rand.choice(BARE), text))
            continue
        encode = ENCODERS[rand.choice(sorted(ENCODERS))]
        share = rand.choice([0.1, 0.5, 1.0])
        text = "".join(encode(c) if rand.random() < share or not c.isalnum() else c for c in text)
    return text


def _grouped(rand: random.Random, number: str) -> str:
    """The number in groups of four or as it is, with one separator or mixed ones, in one script's digits."""
    zero = rand.choice(DIGITS) if rand.random() < 0.3 else 0x30
    digits = "".join(chr(zero + int(digit)) for digit in number)
    size = rand.choice([1, 2, 4, 4, 4, 20])
    groups = [digits[i : i + size] for i in range(0, len(digits), size)]
    usual = rand.choice(SEPARATORS)
    mixed = rand.random() < 0.3
    return groups[0] + "".join((rand.choice(SEPARATORS) if mixed else usual) + group for group in groups[1:])


def _decoded(text: str) -> str:
    """Every layer undone, by other means than those that are tested."""
    for _ in range(12):
        text = html.unescape(urllib.parse.unquote(text))
        text = re.sub(r"\\+(?:[ux]\{([0-9a-f]+)\}|u([0-9a-f]{4})|x([0-9a-f]{2}))", _from_hex, text)
        text = re.sub(r"\\+([0-3][0-7]{2})", lambda m: chr(int(m[1], 8)), text)
        text = re.sub(r"=([0-9A-F]{2})", lambda m: chr(int(m[1], 16)), text)
    return text


def _from_hex(match: re.Match[str]) -> str:
    return chr(int(next(group for group in match.groups() if group), 16))


def _shows(text: str) -> bool:
    plain = "".join(c for c in _decoded(text) if c.isprintable())
    plain = "".join(str(int(c)) if c.isdecimal() else c for c in plain)
    plain = "".join(chr(ord(c) - 0xFEE0) if 0xFF01 <= ord(c) <= 0xFF5E else c for c in plain).lower()
    digits = re.sub(r"[^0-9a-z]", "", plain)
    return any(mark in plain for mark in MARKS) or any(card in digits for card in CARDS)


@pytest.fixture(scope="module")
def transformers() -> object:
    made = {table.name: Transformer(table, MASKER, threads=1) for table in (EVENTS, ACCESS, BROKER)}
    yield made
    for transformer in made.values():
        transformer.close()


@QUICK
# 42980: `q=30` in front of units that stand behind a letter of the unit before (`=3B=26`).
@example(secrets=[_encoding(42980)])
@given(secrets=st.lists(st.integers(0, 2**32).map(_encoding), min_size=20, max_size=30))
def test_no_encoding_of_personal_data_is_left(transformers: dict[str, Transformer], secrets: list[str]) -> None:
    texts = [f"to ({secret}), ok" for secret in secrets]
    events = [encoded(message=text, more=text, deep={text: [text, {"x": text}]}) for text in texts]
    refused = [encoded(status="bad", event_id="e", message=text) for text in texts]
    # A form sends blanks as plus signs, and what shows nothing by its bytes.
    blanks = [re.sub(r"[\s\u2000-\u200a\u3000\xa0]", "+", secret) for secret in secrets]
    urls = [re.sub(r"[\x00-\x1f\u200b]", lambda found: urllib.parse.quote(found[0]), url) for url in blanks]
    lines = [
        f'203.0.113.9 - - [15/Jan/2026:09:30:00 +0000] "GET /x?q={url}&y=1 HTTP/1.1" 200 5 "https://a/?r={url}" "-"'
        for url in urls
    ]
    for name, values in (("events", events), ("events", refused), ("access", [line.encode() for line in lines])):
        transformed = transformers[name].transform(bronze(values))
        assert transformed.accepted.num_rows + transformed.rejected.num_rows == len(values)
        assert "undecodable" not in transformed.rejected["reason"].to_pylist()
        columns = [c for c in ("message", "attributes", "path", "referrer") if c in transformed.accepted.column_names]
        for row in transformed.accepted.select(["_position", *columns]).to_pylist():
            for column in columns:
                assert not _shows(row[column] or ""), (secrets[row["_position"]], column, row[column])
        for row in transformed.rejected.to_pylist():
            assert not _shows(row["excerpt"]), (secrets[row["_position"]], row["excerpt"])


WRITTEN = [
    ("pay 4111+1111+1111+1111 now", "pay [card] now"),
    ("4111%201111%201111%201111", "[card]"),
    ("4111\u00a01111\u20111111 \u2013 1111", "[card]"),
    ("4111.1111/1111\t1111, ４１１１１１１１１１１１１１１１ ٤١١١ ١١١١ ١١١١ ١١١١", "[card], [card] [card]"),
    ("a=jane%2540example.com&b=1", "a=[email]&b=1"),
    ("jane&#64;example&#x2e;com, jane&commat;example&period;com", "[email], [email]"),
    (r"jane\u0040example.com jane\x40example.com jane\100example.com", "[email] [email] [email]"),
    ("jane=40example=2Ecom jane＠example．com", "[email] [email]"),
    ("%6A%61%6E%65%26%2364%3Bexample.com", "[email]"),
    ("q=10%2E1%2E2%2E3&r=2001%3Adb8%3A%3A1", "q=[ip]&r=[ip]"),
    ("１０．１．２．３ 10&#46;1&#46;2&#46;3 10.1.2\\x2e3", "[ip] [ip] [ip]"),
    ("4111 1111 1111 1111 12/27 123", "[card] 12/27 123"),
    ("&#52&#49&#49&#49&#32&#X31&#X31&#X31&#X31" + "&#49" * 8 + ", jane&#64example&#46com", "[card], [email]"),
    ("\x1b[31m4111\x1b[0m\x1b[32m1111\x1b[0m1111 1111\x1b[0m", "\x1b[31m[card]\x1b[0m"),
    ("\x1b[1mjane\x1b[0m@\x1b[4mexample.com\x1b[0m", "\x1b[1m[email]\x1b[0m"),
    ("\x1b(B\x1b[mjane\x1b7@exam\x1b8ple.com\x1b(B 41\x1b(B11 1111 \x1bM1111 1111", "\x1b(B\x1b[m[email]\x1b(B [card]"),
    ("10.\x1b]0;title\x071.2.3 \x1bPq\x1b\\ja\x9d8;;x\x9cne@example.com", "[ip] \x1bPq\x1b\\[email]"),
    (
        "\x1b]8;;http://10.1.2.3/4111111111111111\x1b\\a\x1b]0;jane@example.com\x07",
        "\x1b]8;;http://[ip]/[card]\x1b\\a\x1b]0;[email]\x07",
    ),
    ("\x1b[4111111111111111mx \x1b]0;no end, jane@example.com", "\x1b[[card]mx \x1b]0;no end, [email]"),
    ("10%E2%80%8B.1.2.3 10.1=C2=AD.2.3 10.1.2\u00ad.3 jane@exa%7Fmple.com", "[ip] [ip] [ip] [email]"),
    ("10\u03871\uff652\ufe123 jane@mail\uff61example 2001\U00010781db8::1", "[ip] [email] [ip]"),
    ("4111*1111*1111*1111, 4111\u034f1111\u31641111\ufffd1111", "[card], [card]"),
    ("jane@例え。example jane@उदाहरण.परीक्षा jane@exa\u0301mple.com", "[email] [email] [email]"),
    ("%00j%00a%00n%00e%00%40%00x%00.%00o%00r%00g", "%00[email]"),
    ("1０。1。2。3", "[ip]"),
    (
        "41111111111111115500000000000004378282246310005 4111 1111 1111 1111-5500000000000004",
        "[card][card][card] [card]-[card]",
    ),
    ("00004111111111111111 04111-1111-1111-1111 n000378282246310005", "0000[card] 0[card] n000[card]"),
    ("20 digits 52046976028326653182", "20 digits [card]3182"),
    ("2200 0000 0000 0004 9792030394440796 8171999927660000", "[card] [card] [card]"),
]


@pytest.mark.parametrize(("text", "clean"), WRITTEN)
def test_ways_of_writing(text: str, clean: str) -> None:
    row = accepted(encoded(message=text, more=text, deep={text: [text]}))
    assert row["message"] == clean
    assert json.loads(row["attributes"]) == {"more": clean, "deep": {clean: [clean]}}


@pytest.mark.parametrize("secret", ["jane@mail.example", "4111111111111111", "10.1.2.3", "2001:db8::1"])
def test_nothing_hides_behind_characters_that_show_nothing(secret: str) -> None:
    unassigned = "\u2065\ufff0\ufff8\U000e0000\U000e0fff"
    silent = [chr(c) for c in range(0x80, 0xE0200) if unicodedata.category(chr(c)) in ("Cf", "Mn", "Mc", "Me")]
    texts = [
        f"({secret[:4]}{one}{secret[4:]})" for one in [*silent, *unassigned, "\x7f", "\u115f\u1160", "\u3164", "\uffa0"]
    ]
    rows = transform([encoded(message=text) for text in texts]).accepted["message"].to_pylist()
    assert set(rows) <= {"([email])", "([card])", "([ip])"}, set(rows)


HIDDEN = [
    "\u200b",
    "\u00ad",
    "\x1b[31m",
    "\x1b(B",
    "\x1b]0;x\x07",
    "\x9b1m",
    "\u2060",
    "\x7f",
    "\u202e",
    "\u0301",
    "\U000e0041",
]


@pytest.mark.parametrize("hidden", [*HIDDEN, "=\r\n"], ids=ascii)
def test_nothing_hides_in_excerpts(hidden: str) -> None:
    within = re.compile(r"(?<=\w)(?=\w)")
    text = within.sub(lambda _: hidden, "jane@mail.example, 4111111111111111")
    whole = encoded(status="bad", user_id=None, message=text, event_id="e", trace_id="t")
    raw = whole.replace(b"\\u001b", b"\x1b").replace(b"\\r\\n", b"\r\n")[:-1]
    for value, table in ((f"Exception: {text}".encode(), BROKER), (whole, EVENTS), (whole[:-1], EVENTS), (raw, EVENTS)):
        row = rejected(value, table)
        assert "[email], [card]" in row["excerpt"], row["excerpt"]
        assert row["excerpt"].isprintable()


STAYS = [
    "2026-01-15T09:30:00.123456Z 2026-01-15 09:30:00,123 20260115093000123456 1795251570250123456 1795251570.250123",
    "550e8400-e29b-41d4-a716-446655440000 41111111-1111-4111-8111-111111111111 40000000-4716-4466-8554-400000000000",
    "4bf92f3577b34da6a3ce929d0e0e4736 00f067aa0ba902b7 a4111111111111111bcdef00",
    "order 4111111111111112, invoice 5500-0000-0000-0005, ref 6011 1111 1111 1118",
    "v4.18.0-553.16.1.el8_10.x86_64 5.14.0-362.18.1 libssl 3.0.13-1ubuntu3.4",
    "took 4321.123456789 ms of 0.4111111111111111, 5368709120 bytes, +49 30 1234567, 100% of 4000000000",
    "5204697602832665318 41111111111111111 4111111111111111123 0005204697602832665318 0.0004111111111111111",
    "a::b dead::beef() Face::Add::cafe ::a:b",
    "/a?limit=40&page=4111&x=%20%2F&y=a%3Db%26c#40 &amp; &lt;b&gt; a\\b C:\\temp\\new @Override @home a@b",
    "at 53.417368 59.680080, 44.223641/50.405241; 9792030394440 81719999276600 220000000000006",
    "user=40 id=4111 n=41 status=404 size=3d; x==y; a=b=c; 50%41 caf\u00e9 %C3%A9 %E4%BD%A0%E5%A5%BD",
]


@pytest.mark.parametrize("text", STAYS)
def test_what_only_resembles_personal_data_stays(text: str) -> None:
    row = accepted(encoded(message=text, more=text, deep={text: [text]}))
    assert row["message"] == text
    assert json.loads(row["attributes"]) == {"more": text, "deep": {text: [text]}}


def test_names_that_scrubbing_would_make_equal_are_told_apart() -> None:
    deep = {"a@x.org": 1, "b@x.org": 2, "4111111111111111": 3, "to c@x.org, d@x.org": {"a@x.org": 4}}
    row = accepted(encoded(deep=deep))
    assert json.loads(row["attributes"])["deep"] == {
        "[email]": 1,
        "[email 2]": 2,
        "[card]": 3,
        "to [email 3], [email]": {"[email]": 4},
    }


def test_an_excerpt_that_is_cut_shows_no_part_of_an_encoded_address() -> None:
    mail = "".join(f"%2526%2523{ord(c)}%253B" for c in "jane.doe@mail.example.com ")
    for shift in range(0, 400, 45):
        row = rejected(encoded(user_id="x" * (3_600 - shift), trace_id="t", message=mail * 9, status="bad"))
        assert not _shows(row["excerpt"]), row["excerpt"]


def test_a_long_hostile_text_takes_time_in_proportion() -> None:
    hostile = ["1:" * 8_000, "4 5 6 " * 5_000, "a@" * 8_000, "%25" * 8_000, "&#64;" * 6_000, "\\" * 8_000 + "x40"]
    hostile += ["a." * 8_000 + "@", "@" + "a." * 8_000, "=40" * 8_000, "4111 1111 1111 1111 " * 1_000]
    transformed = transform([encoded(message=text) for text in hostile])
    assert transformed.accepted.num_rows == len(hostile)
