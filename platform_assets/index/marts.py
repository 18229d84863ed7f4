"""Rows of gold marts and of alerts, as their indices have them.

Belongs here: reading an index whose columns are known from its mapping alone. Does not belong here: events (`query.py`).

A mart's alias is `<system>-<mart>`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from opensearchpy import OpenSearch
from opensearchpy.exceptions import AuthorizationException, NotFoundError, OpenSearchException

from platform_assets.index.asking import Deadline, ask
from platform_assets.index.decimals import decimal_key, key_path
from platform_assets.index.errors import QueryError, translate
from platform_assets.index.times import iso

MAX_GROUPS = 10_000
"""Rows or groups in one answer of OpenSearch."""
DECIMAL, HISTOGRAM = "decimal", "histogram"
"""What the mapping has as a keyword, and the mart's declaration tells apart."""
DATES = ("date", "date_nanos")
COUNTS = ("long", "integer", "short", "unsigned_long")
_NUMBERS = ("double", "float")
VALUES = (*COUNTS, "keyword", "boolean")
_OBJECTS = ("object", "nested", "flat_object")
_WHOLE = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Mart:
    """An index as its mapping describes it: columns with OpenSearch's type names, `decimal` and `histogram`."""

    index: str
    columns: dict[str, str]
    time: str = ""  # the column of the slot
    decimals: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # precision and scale

    @property
    def types(self) -> dict[str, str]:
        """The columns' types as an answer tells them."""
        digits = {name: f"decimal({precision},{scale})" for name, (precision, scale) in self.decimals.items()}
        return {**self.columns, **digits}

    def check(self, name: str, kinds: Sequence[str], what: str) -> str:
        """`name`, when it is a column of such a type. Raises QueryError that names those there are."""
        if self.columns.get(name) not in kinds:
            known = ", ".join(column for column, kind in self.columns.items() if kind in kinds) or "none"
            raise QueryError(f"{self.index} has no column {name!r} {what}", f"it has {known}")
        return name

    def dates(self, name: str) -> str:
        """A date column of that name."""
        return self.check(name, DATES, "that is a time")


def describe(client: OpenSearch, index: str, deadline: Deadline | None = None) -> Mart | None:
    """The columns of an alias, or of several with commas; None when none of them exists or this client may see none.

    Raises Unavailable, SearchError.
    """
    params = {"ignore_unavailable": "true", "allow_no_indices": "true"}
    doing = f"reading the columns of {index}"
    within = {"request_timeout": (deadline or Deadline()).left(doing)}
    try:
        # Not `_field_caps`, which answers for documents that the caller may not see.
        found = client.indices.get_field_mapping(index=index, fields="*", params={**params, **within})
    except (NotFoundError, AuthorizationException):
        return None
    except OpenSearchException as error:
        raise translate(error, doing) from error
    if not found:
        return None
    kinds: dict[str, set[str]] = {}
    for one in found.values():
        for name, leaves in one["mappings"].items():
            if not name.startswith("_"):
                kinds.setdefault(name, set()).update(leaf["type"] for leaf in leaves["mapping"].values())
    columns = {name: next(iter(kind)) for name, kind in sorted(kinds.items()) if len(kind) == 1}
    return Mart(index, {name: kind for name, kind in columns.items() if kind not in _OBJECTS})


def rows(
    client: OpenSearch,
    mart: Mart,
    *,
    since: datetime,
    until: datetime,
    where: Mapping[str, Sequence[str]],
    limit: int,
    deadline: Deadline | None = None,
) -> list[dict[str, Any]]:
    """Up to `limit` rows with `since <= time < until` and columns equal to any of their values, newest first.

    Raises QueryError for a column that the mart does not have, Unavailable, SearchError.
    """
    body = {
        "size": limit,
        "query": query_of(mart, since, until, where),
        "sort": [{mart.time: "desc"}],
        "track_total_hits": False,
    }
    return _rows(mart, ask_mart(client, mart, body, deadline or Deadline()))


def pages(
    client: OpenSearch,
    mart: Mart,
    *,
    key: Sequence[str],
    since: datetime,
    until: datetime,
    deadline: Deadline,
    where: Mapping[str, Sequence[str]] | None = None,
    columns: Sequence[str] | None = None,
) -> Iterator[list[dict[str, Any]]]:
    """All rows with `since <= time < until`, newest first, up to 10,000 at a time.

    `key` are the columns that tell rows apart, the mart's time among them: pages are cut between their values. A row that is
    replaced meanwhile stays where it is. Raises QueryError for a column that the mart does not have, TimeExceeded when not
    all have come by the deadline, Unavailable, SearchError.
    """
    kinds = (*VALUES, *DATES, *_NUMBERS, DECIMAL)
    rest = [mart.check(name, kinds, "to sort by") for name in key if name != mart.time]
    order = [{mart.time: "desc"}, *({name: "asc"} for name in rest)]
    body: dict[str, Any] = {
        "size": MAX_GROUPS,
        "query": query_of(mart, since, until, where or {}),
        "sort": order,
        "track_total_hits": False,
    }
    if columns is not None:
        body["_source"] = list(columns)
    while True:
        found = ask_mart(client, mart, body, deadline)
        hits = found["hits"]["hits"]
        yield _rows(mart, found)
        if len(hits) < MAX_GROUPS:
            return
        body["search_after"] = hits[-1]["sort"]


