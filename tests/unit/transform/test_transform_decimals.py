"""Decimals from messages to silver: exactly as written, or refused with a reason."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from decimal import Decimal, localcontext

import duckdb
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transform_samples import ACCESS, EVENTS, event, transform

from platform_assets.contracts.model import Field, FieldType, IndexType, Rule, Table
from platform_assets.transform.hashing import hash_select, row_hash_select
from platform_assets.transform.probe import sql_mistakes


def amount(precision: int, scale: int, **more: object) -> Field:
    return Field(
        "amount", FieldType.DECIMAL, source="amount", index=IndexType.DECIMAL, precision=precision, scale=scale, **more
    )


def table(precision: int, scale: int, **more: object) -> Table:
    """Events with a decimal `amount` besides."""
    return replace(EVENTS, fields=(*EVENTS.fields, amount(precision, scale, **more)))


def message(text: str, **more: object) -> bytes:
    """An event whose `amount` is that JSON."""
    return json.dumps(event(**more)).removesuffix("}").encode() + f', "amount": {text}}}'.encode()


def outcome(text: str, made: Table) -> Decimal | str | None:
    """The value in silver, or the reason of the refusal."""
    found = transform([message(text)], made)
    if found.rejected.num_rows:
        return str(found.rejected["reason"][0])
    assert found.accepted.schema.field("amount").type == pa.decimal128(
        made.field("amount").precision, made.field("amount").scale
    )
    value = found.accepted["amount"][0].as_py()
    assert value is None or isinstance(value, Decimal)
    return value


@pytest.mark.parametrize(
    ("text", "precision", "scale", "wanted"),
    [
        ("12.50", 18, 8, "12.5"),
        ("0.12345678", 18, 8, "0.12345678"),
        ("0.1234567890123456789012345678", 38, 28, "0.1234567890123456789012345678"),
        ("1234567890.12345678", 18, 8, "1234567890.12345678"),  # a double has it as ….12345672
        ("-9999999999.99999999", 18, 8, "-9999999999.99999999"),
        ("99999999999999999999999999999999999999", 38, 0, "99999999999999999999999999999999999999"),
        ("100000000000000000.12", 20, 2, "100000000000000000.12"),
        ("1e-7", 18, 8, "0.0000001"),
        ("12345678901234560000e-12", 18, 8, "12345678.90123456"),
        ("1234567890.0000000000000000000000", 18, 8, "1234567890"),
        ("1.5E3", 18, 8, "1500"),
        ("-0.05", 2, 2, "-0.05"),
        ("-0", 5, 2, "0"),
        ("null", 5, 2, None),
        ("12.345", 5, 2, "scale:amount"),
        ("12.344999999999999999999", 18, 2, "scale:amount"),
        ("0.000000001", 18, 8, "scale:amount"),
        ("1e-9", 18, 8, "scale:amount"),
        ("1e-400", 18, 8, "scale:amount"),
        ("1000", 5, 2, "range:amount"),
        ("999.999", 5, 2, "range:amount"),
        ("1e30", 18, 8, "range:amount"),
        ("99999999999.99999999", 18, 8, "range:amount"),
        ('"12.5"', 5, 2, "type:amount"),
        ("true", 5, 2, "type:amount"),
        ("[1]", 5, 2, "type:amount"),
    ],
)  # fmt: skip
def test_a_number_is_stored_as_written_or_refused(text: str, precision: int, scale: int, wanted: str | None) -> None:
    found = outcome(text, table(precision, scale))
    assert found == (wanted if wanted is None or ":" in wanted else Decimal(wanted))


def test_long_numbers_are_read_beside_strings_that_look_like_them() -> None:
    more = {"message": 'a "quoted": 1234567890.12345678, and a \\ backslash', "host": "1234567890123456.5"}
    found = transform([message("1234567890.12345678", **more)], table(18, 8))
    assert found.accepted["amount"].to_pylist() == [Decimal("1234567890.12345678")]
    assert found.accepted["host"].to_pylist() == ["1234567890123456.5"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('"12.50"', Decimal("12.50")),
        ('"-1234567890.12345678"', Decimal("-1234567890.12345678")),
        ("1234567890.12345678", Decimal("1234567890.12345678")),
        ('"1_000"', "type:amount"),
        ('" 5"', "type:amount"),
        ('""', "type:amount"),
        ('"12,50"', "type:amount"),
        ('"NaN"', "type:amount"),
        ('"0.123456789"', "scale:amount"),
    ],
)
def test_texts_count_where_the_contract_says_so(text: str, wanted: Decimal | str) -> None:
    assert outcome(text, table(18, 8, text_too=True)) == wanted


def test_bounds_are_exact() -> None:
    bounded = table(18, 8, minimum=Decimal("0.00000001"), maximum=Decimal("1234567890.123456785"))
    assert outcome("0.00000001", bounded) == Decimal("0.00000001")
    assert outcome("0", bounded) == "range:amount"
    assert outcome("1234567890.12345678", bounded) == Decimal("1234567890.12345678")
    assert outcome("1234567890.12345679", bounded) == "range:amount"


def test_text_lines_have_decimals_too() -> None:
    fields = tuple(
        replace(f, type=FieldType.DECIMAL, index=IndexType.DECIMAL, precision=12, scale=0, minimum=None, maximum=None)
        if f.name == "bytes" else f
        for f in ACCESS.fields
    )  # fmt: skip
    made = replace(ACCESS, fields=fields)
    line = ACCESS.sample.encode()
    [value] = transform([line], made).accepted["bytes"].to_pylist()
    assert isinstance(value, Decimal)


def numbers() -> st.SearchStrategy[str]:
    """JSON numbers of any form."""
    digits = st.text("0123456789", min_size=1, max_size=25)
    whole = digits.map(lambda text: text.lstrip("0") or "0")
    fraction = st.one_of(st.just(""), digits.map(lambda text: f".{text}"))
    exponent = st.one_of(st.just(""), st.integers(-40, 40).map(lambda n: f"e{n}"))
    return st.tuples(st.sampled_from(["", "-"]), whole, fraction, exponent).map("".join)


@settings(max_examples=10, deadline=None)
@example(texts=["10000000000000e-1", "0.00000000000000000000000001e20"], precision=38, scale=25)
@given(texts=st.lists(numbers(), min_size=1, max_size=40), precision=st.integers(1, 38), scale=st.integers(0, 38))
def test_any_number_is_exact_or_refused(texts: list[str], precision: int, scale: int) -> None:
    scale = min(scale, precision)
    found = transform([message(text, event_id=str(n)) for n, text in enumerate(texts)], table(precision, scale))
    values = dict(zip(found.accepted["event_id"].to_pylist(), found.accepted["amount"].to_pylist(), strict=True))
    reasons = dict(zip(found.rejected["_position"].to_pylist(), found.rejected["reason"].to_pylist(), strict=True))
    for number, text in enumerate(texts):
        with localcontext(prec=200):
            value = Decimal(text)
            exact = value == value.quantize(Decimal(1).scaleb(-scale))
        if exact and abs(value) < Decimal(1).scaleb(precision - scale):
            assert values[str(number)] == value
        else:
            assert reasons[number] in ("range:amount", "scale:amount")


def test_the_hash_of_a_value_does_not_depend_on_how_many_digits_a_contract_has() -> None:
    def hashes(made: Table, query: str) -> list[object]:
        con = duckdb.connect()
        con.register("rows", stored)
        kind = f"DECIMAL({made.field('amount').precision},{made.field('amount').scale})"
        con.execute(f"CREATE VIEW silver AS SELECT * REPLACE (CAST(amount AS {kind}) AS amount) FROM rows")  # noqa: S608
        return con.sql(query).fetchall()

    wide, wider = table(10, 4), table(38, 30)
    stored = transform([message(text) for text in ("0.5", "-0.05", "0", "100")], wide).accepted
    assert hashes(wide, hash_select(wide)) == hashes(wider, hash_select(wider))
    keyed, keyed_wider = (replace(t, key=("amount",)) for t in (wide, wider))
    assert hashes(keyed, row_hash_select(keyed)) == hashes(keyed_wider, row_hash_select(keyed_wider))


def test_equal_keys_are_equal_however_they_are_written() -> None:
    made = replace(table(18, 8, required=True), key=("amount",))
    found = transform([message("1.5"), message("1.50"), message("15e-1"), message("1.51")], made).accepted
    keys = list(zip(found["_key_hi"].to_pylist(), found["_key_lo"].to_pylist(), strict=True))
    assert len(set(keys[:3])) == 1
    assert keys[3] != keys[0]
    assert not math.isnan(float(found["amount"][0].as_py()))


@pytest.mark.parametrize(("precision", "scale"), [(18, 8), (12, 6), (9, 2), (19, 8), (38, 2), (18, 18)])
def test_a_product_of_decimals_has_room(precision: int, scale: int) -> None:
    """Left alone, DuckDB keeps the product of decimals of up to 18 digits within 18, and rejects what has more."""
    square = Field(
        "square", FieldType.DECIMAL, computed="amount * amount", index=IndexType.NONE, precision=38, scale=2 * scale
    )
    made = table(precision, scale)
    made = replace(made, fields=(*made.fields, square), rules=(Rule("squared", "amount * amount = square"),))
    assert not list(sql_mistakes(made))
    value = Decimal("9" * min(precision, 19)).scaleb(-scale)
    found = transform([message(f"{value:f}")], made)
    assert not found.rejected.num_rows, found.rejected.to_pylist()
    with localcontext(prec=100):
        assert found.accepted["square"].to_pylist() == [value * value]
    assert found.accepted["amount"].type == pa.decimal128(precision, scale)


def test_a_computed_decimal_can_be_multiplied_too() -> None:
    """Its own range still holds: one digit more for products is none for values."""
    half = Field("half", FieldType.DECIMAL, computed="amount * 0.5", index=IndexType.NONE, precision=12, scale=3)
    made = table(12, 2)
    made = replace(made, fields=(*made.fields, half), rules=(Rule("squared", "half * half <= 1000000000000000000"),))
    assert not list(sql_mistakes(made))
    [row] = transform([message("1999999999.98")], made).accepted.to_pylist()
    assert row["half"] == Decimal("999999999.990")
    [refused] = transform([message("2000000000.00")], made).rejected.to_pylist()
    assert refused["reason"] == "range:half"
