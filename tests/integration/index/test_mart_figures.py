"""Figures of a mart on the real node: exact where they must be, merged as the mart declares, and the same as of the rows."""

from __future__ import annotations

import decimal
import math
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from opensearchpy import OpenSearch
from starlette.exceptions import HTTPException

from platform_assets.index.asking import Deadline
from platform_assets.index.bulk import BulkWriter
from platform_assets.index.documents import keyed_ndjson
from platform_assets.index.errors import QueryError
from platform_assets.index.indices import Indices
from platform_assets.index.mappings import template_name
from platform_assets.marts.index import MartDocuments
from platform_assets.marts.marts import Mart, load_marts
from platform_assets.serve.marts import IndexMarts, find_mart
from platform_assets.serve.reporting import StatsParams, answer_stats
from platform_assets.tables.session import session

decimal.getcontext().prec = 60
pytestmark = pytest.mark.services
MIDNIGHT = datetime(2026, 3, 5, tzinfo=UTC)
GROWTH = 1.01 / 0.99
COLUMNS: list[dict[str, Any]] = [
    {"name": "hour", "data_type": "timestamptz"},
    {"name": "shop", "data_type": "varchar"},
    {"name": "price", "data_type": "decimal(6,2)"},
    {"name": "orders", "data_type": "bigint"},
    {"name": "revenue", "data_type": "decimal(38,8)", "meta": {"aggregate": "sum", "count": "orders"}},
    {"name": "dearest", "data_type": "decimal(38,8)", "meta": {"aggregate": "max"}},
    {"name": "cheapest", "data_type": "DECIMAL(38, 8)", "meta": {"aggregate": "min"}},
    {"name": "last_at", "data_type": "timestamptz", "meta": {"aggregate": "max"}},
    {"name": "wait_ms", "data_type": "double", "meta": {"aggregate": "mean", "weight": "orders"}},
    {"name": "slowest_ms", "data_type": "double", "meta": {"aggregate": "max"}},
    {"name": "waits", "data_type": "struct(bucket integer, n bigint)[]", "meta": {"most": "slowest_ms"}},
    {"name": "open", "data_type": "boolean"},
    {"name": "since", "data_type": "date"},
]  # fmt: skip


def bucket(value: float) -> int:
    return math.ceil(math.log(value) / math.log(GROWTH))


def sale(hour: int, shop: str, price: str, waits: list[float], amounts: list[str]) -> dict[str, Any]:
    exact = [Decimal(one) for one in amounts]
    counted: dict[int, int] = {}
    for value in waits:
        counted[bucket(value)] = counted.get(bucket(value), 0) + 1
    return {
        "hour": MIDNIGHT + timedelta(hours=hour), "shop": shop, "price": Decimal(price), "orders": len(amounts),
        "revenue": sum(exact, Decimal(0)), "dearest": max(exact), "cheapest": min(exact),
        "last_at": MIDNIGHT + timedelta(hours=hour, microseconds=hour + 1), "wait_ms": sum(waits) / len(waits),
        "slowest_ms": max(waits), "waits": [{"bucket": b, "n": n} for b, n in sorted(counted.items())],
        "open": hour % 2 == 0, "since": MIDNIGHT.date(),
    }  # fmt: skip


BIG = "123456789012345678901234567890.12345678"
SALES = [
    sale(0, "a", "1.50", [1.0, 2.0, 3.0], ["0.1", "0.2", BIG]),
    sale(0, "b", "-2.00", [10.0], ["-0.00000001"]),
    sale(1, "a", "1.50", [100.0, 4.0], ["9007199254740993.1", "7"]),
    sale(7, "a", "3.25", [5.0], ["-0.3"]),
    sale(30, "c", "0.00", [6.0], ["12.5"]),
]


@pytest.fixture(scope="module")
def sales(client: OpenSearch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mart]:
    system = f"t{secrets.token_hex(5)}"
    folder = tmp_path_factory.mktemp("dbt") / "models" / system
    folder.mkdir(parents=True)
    model = {
        "name": "sales_hour", "description": "Sales.",
        "config": {"meta": {"grain": "hour", "key": ["hour", "shop", "price"], "index": True}},
        "columns": [{"description": "d", **one} for one in COLUMNS],
    }  # fmt: skip
    (folder / "marts.yml").write_text(yaml.safe_dump({"models": [model]}))
    [mart] = load_marts(folder.parents[1], system)
    documents, indices = MartDocuments(mart, "1.0.0"), Indices(client)
    indices.ensure_template(documents)
    with session() as con, BulkWriter(indices, patience_s=20) as writer:
        rows = con.from_arrow(pa.Table.from_pylist(SALES, mart.schema))
        report = writer.write(documents, keyed_ndjson(documents, documents.rows(rows), 1, mart.key, con=con))
    assert (report.indexed, list(report.refused)) == (len(SALES), [])
    indices.refresh(documents)
    yield mart
    indices.delete([index.name for index in indices.all(documents)])
    client.indices.delete_index_template(name=template_name(documents), params={"ignore": 404})


def ask(client: OpenSearch, mart: Mart, **asked: Any) -> list[dict[str, Any]]:
    params = StatsParams.model_validate({"from": "2026-03-05", "to": "2026-03-08", **asked})
    return list(answer_stats(client, mart, params)["rows"])


