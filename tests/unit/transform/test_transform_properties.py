"""Whatever bytes arrive: no row is lost, nothing raises, what comes out is valid, no personal data shows."""

from __future__ import annotations

import ipaddress
import json
import math
import re
from typing import Any

import pytest
from examples import QUICK
from hypothesis import given
from hypothesis import strategies as st
from transform_samples import ACCESS, BROKER, EVENTS, MASKER, bronze, encoded, event

from platform_assets.contracts.model import Table
from platform_assets.transform import Transformed, Transformer

SECRET = "Zq7Secret7qZ"
MAIL = "jane.doe@example.com"
CARD = "4111111111111111"

_json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([MAIL, CARD, int(CARD)]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
_names = st.sampled_from([*event(), "attributes", "more", "USER_ID", "event_id "])
_objects = st.builds(
    lambda base, changes: base | changes, st.just(event()), st.dictionaries(_names, _json_values, max_size=4)
)
_encodings = st.sampled_from([{}, {"ensure_ascii": False}, {"indent": 1}, {"separators": (",", ":")}])


@st.composite
def _json_texts(draw: st.DrawFn) -> bytes:
    text = json.dumps(draw(_objects | _json_values), **draw(_encodings))
    return text.encode("utf-8", "surrogatepass")


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    """A valid event with a secret user, damaged anywhere but in the letters of its name and value."""
    value = encoded(user_id=SECRET, message=f"to {MAIL}, {CARD}", more=f"{CARD} {MAIL}")
    whole = rb"user_id|" + SECRET.encode() + rb"|more|" + MAIL.encode() + b"|" + CARD.encode()
    kept = {i for found in re.finditer(whole, value) for i in range(found.start(), found.end() + 1)}
    places = [i for i in range(len(value)) if i not in kept]
    damaged = bytearray(value)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.sampled_from(places))
        damaged[place : place + 1] = draw(
            st.sampled_from([b"", b'"', b"\\", b"}", b",", b"\x00", b"\xff", b"'", b"\n", b"[", b":"])
        )
        places = [i for i in places if i < place - 1]
        if not places:
            break
    return bytes(damaged[: draw(st.integers(0, len(damaged)))]) if draw(st.booleans()) else bytes(damaged)


@pytest.fixture(scope="module")
def transformers() -> Any:
    """One transformer for each table of logs."""
    made = {table.name: Transformer(table, MASKER, threads=1) for table in (EVENTS, ACCESS, BROKER)}
    yield made
    for transformer in made.values():
        transformer.close()


def check(table: Table, values: list[bytes | None], transformed: Transformed) -> None:
    """What holds for every input."""
    kept = transformed.accepted["_position"].to_pylist()
    refused = transformed.rejected["_position"].to_pylist()
    assert sorted(kept + refused) == list(range(len(values)))
    assert kept == sorted(kept)
    assert refused == sorted(refused)
    transformed.accepted.validate(full=True)
    transformed.rejected.validate(full=True)
    for field in transformed.accepted.schema:
        assert field.nullable or transformed.accepted[field.name].null_count == 0, field.name
    for number in transformed.accepted["latency_ms"].to_pylist() if table is EVENTS else []:
        assert number is None or math.isfinite(number)
    for attributes in transformed.accepted["attributes"].to_pylist() if table is EVENTS else []:
        assert attributes is None or isinstance(json.loads(attributes, parse_constant=pytest.fail), dict)
    for row in transformed.rejected.to_pylist():
        assert row["reason"] != "undecodable"
        assert row["detail"]
        assert row["excerpt"] is None or (len(row["excerpt"]) <= 300 and "\x00" not in row["excerpt"])


@QUICK
@given(
    values=st.lists(
        st.none() | st.binary(max_size=200) | st.text().map(lambda s: s.encode("utf-8", "replace")), max_size=30
    )
)
def test_random_bytes(transformers: dict[str, Transformer], values: list[bytes | None]) -> None:
    for table in (EVENTS, ACCESS, BROKER):
        check(table, values, transformers[table.name].transform(bronze(values)))


@QUICK
@given(values=st.lists(_json_texts(), min_size=20, max_size=60))
def test_random_json(transformers: dict[str, Transformer], values: list[bytes | None]) -> None:
    transformed = transformers["events"].transform(bronze(values))
    check(EVENTS, values, transformed)
    for name in ("message", "attributes"):
        shown = " ".join(filter(None, transformed.accepted[name].to_pylist()))
        assert MAIL not in shown
        assert CARD not in shown


@QUICK
@given(values=st.lists(_damaged(), min_size=20, max_size=60))
def test_damaged_events_show_no_personal_data(transformers: dict[str, Transformer], values: list[bytes | None]) -> None:
    transformed = transformers["events"].transform(bronze(values))
    check(EVENTS, values, transformed)
    silver = transformed.accepted.drop(["event_time", "_landed_at"]).to_pylist()
    # Damage can make a valid member name around the field's name, and such a member is nobody's field.
    silver = [row for row in silver if "user_id" not in (row["attributes"] or "")]
    shown = json.dumps([silver, transformed.rejected.drop(["_landed_at", "landed_date"]).to_pylist()])
    assert SECRET not in shown
    assert MAIL not in shown
    assert CARD not in shown


