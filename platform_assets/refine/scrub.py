"""Removing e-mail addresses, card numbers and network addresses from free text, in SQL.

Belongs here: the patterns and how they are applied to plain text and to JSON text. Does not belong here: which columns are
scrubbed (the contract says), masking of whole values (`masking.py`).

A card number is 13 digits or more in groups of four (or American Express's and Diners' groups) that begin as issuers' numbers
do: 2221-2720, 30x, 34-39, 4, 50-58, 6. Clock readings in milliseconds, microseconds or nanoseconds begin with 1 and
are left alone. There is no checksum test: a digit next to the number would defeat it, and too much removed is the lesser harm.
"""

from __future__ import annotations

from platform_assets.refine.sql import literal, matches, replace_all

EMAIL = r"[\p{L}\p{N}._%+'-]+(?:@|%40)(?:[\p{L}\p{N}-]+\.)+\p{L}{2,}"
_MAYBE_CARD = r"\d{4}[ -]?\d{4,6}[ -]?\d{4}"
_ISSUER_3 = r"3(?:0[0-5]|[4-9]\d)\d"
_ISSUER = rf"(?:4\d{{3}}|5[0-8]\d{{2}}|6\d{{3}}|2(?:22[1-9]|2[3-9]\d|[3-6]\d{{2}}|7[01]\d|720)|{_ISSUER_3})"
# A point is no separator: 4321.123456789 is a number like any other.
CARD = rf"(?:{_ISSUER}[ -]?\d{{4}}[ -]?\d{{4}}[ -]?\d+|{_ISSUER_3}[ -]?\d{{6}}[ -]?\d{{4,}})"
_IPV4 = r"\b\d{1,3}(?:\.\d{1,3}){3}\b"
_IPV6 = (
    r"(?i)(?:[0-9a-f]{1,4}:){4,7}[0-9a-f]{1,4}|\b(?:[0-9a-f]{1,4}:){1,7}:(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){0,6})?"
    r"|::[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){0,6}"
)
# A digit or a decimal point before the number makes it the middle of something else; "No.4111…" is not a decimal.
_BEFORE_CARD = r"(^|[^0-9.]|[^0-9]\.|^\.)"
# In JSON text an escape must not lose its backslash to a match that begins at its letter ("\njohn@…").
_ESCAPES = r"(?:\\u[0-9a-fA-F]{4}|\\.)"
_MARK = "chr(2)"  # cannot occur in JSON text, where control characters are escaped


def scrub_text(sql: str) -> str:
    """The text expression `sql` with e-mails as `[email]` and card numbers as `[card]`."""
    return f"CASE WHEN {_suspicious(sql)} THEN {scrub_text_always(sql)} ELSE {sql} END"


def scrub_text_always(sql: str) -> str:
    """`scrub_text` without the test that spares most texts the work."""
    return replace_all(replace_all(sql, EMAIL, "[email]"), f"{_BEFORE_CARD}{CARD}", r"\1[card]")


def scrub_addresses(sql: str) -> str:
    """The text expression `sql` with IPv4 and IPv6 addresses as `[ip]`."""
    return replace_all(replace_all(sql, _IPV4, "[ip]"), _IPV6, "[ip]")


def scrub_json(sql: str) -> str:
    """Minified JSON text with e-mails and card numbers removed from names, strings and numbers; still valid JSON."""
    # The alternation consumes whole strings, so that only a number outside them leaves a mark that follows no quote.
    tokens = rf'("(?:[^"\\]|\\.)*")|([:,\[])-?{CARD}(?:\.\d*)?(?:[eE][+-]?\d+)?'
    numbers = f"regexp_replace({sql}, {literal(tokens)}, '\\1\\2' || {_MARK}, 'g')"
    numbers = f"replace(replace({numbers}, '\"' || {_MARK}, '\"'), {_MARK}, '\"[card]\"')"
    mails = replace_all(numbers, rf"({_ESCAPES}*){EMAIL}", r"\1[email]")
    cards = replace_all(mails, rf"(^|[^0-9.\\]|[^0-9\\]\.|{_ESCAPES}+){CARD}", r"\1[card]")
    return f"CASE WHEN {_suspicious(sql)} THEN {cards} ELSE {sql} END"


def _suspicious(sql: str) -> str:
    return f"contains({sql}, '@') OR contains({sql}, '%40') OR {matches(sql, _MAYBE_CARD)}"