def test_rows_have_every_column_exactly(client: OpenSearch, sales: Mart) -> None:
    answer = answer_stats(client, sales, StatsParams.model_validate({"from": "2026-03-05", "to": "2026-03-08"}))
    assert list(answer["columns"]) == [one["name"] for one in COLUMNS]
    assert answer["columns"]["revenue"] == "decimal(38,8)"
    row = next(one for one in answer["rows"] if one["orders"] == 3)
    assert row["revenue"] == "123456789012345678901234567890.42345678"
    assert row["dearest"] == BIG
    assert row["price"] == "1.50"
    assert row["waits"] == [{"bucket": b, "n": 1} for b in map(bucket, (1.0, 2.0, 3.0))]
    assert row["open"] is True
    assert row["since"] == "2026-03-05T00:00:00.000000Z"


def test_sums_means_and_bounds_are_exact(client: OpenSearch, sales: Mart) -> None:
    [row] = ask(client, sales, sum=["revenue", "orders"], mean=["revenue", "wait_ms"], min=["cheapest"],
                max=["dearest", "slowest_ms", "last_at"], count=["price"], distinct=["shop", "price"])  # fmt: skip
    total = sum((one["revenue"] for one in SALES), Decimal(0))
    assert row["revenue"] == f"{total:f}"
    assert row["orders"] == 8
    assert Decimal(row["mean_revenue"]) == (total / 8).quantize(Decimal("1e-14"))
    assert row["wait_ms"] == pytest.approx(sum(one["wait_ms"] * one["orders"] for one in SALES) / 8)
    assert (row["cheapest"], row["dearest"]) == ("-0.30000000", BIG)
    assert (row["slowest_ms"], row["last_at"]) == (100.0, "2026-03-06T06:00:00.000031Z")
    assert (row["count_price"], row["distinct_shop"], row["distinct_price"]) == (5, 3, 4)


def test_groups_steps_and_filters(client: OpenSearch, sales: Mart) -> None:
    morning = f"{SALES[0]['revenue'] + SALES[2]['revenue']:f}"
    rows = ask(client, sales, by=["hour", "shop"], every="6h", sum=["revenue"], distinct=["price"], where=["shop:a"])
    assert rows == [
        {"hour": "2026-03-05T00:00:00Z", "shop": "a", "revenue": morning, "distinct_price": 1},
        {"hour": "2026-03-05T06:00:00Z", "shop": "a", "revenue": "-0.30000000", "distinct_price": 1},
    ]  # fmt: skip
    by_price = ask(client, sales, by=["price"], sum=["orders"])
    assert {row["price"]: row["orders"] for row in by_price} == {"1.50": 5, "-2.00": 1, "3.25": 1, "0.00": 1}
    assert [row["revenue"] for row in ask(client, sales, where=["price:1.5", "price:-2"], sum=["revenue"])] == [
        f"{sum((one['revenue'] for one in SALES[:3]), Decimal(0)):f}"
    ]
    top = ask(client, sales, by=["shop"], sum=["revenue"], top=2)
    assert [row["shop"] for row in top] == ["a", "c"]


def test_percentiles_of_merged_histograms(client: OpenSearch, sales: Mart) -> None:
    [row] = ask(client, sales, percentile=["waits:50", "waits:100"], where=["shop:a"])
    assert row["waits_p50"] == pytest.approx(3.0, rel=0.011)
    assert row["waits_p100"] == pytest.approx(100.0, rel=0.011)
    assert row["waits_p100"] <= 100.0
    rows = ask(client, sales, by=["hour", "shop"], every="1d", percentile=["waits:50"], sum=["orders"])
    assert [(row["hour"][:10], row["shop"], row["orders"]) for row in rows] == [
        ("2026-03-05", "a", 6), ("2026-03-05", "b", 1), ("2026-03-06", "c", 1),
    ]  # fmt: skip
    assert [row["waits_p50"] for row in rows] == pytest.approx([3.0, 10.0, 6.0], rel=0.011)


def test_nothing_is_no_fault(client: OpenSearch, sales: Mart) -> None:
    [row] = ask(client, sales, where=["shop:nobody"], sum=["revenue"], mean=["revenue", "wait_ms"], max=["dearest", "slowest_ms"],
                percentile=["waits:95"], distinct=["shop"])  # fmt: skip
    assert row == {
        "revenue": "0.00000000", "mean_revenue": None, "wait_ms": None, "dearest": None, "slowest_ms": None,
        "distinct_shop": 0, "waits_p95": None,
    }  # fmt: skip
    assert ask(client, sales, where=["shop:nobody"], by=["shop"], percentile=["waits:95"]) == []


def test_wrong_filters_are_told(client: OpenSearch, sales: Mart) -> None:
    for where in ("price:cheap", "price:1.505", "waits:1", "nothing:1"):
        with pytest.raises(QueryError):
            ask(client, sales, where=[where], sum=["orders"])


def test_reports_read_the_same_rows(client: OpenSearch, sales: Mart) -> None:
    rows = IndexMarts(client, [sales], Deadline()).rows("sales_hour", MIDNIGHT, MIDNIGHT + timedelta(days=3))
    assert rows.schema.field("revenue").type == pa.decimal128(38, 8)
    assert sorted(rows["revenue"].to_pylist()) == sorted(one["revenue"] for one in SALES)
    assert set(rows.schema.names) == {one["name"] for one in COLUMNS} - {"waits"}


def test_a_mart_without_an_index_is_not_found(client: OpenSearch, sales: Mart, tmp_path: Path) -> None:
    missing = Mart(sales.system, "nothing_hour", "", sales.grain, sales.key, True, sales.columns)
    with pytest.raises(HTTPException):
        find_mart(client, missing)
