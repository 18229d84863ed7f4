"""The query language for people: from text to clauses.

    level:(ERROR FATAL) status:>=500 "payment failed" -service:users (host:web-* OR host:*-1) attributes."x request id":7

Belongs here: what a query's text means, and where a mistake in it is. Does not belong here: the tokens and rules
(`grammar.lark`), fields and OpenSearch (`clauses.py`). `docs/search.md` has the whole language in a table.

Lark (MIT, no dependencies of its own) reads the grammar. The LALR parser needs no recursion, so no text can exhaust the stack.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field as attribute
from functools import cache
from threading import Lock
from typing import Any

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from platform_assets.index.errors import QueryError

MAX_LENGTH = 4096
MAX_CLAUSES = 64
MAX_VALUES = 100
MAX_VALUES_IN_ALL = 500
"""Of all clauses of a question; the index takes 1024 clauses of its own, and a word is one in each field."""
MAX_DEPTH = 8
"""Parentheses within parentheses; OpenSearch takes 20 queries within queries, and a pair is up to two of them."""

_COMPARISONS = {">=": "gte", "<=": "lte", ">": "gt", "<": "lt"}
_MARKS = re.compile(r'\\.|"(?:[^"\\]|\\.)*"|["()]', re.DOTALL)
_STRING = r'"(?:[^"\\]|\\.)*"'
_SEGMENT = re.compile(rf'({_STRING})(?=\.|$)|((?:[^."\\]|\\.)*)(?=\.|$)', re.DOTALL)
_TUNED = re.compile(r"(?<!\\)(~[\d.]*|\^[\d.]+)$")
_WILD = re.compile(r"(?:[^\\*?]|\\.)*[*?]", re.DOTALL)
_ESCAPED = re.compile(r"\\(\W)")
_BEFORE_STRING = frozenset(" \t\r\n\f\v(:,.+-!<>=|&")
_BEHIND_STRING = frozenset(" \t\r\n\f\v):,.|&")


@dataclass(frozen=True, slots=True)
class Value:
    """One value. A `wild` one is a pattern: `*` any characters, `?` any one, a backslash takes the next one literally."""

    text: str
    quoted: bool = False
    wild: bool = False
    at: int | None = attribute(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Clause:
    """What must hold of a field. `field` None: anywhere in the texts and keywords.

    Exactly one of `values` (any of them), `bounds` (gt, gte, lt, lte -> value) and `present` says what. `at` is its place in the
    text.
    """

    field: str | None
    values: tuple[Value, ...] = ()
    bounds: tuple[tuple[str, str], ...] = ()
    present: bool = False
    at: int | None = attribute(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Not:
    """What must not hold."""

    of: Node


@dataclass(frozen=True, slots=True)
class All:
    """All of it must hold."""

    of: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """Some of it must hold."""

    of: tuple[Node, ...]


Node = Clause | Not | All | Either


def parse(text: str) -> list[Node]:
    """What must hold, all of it; nothing of an empty query. Raises QueryError and says where."""
    if len(text) > MAX_LENGTH:
        raise QueryError(f"the query is longer than {MAX_LENGTH} characters")
    _check_marks(text)
    try:
        # Threads whose first query comes at the same moment must not build the parser side by side: lark's own
        # reader of grammars is shared by all of them.
        with _building:
            parser = _parser()
        found: Any = parser.parse(text)
    except UnexpectedInput as error:
        raise _mistake(error, text) from None
    nodes: list[Node] = list(found.of) if isinstance(found, All) else [found] if found is not None else []
    clauses = [one for node in nodes for one in leaves(node)]
    if len(clauses) > MAX_CLAUSES:
        raise QueryError(
            f"the query has {len(clauses)} parts, {MAX_CLAUSES} are allowed", position=clauses[MAX_CLAUSES].at
        )
    return nodes


def leaves(node: Node) -> Iterator[Clause]:
    """All clauses of it, in the order of the text."""
    match node:
        case Clause():
            yield node
        case Not():
            yield from leaves(node.of)
        case All() | Either():
            for one in node.of:
                yield from leaves(one)


def _check_marks(text: str) -> None:
    """Raises QueryError where a quotation mark or a parenthesis has no partner, or is too deep."""
    opened: list[int] = []
    for match in _MARKS.finditer(text):
        at, mark = match.start(), match.group()
        if mark == '"':
            raise QueryError(
                f"a quotation mark is not closed: {text[at : at + 40]}", 'write \\" for the mark itself', position=at
            )
        if mark == "(":
            opened.append(at)
            if len(opened) > MAX_DEPTH:
                raise QueryError(f"parentheses are more than {MAX_DEPTH} deep", "ask it more simply", position=at)
        elif mark == ")":
            if not opened:
                raise QueryError("this parenthesis closes none", "quote words that hold one", position=at)
            opened.pop()
        elif mark[0] == '"':
            _check_string(text, at, match.end())
    if opened:
        raise QueryError("this parenthesis is not closed", "quote words that hold one", position=opened[-1])


def _check_string(text: str, at: int, end: int) -> None:
    """Raises QueryError for a string that is only part of a word."""
    before, behind = text[at - 1 : at], text[end : end + 1]
    if behind and behind in "~^":
        raise _tuned(text[end:].split(maxsplit=1)[0], end)
    if (before and before not in _BEFORE_STRING) or (behind and behind not in _BEHIND_STRING):
        raise QueryError(
            f"quotation marks must enclose the whole value: {text[at : end + 20]}",
            'put all of it into one pair, with \\" for a mark within',
            position=at,
        )


def _tuned(sign: str, at: int) -> QueryError:
    kind = "fuzzy search (~)" if sign.startswith("~") else "weight (^)"
    return QueryError(f"there is no {kind}", "write word* for words that begin so, or quote what is meant", position=at)


class _Building(Transformer[Token, Any]):
    """From Lark's rules to nodes, from the leaves up. Within a field's parentheses its name comes last: it is None till then."""

    def start(self, found: list[Any]) -> Node | None:
        return found[0] if found else None

    def either(self, found: list[Any]) -> Node:
        return found[0] if len(found) == 1 else Either(tuple(_flat(Either, found)))

    def every(self, found: list[Any]) -> Node:
        return found[0] if len(found) == 1 else All(tuple(_flat(All, found)))

    def negated(self, found: list[Any]) -> Node:
        [node] = found
        return node.of if isinstance(node, Not) else Not(node)

    def word(self, found: list[Token]) -> Clause:
        value = _value(found[0])
        if value.quoted and not value.text.strip():
            raise QueryError("a quoted value is empty", position=value.at)
        return Clause(None, present=True, at=value.at) if _is_star(value) else Clause(None, (value,), at=value.at)

    def clause(self, found: list[Any]) -> Node:
        name, node = found
        return _of_field(_path(name), node, name.start_pos)

    def values(self, found: list[Token]) -> Clause:
        values = tuple(_value(one) for one in found)
        if len(values) == 1 and _is_star(values[0]):
            return Clause(None, present=True)
        return Clause(None, values)

    def compared(self, found: list[Token]) -> Clause:
        sign, operand = found
        return Clause(None, bounds=((_COMPARISONS[sign], _bound(operand)),))

    def range(self, found: list[Token]) -> Clause:
        dots = next(at for at, one in enumerate(found) if one.type in ("DOTS", "OPEN_END"))
        ends = (("gte", found[:dots]), ("lte", found[dots + 1 :]))
        return Clause(None, bounds=tuple((name, _bound(some[0])) for name, some in ends if some))

    def refused(self, found: list[Token]) -> Node:
        [token] = found
        if token.type == "REGEX":
            raise QueryError(
                "there are no regular expressions", "write * and ? in a word, or quote it", position=token.start_pos
            )
        raise QueryError("a range has no brackets", "write field:1..5, field:>=1 or field:<5", position=token.start_pos)


def _flat(kind: type[All | Either], found: list[Node]) -> Iterator[Node]:
    """The parts of a node of that kind, those of parts of the same kind among them."""
    for one in found:
        if isinstance(one, All | Either) and isinstance(one, kind):
            yield from one.of
        else:
            yield one


def _of_field(name: str, node: Node, at: int | None) -> Node:
    """The same of a field. A list of values is one clause."""
    match node:
        case Clause():
            return _enough(Clause(name, node.values, node.bounds, node.present, at))
        case Not():
            return Not(_of_field(name, node.of, at))
        case All():
            return All(tuple(_of_field(name, one, at) for one in node.of))
        case Either():
            values = tuple(value for one in node.of if isinstance(one, Clause) for value in one.values)
            others = [one for one in node.of if not (isinstance(one, Clause) and one.values)]
            together = [_enough(Clause(name, values, at=at))] if values else []
            found = (*together, *(_of_field(name, one, at) for one in others))
            return found[0] if len(found) == 1 else Either(found)


def _enough(clause: Clause) -> Clause:
    if len(clause.values) > MAX_VALUES:
        raise QueryError(
            f"{clause.field} has {len(clause.values)} values, 1 to {MAX_VALUES} are allowed", position=clause.at
        )
    return clause


def _path(token: Token) -> str:
    """A field's name without its quotation marks and escapes. Raises QueryError for one with wildcards."""
    written = str(token)[:-1]
    if _tuned_at(written) is not None:
        raise _tuned(written, token.start_pos or 0)
    segments, at = [], 0
    while True:
        match = _SEGMENT.match(written, at)
        if match is None:
            raise QueryError(
                f"quotation marks must enclose a whole name: {written}",
                'write attributes."a name":value or "attributes.a name":value',
                position=token.start_pos,
            )
        quoted, plain = match.groups()
        if quoted is None and _WILD.match(plain):
            raise QueryError("a field's name has no wildcards", "quote a name that has stars", position=token.start_pos)
        segments.append(_unquoted(quoted) if quoted is not None else _ESCAPED.sub(r"\1", plain))
        if match.end() == len(written):
            return ".".join(segments)
        at = match.end() + 1


