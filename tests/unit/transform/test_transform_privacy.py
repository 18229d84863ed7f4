"""Personal data leaves bronze only masked or scrubbed, in silver and in quarantine."""

from __future__ import annotations

import json

import pytest
from transform_samples import ACCESS, BROKER, EVENTS, MASKER, accepted, bronze, encoded, rejected, transform, with_field

from platform_assets.contracts.model import FieldType
from platform_assets.transform import Masker, Transformer, compile_select

SECRET = "user-secret-77"  # the user id of every sample event


def test_masked_fields_hold_the_pseudonym_of_queries() -> None:
    row = accepted(encoded())
    assert row["user_id"] == MASKER.mask(SECRET, "user_id")
    assert row["_key_id"] == "k1"
    assert len(row["user_id"]) == 32


def test_rows_with_nothing_to_mask_have_no_key_id() -> None:
    transformed = transform([encoded(), encoded(user_id=None)])
    assert transformed.accepted["_key_id"].to_pylist() == ["k1", None]
    assert transformed.accepted["user_id"].to_pylist()[1] is None


def test_pseudonyms_depend_on_key_and_field_and_nothing_else() -> None:
    old, new = b"o" * 32, b"n" * 32
    before, after = Masker({"a": old}, "a"), Masker({"a": old, "b": new}, "b")
    assert before.mask("x", "user_id") == after.mask("x", "user_id", key_id="a")
    assert after.mask("x", "user_id") != before.mask("x", "user_id")
    assert before.mask("x", "user_id") != before.mask("x", "client_ip")
    assert after.key_ids == ("b", "a")


def test_a_full_cache_changes_nothing() -> None:
    values = [encoded(user_id=f"u{i % 7}") for i in range(20)]
    with Transformer(EVENTS, Masker({"k1": b"0123456789abcdef" * 2}, "k1", cache_size=3)) as small:
        assert small.transform(bronze(values)).accepted.equals(transform(values).accepted)


def test_keys_show_nowhere() -> None:
    key = "a-key-that-must-not-show"
    masker = Masker({"k": key.encode()}, "k")
    assert key not in repr(masker)
    assert key not in compile_select(EVENTS)


@pytest.mark.parametrize(("keys", "active"), [({"k": b"short"}, "k"), ({"k": b"k" * 32}, "other")])
def test_unusable_keys_are_refused(keys: dict[str, bytes], active: str) -> None:
    with pytest.raises(ValueError, match="key"):
        Masker(keys, active)


def test_only_text_can_be_masked() -> None:
    with pytest.raises(ValueError, match="user_id"):
        Transformer(with_field("user_id", type=FieldType.INTEGER), MASKER)


SCRUBBED = [
    ("mail to jane.doe+x@mail.example.co.uk now", "mail to [email] now"),
    ("jörg@münchen.de", "[email]"),
    ("/reset?mail=jane%40example.com&x=1", "/reset?mail=[email]&x=1"),
    ("at 4111111111111111.", "at [card]."),
    ("card4111 1111 1111 1111x", "card[card]x"),
    ("No.5500-0000-0000-0004,", "No.[card],"),
    ("378282246310005 3782 822463 10005", "[card] [card]"),
    ("30569309025904 6011111111111117 3530111333300000 2223003122003222", "[card] [card] [card] [card]"),
    ("4222222222222", "[card]"),
    ("4111111111111111,4111111111111111", "[card],[card]"),
    # What must stay: clock readings, ids, decimals, host names, versions.
    ("at 1795251570250 ms, 1795251570250123 us, 1795251570250123456 ns", None),
    ("order 123456789012", None),
    ("took 4321.123456789 of 0.4111111111111111", None),
    ("550e8400-e29b-41d4-a716-446655440000", None),
    ("root@localhost @home a@b", None),
    ("4bf92f3577b34da6a3ce929d0e0e4736", None),
]


