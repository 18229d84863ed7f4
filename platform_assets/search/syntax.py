"""The query language for people: from text to clauses.

    level:ERROR,FATAL status:>=500 "payment failed" -service:users latency_ms:100..250 host:web-* attributes.region:eu trace_id:*

Belongs here: the grammar. Does not belong here: fields and OpenSearch (`query.py`).

A clause is a word, a "quoted phrase" or `field:value`; all must hold; a leading `-` (or NOT) negates. Values: `a,b` either;
`>1 >=1 <1 <=1` and `1..5` ranges; `web-*` a prefix; `*` present at all; quotes take everything literally.
The full Lucene grammar was weighed and left out: luqum parses it, but rests on PLY, which is no longer released, and most of
what it accepts (regular expressions, fuzziness, boosts, leading wildcards) is what a shared index must refuse.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from platform_assets.search.errors import QueryError

MAX_LENGTH = 4096
MAX_CLAUSES = 64
MAX_VALUES = 100
MAX_VALUES_IN_ALL = 500
"""Of all clauses of a question; the index takes 1024 clauses of its own, and a word is one in each field."""

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_TOKEN = re.compile(rf'-?(?:[A-Za-z_][\w.]*:)?(?:{_QUOTED}|[^\s"])+')
_HEAD = re.compile(r"(-?)(?:([A-Za-z_][\w.]*):)?(.*)", re.DOTALL)
_VALUE = re.compile(rf'(?:{_QUOTED}|[^,"])+')
_COMPARISONS = {">=": "gte", "<=": "lte", ">": "gt", "<": "lt"}


@dataclass(frozen=True, slots=True)
class Value:
    """One value as written; `quoted` ones are literal."""

    text: str
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Clause:
    """What must hold, or must not. `field` None: anywhere in the texts and keywords.

    Exactly one of `values` (any of them), `bounds` (gt, gte, lt, lte -> value) and `present` says what.
    """

    field: str | None
    values: tuple[Value, ...] = ()
    bounds: tuple[tuple[str, str], ...] = ()
    present: bool = False
    negated: bool = False


def parse(text: str) -> list[Clause]:
    """The clauses of a query; an empty one has none. Raises QueryError and says where."""
    if len(text) > MAX_LENGTH:
        raise QueryError(f"the query is longer than {MAX_LENGTH} characters")
    tokens = _tokens(text)
    clauses: list[Clause] = []
    negate_next = False
    for token in tokens:
        if token == "OR":  # noqa: S105
            raise QueryError("OR is not part of the language", "either of two values of one field is field:a,b")
        if token == "AND":  # noqa: S105
            continue
        if token == "NOT":  # noqa: S105
            negate_next = True
            continue
        clauses.append(_clause(token, negate_next))
        negate_next = False
    if negate_next:
        raise QueryError("NOT has nothing behind it")
    if len(clauses) > MAX_CLAUSES:
        raise QueryError(f"the query has {len(clauses)} parts, {MAX_CLAUSES} are allowed")
    return clauses


def _tokens(text: str) -> list[str]:
    tokens, at = [], 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        match = _TOKEN.match(text, at)
        if match is None or (match.end() < len(text) and not text[match.end()].isspace()):
            raise QueryError(f"a quotation mark is not closed: {text[at : at + 40]}")
        tokens.append(match.group())
        at = match.end()
    return tokens


def _clause(token: str, negated: bool) -> Clause:
    match = _HEAD.fullmatch(token)
    assert match is not None  # noqa: S101 - the pattern takes everything
    minus, field, rest = match.groups()
    negated = negated != bool(minus)
    if rest in ("", ","):
        raise QueryError(f"nothing is looked for in {token!r}", "write field:value")
    if field is None:
        return Clause(None, (_value(rest),), negated=negated)
    if rest == "*":
        return Clause(field, present=True, negated=negated)
    for sign, bound in _COMPARISONS.items():
        if rest.startswith(sign):
            return Clause(field, bounds=((bound, _bound(rest[len(sign) :], token)),), negated=negated)
    low, dots, high = rest.partition("..")
    if dots and not rest.startswith('"'):
        if not low and not high:
            raise QueryError(f"a range needs an end: {token}")
        ends = [(name, end) for name, end in (("gte", low), ("lte", high)) if end]
        return Clause(field, bounds=tuple((name, _bound(end, token)) for name, end in ends), negated=negated)
    values = tuple(_value(part) for part in _VALUE.findall(rest))
    if not values or len(values) > MAX_VALUES:
        raise QueryError(f"{field} has {len(values)} values, 1 to {MAX_VALUES} are allowed")
    return Clause(field, values, negated=negated)


def _value(text: str) -> Value:
    if re.fullmatch(_QUOTED, text):
        inner = re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
        if not inner.strip():
            raise QueryError("a quoted value is empty")
        return Value(inner, quoted=True)
    if '"' in text:
        raise QueryError(f"quotation marks must enclose the whole value: {text}")
    return Value(text)


def _bound(text: str, token: str) -> str:
    value = _value(text) if text else None
    if value is None:
        raise QueryError(f"nothing to compare with in {token!r}")
    return value.text
