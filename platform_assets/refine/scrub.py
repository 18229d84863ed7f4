"""Removing e-mail addresses, card numbers and network addresses from free text, in SQL.

Belongs here: the patterns and how they are applied to plain text, to JSON text and to excerpts. Does not belong here: which
columns are scrubbed, and of what (the contract says), masking of whole values (`masking.py`).

A card number is 13 digits or more in groups of four (or American Express's and Diners' groups) that begin as issuers' numbers
do: 2221-2720, 30x, 34-39, 4, 50-58, 6. Clock readings in milliseconds, microseconds or nanoseconds begin with 1 and
are left alone. There is no checksum test: a digit next to the number would defeat it, and too much removed is the lesser harm.

A network address is
- four decimal groups, also beside letters, so that a version of four groups goes too; not if the last three are 0, which is no
  host's address but what browsers give as their version (`Chrome/120.0.0.0`);
- eight hexadecimal groups, or `::` with groups on both sides or two on one (`Foo::Bar` is a name, `::1` is nobody's), the last
  one perhaps an IPv4 address; whole words only. Clock times and hardware addresses have fewer groups.
What stands behind it (port, zone, length of a prefix) stays. Addresses written in any other way are not seen: percent-encoded,
as one number, in hexadecimal, with something else between the groups (`ip-10-1-2-3`).
"""

from __future__ import annotations

from platform_assets.refine.sql import literal, matches, replace_all

EMAIL = r"[\p{L}\p{N}._%+'-]+(?:@|%40)(?:[\p{L}\p{N}-]+\.)+\p{L}{2,}"
_MAYBE_CARD = r"\d{4}[ -]?\d{4,6}[ -]?\d{4}"
_ISSUER_3 = r"3(?:0[0-5]|[4-9]\d)\d"
_ISSUER = rf"(?:4\d{{3}}|5[0-8]\d{{2}}|6\d{{3}}|2(?:22[1-9]|2[3-9]\d|[3-6]\d{{2}}|7[01]\d|720)|{_ISSUER_3})"
# A point is no separator: 4321.123456789 is a number like any other.
CARD = rf"(?:{_ISSUER}[ -]?\d{{4}}[ -]?\d{{4}}[ -]?\d+|{_ISSUER_3}[ -]?\d{{6}}[ -]?\d{{4,}})"
# A digit or a decimal point before the number makes it the middle of something else; "No.4111…" is not a decimal.
_BEFORE_CARD = r"(^|[^0-9.]|[^0-9]\.|^\.)"

_GROUP = r"[0-9A-Fa-f]{1,4}"
MAYBE_ADDRESS = rf"\d\.\d{{1,3}}\.\d{{1,3}}\.\d|[0-9A-Fa-f]::[0-9A-Fa-f]|:{_GROUP}::|::{_GROUP}:|(?:{_GROUP}:){{6}}"
_NOUGHT, _SOME = r"0{1,3}", r"0{0,2}[1-9]\d{0,2}"
_IPV4 = rf"\d{{1,3}}\.(?:{_SOME}\.\d{{1,3}}\.\d+|{_NOUGHT}\.(?:{_SOME}\.\d+|{_NOUGHT}\.0*[1-9]\d*))"
_IPV4_TAIL = r"(?:\.\d{1,3}){2}\.\d+"
_ENDS = rf"\b(?:{_IPV4_TAIL})?"
_FULL = rf"(?:{_GROUP}:){{6}}(?:(?:{_GROUP}:)+{_GROUP}\b|\d{{1,3}}{_IPV4_TAIL})"
_BOTH_SIDES = rf"{_GROUP}(?::{_GROUP})*::{_GROUP}(?::{_GROUP})*{_ENDS}"
_BEFORE = rf"{_GROUP}(?::{_GROUP})+::\B"
_BEHIND = rf"::{_GROUP}(?::{_GROUP})+{_ENDS}"
# A space in a URL, a control character or a line break in a text that was escaped once more (with a mark: see `_marked`).
_ENCODED = r"(?:%[0-9A-Fa-f]{2}|\\\x02?(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|[nrt]))"
# Groups 1 to 3 are what stands before it. IPv6 first: it may end in an IPv4 address.
ADDRESS = (
    rf"(\b|_|{_ENCODED})(?:{_FULL}|{_BOTH_SIDES}|{_BEFORE})|(\B|_|{_ENCODED}){_BEHIND}|(\b|[A-Za-z_]|{_ENCODED}){_IPV4}"
)
ADDRESS_GONE = r"\1\2\3[ip]"
# What only resembles an address goes from excerpts too: hardware addresses, parts of words.
_LIKE_IPV6 = (
    r"(?i)(?:[0-9a-f]{1,4}:){4,7}[0-9a-f]{1,4}|\b(?:[0-9a-f]{1,4}:){1,7}:(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){0,6})?"
    r"|::[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){0,6}"
)