@pytest.mark.parametrize(("text", "clean"), SCRUBBED)
def test_free_text_is_scrubbed(text: str, clean: str | None) -> None:
    clean = text if clean is None else clean
    row = accepted(encoded(message=text, host=text, more=text, deep={"list": [text, {"x": text}]}))
    assert row["message"] == clean
    assert row["host"] == text  # the contract does not ask for it
    assert json.loads(row["attributes"]) == {"more": clean, "deep": {"list": [clean, {"x": clean}]}}


ADDRESSES = [
    ("login accepted from 203.0.113.7", "login accepted from [ip]"),
    ("10.1.2.3:9092,10.1.2.4/16;(10.1.2.5) 10.1.2.6.", "[ip]:9092,[ip]/16;([ip]) [ip]."),
    ("ip_10.1.2.3 x10.1.2.3y10.1.2.4z 10.1.2.3.443", "ip_[ip] x[ip]y[ip]z [ip].443"),
    ("/find?q=from%2010.1.2.3&r=%3Dfe80::1", "/find?q=from%20[ip]&r=%3D[ip]"),
    (r"\x0110.1.2.3 \u000110.1.2.3 \n10.1.2.3 \nfe80::1", r"\x01[ip] \u0001[ip] \n[ip] \n[ip]"),
    ("10.0.0.1 10.0.1.0 10.1.0.0 010.001.002.003", "[ip] [ip] [ip] [ip]"),
    ("[2001:db8::1]:8080 fe80::1%eth0 2001:DB8::/32", "[[ip]]:8080 [ip]%eth0 [ip]/32"),
    ("http://[fe::cafe]:8080/ a::b", "http://[[ip]]:8080/ a::b"),
    ("peer:2001:db8::1: gone, addr_fe80::1", "peer:[ip]: gone, addr_[ip]"),
    ("2001:db8:0:0:0:0:2:1 0:0:0:0:0:ffff:10.1.2.3", "[ip] [ip]"),
    ("::ffff:10.1.2.3 64:ff9b::10.1.2.3 ::ffff:a01:203 ::10.1.2.3", "[ip] [ip] [ip] ::[ip]"),
    ("jane@10.1.2.3 jane@example.com,10.1.2.3,4111111111111111", "jane@[ip] [email],[ip],[card]"),
    ("rv:1.9.0.14", "rv:[ip]"),  # a version, but who can tell
    # What must stay: names, times, hardware addresses, versions.
    ("Class::method std::string App::Base ::Ba Foo::Add::x Dead::Letter fe::Error", None),
    ("at 12:30:45 2026-01-15T09:30:00.123Z 1:02:03 aa:bb:cc:dd:ee:ff ::1 fe80:: ::", None),
    ("1.2.3 v1.2.3 2021.10.11.12 10.1.2 0.0.0.0:80 Chrome/41.0.2272.76 Chrome/120.0.0.0 Safari/537.36", None),
    ("ip-10-1-2-3 167838211 0x0a010203", None),
]


@pytest.mark.parametrize(("text", "clean"), ADDRESSES)
def test_free_text_loses_network_addresses_where_the_contract_says_so(text: str, clean: str | None) -> None:
    clean = text if clean is None else clean
    row = accepted(encoded(message=text, host=text, more=text, deep={"list": [text, {text: text}]}))
    assert row["message"] == clean
    assert row["host"] == text  # the contract does not ask for it
    assert json.loads(row["attributes"]) == {"more": clean, "deep": {"list": [clean, {clean: clean}]}}
    line = LINE.decode().replace("/x", text.replace(" ", "|")).replace('"-"', f'"{text}"').replace("Mozilla/5.0", text)
    row = accepted(line.encode(), ACCESS)
    assert (row["referrer"], row["agent"]) == (clean, clean)
    assert row["path"] == clean.replace(" ", "|")


