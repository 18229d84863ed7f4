"""Searching a table, for people: newest first, page by page.

Belongs here: pages and their cursors. Does not belong here: the language (`syntax.py`), what it asks of OpenSearch
(`clauses.py`), or who may see what.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from opensearchpy import OpenSearch

from platform_assets.contracts.model import FieldType, Table
from platform_assets.index.asking import Deadline, ask
from platform_assets.index.clauses import LONG, Masker, to_query
from platform_assets.index.errors import QueryError
from platform_assets.index.mappings import EARLIEST, SYSTEM
from platform_assets.index.names import read_alias
from platform_assets.index.syntax import Clause
from platform_assets.index.times import iso

MAX_ROWS = 1000
PIECE_BYTES = 16 * 1024 * 1024
"""Of rows in one answer of OpenSearch, when each of them is as large as the contract lets it be."""

_ORDER = ("seq", "shard", "position")
_WINDOWS = (timedelta(seconds=10), timedelta(minutes=5), timedelta(hours=2))


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, newest first: `id`, the contract's fields (None where absent), `attributes`, and under `_assay` where it came
    from, by the names that people know (`Table.shown`).

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
    deadline = deadline or Deadline()
    hits: list[dict[str, Any]] = []
    left = most
    for window in _windows(client, table, until, after, deadline):
        within = {"bool": {"filter": [wanted, *window]}}
        behind = hits[-1]["sort"] if hits else after
        found, left = hits_after(client, table, within, limit - len(hits), behind, deadline, _doing(table), most=left)
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
    found = ask(client, f"{read_alias(table)}-*", body, deadline, _doing(table))
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


def _doing(table: Table) -> str:
    return f"searching {table.qualified_name}"


def order(table: Table, direction: str = "desc") -> list[dict[str, Any]]:
    """The order of pages: by event time, rows without a sortable one last, then by bronze order; no two rows are equal in it."""
    # `_last` is the default and must still be said: otherwise OpenSearch skips a segment or an index whose times all lie before
    # the cursor, together with its rows that have no sortable time.
    by_time = {table.event_time: {"order": direction, "missing": "_last"}}
    return [by_time, *({f"{SYSTEM}.{name}": direction} for name in _ORDER)]


def to_row(table: Table, hit: dict[str, Any]) -> dict[str, Any]:
    """A hit as a row of a page."""
    source = hit["_source"]
    row: dict[str, Any] = {"id": hit["_id"], **{field.name: source.get(field.name) for field in table.fields}}
    if table.attributes:
        row[table.attributes] = source.get(table.attributes)
    row[SYSTEM] = shown_system(table, source.get(SYSTEM))
    return row


def shown_system(table: Table, system: dict[str, Any] | None) -> dict[str, Any] | None:
    """A document's system object by the names that people know."""
    if system is None:
        return None
    names = table.shown.by_field
    return {names.get(name, name): value for name, value in system.items()}


def _encode(values: list[int], table: Table) -> str:
    text = json.dumps([table.qualified_name, *values], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(cursor: str, table: Table) -> list[int]:
    try:
        name, *values = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        good = name == table.qualified_name and len(values) == len(_ORDER) + 1
        if not (good and all(type(value) is int and LONG[0] <= value <= LONG[1] for value in values)):
            raise ValueError(cursor)
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise QueryError("this cursor is not one of this table's pages", "begin again without a cursor") from None
    return [int(value) for value in values]
