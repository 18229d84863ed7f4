"""Each kind of bad input gets its reason, and good rows beside it survive."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from transform_samples import (
    ACCESS,
    BROKER,
    EVENTS,
    accepted,
    encoded,
    event,
    reasons,
    rejected,
    transform,
    with_field,
    without,
)

from platform_assets.contracts.arrow import QUARANTINE_SCHEMA
from platform_assets.contracts.model import FieldType, InvalidBytes

VALID = encoded()


def raw(name: str, text: str) -> bytes:
    """A valid event in which one member's value is this JSON text."""
    return VALID.replace(f'"{name}": {json.dumps(event()[name])}'.encode(), f'"{name}": {text}'.encode())


STRUCTURE = [
    (None, "tombstone"),
    (b"", "empty"),
    (b" \t\r\n", "empty"),
    (b"\xff\xfe" + VALID, "invalid_utf8"),
    (VALID.replace(b"declined", b"decl\xe9ned"), "invalid_utf8"),
    (b"\xed\xa0\x80", "invalid_utf8"),  # a surrogate, encoded
    (VALID.replace(b"declined", b"decl\x00ined"), "nul_byte"),
    (VALID.replace(b"declined", rb"decl\u0000ined"), "nul_byte"),
    (VALID.replace(b"declined", rb"decl\\\u0000ined"), "nul_byte"),
    (VALID.replace(b"declined", rb"decl\\u0000ined"), None),  # an escaped backslash, then text
    (VALID[:-1], "malformed_json"),
    (VALID + b"x", "malformed_json"),
    (VALID + VALID, "malformed_json"),
    (VALID[:-1] + b",}", "malformed_json"),
    (VALID[:-1] + b", \n }", "malformed_json"),
    (VALID[:-1] + b',"list":[1,]}', "malformed_json"),
    (encoded(message="a,} b,]"), None),
    (b"\xef\xbb\xbf" + VALID, "malformed_json"),  # a byte order mark
    (b"not json", "malformed_json"),
    (VALID.replace(b"declined", b"decl\nined"), "malformed_json"),
    (VALID.replace(b"declined", rb"decl\ud800ined"), "lone_surrogate"),
    (VALID.replace(b"declined", rb"decl\udc00\ud800ined"), "lone_surrogate"),
    (VALID.replace(b"declined", rb"decl\ud83d\ude00ined"), None),
    (b"[1]", "not_an_object"),
    (b'"text"', "not_an_object"),
    (b"17", "not_an_object"),
    (b"null", "not_an_object"),
    (b"NaN", "not_an_object"),
    (b"{}", "missing:event_id"),
    (raw("latency_ms", "NaN"), "non_finite"),
    (raw("latency_ms", "-Infinity"), "non_finite"),
    (raw("status", "nan"), "non_finite"),
    (raw("service", "inf"), "non_finite"),
    (VALID[:-1] + b',"more":NaN}', "non_finite"),
    (VALID[:-1] + b',"more":{"deep":[1,-Infinity]}}', "non_finite"),
    (encoded(more=":NaN ,Infinity"), None),
    (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "too_deep"),
    (b"[" * 10_000 + b"]" * 10_000, "too_deep"),
    (VALID[:-1] + b',"a":' + b"[" * 40 + b"]" * 40 + b"}", "too_deep"),
    (encoded(message="[{" * 100), None),  # brackets in a string do not nest
    (encoded(wide=[[i] for i in range(100)]), None),  # many brackets, three levels
    (json.dumps({f"k{i}": i for i in range(50_000)}).encode(), "too_many_fields"),
    (json.dumps(event(more={f"k{i}": i for i in range(2_000)})).encode(), "too_many_fields"),
    (encoded(message="m" * 10_000_000), "too_large"),
    (VALID[:-1] + b',"level":"INFO"}', "duplicate_field"),
    (VALID[:-1] + rb',"\u006cevel":"INFO"}', "duplicate_field"),
    (VALID[:-1] + b',"more":1,"more":2}', "duplicate_field"),
    (VALID[:-1] + b',"attributes":{"more":1,"more":2}}', "duplicate_field"),
    (encoded(more=1, attributes={"more": 2}), "duplicate_field"),
    (VALID[:-1] + b',"more":{"a":{"b":1,"b":2}}}', "duplicate_field"),
    (VALID[:-1] + rb',"more":{"a":1,"\u0061":2}}', "duplicate_field"),
    (VALID[:-1] + rb',"more":[1,[{"b":1},{"a":1,"x\"y":0,"\u0078\"y":2}]]}', "duplicate_field"),
    (VALID[:-1] + b',"attributes":{"deep":{"a":1,"b":"a:","a":null}}}', "duplicate_field"),
    (VALID[:-1] + b',"one":{"a":"v",":a":1,":a":2},"two":3}', "duplicate_field"),
    (VALID[:-1] + b',"more":{"n":' + b"9" * 5_000 + b',"n":1}}', "duplicate_field"),
    (encoded(more={"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}], "c": "a"}), None),
    (encoded(more={"a": '","a":', "b": 'a":1,"a"'}), None),
    (encoded(more={"jane@example.com": 1, "[email]": 2}), "duplicate_field"),  # equal once they are scrubbed
    (encoded(more="m" * 9_000), "attributes_too_large"),
]

FIELDS = [
    (without("event_id"), "missing:event_id"),
    (encoded(event_id=None), "missing:event_id"),
    (without("event_time"), "missing:event_time"),
    (without("status", "user_id", "trace_id", "latency_ms", "host", "message"), None),
    (encoded(status=None, user_id=None), None),
    (encoded(event_id=12), "type:event_id"),
    (encoded(service=True), "type:service"),
    (encoded(service=["a"]), "type:service"),
    (encoded(message={"a": 1}), "type:message"),
    (encoded(status="502"), "type:status"),
    (encoded(status=502.5), "type:status"),
    (raw("status", "502.0"), "type:status"),
    (raw("status", "5e2"), "type:status"),
    (encoded(status=True), "type:status"),
    (encoded(status=99), "range:status"),
    (encoded(status=600), "range:status"),
    (encoded(status=2**63), "range:status"),
    (encoded(status=2**64), "range:status"),
    (encoded(status=-(2**63) - 1), "range:status"),
    (encoded(status=10**40), "range:status"),
    (encoded(latency_ms="12.5"), "type:latency_ms"),
    (encoded(latency_ms=False), "type:latency_ms"),
    (encoded(latency_ms=-1), "range:latency_ms"),
    (raw("latency_ms", "1e400"), "range:latency_ms"),
    (encoded(latency_ms=3), None),
    (encoded(level="LOUD"), "enum:level"),
    (encoded(level="error"), "enum:level"),
    (encoded(service="s" * 65), "length:service"),
    (encoded(service="é" * 64), None),  # characters, not bytes
    (encoded(event_time=1_795_251_570), "type:event_time"),
    (encoded(event_time=1_795_251_570_250), "type:event_time"),
    (encoded(event_time="1795251570"), "time:event_time"),
    (encoded(event_time=""), "time:event_time"),
    (encoded(event_time="infinity"), "time:event_time"),
    (encoded(event_time="epoch"), "time:event_time"),
    (encoded(event_time="2026-11-21"), "time:event_time"),
    (encoded(event_time="2026-11-21T08:59:30"), "time:event_time"),  # no zone
    (encoded(event_time="2026-11-21T08:59:30 Europe/Berlin"), "time:event_time"),
    (encoded(event_time="2026-02-30T08:59:30Z"), "time:event_time"),
    (encoded(event_time="2026-11-21T24:00:00Z"), "time:event_time"),
    (encoded(event_time="2026-11-21T08:59:60Z"), "time:event_time"),
    (encoded(event_time="2026-11-21T08:59:30+99:00"), "time:event_time"),
    (encoded(event_time="0000-01-01T00:00:00Z"), "time:event_time"),
    (encoded(event_time="9999-12-31T23:59:59-14:00"), "time:event_time"),  # the year 10000
    (encoded(event_time="9999-12-31T23:59:59Z"), "future"),
    (encoded(event_time="2026-11-22T09:00:00Z"), "future"),
    (encoded(event_time="2026-11-21T09:10:00.000001Z"), "future"),
    (encoded(event_time="2026-11-21T09:10:00Z"), None),
    (encoded(event_time="1969-12-31T23:59:59Z"), "before_1970"),
    (encoded(event_time="0001-01-01T00:00:00Z"), "before_1970"),
    (encoded(event_time="1970-01-01T00:00:00Z"), None),
]


@pytest.mark.parametrize("cases", [STRUCTURE, FIELDS], ids=["structure", "fields"])
def test_each_fault_gets_its_reason_in_one_batch_with_good_rows(cases: list[tuple[bytes | None, str | None]]) -> None:
    values = [value for case in cases for value in (case[0], VALID)]
    found = reasons(values)
    wrong = [(str(v)[:200], want, got) for (v, want), got in zip(cases, found[::2], strict=True) if want != got]
    assert wrong == [], wrong
    assert set(found[1::2]) == {None}


def test_a_pattern_is_matched_against_the_whole_value() -> None:
    table = with_field("host", pattern="node-[0-9]+")
    assert reasons([encoded(host="node-12"), encoded(host="xnode-1"), encoded(host="node-1x")], table) == [
        None,
        "pattern:host",
        "pattern:host",
    ]


def test_booleans_are_json_booleans() -> None:
    table = with_field("host", type=FieldType.BOOLEAN, max_length=None)
    values = [encoded(host=True), encoded(host="true"), encoded(host=1)]
    assert reasons(values, table) == [None, "type:host", "type:host"]
    assert accepted(values[0], table)["host"] is True


def test_a_table_without_attributes_refuses_unknown_members() -> None:
    table = replace(EVENTS, attributes=None)
    assert reasons([VALID, encoded(more=1), VALID[:-1] + b',"level":"INFO"}'], table) == [
        None,
        "unknown_field",
        "duplicate_field",
    ]


def test_a_tombstone_is_a_complete_quarantine_row() -> None:
    row = rejected(None)
    assert (row["reason"], row["stage"], row["excerpt"], row["value_bytes"]) == ("tombstone", "transform", None, None)
    assert row["detail"] == "the record has no value"
    assert row["contract_version"] == EVENTS.version


def test_quarantine_rows_have_the_quarantine_schema() -> None:
    transformed = transform([VALID[:-1], None, encoded(status="x")])
    assert transformed.rejected.schema == QUARANTINE_SCHEMA
    assert transformed.rejected["value_bytes"].to_pylist()[0] == len(VALID) - 1
    assert all(transformed.rejected["detail"].to_pylist())


def test_web_server_lines() -> None:
    good = b'203.0.113.7 - bob [15/Jan/2026:09:30:00 +0200] "GET /p?q=1 HTTP/1.1" 200 - "-" "Mozilla/5.0"'
    row = accepted(good + b"\r\n", ACCESS)
    assert (row["event_time"].isoformat(), row["bytes"], row["referrer"]) == ("2026-01-15T07:30:00+00:00", None, None)
    cases = [
        (good[:-1], "no_match"),
        (b"-", "no_match"),
        (b"\n", "empty"),
        (good.replace(b"200", b"1999"), "no_match"),
        (good.replace(b"/Jan/", b"/Foo/"), "time:event_time"),
        (good.replace(b"2026", b"2027"), "future"),
        (good.replace(b' - "', b' 99999999999999999999 "'), "range:bytes"),
    ]
    assert reasons([value for value, _ in cases], ACCESS) == [reason for _, reason in cases]


def test_bytes_that_are_no_text_reject_or_are_escaped_as_the_contract_says() -> None:
    line = b'203.0.113.7 - b\x00b [15/Jan/2026:09:30:00 +0000] "\x16\x03\x01\xff" 400 7 "-" "caf\xe9 \xc3\xa9 \t\\x22"'
    row = accepted(line, ACCESS)
    assert (row["status"], row["method"], row["path"]) == (400, None, None)
    assert row["agent"] == r"caf\xE9 \xC3\xA9" + " \t" + r"\x22"
    assert reasons([line], replace(ACCESS, invalid_bytes=InvalidBytes.REJECT)) == ["invalid_utf8"]
    nul = line.replace(b"\xff", b"").replace(b"\xe9", b"")
    assert accepted(nul, ACCESS)["agent"] == r"caf \xC3\xA9" + " \t" + r"\x22"
    assert reasons([nul], replace(ACCESS, invalid_bytes=InvalidBytes.REJECT)) == ["nul_byte"]


def test_patterns_are_tried_in_their_order() -> None:
    first = r"^(?P<time>\S+ \S+) (?P<level>[A-Z]+) (?P<message>a.*)$"
    second = r"^(?P<time>\S+ \S+) (?P<level>[A-Z]+) (?P<message>.)(?P<logger>.*?)(?P<stack>)$"
    table = replace(BROKER, patterns=(first, second))
    start = b"2026-01-15 09:30:00,123 INFO "
    assert [accepted(start + text, table)[name] for text in (b"ab", b"ba") for name in ("message", "logger")] == [
        "ab", None, "b", "a",
    ]  # fmt: skip
    assert reasons([start, b"x", b" "], table) == ["no_match", "no_match", "empty"]


def test_multi_line_records_keep_their_stack_trace() -> None:
    text = (
        b"[2026-01-15 09:30:00,123] ERROR It failed (kafka.Processor)\njava.io.IOException: reset\n\tat X.read(Native)"
    )
    row = accepted(text, BROKER)
    assert row["event_time"].isoformat() == "2026-01-15T09:30:00.123000+00:00"
    assert (row["message"], row["logger"]) == ("It failed", "kafka.Processor")
    assert row["stack"] == "java.io.IOException: reset\n\tat X.read(Native)"