def _rows(mart: Mart, found: dict[str, Any]) -> list[dict[str, Any]]:
    nested = [name for name, kind in mart.columns.items() if kind == HISTOGRAM]
    rows = []
    for hit in found["hits"]["hits"]:
        row = {name: value for name, value in hit["_source"].items() if not name.startswith("_")}
        rows.append({**row, **{name: json.loads(row[name]) for name in nested if row.get(name) is not None}})
    return rows


def _all(*conditions: dict[str, Any]) -> dict[str, Any]:
    return {"bool": {"filter": list(conditions)}}


def incidents(
    client: OpenSearch,
    index: Mart,
    *,
    since: datetime,
    until: datetime | None,
    state: str | None,
    where: Mapping[str, Sequence[str]],
    limit: int,
    deadline: Deadline | None = None,
) -> list[dict[str, Any]]:
    """Up to `limit` alerts that were open at some time in [since, until), the latest change first; `until` None is now.

    Those that were found late (`late`) are also of the time in which they were found. `state` is theirs at the end of that time:
    `open`, or `resolved` within it. Raises QueryError, Unavailable, SearchError.
    """
    ended = {"lt": iso(until)} if until is not None else {}
    opened: list[dict[str, Any]] = [{"range": {"opened_at": ended}}] if until is not None else []
    # One that is not resolved has no such field, and so is in no range of it.
    found_late = _all({"term": {"late": True}}, {"range": {"updated_at": {"gte": iso(since), **ended}}})
    over = _all({"range": {"resolved_at": {"lt": iso(since)}}}, {"bool": {"must_not": found_late}})
    if state == "resolved":
        within: dict[str, Any] = {"range": {"resolved_at": {"gte": iso(since), **ended}}}
        opened.append({"bool": {"should": [within, _all({"exists": {"field": "resolved_at"}}, found_late)]}})
    elif state == "open":
        over = {"range": {"resolved_at": ended}} if until is not None else {"exists": {"field": "resolved_at"}}
    body = {
        "size": limit,
        "query": {"bool": {"filter": [*opened, *_equal(index, where)], "must_not": [over]}},
        "sort": [{index.dates("updated_at"): "desc"}],
        "track_total_hits": False,
    }
    return _rows(index, ask_mart(client, index, body, deadline or Deadline()))


def query_of(mart: Mart, since: datetime, until: datetime, where: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Rows of [since, until) whose columns have one of their values. Raises QueryError for a column that there is not."""
    within = {"range": {mart.time: {"gte": iso(since), "lt": iso(until), "format": "strict_date_optional_time_nanos"}}}
    return {"bool": {"filter": [within, *_equal(mart, where)]}}


def _equal(mart: Mart, where: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    found = []
    for name, values in where.items():
        kind = mart.columns[mart.check(name, (*VALUES, DECIMAL), "to filter by")]
        found.append({"terms": {key_path(name) if kind == DECIMAL else name: _typed(mart, name, values)}})
    return found


def _typed(mart: Mart, name: str, values: Sequence[str]) -> list[str | int | bool]:
    kind = mart.columns[name]
    if kind == "keyword":
        return list(values)
    if kind == DECIMAL:
        return [decimal_key(name, value, mart.decimals[name][1]) for value in values]
    if kind == "boolean":
        if set(values) - {"true", "false"}:
            raise QueryError(f"{name} is true or false")
        return [value == "true" for value in values]
    numbers: list[str | int | bool] = []
    for value in values:
        if not _WHOLE.fullmatch(value):
            raise QueryError(f"{name} is a whole number, not {value[:40]!r}")
        numbers.append(int(value))
    return numbers


def ask_mart(client: OpenSearch, mart: Mart, body: dict[str, Any], deadline: Deadline) -> dict[str, Any]:
    """The index's answer to a body."""
    return ask(client, mart.index, body, deadline, f"reading {mart.index}")


def time_text(mart: Mart, name: str, value: Any) -> Any:
    """The value of a group, a time as ISO 8601."""
    if value is None or mart.columns[name] not in DATES:
        return value
    return datetime.fromtimestamp(value / 1000, UTC).isoformat().replace("+00:00", "Z")
