"""Searching a table, for people: newest first, page by page.

Belongs here: clauses to OpenSearch's queries, built from the contract's fields and nothing else (no text of a person ever
reaches a query parser of OpenSearch), time ranges, pages. Does not belong here: the language (`syntax.py`), or who may see what.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from opensearchpy import OpenSearch

from platform_assets.contracts.model import Field, FieldType, IndexType, Mask, Table
from platform_assets.search.asking import Deadline, ask
from platform_assets.search.decimals import decimal_key, decimal_range, key_path
from platform_assets.search.errors import QueryError
from platform_assets.search.mappings import EARLIEST, KEYWORD_LIMIT, LATEST, SYSTEM, flat
from platform_assets.search.names import read_alias
from platform_assets.search.syntax import MAX_VALUES_IN_ALL, Clause, Value, parse

MAX_ROWS = 1000
PIECE_BYTES = 16 * 1024 * 1024
"""Of rows in one answer of OpenSearch, when each of them is as large as the contract lets it be."""

Masker = Callable[[str], Sequence[str]]
"""A clear value to its masked forms, one a key: somebody who holds the keys may search for clear values."""

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_SYSTEM_FIELDS = {
    "partition": IndexType.LONG,
    "offset": IndexType.LONG,
    "seq": IndexType.LONG,
    "history": IndexType.BOOLEAN,
}
_LONG = (-(2**63), 2**63 - 1)
_ORDER = ("seq", "partition", "offset")
_WINDOWS = (timedelta(seconds=10), timedelta(minutes=5), timedelta(hours=2))


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, newest first: `id`, the contract's fields (None where absent), `attributes`, and the coordinates under `_assay`.

    `cursor` continues behind the last row; None when there are no more. `cursors` continue behind each of the rows. A page that
    has a cursor may have fewer rows than were asked for.
    """

    rows: list[dict[str, Any]]
    cursor: str | None
    cursors: list[str]


def search(
    client: OpenSearch,
    table: Table,
    query: str = "",
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = 50,
    cursor: str | None = None,
    mask: Masker | None = None,
    more: Sequence[Clause] = (),
    most: float = math.inf,
    deadline: Deadline | None = None,
) -> Page:
    """A page of up to `limit` (1 to 1000) rows that match, by event time from the newest, then by bronze order.

    It ends early once its rows take `most` bytes. `since` (inclusive) and `until` (exclusive) bound the event time.
    `cursor` is a page's, with the same query. Ten seconds are the usual deadline. Raises QueryError for what a person wrote
    wrongly, Unavailable, SearchError.
    """
    if not 1 <= limit <= MAX_ROWS:
        raise QueryError(f"a page has 1 to {MAX_ROWS} rows, not {limit}")
    wanted = to_query(table, query, since=since, until=until, mask=mask, more=more)
    after = _decode(cursor, table) if cursor is not None else None
    deadline, doing = deadline or Deadline(), f"searching {table.qualified_name}"
    hits: list[dict[str, Any]] = []
    left = most
    for window in _windows(client, table, until, after, deadline):
        within = {"bool": {"filter": [wanted, *window]}}
        behind = hits[-1]["sort"] if hits else after
        found, left = hits_after(client, table, within, limit - len(hits), behind, deadline, doing, most=left)
        hits += found
        ended = len(hits) == limit or left <= 0
        if ended:
            break
    cursors = [_encode(hit["sort"], table) for hit in hits]
    return Page([to_row(table, hit) for hit in hits], cursors[-1] if ended else None, cursors)


