"""The list of what may be asked with a caller's token refuses each request that is known to look past its documents."""

from __future__ import annotations

import json
from typing import Any

import pytest
from caller_requests import Asked, faults

GOOD: dict[str, Any] = {
    "size": 10,
    "query": {
        "bool": {"filter": [{"range": {"event_time": {"gte": "2026-01-15"}}}, {"terms": {"service": ["a", "b"]}}]}
    },
    "sort": [{"event_time": "desc"}],
    "aggs": {"global": {"terms": {"field": "script", "size": 20}, "aggs": {"suggest": {"sum": {"field": "explain"}}}}},
}


def asked(body: object, path: str = "/logs-events/_search", method: str = "POST", **params: str) -> Asked:
    return Asked(method, path, params, json.dumps(body).encode(), "a.b.c")


def test_what_is_filtered_passes_whatever_its_fields_are_called() -> None:
    assert faults(asked(GOOD)) == []
    assert faults(Asked("GET", "/logs-alerts,shop-alerts/_mapping/field/*", {}, None, "a.b.c")) == []


@pytest.mark.parametrize(
    "more",
    [
        {"aggs": {"all": {"global": {}}}},
        {"aggs": {"s": {"terms": {"field": "service", "size": 9}, "aggs": {"all": {"global": {}}}}}},
        {"aggs": {"s": {"terms": {"script": {"source": "doc['a'].value"}}}}},
        {"aggs": {"s": {"terms": {"field": "service", "min_doc_count": 0}}}},
        {"aggs": {"s": {"significant_terms": {"field": "service"}}}},
        {"aggs": {"s": {"scripted_metric": {"map_script": "1"}}}},
        {"aggs": {"g": {"composite": {"size": 9, "sources": [{"s": {"terms": {"script": "1"}}}]}}}},
        {"suggest": {"s": {"text": "a", "term": {"field": "service"}}}},
        {"suggest": {"s": {"text": "a", "phrase": {"field": "message"}}}},
        {"query": {"terms": {"service": {"index": "logs-alerts", "id": "1", "path": "service"}}}},
        {"query": {"bool": {"should": [{"terms": {"service": {"index": "x", "id": "1", "path": "y"}}}]}}},
        {"query": {"bool": {"must": [{"match_all": {}}]}}},
        {"query": {"script": {"script": "true"}}},
        {"query": {"script_score": {"query": {"match_all": {}}, "script": {"source": "1"}}}},
        {"query": {"more_like_this": {"like": {"_index": "logs-events", "_id": "1"}}}},
        {"query": {"query_string": {"query": "*"}}},
        {"query": {"term": {"service": {"value": "a", "boost": 2}}}},
        {"sort": [{"_script": {"type": "number", "script": "1"}}]},
        {"script_fields": {"s": {"script": "1"}}},
        {"runtime_mappings": {}},
        {"derived": {"s": {"type": "keyword", "script": "1"}}},
        {"explain": True},
        {"profile": True},
    ],
)
def test_what_looks_past_the_filter_is_found(more: dict[str, Any]) -> None:
    assert faults(asked(GOOD | more))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/logs-events/_field_caps"),
        ("GET", "/logs-events/_termvectors/1"),
        ("GET", "/_mtermvectors"),
        ("GET", "/logs-events/_explain/1"),
        ("POST", "/_search"),
        ("POST", "/_all/_search"),
        ("POST", "/.opendistro_security/_search"),
        ("POST", "/logs-events/_search/template"),
        ("POST", "/_msearch"),
        ("POST", "/logs-events/_validate/query"),
        ("POST", "/_plugins/_sql"),
        ("DELETE", "/logs-events/_search"),
    ],
)
def test_other_requests_are_found(method: str, path: str) -> None:
    assert faults(asked({}, path, method))


@pytest.mark.parametrize("name", ["suggest_field", "explain", "q", "source", "scroll", "docvalue_fields"])
def test_other_parameters_are_found(name: str) -> None:
    assert faults(asked(GOOD, **{name: "x"}))
