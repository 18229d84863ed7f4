"""The query language: what is understood, what is refused, and that no text becomes a query of its own."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from threading import Event
from typing import Any

import pytest
from caller_requests import Asked, faults
from hypothesis import given
from hypothesis import strategies as st
from lark import Lark

from platform_assets.contracts.read import load_contracts
from platform_assets.index import syntax
from platform_assets.index.clauses import to_query
from platform_assets.index.errors import QueryError
from platform_assets.index.syntax import All, Clause, Either, Node, Not, Value, parse
from platform_assets.index.times import parse_as_of, parse_duration, parse_time

EVENTS = load_contracts()["logs"].table("events")
ACCESS = load_contracts()["logs"].table("access")


def word(text: str, **more: Any) -> Clause:
    return Clause(None, (Value(text, **more),))


LEVEL = Clause("level", (Value("ERROR"),))


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("", []),
        ("  \t ", []),
        ("level:ERROR", [LEVEL]),
        ("level: ERROR", [LEVEL]),
        ("-level:ERROR", [Not(LEVEL)]),
        ("NOT level:ERROR", [Not(LEVEL)]),
        ("!level:ERROR", [Not(LEVEL)]),
        ("+level:ERROR", [LEVEL]),
        ("NOT -x", [word("x")]),
        ("NOT NOT NOT x", [Not(word("x"))]),
        ("a AND b", [word("a"), word("b")]),
        ("a && b", [word("a"), word("b")]),
        ("a OR b", [Either((word("a"), word("b")))]),
        ("a || b", [Either((word("a"), word("b")))]),
        ("a b OR c", [Either((All((word("a"), word("b"))), word("c")))]),
        ("a AND b OR NOT c", [Either((All((word("a"), word("b"))), Not(word("c"))))]),
        ("a (b OR c)", [word("a"), Either((word("b"), word("c")))]),
        ("-(a b)", [Not(All((word("a"), word("b"))))]),
        ("((a))", [word("a")]),
        ('"two words" x', [word("two words", quoted=True), word("x")]),
        ('host:"a \\" b"', [Clause("host", (Value('a " b', True),))]),
        ('path:"C:\\temp\\\\"', [Clause("path", (Value("C:\\temp\\", True),))]),
        ('level:A,"B,C",D', [Clause("level", (Value("A"), Value("B,C", True), Value("D")))]),
        ("level:(A B)", [Clause("level", (Value("A"), Value("B")))]),
        ("level:(A OR B, C)", [Clause("level", (Value("A"), Value("B"), Value("C")))]),
        ("level:(A AND NOT B)", [Clause("level", (Value("A"),)), Not(Clause("level", (Value("B"),)))]),
        ("level:(A)", [Clause("level", (Value("A"),))]),
        (
            "status:(404 >=500)",
            [Either((Clause("status", (Value("404"),)), Clause("status", bounds=(("gte", "500"),))))],
        ),
        ("status:(-5 6)", [Clause("status", (Value("-5"), Value("6")))]),
        ("status:>=500", [Clause("status", bounds=(("gte", "500"),))]),
        ("status:>= 500", [Clause("status", bounds=(("gte", "500"),))]),
        ("status:<5", [Clause("status", bounds=(("lt", "5"),))]),
        ("status:1..5", [Clause("status", bounds=(("gte", "1"), ("lte", "5")))]),
        ("status:-5..-1", [Clause("status", bounds=(("gte", "-5"), ("lte", "-1")))]),
        ("status:1.. x", [Clause("status", bounds=(("gte", "1"),)), word("x")]),
        ('event_time:>"2026-11-21 08:00"', [Clause("event_time", bounds=(("gt", "2026-11-21 08:00"),))]),
        ('t:"2026-11-20".."2026-11-21"', [Clause("t", bounds=(("gte", "2026-11-20"), ("lte", "2026-11-21")))]),
        ("trace_id:*", [Clause("trace_id", present=True)]),
        ("*", [Clause(None, present=True)]),
        ('trace_id:"*"', [Clause("trace_id", (Value("*", True),))]),
        ("host:web-*", [Clause("host", (Value("web-*", wild=True),))]),
        ("host:*-1?", [Clause("host", (Value("*-1?", wild=True),))]),
        ("host:a\\*b", [Clause("host", (Value("a*b"),))]),
        ("attributes.a.b:x", [Clause("attributes.a.b", (Value("x"),))]),
        ("attributes.x-request-id:7", [Clause("attributes.x-request-id", (Value("7"),))]),
        ('attributes."x request id":7', [Clause("attributes.x request id", (Value("7"),))]),
        ('"attributes.x request id":7', [Clause("attributes.x request id", (Value("7"),))]),
        ('attributes."a"."b.c".d:7', [Clause("attributes.a.b.c.d", (Value("7"),))]),
        ('attributes."":7', [Clause("attributes.", (Value("7"),))]),
        ("attributes.a\\ b:7", [Clause("attributes.a b", (Value("7"),))]),
        ("attributes.OR:7", [Clause("attributes.OR", (Value("7"),))]),
        ("attributes.ключ:значение", [Clause("attributes.ключ", (Value("значение"),))]),
        ("10:30", [word("10:30")]),
        ("/var/log/ a,b wow!", [word("/var/log/"), word("a,b"), word("wow!")]),
        ("~/x a|b a^b", [word("~/x"), word("a|b"), word("a^b")]),
    ],
)
def test_grammar(text: str, nodes: list[Node]) -> None:
    assert parse(text) == nodes


@pytest.mark.parametrize(
    ("text", "says", "position"),
    [
        ('"open', "quotation mark is not closed", 0),
        ('x level:"open', "quotation mark is not closed", 8),
        ('message:foo"bar"', "must enclose the whole value", 11),
        ('message:"foo"bar,x', "must enclose the whole value", 8),
        ('message:"foo""bar"', "must enclose the whole value", 8),
        ('"foo""bar"', "must enclose the whole value", 0),
        ("level:", "nothing is looked for", 0),
        ("x level:  ", "nothing is looked for", 2),
        ("-", "nothing is looked for", 0),
        ("a - b", "nothing is looked for", 2),
        ("a NOT", "nothing behind", 2),
        ("a OR", "nothing behind", 2),
        ("OR a", "nothing before", 0),
        ("a AND OR b", "nothing behind", 2),
        ("(a OR) b", "nothing behind", 3),
        ("level:(A OR)", "nothing behind", 9),
        ("(a", "not closed", 0),
        ("a (b (c)", "not closed", 2),
        ("a)", "closes none", 1),
        ("()", "nothing in these parentheses", 1),
        ("level:()", "nothing in these parentheses", 7),
        ("(" * 9 + "a" + ")" * 9, "8 deep", 8),
        ("level:A,", "empty place", 7),
        ("/re.*/", "no regular expressions", 0),
        ("message:/(a|b)/", "no regular expressions|quote", None),
        ("x roam~", "no fuzzy search", 6),
        ("roam~2", "no fuzzy search", 4),
        ('"a b"~3', "no fuzzy search", 5),
        ("level:ERROR^2", "no weight", 11),
        ('"a"^2', "no weight", 3),
        ("status:[1 TO 5]", "no brackets", 7),
        ("status:{1 TO 5}", "no brackets", 7),
        ("status:!=500", "equality has no sign", 7),
        ("level:NOT ERROR", "is an operator", 6),
        ("x status>=500", "comparison follows a colon.*status:>=500", 2),
        ("a | b", "no letter or digit", 2),
        ("attributes.*:x", "no wildcards", 0),
        ('attributes.a"b":x', "must enclose", None),
        ("a\\", "backslash", 1),
        ("\\Users", "backslash", 0),
        ("status:..", "range needs an end", 7),
        ("status:>", "nothing to compare", 7),
        ('status:>""', "nothing to compare", 8),
        ("status:>5*", "no wildcards", 8),
        ('""', "quoted value is empty", 0),
        ('message:""', "no letter or digit", 8),
        ("a" * 5000, "longer than", None),
        ("a " * 100, "64 are allowed", 128),
        ("level:" + ",".join("a" * 101), "1 to 100", 0),
        ("level:(" + "a " * 101 + ")", "1 to 100", 0),
        (" ".join(["message:" + ",".join("a" * 100)] * 13), "1300 values, 500 are allowed", None),
        ("a* " * 17, "17 values with wildcards, 16 are allowed", 48),
        ("*a*b*c*d*e*f*g*h*", "9 wildcards, 8 are allowed", 0),
        ("service:*?", "says nothing", 8),
        ("message:a.*.b", "stands alone", 8),
        ("x lvel:ERROR", "no field 'lvel'.*known: event_id, event_time", 2),
        ("http://example.org", "quote words that hold a colon", 0),
        ("status:many", "whole number", 0),
        ("status:5*", "no wildcards", 7),
        ("id:5*", "no wildcards", 3),
        ("status:99999999999999999999", "too large", 0),
        ("status:" + "9" * 4000, "whole number|too large", 0),
        ("latency_ms:nan", "too large", 0),
        ("latency_ms:1e999", "too large", 0),
        ("history:maybe", "true or false", 0),
        ("service:>a", "neither number nor time", 0),
        ("message:a..b", "neither number nor time", 0),
        ("event_time:yesterday", "not a time", 0),
        ("attributes:x", "attributes.member:value", 0),
        ("attributes.x:>1", "it has no range", 0),
    ],
)
def test_mistakes_are_said_clearly(text: str, says: str, position: int | None) -> None:
    with pytest.raises(QueryError, match=says) as refused:
        to_query(EVENTS, text)
    assert position is None or refused.value.position == position


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@given(st.text(max_size=20), st.text(min_size=1, max_size=20))
def test_any_name_and_any_value_can_be_written(name: str, value: str) -> None:
    wanted = [Clause(f"attributes.{name}", (Value(value, quoted=True),))]
    for path in (f"attributes.{quoted(name)}", quoted(f"attributes.{name}")):
        assert parse(f"{path}:{quoted(value)}") == wanted
        assert parse(f"-{path}:({quoted(value)})") == [Not(wanted[0])]
    if value.strip():
        assert parse(quoted(value)) == [Clause(None, (Value(value, quoted=True),))]


nodes = st.recursive(
    st.sampled_from(["a", "level:ERROR", '"x y"', "status:>=5", "b*", "level:(A B)"]),
    lambda some: st.one_of(
        some.map(lambda one: f"NOT ({one})"),
        st.lists(some, min_size=2, max_size=3).map(lambda all_: "(" + " AND ".join(all_) + ")"),
        st.lists(some, min_size=2, max_size=3).map(lambda all_: "(" + " OR ".join(all_) + ")"),
    ),
    max_leaves=6,
)


@given(nodes)
def test_operators_nest_in_any_way(text: str) -> None:
    try:
        built = to_query(EVENTS, text)
    except QueryError as error:
        assert "deep" in str(error)
        return
    assert faults(Asked("POST", "/x/_search", {}, json.dumps({"query": built}), "")) == []


NAMES = {field.name for field in EVENTS.fields} | {f"_assay.{name}" for name in ("shard", "position", "seq", "history")}


def fields(node: Any) -> set[str]:
    """The names of fields in a query, and what stands in their place."""
    if isinstance(node, list):
        return set().union(*map(fields, node))
    [(kind, inner)] = node.items()
    if kind == "bool":
        return set().union(*(fields(some) for name, some in inner.items() if name != "minimum_should_match"))
    return {inner["field"]} if kind == "exists" else set() if kind in ("ids", "match_all") else set(inner)


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
            "(",
            ")",
            " OR ",
            "AND",
            "?",
            "/",
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
    assert faults(Asked("POST", "/x/_search", {}, json.dumps({"query": built}), "")) == []
    assert fields(built) <= NAMES or "attributes." in text


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


def test_first_queries_at_the_same_moment_build_one_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Lark] = []
    real = Lark.open

    def slowly(*args: Any, **options: Any) -> Lark:
        others.wait(0.2)
        built.append(real(*args, **options))
        return built[-1]

    others = Event()
    monkeypatch.setattr(Lark, "open", slowly)
    syntax._parser.cache_clear()
    with ThreadPoolExecutor(4) as pool:
        parsed = [found.result() for found in [pool.submit(parse, "level:ERROR") for _ in range(4)]]
    assert len(built) == 1
    assert parsed[1:] == parsed[:-1]
