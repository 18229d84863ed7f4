"""What a question asks of OpenSearch.

Belongs here: clauses to OpenSearch's queries, built from the contract's fields and from parsed values and nothing else. No text
of a person ever reaches a query parser of OpenSearch. Does not belong here: the language (`syntax.py`), words and wildcards
(`words.py`), pages (`query.py`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from platform_assets.contracts.model import Field, IndexType, Mask, Table
from platform_assets.index.decimals import decimal_key, decimal_range, key_path
from platform_assets.index.errors import QueryError
from platform_assets.index.mappings import EARLIEST, KEYWORD_LIMIT, LATEST, SYSTEM, flat
from platform_assets.index.syntax import MAX_VALUES_IN_ALL, All, Clause, Either, Node, Not, Value, leaves, parse
from platform_assets.index.times import DAY, iso, parse_time
from platform_assets.index.words import in_keyword, in_text, sayable

MAX_PATTERNS = 16
"""Values with wildcards in a question. Each reads all terms that begin as it does: with a leading one, all of the field."""

Masker = Callable[[str], Sequence[str]]
"""A clear value to its masked forms, one a key: somebody who holds the keys may search for clear values."""

LONG = (-(2**63), 2**63 - 1)
_SYSTEM_FIELDS = {
    "shard": IndexType.LONG,
    "position": IndexType.LONG,
    "seq": IndexType.LONG,
    "history": IndexType.BOOLEAN,
}
"""Of a document's system object; people ask for them by the names that they know (`Table.shown`)."""
_COMPARED = re.compile(r"([^\W\d]\w*)[<>]")


def to_query(
    table: Table,
    text: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    mask: Masker | None = None,
    more: Sequence[Clause] = (),
) -> dict[str, Any]:
    """The OpenSearch query for a person's text, `more` clauses and a time range. Raises QueryError."""
    nodes: list[Node] = [*parse(text), *more]
    given = [value for node in nodes for clause in leaves(node) for value in clause.values]
    if len(given) > MAX_VALUES_IN_ALL:
        raise QueryError(f"the question has {len(given)} values, {MAX_VALUES_IN_ALL} are allowed", "ask it in parts")
    wild = [value for value in given if value.wild]
    if len(wild) > MAX_PATTERNS:
        raise QueryError(
            f"the question has {len(wild)} values with wildcards, {MAX_PATTERNS} are allowed",
            "ask it in parts",
            position=wild[MAX_PATTERNS].at,
        )
    building = _Building(table, mask)
    must = [building.node(one) for one in nodes if not isinstance(one, Not)]
    must_not = [building.node(one.of) for one in nodes if isinstance(one, Not)]
    bounds = {name: iso(time) for name, time in (("gte", since), ("lt", until)) if time is not None}
    if bounds:
        must.append({"range": {table.event_time: bounds}})
    return {"bool": {"filter": must, "must_not": must_not}}


@dataclass(frozen=True, slots=True)
class _Building:
    """From nodes to queries of one table."""

    table: Table
    mask: Masker | None

    def node(self, node: Node) -> dict[str, Any]:
        match node:
            case Not():
                return {"bool": {"must_not": [self.node(node.of)]}}
            case All():
                return {"bool": {"filter": [self.node(one) for one in node.of]}}
            case Either():
                return _any([self.node(one) for one in node.of])
            case Clause():
                return self._placed(node)

    def _placed(self, clause: Clause) -> dict[str, Any]:
        try:
            return self._anywhere(clause) if clause.field is None else self._in_field(clause.field, clause)
        except QueryError as error:
            if error.position is None:
                error.position = clause.at
            raise

    def _in_field(self, name: str, clause: Clause) -> dict[str, Any]:
        if self.table.attributes and name.startswith(f"{self.table.attributes}."):
            return self._in_attributes(name, clause)
        kind, path, field = _field(self.table, name)
        if clause.present:
            return {"exists": {"field": path}}
        if clause.bounds:
            if field is not None and kind is IndexType.DECIMAL:
                return {"range": {path: decimal_range(name, clause.bounds, field.scale)}}
            if kind not in (IndexType.LONG, IndexType.DOUBLE, IndexType.DATE):
                raise QueryError(
                    f"{name} is neither number nor time: it has no range",
                    "quote a value that begins with < or >, or holds ..",
                )
            return {"range": {path: _range(name, kind, clause.bounds)}}
        return _any([self._equal(name, kind, path, value, field) for value in clause.values])

    def _equal(self, name: str, kind: IndexType | None, path: str, value: Value, field: Field | None) -> dict[str, Any]:
        match kind:
            case IndexType.TEXT:
                return in_text(path, value)
            case IndexType.KEYWORD if value.wild:
                return in_keyword(path, value)
            case _ if value.wild:
                raise QueryError(f"{name} is neither text nor keyword: it has no wildcards", position=value.at)
            case None:
                return {"ids": {"values": [value.text]}}
            case IndexType.DATE:
                return _moment(name, path, value)
            case IndexType.KEYWORD:
                masked = list(self.mask(value.text)) if self.mask and field and field.mask is Mask.HMAC else []
                return {"terms": {path: [value.text, *masked]}} if masked else {"term": {path: value.text}}
            case IndexType.DECIMAL if field is not None:
                return {"term": {path: decimal_key(name, value.text, field.scale)}}
            case IndexType.BOOLEAN if field is None and not _scalar(name, kind, value.text):
                return {"bool": {"must_not": [{"term": {path: True}}]}}  # of ours a document says only what is true
            case _:
                return {"term": {path: _scalar(name, kind, value.text)}}

    def _in_attributes(self, name: str, clause: Clause) -> dict[str, Any]:
        """A member of the attributes, whatever it is called. Its values are texts to the index, numbers as they are spelled."""
        if not flat(self.table):
            raise QueryError(f"{self.table.attributes} is stored but not searchable", _known(self.table))
        if name == f"{self.table.attributes}.":
            name = str(self.table.attributes)  # the index knows a member without a name by its value alone
        if clause.present:
            # The name of a field that is looked for to be there may be a pattern; that of a prefix may not.
            return {"prefix": {name: ""}} if "*" in name else {"exists": {"field": name}}
        if clause.bounds:
            raise QueryError(f"{name} is text: it has no range", "quote a value that begins with < or >, or holds ..")
        found = [in_keyword(name, value, flat=True) for value in clause.values if value.wild]
        spelled = [one for value in clause.values if not value.wild for one in _spellings(value)]
        if spelled:
            found.append({"term": {name: spelled[0]}} if len(spelled) == 1 else {"terms": {name: spelled}})
        return _any(found)

    def _anywhere(self, clause: Clause) -> dict[str, Any]:
        """A bare word or phrase: in any text, or the whole of any keyword (a pasted id finds its rows)."""
        if clause.present:
            return {"match_all": {}}
        value = clause.values[0]
        texts = [field.name for field in self.table.fields if field.index is IndexType.TEXT]
        keywords = [field.name for field in self.table.fields if field.index is IndexType.KEYWORD]
        compared = None if value.quoted else _COMPARED.match(value.text)
        if compared and compared[1] in {field.name for field in self.table.fields}:
            at = compared.end() - 1
            raise QueryError(
                f"a comparison follows a colon: {value.text}",
                f"write {value.text[:at]}:{value.text[at:]}",
                position=value.at,
            )
        if not value.quoted and not sayable(value):
            raise QueryError(
                f"there is no letter or digit in {value.text!r}",
                "quote it to find what is just that",
                position=value.at,
            )
        found = [in_text(name, value) for name in texts] if sayable(value) else []
        if len(value.text) <= KEYWORD_LIMIT:
            found += [in_keyword(name, value) if value.wild else {"term": {name: value.text}} for name in keywords]
        return _any(found)


