"""Figures of a mart over slots and groups, computed by the index.

Belongs here: aggregations and what comes of them; sums, means and bounds of decimals stay exact. Does not belong here: which
figures mean something (the mart says so, see `serve/figures.py`), percentiles (`percentiles.py`), single rows (`marts.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from enum import StrEnum
from typing import Any

from opensearchpy import OpenSearch

from platform_assets.contracts.types import MAX_PRECISION, scaled
from platform_assets.index.asking import Deadline
from platform_assets.index.decimals import decimal_key, key_path, limb_count, limb_path, total
from platform_assets.index.errors import QueryError
from platform_assets.index.marts import COUNTS, DATES, DECIMAL, MAX_GROUPS, VALUES, Mart, ask_mart, query_of, time_text

MAX_DISTINCT = 100_000
"""Combinations of groups and values that are looked at to count distinct values."""
_MEAN_DIGITS = 6
"""Digits after the point that a mean of decimals has beyond those of its values."""
Row = dict[str, Any]


class Function(StrEnum):
    """What is computed of a column."""

    SUM = "sum"
    MEAN = "mean"
    MIN = "min"
    MAX = "max"
    COUNT = "count"  # rows that have a value
    DISTINCT = "distinct"  # different values


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of each group, under `name`. A mean is weighted by the column `weight`, or is sum by sum of `count`."""

    name: str
    function: Function
    column: str
    weight: str | None = None
    count: str | None = None


@dataclass(frozen=True)
class Question:
    """Rows of [since, until) where columns have one of their values, grouped `by` columns; the time in steps of `every`."""

    mart: Mart
    since: datetime
    until: datetime
    where: Mapping[str, Sequence[str]]
    by: Sequence[str]
    deadline: Deadline
    every: str | None = None  # a fixed interval as OpenSearch writes it

    @property
    def query(self) -> dict[str, Any]:
        """The rows, as a query."""
        return query_of(self.mart, self.since, self.until, self.where)

    def sources(self, more: Sequence[str] = ()) -> list[dict[str, Any]]:
        """The columns to group by, and others, for a composite aggregation."""
        found: list[dict[str, Any]] = []
        for name in [*self.by, *more]:
            self.mart.check(name, (*VALUES, *DATES, DECIMAL), "to group by")
            if name == self.mart.time and self.every is not None:
                found.append({name: {"date_histogram": {"field": name, "fixed_interval": self.every}}})
            else:
                terms: dict[str, Any] = {"field": name, "missing_bucket": True}
                found.append({name: {"terms": terms}})
        return found

    def key(self, given: Mapping[str, Any]) -> Row:
        """The group of a bucket."""
        return {name: time_text(self.mart, name, given[name]) for name in self.by}


def figures(client: OpenSearch, asked: Question, wanted: Sequence[Figure]) -> list[Row]:
    """The figures of each combination of the `by` columns, in their order; one row without `by`.

    Decimals are texts, times ISO 8601. Raises QueryError for a column that cannot be so, or for more than 10,000 combinations,
    Unavailable, SearchError.
    """
    plain = [one for one in wanted if one.function is not Function.DISTINCT]
    aggregations: dict[str, Any] = {}
    readers: dict[str, Callable[[Mapping[str, Any]], Any]] = {}
    for one in plain:
        made, readers[one.name] = _aggregation(asked.mart, one)
        aggregations |= made
    found: list[Row] = []
    for key, bucket in _groups(client, asked, aggregations):
        found.append({**key, **{name: read(bucket) for name, read in readers.items()}})
    for one in wanted:
        if one.function is Function.DISTINCT:
            counted = _distinct(client, asked, one.column)
            for row in found:
                row[one.name] = counted.get(tuple(row[name] for name in asked.by), 0)
    names = [*asked.by, *(one.name for one in wanted)]
    return [{name: row[name] for name in names} for row in found]