def _value(token: Token) -> Value:
    text, at = str(token), token.start_pos
    if text.startswith('"'):
        return Value(_unquoted(text), quoted=True, at=at)
    tuned = _tuned_at(text)
    if tuned is not None:
        raise _tuned(text[tuned:], (at or 0) + tuned)
    if token.type == "VALUE" and text in ("AND", "OR", "NOT"):
        raise QueryError(f"{text} is an operator", f'write "{text}" for the value', position=at)
    if token.type == "VALUE" and text.startswith(("=", "!=")):
        raise QueryError(
            "equality has no sign", "write field:value, and -field:value for what must not hold", position=at
        )
    if _WILD.match(text):
        return Value(text, wild=True, at=at)
    return Value(_ESCAPED.sub(r"\1", text), at=at)


def _tuned_at(text: str) -> int | None:
    """Where a fuzzy sign or a weight begins that ends the text."""
    match = _TUNED.search(text)
    return match.start() if match and match.start() else None


def _unquoted(text: str) -> str:
    """Between quotation marks a backslash means itself, but before a mark or another one."""
    return re.sub(r'\\(["\\])', r"\1", text[1:-1])


def _bound(token: Token) -> str:
    value = _value(token)
    if not value.text.strip():
        raise QueryError("nothing to compare with", position=value.at)
    if value.wild:
        raise QueryError("the end of a range has no wildcards", position=value.at)
    return value.text