@QUICK
@given(values=st.lists(_json_texts() | _damaged(), min_size=20, max_size=60))
def test_what_is_accepted_is_what_was_sent(transformers: dict[str, Transformer], values: list[bytes]) -> None:
    accepted = transformers["events"].transform(bronze(values)).accepted
    for row in accepted.to_pylist():
        sent = json.loads(values[row["_position"]])
        for name in ("event_id", "service", "level", "status", "trace_id", "host"):
            assert row[name] == sent.get(name)
            assert type(row[name]) is type(sent.get(name))
        assert row["latency_ms"] == sent.get("latency_ms")
        if sent.get("user_id") is not None:
            assert row["user_id"] == MASKER.mask(sent["user_id"], "user_id")


@st.composite
def _addresses(draw: st.DrawFn) -> tuple[str, str]:
    """A text with an address of a host in it, written in one of the usual ways, and the same text as it should be stored."""
    if draw(st.booleans()):
        address = str(draw(st.ip_addresses(v=4).filter(lambda ip: int(ip) % 2**24)))
        before, after = (
            draw(st.sampled_from(["x", "1-", "ip-"])),
            draw(st.sampled_from([":9092", "ms", ".5", "_", "-"])),
        )
    else:
        ip = draw(st.ip_addresses(v=6).filter(_is_a_hosts) | st.builds(_sparse, st.sets(st.integers(0, 7), min_size=2)))
        tail = f"{ip.exploded[:30]}{ipaddress.IPv4Address(int(ip) % 2**32)}"
        address = draw(st.sampled_from([ip.compressed, ip.exploded, ip.compressed.upper(), tail]))
        before, after = draw(st.sampled_from(["[", "to:"])), draw(st.sampled_from(["]:8080", "%eth0", ": gone", "/64"]))
    common = ["", " ", "=", "(", "/", "%20", "_", '"', "'", "\\", "\n", "\t", "\b", "\x01", "é", "\u2028", "😀"]
    before, after = (
        draw(st.sampled_from([before, *common])),
        draw(st.sampled_from([after, "", " ", ",", ")", '"', "\n", "é"])),
    )
    if before in ("%20", "\\") and after == ".5":
        # As it stands, or with an octal escape undone, the text holds another address, which ends with the fifth group: both go.
        after = ""
    return f"{before}{address}{after}", f"{before}[ip]{after}"


def _is_a_hosts(ip: ipaddress.IPv6Address) -> bool:
    """Not of one group only, which is nobody's address."""
    return sum(group != "0000" for group in ip.exploded.split(":")) > 1


def _sparse(groups: set[int]) -> ipaddress.IPv6Address:
    """An address with these groups, each with a digit: most random ones have no `::`."""
    return ipaddress.IPv6Address(":".join(f"{n + 26:x}" if n in groups else "0" for n in range(8)))


@QUICK
@given(pairs=st.lists(_addresses(), min_size=20, max_size=60), escaped=st.booleans())
def test_no_address_of_a_host_survives(
    transformers: dict[str, Transformer], pairs: list[tuple[str, str]], escaped: bool
) -> None:
    values = [
        json.dumps(event(message=text, more=text, deep={text: [text, 1]}), ensure_ascii=escaped).encode()
        for text, _ in pairs
    ]
    transformed = transformers["events"].transform(bronze(values))
    check(EVENTS, list(values), transformed)
    assert transformed.accepted.num_rows == len(pairs)
    for (text, wanted), row in zip(pairs, transformed.accepted.to_pylist(), strict=True):
        # A backslash with three octal digits or a colon also reads as one character, perhaps of an address that begins with it.
        escape = re.match(r"\\(?:[0-3][0-7]{2}|:)", text) and row["message"] != wanted
        clean = wanted.removeprefix("\\") if escape else wanted
        assert row["message"] == clean, text
        assert json.loads(row["attributes"]) == {"more": clean, "deep": {clean: [clean, 1]}}, text


_plain = st.text("0123456789abcdefABCDEFx:.%/_-[]é \\n\n\x01", max_size=60).filter(
    lambda text: not re.search(r"::|%40|\d{4}[ -]?\d{4}", text) and text.count(":") < 6 and text.count(".") < 3
)


@QUICK
@given(texts=st.lists(_plain, min_size=20, max_size=60))
def test_texts_without_addresses_stay_as_they_are(transformers: dict[str, Transformer], texts: list[str]) -> None:
    values = [encoded(message=text, more={text: text}) for text in texts]
    transformed = transformers["events"].transform(bronze(values))
    assert transformed.accepted["message"].to_pylist() == texts
    assert [json.loads(found)["more"] for found in transformed.accepted["attributes"].to_pylist()] == [
        {t: t} for t in texts
    ]
