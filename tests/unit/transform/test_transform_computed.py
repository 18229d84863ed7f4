"""Columns that are computed from other fields: their values, what does not fit, and which expressions a contract may use."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from transform_samples import ACCESS, EVENTS, accepted, encoded, reasons, rejected, transform, with_field

from platform_assets.contracts.model import Field, FieldType, IndexType, Rule, Table
from platform_assets.reconcile.versions import key_only
from platform_assets.transform.probe import sql_mistakes


def column(name: str, type_: FieldType, expression: str, **checks: Any) -> Field:
    """A computed column that is stored and not searched."""
    return Field(name=name, type=type_, computed=expression, index=IndexType.NONE, **checks)


def with_columns(*columns: Field, table: Table = EVENTS, **changes: Any) -> Table:
    """The table with these columns behind its fields."""
    return replace(table, fields=table.fields + columns, **changes)


def test_values_are_computed_typed_and_stored() -> None:
    table = with_columns(
        column("latency_s", FieldType.NUMBER, "latency_ms / 1000 -- seconds"),
        column("place", FieldType.STRING, "concat_ws('@', service, host)"),
        column("class", FieldType.INTEGER, "status // 100"),
        column("failed", FieldType.BOOLEAN, "class >= 5"),
        column("fee", FieldType.DECIMAL, "status * 0.25", precision=9, scale=2),
        column("until", FieldType.TIMESTAMP, "event_time + INTERVAL 90 SECOND"),
        column("age", FieldType.INTEGER, "date_diff('second', event_time, until)"),
        column("known", FieldType.STRING, "coalesce(trace_id, 'none')"),
    )
    assert not list(sql_mistakes(table))
    row = accepted(encoded(trace_id=None), table)
    assert {name: row[name] for name in ("latency_s", "place", "class", "failed", "fee", "until", "age", "known")} == {
        "latency_s": 0.0125,
        "place": "payments@node-1",
        "class": 5,
        "failed": True,
        "fee": Decimal("125.50"),
        "until": datetime(2026, 11, 21, 9, 1, 0, 250_000, UTC),
        "age": 90,
        "known": "none",
    }
    absent = accepted(encoded(status=None, latency_ms=None), table)
    assert [absent[name] for name in ("latency_s", "class", "failed", "fee")] == [None] * 4


def test_the_hash_covers_a_computed_column() -> None:
    rows = [
        accepted(encoded(), with_columns(column("x", FieldType.INTEGER, text))) for text in ("status", "status + 1")
    ]
    assert rows[0]["_hash"] != rows[1]["_hash"]
    assert rows[0]["_hash"] == accepted(encoded(), with_columns(column("x", FieldType.INTEGER, "status + 0")))["_hash"]


UNFIT = {
    "an overflow": (column("x", FieldType.INTEGER, "status * 9223372036854775807"), "computed:x"),
    "a division": (column("x", FieldType.INTEGER, "status // (status - 502)"), "computed:x"),
    "no number": (column("x", FieldType.INTEGER, "CAST(host AS BIGINT)"), "computed:x"),
    "a fraction": (column("x", FieldType.INTEGER, "status / 4"), "type:x"),
    "too great": (column("x", FieldType.INTEGER, "status * 1e30"), "range:x"),
    "an infinity": (column("x", FieldType.NUMBER, "status / (status - 502)"), "range:x"),
    "digits": (column("x", FieldType.DECIMAL, "status * 0.0625", precision=9, scale=2), "scale:x"),
    "precision": (column("x", FieldType.DECIMAL, "status * 10", precision=4, scale=1), "range:x"),
    "a year": (column("x", FieldType.TIMESTAMP, "to_timestamp(status * 1e10)"), "range:x"),
    "a late year": (column("x", FieldType.TIMESTAMP, "event_time + to_days(status * 10000)"), "range:x"),
    "absent": (column("x", FieldType.STRING, "nullif(level, 'ERROR')", required=True), "missing:x"),
    "minimum": (column("x", FieldType.INTEGER, "status", minimum=Decimal(503)), "range:x"),
    "bound": (column("x", FieldType.NUMBER, "status / 2", exclusive_maximum=Decimal(251)), "range:x"),
    "enumeration": (column("x", FieldType.STRING, "lower(level)", enum=("info", "warn")), "enum:x"),
    "pattern": (column("x", FieldType.STRING, "host || service", pattern="[0-9]b"), "pattern:x"),
    "length": (column("x", FieldType.STRING, "host || service", max_length=12), "length:x"),
}


@pytest.mark.parametrize(("field", "reason"), UNFIT.values(), ids=UNFIT)
def test_a_value_that_does_not_fit_rejects_its_row_alone(field: Field, reason: str) -> None:
    table = with_columns(field)
    assert not list(sql_mistakes(table))
    harmless = encoded(status=None, host="7", level="WARN", service="b")
    assert reasons([harmless, encoded(), encoded(latency_ms="x")], table) == [None, reason, "type:latency_ms"]
    assert rejected(encoded(), table)["detail"].startswith("x ")


def test_rules_may_name_computed_columns() -> None:
    table = with_columns(
        column("latency_s", FieldType.NUMBER, "latency_ms / 1000"), rules=(Rule("quick", "latency_s < 1"),)
    )
    assert reasons([encoded(latency_ms=999), encoded(latency_ms=1000)], table) == [None, "rule:quick"]


def test_a_member_of_that_name_is_an_unknown_member() -> None:
    table = with_columns(column("latency_s", FieldType.NUMBER, "latency_ms / 1000"))
    row = accepted(encoded(latency_s=7), table)
    assert (row["latency_s"], row["attributes"]) == (0.0125, '{"latency_s":7}')
    assert reasons([encoded(latency_s=7)], replace(table, attributes=None)) == ["unknown_field"]


def test_lines_have_computed_columns_too() -> None:
    table = with_columns(column("kib", FieldType.NUMBER, "bytes / 1024"), table=ACCESS)
    assert not list(sql_mistakes(table))
    line = b'203.0.113.9 - - [21/Nov/2026:08:59:30 +0000] "GET / HTTP/1.1" 200 2048 "-" "curl"'
    assert accepted(line, table)["kib"] == 2


def test_the_key_alone_needs_no_computed_column_and_no_rule() -> None:
    table = with_columns(column("x", FieldType.INTEGER, "status"), rules=(Rule("r", "x > 1000"),))
    assert reasons([encoded()], table) == ["rule:r"]
    assert transform([encoded()], key_only(table)).accepted.num_rows == 1


REFUSED = {
    "latency_ms + nothing": "no field 'nothing'",
    "x + 1": "x is not computed yet",
    "later + 1": "later is not computed yet",
    "length(user_id)": "user_id is masked",
    "left(message, 1) = 'a'": "message is masked",
    "service": "gives VARCHAR, not integer",
    "NULL": "not integer",
    "max(status)": "max is not allowed",
    "epoch_ms(now())": "now is not allowed",
    "(SELECT 1)": "subquery",
    "1) AS x, (2": "",
}


@pytest.mark.parametrize(("expression", "said"), REFUSED.items())
def test_other_expressions_are_refused(expression: str, said: str) -> None:
    table = with_columns(column("x", FieldType.INTEGER, expression), column("later", FieldType.INTEGER, "status"))
    [(place, found)] = sql_mistakes(table)
    assert place == ".properties[x].customProperties[computed]"
    assert said in found


def test_what_is_not_exact_makes_no_decimal() -> None:
    [(_, found)] = sql_mistakes(with_columns(column("x", FieldType.DECIMAL, "latency_ms / 10", precision=9, scale=2)))
    assert found.startswith("gives DOUBLE, not decimal(9,2)")


@pytest.mark.parametrize(
    ("name", "bounds", "kept", "refused"),
    [
        ("status", {"exclusive_minimum": Decimal(200), "exclusive_maximum": Decimal(300)}, [201, 299], [200, 300]),
        (
            "status",
            {"exclusive_minimum": Decimal("200.5"), "exclusive_maximum": Decimal("203.5")},
            [201, 203],
            [200, 204],
        ),
        (
            "latency_ms",
            {"exclusive_minimum": Decimal("0.1"), "exclusive_maximum": Decimal(5)},
            [0.11, 4.9, 5e-1],
            [0.1, 5],
        ),
    ],
)
def test_an_excluded_bound_is_no_value(name: str, bounds: dict[str, Any], kept: list[Any], refused: list[Any]) -> None:
    table = with_field(name, minimum=None, maximum=None, **bounds)
    values = [encoded(**{name: value}) for value in [*kept, *refused]]
    assert reasons(values, table) == [None] * len(kept) + [f"range:{name}"] * len(refused)
    low, high = bounds["exclusive_minimum"], bounds["exclusive_maximum"]
    assert rejected(values[-1], table)["detail"] == f"{name} is outside {low} (excluded) to {high} (excluded)"


def test_an_excluded_bound_of_a_decimal_is_exact() -> None:
    digits = {"type": FieldType.DECIMAL, "index": IndexType.DECIMAL, "precision": 38, "scale": 18, "minimum": None}
    table = with_field("latency_ms", **digits, exclusive_minimum=Decimal("0.000000000000000001"))
    texts = [b"0.000000000000000001", b"0.000000000000000002"]
    values = [encoded().replace(b"12.5", text) for text in texts]
    assert reasons(values, table) == ["range:latency_ms", None]