def test_addresses_stay_where_they_are_machines() -> None:
    text = "Connection to 10.0.0.1:9092 (fe80::1) failed"
    line = f"[2026-01-15 09:30:00,123] ERROR {text} (kafka.network.Processor)\njava.io.IOException: 10.0.0.2"
    row = accepted(line.encode(), BROKER)
    assert (row["message"], row["stack"]) == (text, "java.io.IOException: 10.0.0.2")


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ('{"n":4111111111111111}', {"n": "[card]"}),
        (
            '{"n":[1,-4111111111111111,4.111111111111111e15,4111111111111111.0]}',
            {"n": [1, "[card]", "[card]", "[card]"]},
        ),
        ('{"n":1714111111111111111,"f":4321.123456789,"g":0.4111111111111111}', None),
        (
            r'{"s":"a\njane@example.com\\\njane@example.com\u0001jane@example.com"}',
            {"s": "a\n[email]\\\n[email]\x01[email]"},
        ),
        (r'{"s":"\n4111111111111111\u00014111111111111111\\4111111111111111"}', {"s": "\n[card]\x01[card]\\[card]"}),
        (r'{"s":"jane\u0040example.com"}', {"s": "[email]"}),
        ('{"jane@example.com":{"4111111111111111":1}}', {"[email]": {"[card]": 1}}),
        (r'{"s":"\":4111111111111111,\"","t":"\\"}', {"s": '":[card],"', "t": "\\"}),
        # An escape keeps its backslash, hides nothing, and is no part of what stands behind it.
        (r'{"s":"\n10.1.2.3\u000a10.1.2.3\u000110.1.2.3"}', {"s": "\n[ip]\n[ip]\x01[ip]"}),
        (r'{"s":"\bfe80::1\ffe80::1\u000bfe80::1\"fe80::1"}', {"s": '\b[ip]\f[ip]\x0b[ip]"[ip]'}),
        (r'{"s":"10.1\u002e2.3 fe80:\u003a1 1\/10.1.2.3\/24"}', {"s": "[ip] [ip] 1/[ip]/24"}),
        (r'{"s":"\\10.1.2.3\\n10.1.2.3\\nfe80::1\\\nfe80::1"}', {"s": "\\[ip]\\n[ip]\\n[ip]\\\n[ip]"}),
        (r'{"s":"\u0001.2.3.4 \u000a::1:2x \u001f@example.com \u0011111111111111"}', None),
        (r'{"s":"\u000a::1:2"}', {"s": "\n[ip]"}),
        ('{"v":[1.2,3.4],"t":{"a":1,"b":2}}', None),
    ],
)
def test_attributes_stay_json_when_scrubbed(text: str, clean: object) -> None:
    value = encoded()[:-1] + b',"attributes":' + text.encode() + b"}"
    assert json.loads(accepted(value)["attributes"]) == (json.loads(text) if clean is None else clean)


BAD = encoded(status="bad", more="keep me")
HIDDEN = [
    BAD,
    BAD.replace(b'"user_id": ', b'"USER_ID"\n:\t'),
    BAD[:-1],
    BAD.replace(b'"user-secret-77"', b'"user-secret-77'),
    BAD.replace(b'"user-secret-77"', b'"a\\"user-secret-77"')[:-1],
    BAD.replace(b'"user-secret-77"', b'"x"user-secret-77"'),
    BAD.replace(b'"user-secret-77"', b'"x", user-secret-77"'),
    BAD.replace(b'"user-secret-77"', b'"x","user-secret-77","more":"'),
    BAD.replace(b'"user-secret-77"', b'{"first":"x","last":"user-secret-77"}'),
    BAD.replace(b'"user-secret-77"', b'["x","user-secret-77"]'),
    BAD.replace(b'"user_id"', b'"user_id').replace(b"}", b""),
    BAD.replace(b'"user_id":', b'"user_id"'),
    BAD.replace(b'"user_id"', rb'"user\u005fid"'),
    BAD.replace(b'"user_id"', rb'"user\u005fid"')[:-1],
    BAD.replace(b'"', b"'"),
    BAD.replace(b'"user-secret-77"', b'"x", "user_id": "user-secret-77"'),
    BAD.replace(b'"user-secret-77"', b'"x", "ctx": {"user_id": "user-secret-77"}'),
    json.dumps({"payload": BAD.decode()}).encode(),
    json.dumps([json.loads(BAD)]).encode(),
    b"<event><user_id>user-secret-77</user_id></event>",
    b"login of user-secret-77 from 10.1.2.3",
    BAD.decode().encode("utf-16-le"),
    BAD.decode().encode("utf-16"),
    BAD.replace(b"keep me", b"keep\xff me"),
    BAD.replace(b'"status"', b'"pad": "' + b"p" * 1950 + b'", "status"'),
    encoded(status="bad", user_id=SECRET + "x" * 5_000),
    encoded(message="m" * 2_000_000),
    encoded(user_id=SECRET + "x" * 300),  # its length is the fault
]