def _field(table: Table, name: str) -> tuple[IndexType | None, str, Field | None]:
    """(how it is searched, path in the document, contract field). `id` has no index type."""
    for field in table.fields:
        if field.name == name:
            if field.index is IndexType.NONE:
                raise QueryError(f"{name} is stored but not searchable", _known(table))
            return field.index, key_path(name) if field.index is IndexType.DECIMAL else name, field
    if name == "id":
        return None, "_id", None
    if (stored := _system_fields(table).get(name)) is not None:
        return _SYSTEM_FIELDS[stored], f"{SYSTEM}.{stored}", None
    if name == table.attributes:
        raise QueryError(f"{name} is an object", f"write {name}.member:value")
    raise QueryError(f"{table.qualified_name} has no field {name!r}", f"{_known(table)}; quote words that hold a colon")


def _system_fields(table: Table) -> dict[str, str]:
    """The fields of the system object by the names that people know."""
    names = table.shown.by_field
    return {names.get(stored, stored): stored for stored in _SYSTEM_FIELDS}


def _known(table: Table) -> str:
    names = [field.name for field in table.fields if field.index is not IndexType.NONE]
    if table.attributes and flat(table):
        names.append(f"{table.attributes}.*")
    return f"known: {', '.join([*names, 'id', *_system_fields(table)])}"


def _any(queries: list[dict[str, Any]]) -> dict[str, Any]:
    return queries[0] if len(queries) == 1 else {"bool": {"should": queries, "minimum_should_match": 1}}


def _spellings(value: Value) -> list[str]:
    """The value, and where it is a number its other spellings: the index compares texts, and 7 may be stored as 7.0."""
    try:
        number = math.nan if value.quoted else float(value.text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        return [value.text]
    short = repr(number)
    spelled = [value.text, short, short.replace("e+", "e")]
    if number.is_integer() and abs(number) < 2**53:
        spelled += [str(int(number)), f"{int(number)}.0"]
    return list(dict.fromkeys(spelled))


def _moment(name: str, path: str, value: Value) -> dict[str, Any]:
    if DAY.fullmatch(value.text):
        day = parse_time(value.text)
        return {"range": {path: {"gte": iso(day), "lt": iso(day + timedelta(days=1))}}}
    time = parse_time(value.text)
    if not EARLIEST <= time <= LATEST:
        raise QueryError(f"{name} is searched from {EARLIEST:%Y} to {LATEST:%Y} only", position=value.at)
    return {"term": {path: iso(time)}}


def _range(name: str, kind: IndexType, bounds: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    if kind is not IndexType.DATE:
        return {bound: _scalar(name, kind, text) for bound, text in bounds}
    built = {}
    for bound, text in bounds:
        time = parse_time(text)
        # A day as an upper bound is the whole day, and above a day is after it.
        whole = DAY.fullmatch(text.strip()) is not None and bound in ("lte", "gt")
        built[{"lte": "lt", "gt": "gte"}[bound] if whole else bound] = iso(time + timedelta(days=1) if whole else time)
    return built


def _scalar(name: str, kind: IndexType, text: str) -> int | float | bool:
    try:
        if kind is IndexType.BOOLEAN:
            return {"true": True, "false": False}[text.lower()]
        number: int | float = int(text) if kind is IndexType.LONG else float(text)
    except (KeyError, ValueError):
        wanted = {IndexType.BOOLEAN: "true or false", IndexType.LONG: "a whole number"}.get(kind, "a number")
        raise QueryError(f"{name} is {wanted}, not {text!r}") from None
    if not (LONG[0] <= number <= LONG[1] if kind is IndexType.LONG else math.isfinite(number)):
        raise QueryError(f"{text!r} is too large for {name}")
    return number