def _groups(
    client: OpenSearch, asked: Question, aggregations: dict[str, Any]
) -> Iterator[tuple[Row, Mapping[str, Any]]]:
    body: dict[str, Any] = {"size": 0, "query": asked.query, "track_total_hits": False}
    if not asked.by:
        found = ask_mart(
            client,
            asked.mart,
            {**body, "aggs": {"all": {"filter": {"match_all": {}}, "aggs": aggregations}}},
            asked.deadline,
        )
        if "aggregations" in found:  # else there is no index any more
            yield {}, found["aggregations"]["all"]
        return
    group = {"composite": {"size": MAX_GROUPS, "sources": asked.sources()}, "aggs": aggregations}
    found = ask_mart(client, asked.mart, {**body, "aggs": {"groups": group}}, asked.deadline)
    buckets = found["aggregations"]["groups"]["buckets"] if "aggregations" in found else []
    if len(buckets) >= MAX_GROUPS:
        raise QueryError(f"more than {MAX_GROUPS} groups", "a shorter time, or fewer columns to group by")
    for one in buckets:
        yield asked.key(one["key"]), one


def _distinct(client: OpenSearch, asked: Question, column: str) -> dict[tuple[Any, ...], int]:
    """How many different values a column has in each group, exactly: each is looked at."""
    counted: dict[tuple[Any, ...], int] = {}
    values = [column] if column not in asked.by else []
    group: dict[str, Any] = {"size": MAX_GROUPS, "sources": asked.sources(values)}
    body = {"size": 0, "query": asked.query, "track_total_hits": False, "aggs": {"groups": {"composite": group}}}
    seen = 0
    while True:
        found = (
            ask_mart(client, asked.mart, body, asked.deadline).get("aggregations", {}).get("groups", {"buckets": []})
        )
        for one in found["buckets"]:
            if one["key"][column] is not None:
                key = tuple(asked.key(one["key"]).values())
                counted[key] = counted.get(key, 0) + 1
        seen += len(found["buckets"])
        if len(found["buckets"]) < MAX_GROUPS:
            return counted
        if seen >= MAX_DISTINCT:
            raise QueryError(f"more than {MAX_DISTINCT:,} values of {column}", "a shorter time, or a filter")
        group["after"] = found["after_key"]


def _aggregation(mart: Mart, one: Figure) -> tuple[dict[str, Any], Callable[[Mapping[str, Any]], Any]]:
    """The aggregations of a figure, and what reads it from a bucket."""
    match one.function:
        case Function.SUM:
            return _sum(mart, one.name, one.column)
        case Function.MEAN if one.weight is not None:
            weighted = {"value": {"field": one.column}, "weight": {"field": one.weight}}
            return {one.name: {"weighted_avg": weighted}}, lambda bucket: bucket[one.name]["value"]
        case Function.MEAN:
            return _quotient(mart, one)
        case Function.COUNT:
            return {one.name: {"value_count": {"field": one.column}}}, lambda bucket: int(bucket[one.name]["value"])
        case Function.MIN | Function.MAX if mart.columns[one.column] in (DECIMAL, *DATES):
            return _bound(mart, one)
        case Function.MIN | Function.MAX:
            whole = mart.columns[one.column] in COUNTS

            def read(bucket: Mapping[str, Any]) -> Any:
                value = bucket[one.name]["value"]
                return round(value) if whole and value is not None else value

            return {one.name: {one.function.value: {"field": one.column}}}, read
    raise ValueError(f"{one.function} is no aggregation")


def _sum(mart: Mart, name: str, column: str) -> tuple[dict[str, Any], Callable[[Mapping[str, Any]], Any]]:
    if mart.columns[column] == DECIMAL:
        made, exact = _exact_sum(mart, name, column)
        return made, lambda bucket: f"{exact(bucket):f}"
    whole = mart.columns[column] in COUNTS

    def read(bucket: Mapping[str, Any]) -> Any:
        value = bucket[name]["value"]
        return round(value) if whole else value

    return {name: {"sum": {"field": column}}}, read


