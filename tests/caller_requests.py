"""What may be asked of OpenSearch with a caller's token: every request that leaves is held against this list.

Document-level security of OpenSearch 3.4 has holes: `global` aggregations, suggesters, `terms` from another index, scripts,
`explain`, `_termvectors`, `_field_caps` look past a caller's documents. The list is of what is known to be filtered, by its place
in the request: whatever is not on it is a fault, be it one of those or something that nobody has thought of.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from opensearchpy import Urllib3HttpConnection

SEARCH = re.compile(r"/[a-z][a-z0-9_,*-]*/_search")
COLUMNS = re.compile(r"/[a-z][a-z0-9_,*-]*/_mapping/field/(\*|%2A)")
PARAMS = frozenset({"ignore_unavailable", "allow_no_indices", "allow_partial_search_results", "pre_filter_shard_size"})
BODY = frozenset({"size", "query", "sort", "search_after", "track_total_hits", "timeout", "aggs", "_source"})
BOUNDS = frozenset({"gte", "gt", "lte", "lt", "format"})
SCALARS = (str, int, float, bool)


@dataclass(frozen=True)
class Asked:
    """One request on its way: as opensearch-py hands it to its connection."""

    method: str
    path: str
    params: dict[str, Any]
    body: bytes | str | None
    bearer: str  # empty when the platform asks with its own password


@contextmanager
def recorded() -> Iterator[list[Asked]]:
    """Every request to OpenSearch that leaves this process within the block, whoever sends it."""
    found: list[Asked] = []
    real = Urllib3HttpConnection.perform_request
    signature = inspect.signature(real)

    def perform(*arguments: Any, **named: Any) -> Any:
        given = signature.bind(*arguments, **named).arguments
        headers = {name.lower(): value for name, value in (given.get("headers") or {}).items()}
        scheme, _, token = str(headers.get("authorization", "")).partition(" ")
        bearer = token if scheme == "Bearer" else ""
        found.append(Asked(given["method"], given["url"], dict(given.get("params") or {}), given.get("body"), bearer))
        return real(*arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Urllib3HttpConnection, "perform_request", perform)
        yield found


def faults(asked: Asked) -> list[str]:
    """What in a caller's request is not on the list."""
    wrong = [f"parameter {name}" for name in asked.params if name not in PARAMS]
    if asked.method == "GET" and COLUMNS.fullmatch(asked.path):
        return wrong + (["a body"] if asked.body else [])
    if asked.method not in ("GET", "POST") or not SEARCH.fullmatch(asked.path):
        return [*wrong, f"{asked.method} {asked.path}"]
    body = json.loads(asked.body or "{}")
    wrong += [f"member {name}" for name in body if name not in BODY]
    wrong += [f"_source {one}" for one in body.get("_source", []) if not isinstance(one, str)]
    wrong += _query(body["query"]) if "query" in body else []
    wrong += [f"sort {one}" for one in body.get("sort", []) if not _sorts(one)]
    return wrong + _aggregations(body.get("aggs", {}))


def _plain(found: Any) -> bool:
    """Whether it is `{name: scalar}`."""
    return isinstance(found, dict) and all(isinstance(value, SCALARS) for value in found.values())


def _sorts(found: Any) -> bool:
    """Whether it is `{field: direction}`, or says beside the direction that rows without a value come last."""
    if not isinstance(found, dict) or len(found) != 1:
        return False
    [how] = found.values()
    known = ({"order": "asc", "missing": "_last"}, {"order": "desc", "missing": "_last"})
    return how in ("asc", "desc") or how in known


def _query(query: Any) -> list[str]:
    if not isinstance(query, dict) or len(query) != 1:
        return [f"query {query}"]
    [(kind, inner)] = query.items()
    if kind == "bool":
        known = {"filter", "must_not", "should", "minimum_should_match"}
        clauses = [c for name, some in inner.items() if name != "minimum_should_match" for c in some]
        return [f"bool {name}" for name in inner if name not in known] + [w for c in clauses for w in _query(c)]
    return [] if kind in _CLAUSES and _CLAUSES[kind](inner) else [f"query {query}"]


_CLAUSES: dict[str, Callable[[Any], bool]] = {
    "term": _plain,
    "prefix": _plain,
    "match_phrase": _plain,
    "match_bool_prefix": _plain,
    "wildcard": _plain,
    "match_all": lambda inner: inner == {},
    "intervals": lambda inner: len(inner) == 1 and all(_in_a_row(one) for one in inner.values()),
    "exists": lambda inner: _plain(inner) and set(inner) == {"field"},
    "ids": lambda inner: set(inner) == {"values"} and isinstance(inner["values"], list),
    "terms": lambda inner: len(inner) == 1 and all(isinstance(some, list) for some in inner.values()),
    "match": lambda inner: all(_plain(one) and set(one) <= {"query", "operator"} for one in inner.values()),
    "range": lambda inner: all(_plain(one) and set(one) <= BOUNDS for one in inner.values()),
}
_RULES = {"match": {"query", "ordered", "max_gaps"}, "wildcard": {"pattern", "max_expansions"}}


def _in_a_row(rule: dict[str, Any]) -> bool:
    """Whether it looks for words, and patterns of words, one behind the other."""
    [(kind, inner)] = rule.items()
    if kind == "all_of":
        known = set(inner) == {"intervals", "ordered", "max_gaps"}
        return known and all(_in_a_row(one) for one in inner["intervals"])
    return kind in _RULES and _plain(inner) and set(inner) == _RULES[kind]


_FIGURES = {
    "max": {"field"},
    "sum": {"field"},
    "value_count": {"field"},
    "terms": {"field", "size"},
    "date_histogram": {"field", "fixed_interval", "min_doc_count"},
}


_SOURCES = {"terms": {"field", "missing_bucket"}, "date_histogram": {"field", "fixed_interval"}}


def _source(found: dict[str, Any]) -> bool:
    """Whether a composite aggregation groups by a field's values, or by steps of a time."""
    return len(found) == 1 and all(
        kind in _SOURCES and _plain(inner) and set(inner) <= _SOURCES[kind] for kind, inner in found.items()
    )


def _aggregations(named: dict[str, Any]) -> list[str]:
    """Names of aggregations are columns': only their kinds are looked at."""
    wrong: list[str] = []
    for found in named.values():
        for kind, inner in found.items():
            if kind == "aggs":
                wrong += _aggregations(inner)
            elif kind == "composite":
                sources = [one for source in inner["sources"] for one in source.values()]
                known = set(inner) == {"size", "sources"} or (
                    set(inner) == {"size", "sources", "after"} and _plain(inner["after"])
                )
                good = known and all(map(_source, sources))
                wrong += [] if good else [f"aggregation {found}"]
            elif kind == "filter":
                wrong += _query(inner)
            elif kind == "filters":
                wrong += [name for name in inner if name != "filters"]
                wrong += [fault for one in inner["filters"].values() for fault in _query(one)]
            elif kind == "top_hits":
                good = set(inner) == {"size", "sort", "_source"} and all(_sorts(one) for one in inner["sort"])
                wrong += [] if good else [f"aggregation {found}"]
            elif kind not in _FIGURES or not _plain(inner) or not set(inner) <= _FIGURES[kind]:
                wrong.append(f"aggregation {kind}: {inner}")
    return wrong
