"""What holds for every format: values, faults, bytes of any kind, personal data, files cut into records, bodies of requests."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from examples import QUICK
from formatlab import MASKER, MEMBERS, ROW, SECRET, Member, bronze
from hypothesis import given
from hypothesis import strategies as st

from platform_assets.contracts.formats import BodyError, format_named
from platform_assets.contracts.model import Format
from platform_assets.transform import Transformer
from platform_assets.transform.excerpt import MAX_CHARACTERS


@pytest.fixture(params=sorted(MEMBERS), scope="module")
def member(request: pytest.FixtureRequest) -> Member:
    return MEMBERS[request.param]


def test_the_suite_has_every_format() -> None:
    assert {member.table.format for member in MEMBERS.values()} == set(Format)


def test_values_have_their_types(member: Member) -> None:
    [row] = member.transform(member.row()).accepted.to_pylist()
    assert (row["id"], row["text"], row["count"], row["ok"]) == ("r-1", "plain words", 7, True)
    assert row["at"] == datetime(2026, 1, 15, 9, 29, 59, 250_000, UTC)
    assert (row["amount"], row["ratio"]) == (Decimal("12.50"), 0.25)
    assert row["who"] == MASKER.mask(SECRET, "who")


def test_what_is_absent_is_null(member: Member) -> None:
    absent = dict.fromkeys(("amount", "ratio", "count", "ok", "who", "text"))
    [row] = member.transform(member.row(**absent)).accepted.to_pylist()
    assert all(row[name] is None for name in absent)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"at": "yesterday"}, "time:at"),
        ({"count": "1.5"}, "type:count"),
        ({"ratio": '"x"'}, "type:ratio"),
        ({"ok": '"perhaps"'}, "type:ok"),
        ({"count": "9223372036854775808"}, "range:count"),
        ({"amount": "123456789.00"}, "range:amount"),
        ({"amount": "1.005"}, "scale:amount"),
        ({"text": "x" * 201}, "length:text"),
    ],
)
def test_a_field_that_breaks_its_promise_is_named(member: Member, changes: dict[str, str], reason: str) -> None:
    assert member.reasons(member.row(**changes)) == [reason]


def test_messages_that_are_none(member: Member) -> None:
    whole = member.row()
    values = [None, b"", b" \r\n", whole + b" " * member.table.max_bytes, whole + b"\0"]
    assert member.reasons(*values) == ["tombstone", "empty", "empty", "too_large", "nul_byte"]
    if member.table.encoding == "utf-8":
        assert member.reasons(whole[:-3] + b"\xff" + whole[-3:]) == ["invalid_utf8"]
    else:
        assert member.reasons(whole[:-3] + b"\x81" + whole[-3:]) == ["invalid_utf8"]


def test_letters_of_the_encoding_arrive(member: Member) -> None:
    [row] = member.transform(member.row(text="Größe 10 €, naïve")).accepted.to_pylist()
    assert row["text"] == "Größe 10 €, naïve"


@QUICK
@given(
    values=st.lists(st.binary(max_size=60) | st.text('",;|\'\n\r{}:ab1\\ "', max_size=40).map(str.encode), max_size=40)
)
def test_no_bytes_are_lost_or_raise(member: Member, values: list[bytes]) -> None:
    transformed = member.transform(*values)
    assert transformed.accepted.num_rows + transformed.rejected.num_rows == len(values)
    assert "undecodable" not in transformed.rejected["reason"].to_pylist()
    assert all(len(excerpt) <= MAX_CHARACTERS for excerpt in transformed.rejected["excerpt"].to_pylist())


def test_a_damaged_message_shows_no_masked_value(member: Member) -> None:
    whole = member.row()
    value = whole.index(SECRET.encode())
    # A member whose name is damaged is nobody's field.
    begin = whole.rindex(b'"who', 0, value) if member.format.json_text else value
    places = [at for at in range(len(whole)) if not begin <= at < value + len(SECRET)]
    damaged = [
        whole[:at] + sign + whole[at + 1 :] for at in places for sign in (b"", b'"', b"'", b"\n", b"\\", b"\xff")
    ]
    damaged += [whole[:at] for at in range(value + len(SECRET), len(whole))]
    with Transformer(member.table, MASKER, threads=1) as transformer:
        transformed = transformer.transform(bronze(tuple(damaged)))
    shown = json.dumps(transformed.rejected["excerpt"].to_pylist())
    assert transformed.rejected.num_rows > len(damaged) / 10
    assert SECRET not in shown


def test_personal_data_in_texts_is_removed(member: Member) -> None:
    [row] = member.transform(member.row(text="to jane@example.com 4111 1111 1111 1111")).accepted.to_pylist()
    assert row["text"] == "to [email] [card]"
    [refused] = member.transform(member.row(count="x", id="jane@example.com")).rejected.to_pylist()
    assert "jane" not in refused["excerpt"]


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_files_are_cut_into_the_records_that_were_written(member: Member, size: int, end: bytes) -> None:
    records = [member.row(id=f"r-{n}") for n in range(40)]
    content = end.join(records) + (end if size % 2 else b"")
    framer = member.format.framer(member.table, 10_000)
    found: list[bytes] = []
    for at in range(0, len(content), size):
        found += framer.feed(content[at : at + size])
    found += framer.finish()
    assert found == records
    assert (framer.consumed, framer.held, framer.cut) == (len(content), 0, 0)


def test_a_record_that_is_too_long_is_cut_once_and_counted(member: Member) -> None:
    content = member.row() + b"\n" + b"x" * 5000 + b"\n" + member.row(id="r-2") + b"\n"
    framer = member.format.framer(member.table, 1000)
    found = [record for at in range(0, len(content), 300) for record in framer.feed(content[at : at + 300])]
    found += framer.finish()
    assert found == [member.row(), b"x" * 1000, member.row(id="r-2")]
    assert (framer.consumed, framer.cut) == (len(content), 1)


def test_a_body_gives_records_that_are_accepted(member: Member) -> None:
    format_ = member.format
    rows = [member.row(id=f"r-{n}") for n in range(3)]
    body = b"[" + b",".join(rows) + b"]" if format_.json_text else b"\n".join(rows)
    records = format_.records(member.table, body, 10)
    assert member.transform(*records).accepted["id"].to_pylist() == ["r-0", "r-1", "r-2"]


@QUICK
@given(body=st.binary(max_size=200))
def test_any_body_gives_records_or_a_reason(member: Member, body: bytes) -> None:
    try:
        records = member.format.records(member.table, body, 10)
    except BodyError as error:
        assert str(error)
    else:
        assert all(isinstance(record, bytes) for record in records)


def test_a_format_says_what_it_is(member: Member) -> None:
    format_ = member.format
    assert format_ is format_named(member.table.format)
    assert format_.media_type.count("/") == 1
    assert format_.describe(member.table).startswith("one ")
    assert format_.body_schemas(member.table, 10)
    assert not list(format_.check(member.table, "schema[lab]"))
    assert set(ROW) == {source.field.name for source in format_.sources(member.table)}