def _exact_sum(mart: Mart, name: str, column: str) -> tuple[dict[str, Any], Callable[[Mapping[str, Any]], Decimal]]:
    precision, scale = mart.decimals[column]
    paths = [limb_path(column, number) for number in range(limb_count(precision))]
    made = {f"{name}:{path}": {"sum": {"field": path}} for path in paths}
    return made, lambda bucket: total(
        {path: bucket[f"{name}:{path}"]["value"] for path in paths}, column, precision, scale
    )


def _quotient(mart: Mart, one: Figure) -> tuple[dict[str, Any], Callable[[Mapping[str, Any]], Any]]:
    """The sum of a column by the sum of another, which counts what was summed."""
    count = str(one.count)
    divisor = {f"{one.name}:count": {"sum": {"field": count}}}
    if mart.columns[one.column] == DECIMAL:
        made, exact = _exact_sum(mart, f"{one.name}:sum", one.column)
        digits = min(MAX_PRECISION, mart.decimals[one.column][1] + _MEAN_DIGITS)

        def decimal(bucket: Mapping[str, Any]) -> str | None:
            many = round(bucket[f"{one.name}:count"]["value"])
            with localcontext(prec=100):
                return f"{scaled(exact(bucket) / many, digits, ROUND_HALF_EVEN):f}" if many else None

        return {**made, **divisor}, decimal

    def read(bucket: Mapping[str, Any]) -> float | None:
        many = bucket[f"{one.name}:count"]["value"]
        return bucket[f"{one.name}:sum"]["value"] / many if many else None

    return {f"{one.name}:sum": {"sum": {"field": one.column}}, **divisor}, read


def _bound(mart: Mart, one: Figure) -> tuple[dict[str, Any], Callable[[Mapping[str, Any]], Any]]:
    """The least or greatest value as its row has it: an aggregation would round it to a double."""
    path = key_path(one.column) if mart.columns[one.column] == DECIMAL else one.column
    order = {path: {"order": "asc" if one.function is Function.MIN else "desc", "missing": "_last"}}
    first = {"top_hits": {"size": 1, "sort": [order], "_source": [one.column]}}

    def read(bucket: Mapping[str, Any]) -> Any:
        hits = bucket[one.name]["hits"]["hits"]
        return hits[0]["_source"].get(one.column) if hits else None

    return {one.name: first}, read


def add_examples(client: OpenSearch, asked: Question, groups: Sequence[Row], column: str, example: str) -> list[Row]:
    """The groups, each with what its row with the largest `column` has in `example`."""
    filters = {
        str(number): {"bool": {"filter": [_is(asked, name, group[name]) for name in asked.by]}}
        for number, group in enumerate(groups)
    }
    by = key_path(column) if asked.mart.columns[column] == DECIMAL else column
    largest = {"top_hits": {"size": 1, "sort": [{by: "desc"}], "_source": [example]}}
    each = {"filters": {"filters": filters}, "aggs": {"one": largest}}
    body = {"size": 0, "query": asked.query, "track_total_hits": False, "aggs": {"each": each}}
    found = ask_mart(client, asked.mart, body, asked.deadline)
    buckets = found["aggregations"]["each"]["buckets"] if "aggregations" in found else {}
    hits = [buckets.get(name, {}).get("one", {}).get("hits", {}).get("hits", []) for name in filters]
    return [
        {**group, example: one[0]["_source"].get(example) if one else None}
        for group, one in zip(groups, hits, strict=True)
    ]


def _is(asked: Question, name: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {"bool": {"must_not": {"exists": {"field": name}}}}
    if name == asked.mart.time and asked.every is not None:
        return {
            "range": {name: {"gte": value, "lt": f"{value}||+{asked.every}", "format": "strict_date_optional_time"}}
        }
    if asked.mart.columns[name] == DECIMAL:
        return {"term": {key_path(name): decimal_key(name, value, asked.mart.decimals[name][1])}}
    return {"term": {name: value}}