def _is_star(value: Value) -> bool:
    return value.wild and set(value.text) == {"*"}


_building = Lock()


@cache
def _parser() -> Lark:
    return Lark.open("grammar.lark", rel_to=__file__, parser="lalr", transformer=_Building(), maybe_placeholders=False)


_NOTHING = {
    "_AND": "AND has nothing behind it",
    "_OR": "OR has nothing behind it",
    "_NOT": "NOT has nothing behind it",
    "_NOT_IN": "NOT has nothing behind it",
    "COMPARISON": "nothing to compare with",
    "_COMMA": "the list has an empty place",
    "DOTS": "a range needs an end",
}


def _before(error: UnexpectedInput, ended: bool) -> Token | None:
    """The token before what was not understood."""
    if ended and isinstance(error, UnexpectedToken) and error.interactive_parser is not None:
        state = error.interactive_parser.lexer_thread.state
        return state.last_token if state is not None else None
    history = error.token_history if isinstance(error, UnexpectedToken | UnexpectedCharacters) else None
    return history[-1] if history else None


def _mistake(error: UnexpectedInput, text: str) -> QueryError:
    """What Lark says of a text, for people."""
    token = error.token if isinstance(error, UnexpectedToken) else None
    ended = token is not None and token.type == "$END"
    at = len(text.rstrip()) if ended else error.pos_in_stream or 0
    before = _before(error, ended)
    if text[at : at + 2] == "..":
        return QueryError(_NOTHING["DOTS"], "write 1..5, 1.. or ..5", position=at)
    if before is not None and before.type == "FIELD":
        return QueryError(f"nothing is looked for in {str(before)!r}", "write field:value", position=before.start_pos)
    if before is not None and before.type in _NOTHING:
        return QueryError(_NOTHING[before.type], "quote it if it is a word", position=before.start_pos)
    operator = re.match(r"AND|OR|&&|\|\|", text[at:])
    if operator:
        return QueryError(f"{operator[0]} has nothing before it", "quote it if it is a word", position=at)
    if text[at : at + 1] == ")":
        return QueryError("there is nothing in these parentheses", "quote words that hold one", position=at)
    if text[at : at + 1] == "\\":
        return QueryError(
            "a backslash stands before a special character only", "quote a word that holds one", position=at
        )
    if text[at : at + 1] in ("-", "+", "!"):
        return QueryError(
            f"nothing is looked for behind {text[at]!r}", "write it without a blank, or quote it", position=at
        )
    return QueryError(
        f"not understood: {text[at : at + 40]!r}", "quote words that hold special characters", position=at
    )