def _windows(
    client: OpenSearch, table: Table, until: datetime | None, after: list[int] | None, deadline: Deadline
) -> Iterator[list[dict[str, Any]]]:
    """Filters of growing length back from where the page begins, the last without bound.

    Sorting reads every match: a hundred milliseconds a million. A full page of the newest seconds is the same page, read from
    those seconds alone, and costs the writers nothing (an index sorted by time does: 7 %).
    """
    if after is not None:
        newest = EARLIEST + timedelta(microseconds=after[0] // 1000) if after[0] > 0 else None
    else:
        newest = _latest(client, table, deadline)
    if newest is not None:
        newest = min(newest, until or newest)
        for length in _WINDOWS:
            yield [{"range": {table.event_time: {"gte": iso(newest - length)}}}]
    yield []


def _latest(client: OpenSearch, table: Table, deadline: Deadline) -> datetime | None:
    """The latest event time in the index; read from the physical indices, where it needs no document."""
    body = {"size": 0, "track_total_hits": False, "aggs": {"latest": {"max": {"field": table.event_time}}}}
    found = ask(client, f"{read_alias(table)}-*", body, deadline, f"searching {table.qualified_name}")
    # Milliseconds, rounded down.
    value = found.get("aggregations", {}).get("latest", {}).get("value")
    return EARLIEST + timedelta(milliseconds=value + 1) if value is not None else None


def hits_after(
    client: OpenSearch,
    table: Table,
    query: dict[str, Any],
    limit: int,
    after: list[Any] | None,
    deadline: Deadline,
    doing: str,
    direction: str = "desc",
    most: float = math.inf,
) -> tuple[list[dict[str, Any]], float]:
    """Up to `limit` hits of an OpenSearch query in the order of pages, behind the one with the sort values `after`.

    They are asked for in pieces that neither the node nor we can choke on, and no more once they take `most` bytes: what is left
    of those comes with them.
    """
    found: list[dict[str, Any]] = []
    by = order(table, direction)
    while True:
        size = min(limit - len(found), _rows_at_once(table))
        body: dict[str, Any] = {"size": size, "query": query, "sort": by, "track_total_hits": False}
        if after is not None:
            body["search_after"] = after
        piece = ask(client, read_alias(table), body, deadline, doing)["hits"]["hits"]
        found += piece
        most -= _bytes(piece)
        if len(piece) < size or len(found) == limit or most <= 0:
            return found, most
        after = piece[-1]["sort"]


def _rows_at_once(table: Table) -> int:
    """How many of the largest rows that the contract allows are one piece."""
    longest = [
        field.max_length or max(map(len, field.enum), default=table.max_bytes)
        for field in table.fields
        if field.type is FieldType.STRING
    ]
    return max(1, PIECE_BYTES // min(table.max_bytes, 4 * sum(longest) + table.attributes_max_bytes))


def _bytes(hits: list[dict[str, Any]]) -> int:
    """How much of an answer they are, as JSON in ASCII."""
    return sum(len(json.dumps(hit["_source"])) for hit in hits)


def order(table: Table, direction: str = "desc") -> list[dict[str, Any]]:
    """The order of pages: by event time, then by bronze order; no two rows are equal in it."""
    return [{table.event_time: direction}, *({f"{SYSTEM}.{name}": direction} for name in _ORDER)]


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
    must: list[dict[str, Any]] = []
    must_not: list[dict[str, Any]] = []
    clauses = [*parse(text), *more]
    values = sum(len(clause.values) for clause in clauses)
    if values > MAX_VALUES_IN_ALL:
        raise QueryError(f"the question has {values} values, {MAX_VALUES_IN_ALL} are allowed", "ask it in parts")
    for clause in clauses:
        built = _anywhere(table, clause) if clause.field is None else _in_field(table, clause, mask)
        (must_not if clause.negated else must).append(built)
    bounds = {name: iso(time) for name, time in (("gte", since), ("lt", until)) if time is not None}
    if bounds:
        must.append({"range": {table.event_time: bounds}})
    return {"bool": {"filter": must, "must_not": must_not}}


def parse_duration(text: str) -> timedelta:
    """`90s`, `15m`, `24h`, `7d`, `2w`. Raises QueryError."""
    match = re.fullmatch(r"(\d{1,5})([smhdw])", text.strip())
    if match is None or int(match[1]) == 0:
        raise QueryError(f"not a duration: {text!r}", "write 90s, 15m, 24h, 7d or 2w")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def parse_as_of(text: str) -> datetime:
    """The moment that is looked back from: `now`, a time, or a day, which is seen from its end. Raises QueryError."""
    if text.strip() == "now":
        return datetime.now(UTC)
    time = parse_time(text)
    return time + timedelta(days=1) if _DAY.fullmatch(text.strip()) else time


def parse_time(text: str) -> datetime:
    """ISO 8601, a date or a time; without a zone it is UTC. Raises QueryError.

    Days are written with dashes and nothing else: it is by them that the callers tell a day from its midnight.
    """
    text = text.strip()
    try:
        time = datetime.fromisoformat(text)
        if len(text) <= len("2026-11-21") and not _DAY.fullmatch(text):
            raise ValueError(text)
        time = (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise QueryError(f"not a time: {text!r}", "write 2026-11-21 or 2026-11-21T08:30:00Z") from None
    if not 2 < time.year < 9999:  # a year less or a day more must still be a time
        raise QueryError(f"no event is that old or that new: {text!r}")
    return time


def _in_field(table: Table, clause: Clause, mask: Masker | None) -> dict[str, Any]:
    name = str(clause.field)
    if table.attributes and name.startswith(f"{table.attributes}."):
        return _in_attributes(table, name, clause)
    kind, path, field = _field(table, name)
    if clause.present:
        return {"exists": {"field": path}}
    if clause.bounds:
        if field is not None and kind is IndexType.DECIMAL:
            return {"range": {path: decimal_range(name, clause.bounds, field.scale)}}
        if kind not in (IndexType.LONG, IndexType.DOUBLE, IndexType.DATE):
            raise QueryError(f"{name} is neither number nor time: it has no range")
        return {"range": {path: _range(name, kind, clause.bounds)}}
    return _any([_equal(name, kind, path, value, field, mask) for value in clause.values])


def _field(table: Table, name: str) -> tuple[IndexType | None, str, Field | None]:
    """(how it is searched, path in the document, contract field). `id` has no index type."""
    for field in table.fields:
        if field.name == name:
            if field.index is IndexType.NONE:
                raise QueryError(f"{name} is stored but not searchable", _known(table))
            return field.index, key_path(name) if field.index is IndexType.DECIMAL else name, field
    if name == "id":
        return None, "_id", None
    if name in _SYSTEM_FIELDS:
        return _SYSTEM_FIELDS[name], f"{SYSTEM}.{name}", None
    if name == table.attributes:
        raise QueryError(f"{name} is an object", f"write {name}.member:value")
    raise QueryError(f"{table.qualified_name} has no field {name!r}", f"{_known(table)}; quote words that hold a colon")


def _known(table: Table) -> str:
    names = [field.name for field in table.fields if field.index is not IndexType.NONE]
    if table.attributes and flat(table):
        names.append(f"{table.attributes}.*")
    return f"known: {', '.join([*names, 'id', *_SYSTEM_FIELDS])}"


def _equal(
    name: str, kind: IndexType | None, path: str, value: Value, field: Field | None, mask: Masker | None
) -> dict[str, Any]:
    match kind:
        case None:
            return {"ids": {"values": [value.text]}}
        case IndexType.TEXT:
            return {"match_phrase": {path: value.text}} if value.quoted else {"match": {path: _all_words(value.text)}}
        case IndexType.DATE:
            if _DAY.fullmatch(value.text):
                day = parse_time(value.text)
                return {"range": {path: {"gte": iso(day), "lt": iso(day + timedelta(days=1))}}}
            time = parse_time(value.text)
            if not EARLIEST <= time <= LATEST:
                raise QueryError(f"{name} is searched from {EARLIEST:%Y} to {LATEST:%Y} only")
            return {"term": {path: iso(time)}}
        case IndexType.KEYWORD:
            if value.text.endswith("*") and not value.quoted:
                return _prefix(path, value.text)
            masked = list(mask(value.text)) if mask and field and field.mask is Mask.HMAC else []
            return {"terms": {path: [value.text, *masked]}} if masked else {"term": {path: value.text}}
        case IndexType.DECIMAL if field is not None:
            return {"term": {path: decimal_key(name, value.text, field.scale)}}
        case IndexType.BOOLEAN if field is None and not _scalar(name, kind, value.text):
            return {"bool": {"must_not": [{"term": {path: True}}]}}  # of ours a document says only what is true
        case _:
            return {"term": {path: _scalar(name, kind, value.text)}}


def _in_attributes(table: Table, name: str, clause: Clause) -> dict[str, Any]:
    if not flat(table):
        raise QueryError(f"{table.attributes} is stored but not searchable", _known(table))
    if clause.present:
        return {"exists": {"field": name}}
    if clause.bounds:
        raise QueryError(f"{name} is text: it has no range")
    some = [(value.text, value.text.endswith("*") and not value.quoted) for value in clause.values]
    return _any([_prefix(name, text) if prefix else {"term": {name: text}} for text, prefix in some])


def _anywhere(table: Table, clause: Clause) -> dict[str, Any]:
    """A bare word or phrase: in any text, or the whole of any keyword (a pasted id finds its rows)."""
    value = clause.values[0]
    texts = [field.name for field in table.fields if field.index is IndexType.TEXT]
    keywords = [field.name for field in table.fields if field.index is IndexType.KEYWORD]
    kind = "match_phrase" if value.quoted else "match"
    found: list[dict[str, Any]] = [
        {kind: {name: value.text if value.quoted else _all_words(value.text)}} for name in texts
    ]
    if len(value.text) <= KEYWORD_LIMIT:
        found += [{"term": {name: value.text}} for name in keywords]
    return _any(found)


def _any(queries: list[dict[str, Any]]) -> dict[str, Any]:
    return queries[0] if len(queries) == 1 else {"bool": {"should": queries, "minimum_should_match": 1}}


def _all_words(text: str) -> dict[str, Any]:
    return {"query": text, "operator": "and"}


def _prefix(path: str, text: str) -> dict[str, Any]:
    if len(text) < 2:
        raise QueryError(f"a prefix needs a character before the star: {path}:{text}")
    return {"prefix": {path: text[:-1]}}


def _range(name: str, kind: IndexType, bounds: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    if kind is not IndexType.DATE:
        return {bound: _scalar(name, kind, text) for bound, text in bounds}
    built = {}
    for bound, text in bounds:
        time = parse_time(text)
        # A day as an upper bound is the whole day, and above a day is after it.
        whole = _DAY.fullmatch(text.strip()) is not None and bound in ("lte", "gt")
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
    if not (_LONG[0] <= number <= _LONG[1] if kind is IndexType.LONG else math.isfinite(number)):
        raise QueryError(f"{text!r} is too large for {name}")
    return number


def iso(time: datetime) -> str:
    """ISO 8601; what the index cannot hold becomes the nearest that it can, so that a bound there bounds nothing."""
    return min(max(time.astimezone(UTC), EARLIEST), LATEST).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def to_row(table: Table, hit: dict[str, Any]) -> dict[str, Any]:
    """A hit as a row of a page."""
    source = hit["_source"]
    row: dict[str, Any] = {"id": hit["_id"], **{field.name: source.get(field.name) for field in table.fields}}
    if table.attributes:
        row[table.attributes] = source.get(table.attributes)
    row[SYSTEM] = source.get(SYSTEM)
    return row


def _encode(values: list[int], table: Table) -> str:
    text = json.dumps([table.qualified_name, *values], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(cursor: str, table: Table) -> list[int]:
    try:
        name, *values = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        good = name == table.qualified_name and len(values) == len(_ORDER) + 1
        if not (good and all(type(value) is int and _LONG[0] <= value <= _LONG[1] for value in values)):
            raise ValueError(cursor)
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise QueryError("this cursor is not one of this table's pages", "begin again without a cursor") from None
    return [int(value) for value in values]
