"""How many events there are: in all, and over time by severity.

Belongs here: counts over what a search finds. Does not belong here: the rows (`query.py`), gold marts (`marts.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from opensearchpy import OpenSearch

from platform_assets.contracts.model import SeverityRank, Table
from platform_assets.index.asking import Deadline, ask
from platform_assets.index.clauses import to_query
from platform_assets.index.names import read_alias
from platform_assets.index.syntax import Clause
from platform_assets.index.times import parse_duration

TOTAL_LIMIT = 10_000
BUCKETS = 90
"""Buckets of a chart at most, where the longest interval allows it."""
_FORMER = 20
"""Values that an earlier contract allowed may still be there: room for so many besides those that have a rank."""
_INTERVALS = (
    *("1s", "2s", "5s", "10s", "15s", "30s", "1m", "2m", "5m", "10m", "15m", "30m"),
    *("1h", "2h", "3h", "6h", "12h", "1d", "2d", "7d"),
)


@dataclass(frozen=True, slots=True)
class Counts:
    """`total` events (at least that many when not `exact`).

    `buckets` of `interval` (`5m`) are `{time, total, severities: {error: 3}}`, the oldest first, without empty ones; values that
    have no severity are in `total` alone. They begin at multiples of the interval, so that those of several tables are the same.
    """

    total: int
    exact: bool
    interval: str | None
    buckets: list[dict[str, Any]]


def count(
    client: OpenSearch,
    table: Table,
    query: str = "",
    *,
    since: datetime,
    until: datetime,
    more: Sequence[Clause] = (),
    over_time: bool = False,
    deadline: Deadline | None = None,
) -> Counts:
    """Events in [since, until) that match; exact up to 10,000, and beyond when counted `over_time`.

    The buckets of a table without a severity have none. Raises QueryError, Unavailable, SearchError.
    """
    body: dict[str, Any] = {
        "size": 0,
        "query": to_query(table, query, since=since, until=until, more=more),
        "track_total_hits": True if over_time else TOTAL_LIMIT,
    }
    interval = interval_of(since, until) if over_time else None
    severity = table.severity
    if interval is not None:
        histogram = {"field": table.event_time, "fixed_interval": interval, "min_doc_count": 1}
        chart: dict[str, Any] = {"date_histogram": histogram}
        if severity is not None:
            size = len(severity.ranks) + _FORMER
            chart["aggs"] = {"values": {"terms": {"field": severity.field, "size": size}}}
        body["aggs"] = {"chart": chart}
    found = ask(client, read_alias(table), body, deadline or Deadline(), f"counting {table.qualified_name}")
    total = found["hits"]["total"]
    chart = found.get("aggregations", {}).get("chart", {})  # absent when there is no index yet
    ranks = dict(severity.ranks) if severity is not None else {}
    buckets = [_bucket(one, ranks) for one in chart.get("buckets", [])]
    return Counts(int(total["value"]), total["relation"] == "eq", interval, buckets)


def interval_of(since: datetime, until: datetime) -> str:
    """The shortest interval that cuts the range into 90 buckets at most (`7d` when none does)."""
    fits = (one for one in _INTERVALS if until - since <= BUCKETS * parse_duration(one))
    return next(fits, _INTERVALS[-1])


def _bucket(found: dict[str, Any], ranks: Mapping[str, SeverityRank]) -> dict[str, Any]:
    severities: Counter[str] = Counter()
    for one in found.get("values", {}).get("buckets", []):
        if (rank := ranks.get(one["key"])) is not None:
            severities[rank.value] += one["doc_count"]
    start = datetime.fromtimestamp(found["key"] / 1000, UTC).isoformat().replace("+00:00", "Z")
    return {"time": start, "total": found["doc_count"], "severities": dict(severities)}
