"""Rows of gold marts and of alerts, as their indices have them.

Belongs here: reading an index whose columns are known from its mapping alone. Does not belong here: events (`query.py`).

A mart's alias is `<system>-<mart>`. Its time is its only date column; whole numbers are counts and may be summed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from opensearchpy import OpenSearch
from opensearchpy.exceptions import AuthorizationException, NotFoundError, OpenSearchException

from platform_assets.search.asking import Deadline, ask
from platform_assets.search.errors import QueryError, translate
from platform_assets.search.times import iso

MAX_GROUPS = 10_000
"""Rows or groups in one answer of OpenSearch."""
_DATES = ("date", "date_nanos")
_COUNTS = ("long", "integer", "short", "unsigned_long")
_NUMBERS = ("double", "float")
_VALUES = (*_COUNTS, "keyword", "boolean")
_OBJECTS = ("object", "nested", "flat_object")
_WHOLE = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Mart:
    """An index as its mapping describes it: columns with OpenSearch's type names, and those that are dates."""

    index: str
    columns: dict[str, str]

    @property
    def times(self) -> tuple[str, ...]:
        """The date columns."""
        return tuple(name for name, kind in self.columns.items() if kind in _DATES)

    def check(self, name: str, kinds: Sequence[str], what: str) -> str:
        """`name`, when it is a column of such a type. Raises QueryError that names those there are."""
        if self.columns.get(name) not in kinds:
            known = ", ".join(column for column, kind in self.columns.items() if kind in kinds) or "none"
            raise QueryError(f"{self.index} has no column {name!r} {what}", f"it has {known}")
        return name

    def dates(self, name: str) -> str:
        """A date column of that name."""
        return self.check(name, _DATES, "that is a time")


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
        for name, field in one["mappings"].items():
            if not name.startswith("_"):
                kinds.setdefault(name, set()).update(leaf["type"] for leaf in field["mapping"].values())
    columns = {name: next(iter(kind)) for name, kind in sorted(kinds.items()) if len(kind) == 1}
    return Mart(index, {name: kind for name, kind in columns.items() if kind not in _OBJECTS})


def rows(
    client: OpenSearch,
    mart: Mart,
    *,
    time: str,
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
        "query": _query(mart, time, since, until, where),
        "sort": [{mart.dates(time): "desc"}],
        "track_total_hits": False,
    }
    return _rows(_search(client, mart, body, deadline or Deadline()))


def pages(
    client: OpenSearch, mart: Mart, *, key: Sequence[str], since: datetime, until: datetime, deadline: Deadline
) -> Iterator[list[dict[str, Any]]]:
    """All rows with `since <= time < until`, newest first, up to 10,000 at a time.

    `key` are the columns that tell rows apart, the mart's time among them: pages are cut between their values. A row that is
    replaced meanwhile stays where it is. Raises QueryError for a column that the mart does not have, TimeExceeded when not
    all have come by the deadline, Unavailable, SearchError.
    """
    [time] = mart.times
    kinds = (*_VALUES, *_DATES, *_NUMBERS)
    order = [{time: "desc"}, *({mart.check(name, kinds, "to sort by"): "asc"} for name in key if name != time)]
    body: dict[str, Any] = {
        "size": MAX_GROUPS,
        "query": _query(mart, time, since, until, {}),
        "sort": order,
        "track_total_hits": False,
    }
    while True:
        found = _search(client, mart, body, deadline)
        hits = found["hits"]["hits"]
        yield _rows(found)
        if len(hits) < MAX_GROUPS:
            return
        body["search_after"] = hits[-1]["sort"]


def _rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in hit["_source"].items() if not name.startswith("_")}
        for hit in found["hits"]["hits"]
    ]


