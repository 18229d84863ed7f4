"""The query language: what is understood, what is refused, and that no text becomes a query of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_assets.contracts.read import load_contracts
from platform_assets.search.errors import QueryError
from platform_assets.search.query import parse_as_of, parse_duration, parse_time, to_query
from platform_assets.search.syntax import Clause, Value, parse

EVENTS = load_contracts()["logs"].table("events")
ACCESS = load_contracts()["logs"].table("access")


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("", []),
        ("  \t ", []),
        ("level:ERROR", [Clause("level", (Value("ERROR"),))]),
        ("-level:ERROR", [Clause("level", (Value("ERROR"),), negated=True)]),
        ("NOT level:ERROR", [Clause("level", (Value("ERROR"),), negated=True)]),
        ("NOT -x", [Clause(None, (Value("x"),))]),
        ("a AND b", [Clause(None, (Value("a"),)), Clause(None, (Value("b"),))]),
        ('"two words" x', [Clause(None, (Value("two words", True),)), Clause(None, (Value("x"),))]),
        ('host:"a \\" b"', [Clause("host", (Value('a " b', True),))]),
        ('level:A,"B,C",D', [Clause("level", (Value("A"), Value("B,C", True), Value("D")))]),
        ("status:>=500", [Clause("status", bounds=(("gte", "500"),))]),
        ("status:<5", [Clause("status", bounds=(("lt", "5"),))]),
        ("status:1..5", [Clause("status", bounds=(("gte", "1"), ("lte", "5")))]),
        ("status:1..", [Clause("status", bounds=(("gte", "1"),))]),
        ('event_time:>"2026-11-21 08:00"', [Clause("event_time", bounds=(("gt", "2026-11-21 08:00"),))]),
        ("trace_id:*", [Clause("trace_id", present=True)]),
        ('trace_id:"*"', [Clause("trace_id", (Value("*", True),))]),
        ("attributes.a.b:x", [Clause("attributes.a.b", (Value("x"),))]),
        ("10:30", [Clause(None, (Value("10:30"),))]),
    ],
)
def test_grammar(text: str, clauses: list[Clause]) -> None:
    assert parse(text) == clauses


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('"open', "quotation mark is not closed"),
        ('level:"open', "quotation mark is not closed"),
        ('message:foo"bar"', "must enclose the whole value"),
        ('message:"foo"bar,x', "must enclose the whole value"),
        ('message:"foo""bar"', "must enclose the whole value"),
        ('event_time:"2026-11-20".."2026-11-21"', "must enclose the whole value"),
        ('"foo""bar"', "must enclose the whole value"),
        ("level:", "nothing is looked for"),
        ("-", "nothing is looked for"),
        ("NOT", "nothing behind"),
        ("a OR b", "field:a,b"),
        ("status:..", "range needs an end"),
        ("status:>", "nothing to compare"),
        ('x:""', "quoted value is empty"),
        ("a" * 5000, "longer than"),
        ("a " * 100, "64 are allowed"),
        ("level:" + ",".join("a" * 101), "1 to 100"),
        (" ".join(["message:" + ",".join("a" * 100)] * 13), "1300 values, 500 are allowed"),
        ("lvel:ERROR", "no field 'lvel'.*known: event_id, event_time"),
        ("http://example.org", "quote words that hold a colon"),
        ("status:many", "whole number"),
        ("status:99999999999999999999", "too large"),
        ("status:" + "9" * 4000, "whole number|too large"),
        ("latency_ms:nan", "too large"),
        ("latency_ms:1e999", "too large"),
        ("history:maybe", "true or false"),
        ("service:>a", "neither number nor time"),
        ("service:**", None),
        ("host:*x", None),
        ("event_time:yesterday", "not a time"),
        ("attributes:x", "attributes.member:value"),
        ("attributes.x:>1", "it has no range"),
    ],
)
def test_mistakes_are_said_clearly(text: str, says: str | None) -> None:
    if says is None:
        to_query(EVENTS, text)  # stars elsewhere are literal
    else:
        with pytest.raises(QueryError, match=says):
            to_query(EVENTS, text)


ALLOWED = {
    *(
        "bool",
        "filter",
        "must_not",
        "should",
        "minimum_should_match",
        "term",
        "terms",
        "match",
        "match_phrase",
        "range",
    ),
    *("prefix", "exists", "ids", "values", "field", "query", "operator", "gt", "gte", "lt", "lte"),
    *(field.name for field in EVENTS.fields),
    *("_assay.partition", "_assay.offset", "_assay.seq", "_assay.history"),
}


def keys(node: Any) -> set[str]:
    if isinstance(node, dict):
        return set(node).union(*map(keys, node.values())) if node else set()
    return set().union(*map(keys, node)) if isinstance(node, list) else set()


hostile = st.lists(
    st.sampled_from(
        [
            '"',
            "\\",
            "{",
            "}",
            ":",
            "-",
            ",",
            "*",
            ">",
            "..",
            " ",
            "level",
            "status",
            "500",
            "script",
            "query_string",
            "é",
            "\n",
        ]
    ),
    max_size=25,
).map("".join)


@given(st.text(max_size=60) | hostile)
def test_no_text_escapes_into_the_query(text: str) -> None:
    try:
        built = to_query(EVENTS, text)
    except QueryError:
        return
    assert keys(built) <= ALLOWED
    json.dumps(built)


def test_time_ranges() -> None:
    since, until = (
        datetime(2026, 11, 21, 8, tzinfo=UTC),
        datetime(2026, 11, 21, 10, tzinfo=timezone(timedelta(hours=2))),
    )
    built = to_query(EVENTS, "", since=since, until=until)
    bounds = {"gte": "2026-11-21T08:00:00.000000Z", "lt": "2026-11-21T08:00:00.000000Z"}
    assert built == {"bool": {"filter": [{"range": {"event_time": bounds}}], "must_not": []}}


def test_a_day_is_looked_back_at_from_its_end() -> None:
    assert parse_as_of("2015-05-20") == datetime(2015, 5, 21, tzinfo=UTC)
    assert (
        parse_as_of("2015-05-20T00:00:00Z")
        == parse_as_of("2015-05-20 02:00+02:00")
        == datetime(2015, 5, 20, tzinfo=UTC)
    )
    assert abs(parse_as_of("now") - datetime.now(UTC)) < timedelta(minutes=1)
    for wrong in ("today", "", "0001-06-01", "9999-12-31", "20150520", "2015-W21-3", "2015W213", "2015-W21"):
        with pytest.raises(QueryError):
            parse_as_of(wrong)


def test_a_day_is_a_whole_day() -> None:
    def bounds(text: str) -> dict[str, str]:
        found: dict[str, str] = to_query(EVENTS, text)["bool"]["filter"][0]["range"]["event_time"]
        return {name: time[:10] for name, time in found.items()}

    assert bounds("event_time:2026-11-21") == {"gte": "2026-11-21", "lt": "2026-11-22"}
    assert bounds("event_time:2026-11-20..2026-11-21") == {"gte": "2026-11-20", "lt": "2026-11-22"}
    assert bounds("event_time:>2026-11-20") == {"gte": "2026-11-21"}
    assert bounds("event_time:<2026-11-20") == {"lt": "2026-11-20"}


def test_rows_that_are_no_history_are_those_that_do_not_say_so() -> None:
    assert to_query(EVENTS, "history:true")["bool"]["filter"] == [{"term": {"_assay.history": True}}]
    assert to_query(EVENTS, "history:false")["bool"]["filter"] == [
        {"bool": {"must_not": [{"term": {"_assay.history": True}}]}}
    ]


def test_only_masked_fields_are_masked() -> None:
    built = to_query(EVENTS, "user_id:ann service:ann", mask=lambda value: [f"m1-{value}", f"m2-{value}"])
    assert built["bool"]["filter"] == [
        {"terms": {"user_id": ["ann", "m1-ann", "m2-ann"]}},
        {"term": {"service": "ann"}},
    ]


def test_attributes_that_are_only_stored_are_not_searched() -> None:
    with pytest.raises(QueryError, match="not searchable"):
        to_query(replace(EVENTS, attributes_max_bytes=100_000), "attributes.x:1")


def test_durations_and_times() -> None:
    assert parse_duration("24h") == timedelta(hours=24)
    assert parse_duration("2w") == timedelta(weeks=2)
    for wrong in ("", "24", "h", "-1h", "0h", "1y", "100000w"):
        with pytest.raises(QueryError, match="not a duration"):
            parse_duration(wrong)
    assert parse_time("2026-11-21") == datetime(2026, 11, 21, tzinfo=UTC)
    assert parse_time("2026-11-21T10:00:00+02:00") == datetime(2026, 11, 21, 8, tzinfo=UTC)
    with pytest.raises(QueryError, match="not a time"):
        parse_time("noon")


def test_words_are_looked_for_in_texts_and_keywords() -> None:
    built = to_query(ACCESS, "abc")["bool"]["filter"][0]
    fields = {next(iter(next(iter(query.values())))) for query in built["bool"]["should"]}
    assert fields == {f.name for f in ACCESS.fields if f.index.value in ("text", "keyword")}