_MARK = "chr(2)"  # cannot occur in JSON text, where control characters are escaped, nor in an excerpt, which has none
_ESCAPE = r'\\(?:u[0-9A-Fa-f]{4}|["\\/bfnrt])'


def scrub_text(sql: str, *, addresses: bool) -> str:
    """The text expression `sql` with e-mails as `[email]`, card numbers as `[card]`, if asked network addresses as `[ip]`."""
    clean = f"CASE WHEN {_suspicious(sql)} THEN {_scrubbed(sql)} ELSE {sql} END"
    if addresses:
        clean = f"CASE WHEN {_suspicious(sql, MAYBE_ADDRESS)} THEN {_without_addresses(clean)} ELSE {sql} END"
    return clean


def scrub_json(sql: str, *, addresses: bool) -> str:
    """Minified JSON text with the same removed from names, strings and numbers; still valid JSON."""
    clean = _scrubbed(_marked(_without_card_numbers(sql)))
    if addresses:
        clean = _without_addresses(clean)
    return f"CASE WHEN {_suspicious(sql, MAYBE_ADDRESS if addresses else '')} THEN {_unmarked(clean)} ELSE {sql} END"


def scrub_excerpt(sql: str, *, json: bool) -> str:
    """The printable text expression `sql` with all of them removed, and what resembles an address; JSON perhaps torn."""
    clean = replace_all(_without_addresses(_scrubbed(_marked(sql) if json else sql)), _LIKE_IPV6, "[ip]")
    return _unmarked(clean) if json else clean


def _suspicious(sql: str, more: str = "") -> str:
    """True where a closer look is worth its while; `more` is a further pattern that calls for one."""
    pattern = f"{_MAYBE_CARD}|{more}" if more else _MAYBE_CARD
    return f"contains({sql}, '@') OR contains({sql}, '%40') OR {matches(sql, pattern)}"


def _scrubbed(sql: str) -> str:
    """Without e-mails and card numbers."""
    return replace_all(replace_all(sql, EMAIL, "[email]"), f"{_BEFORE_CARD}{CARD}", r"\1[card]")


def _without_addresses(sql: str) -> str:
    return replace_all(sql, ADDRESS, ADDRESS_GONE)


def _without_card_numbers(sql: str) -> str:
    """Minified JSON text whose numbers outside strings that look like cards' are the string `[card]`."""
    # The alternation consumes whole strings, so that only a number outside them leaves a mark that follows no quote.
    tokens = rf'("(?:[^"\\]|\\.)*")|([:,\[])-?{CARD}(?:\.\d*)?(?:[eE][+-]?\d+)?'
    numbers = f"regexp_replace({sql}, {literal(tokens)}, '\\1\\2' || {_MARK}, 'g')"
    return f"replace(replace({numbers}, '\"' || {_MARK}, '\"'), {_MARK}, '\"[card]\"')"


def _marked(sql: str) -> str:
    """With a mark behind each of JSON's escapes: none can lose its backslash, or be the start of what stands behind it."""
    return f"regexp_replace({sql}, {literal(_ESCAPE)}, '\\0' || {_MARK}, 'g')"


def _unmarked(sql: str) -> str:
    return f"replace({sql}, {_MARK}, '')"