def sums(
    client: OpenSearch,
    mart: Mart,
    *,
    time: str,
    since: datetime,
    until: datetime,
    where: Mapping[str, Sequence[str]],
    by: Sequence[str],
    columns: Sequence[str],
    top: int | None = None,
    example: str | None = None,
    deadline: Deadline | None = None,
) -> list[dict[str, Any]]:
    """Sums of count `columns` for each combination of the `by` columns, in their order; one row without `by`.

    With `top` only so many, those with the largest sums of the first column, the largest first; they have the value of the
    column `example` too, as one of the largest rows of each has it. Times are ISO 8601. Raises QueryError for a wrong column,
    one in both `by` and `columns`, or more than 10,000 combinations, Unavailable, SearchError.
    """
    for name in by:
        if name in columns:  # a row has one value under a name
            raise QueryError(f"{name!r} is either grouped by or summed, not both")
    wanted = {name: {"sum": {"field": mart.check(name, _COUNTS, "that can be summed")}} for name in columns}
    body: dict[str, Any] = {"size": 0, "query": _query(mart, time, since, until, where), "track_total_hits": False}
    deadline = deadline or Deadline()
    if not by:
        found = _search(client, mart, {**body, "aggs": wanted}, deadline)
        return [_values(found["aggregations"], columns)] if "aggregations" in found else []
    kinds = (*_VALUES, *_DATES)
    sources = [
        {name: {"terms": {"field": mart.check(name, kinds, "to group by"), "missing_bucket": True}}} for name in by
    ]
    group = {"composite": {"size": MAX_GROUPS, "sources": sources}, "aggs": wanted}
    found = _search(client, mart, {**body, "aggs": {"groups": group}}, deadline)
    buckets = found["aggregations"]["groups"]["buckets"] if "aggregations" in found else []  # the index went away
    if len(buckets) >= MAX_GROUPS:
        raise QueryError(f"more than {MAX_GROUPS} groups", "a shorter time, or fewer columns to group by")
    groups = [
        {**{name: _key(mart, name, value) for name, value in one["key"].items()}, **_values(one, columns)}
        for one in buckets
    ]
    if top is None:
        return groups
    # Stable: equal ones stay in the order of their values.
    largest = sorted(groups, key=lambda row: -row[columns[0]])[:top]
    if example is None or not largest:
        return largest
    keys = [{name: row[name] for name in by} for row in largest]
    examples = _examples(client, mart, body["query"], keys, columns[0], example, deadline)
    return [{**row, example: found} for row, found in zip(largest, examples, strict=True)]


def _examples(
    client: OpenSearch,
    mart: Mart,
    query: dict[str, Any],
    groups: Sequence[Mapping[str, Any]],
    column: str,
    example: str,
    deadline: Deadline,
) -> list[Any]:
    """What the row with the largest `column` has in `example`, group by group."""
    filters = {
        str(number): {"bool": {"filter": [_is(name, value) for name, value in group.items()]}}
        for number, group in enumerate(groups)
    }
    largest = {"top_hits": {"size": 1, "sort": [{column: "desc"}], "_source": [example]}}
    each = {"filters": {"filters": filters}, "aggs": {"one": largest}}
    body = {"size": 0, "query": query, "track_total_hits": False, "aggs": {"each": each}}
    found = _search(client, mart, body, deadline)
    buckets = found["aggregations"]["each"]["buckets"] if "aggregations" in found else {}
    hits = [buckets.get(name, {}).get("one", {}).get("hits", {}).get("hits", []) for name in filters]
    return [one[0]["_source"].get(example) if one else None for one in hits]


def _is(name: str, value: Any) -> dict[str, Any]:
    return {"bool": {"must_not": {"exists": {"field": name}}}} if value is None else {"term": {name: value}}


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

    `state` is theirs at the end of that time: `open`, or `resolved` within it. Raises QueryError, Unavailable, SearchError.
    """
    ended = {"lt": iso(until)} if until is not None else {}
    opened = [{"range": {"opened_at": ended}}] if until is not None else []
    # One that is not resolved has no such field, and so is in no range of it.
    over: dict[str, Any] = {"range": {"resolved_at": {"lt": iso(since)}}}
    if state == "resolved":
        opened.append({"range": {"resolved_at": {"gte": iso(since), **ended}}})
    elif state == "open":
        over = {"range": {"resolved_at": ended}} if until is not None else {"exists": {"field": "resolved_at"}}
    body = {
        "size": limit,
        "query": {"bool": {"filter": [*opened, *_equal(index, where)], "must_not": [over]}},
        "sort": [{index.dates("updated_at"): "desc"}],
        "track_total_hits": False,
    }
    return _rows(_search(client, index, body, deadline or Deadline()))


def _query(
    mart: Mart, time: str, since: datetime, until: datetime, where: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    within = {
        "range": {mart.dates(time): {"gte": iso(since), "lt": iso(until), "format": "strict_date_optional_time_nanos"}}
    }
    return {"bool": {"filter": [within, *_equal(mart, where)]}}


def _equal(mart: Mart, where: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    return [
        {"terms": {mart.check(name, _VALUES, "to filter by"): _typed(mart, name, values)}}
        for name, values in where.items()
    ]


def _typed(mart: Mart, name: str, values: Sequence[str]) -> list[str | int | bool]:
    kind = mart.columns[name]
    if kind == "keyword":
        return list(values)
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


def _search(client: OpenSearch, mart: Mart, body: dict[str, Any], deadline: Deadline) -> dict[str, Any]:
    return ask(client, mart.index, body, deadline, f"reading {mart.index}")


def _values(found: dict[str, Any], columns: Sequence[str]) -> dict[str, int]:
    return {name: round(found[name]["value"]) for name in columns}


def _key(mart: Mart, name: str, value: Any) -> Any:
    if value is None or mart.columns[name] not in _DATES:
        return value
    return datetime.fromtimestamp(value / 1000, UTC).isoformat().replace("+00:00", "Z")