@pytest.mark.parametrize("value", HIDDEN, ids=range(len(HIDDEN)))
def test_a_masked_field_never_shows_in_quarantine(value: bytes) -> None:
    row = rejected(value)
    shown = f"{row['excerpt']} {row['detail']} {row['reason']}"
    assert "secret" not in shown, shown
    assert len(row["excerpt"]) <= 300


def test_an_excerpt_still_says_what_was_wrong() -> None:
    row = rejected(BAD)
    assert '"status":"bad","user_id":"[masked]","trace_id"' in row["excerpt"]
    assert "keep me" in row["excerpt"]
    assert row["detail"] == "status is not an integer"


def test_excerpts_are_scrubbed_and_printable() -> None:
    text = "jane@example.com 4111111111111111 10.1.2.3 fe80::1ff:fe23:4567:890a ::1 2001:db8:0:0:0:0:2:1"
    text += " \u202e\x1b[31m at 08:30:00 \u000110.1.2.3"
    row = rejected(encoded(status="x", event_id="e", service="s", trace_id=None, message=text))
    assert '"message":"[email] [card] [ip] [ip] [ip] [ip]' in row["excerpt"]
    assert "08:30:00" in row["excerpt"]
    assert "10.1.2" not in row["excerpt"]
    assert row["excerpt"].isprintable()


def test_an_address_cut_off_by_the_excerpts_reach_does_not_show() -> None:
    for shift in range(0, 40, 4):
        masked = "x" * (1_720 - shift)  # masking it brings the torn end into view
        row = rejected(
            encoded(user_id=masked, trace_id="t", message="jane.doe.smith@mail.example.com " * 40, status="bad")
        )
        assert "jane" not in row["excerpt"]


LINE = b'203.0.113.7 - bob [15/Jan/2026:09:30:00 +0000] "GET /x HTTP/1.1" 200 5 "-" "Mozilla/5.0"'


@pytest.mark.parametrize(
    "line",
    [
        LINE[:-1],
        LINE[:30],
        b"x y " + LINE,
        LINE[:-1].replace(b"/x", b"/\xff"),
        LINE.replace(b" 5 ", b" 99999999999999999999 "),
        LINE + b"y" * 70_000,
    ],
)
def test_clients_and_users_of_refused_lines_do_not_show(line: bytes) -> None:
    row = rejected(line, ACCESS)
    assert "bob" not in row["excerpt"]
    assert "203.0.113.7" not in row["excerpt"]


def test_a_matching_line_shows_its_other_groups() -> None:
    row = rejected(LINE.replace(b" 5 ", b" 99999999999999999999 "), ACCESS)
    assert (row["reason"], "status=200 bytes=99999" in row["excerpt"]) == ("range:bytes", True)


def test_lines_without_masked_fields_show_their_text() -> None:
    row = rejected(b"Exception from jane@example.com at 10.0.0.1:9092", BROKER)
    assert (row["reason"], row["excerpt"]) == ("no_match", "Exception from [email] at [ip]:9092")
