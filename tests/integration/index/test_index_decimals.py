"""Decimals on the real node: kept with all their digits, found by equality and range, and read back as they were."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import pytest
from opensearchpy import OpenSearch
from searchlab import content, own_table, rows, scanned

from platform_assets.contracts.model import Field, FieldType, IndexType, Table
from platform_assets.index.bulk import BulkWriter
from platform_assets.index.documents import to_ndjson
from platform_assets.index.errors import QueryError
from platform_assets.index.indices import Indices
from platform_assets.index.names import period_alias
from platform_assets.index.query import search

pytestmark = pytest.mark.services
VALUES = [
    "0", "0.00000001", "-0.00000001", "12.5", "1234567890.12345678", "1234567890.12345677", "-1234567890.12345678",
    "9999999999.99999999", "-9999999999.99999999",
]  # fmt: skip


def with_amounts(table: Table, precision: int = 18) -> Table:
    amount = Field("amount", FieldType.DECIMAL, source="amount", index=IndexType.DECIMAL, precision=precision, scale=8)
    share = Field("share", FieldType.DECIMAL, source="share", index=IndexType.NONE, precision=38, scale=38)
    return replace(table, fields=(*table.fields, amount, share))


@pytest.fixture(scope="module")
def filled(client: OpenSearch) -> Iterator[Table]:
    indices = Indices(client)
    with own_table(client, indices) as made, BulkWriter(indices, patience_s=20) as writer:
        table = with_amounts(made)
        indices.ensure_template(table)
        for offset, value in enumerate([*VALUES, None]):
            amount = None if value is None else Decimal(value)
            one = rows(table, 1, start=offset, amount=amount, share=Decimal("-0.1") if offset == 0 else None)
            assert not writer.write(table, to_ndjson(table, one, 1)).refused
        indices.refresh(table)
        yield table


def found(client: OpenSearch, table: Table, query: str) -> list[str | None]:
    return sorted((row["amount"] for row in search(client, table, query).rows), key=lambda one: Decimal(one or "NaN"))


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("amount:12.5", ["12.5"]),
        ("amount:12.50000000", ["12.5"]),
        ("amount:0", ["0"]),
        ("amount:1234567890.12345678", ["1234567890.12345678"]),
        ("amount:12.5,-0.00000001", ["-0.00000001", "12.5"]),
        ("amount:>=1234567890.12345678", ["1234567890.12345678", "9999999999.99999999"]),
        ("amount:>1234567890.12345677", ["1234567890.12345678", "9999999999.99999999"]),
        ("amount:>1234567890.123456775", ["1234567890.12345678", "9999999999.99999999"]),
        ("amount:>=1234567890.123456775", ["1234567890.12345678", "9999999999.99999999"]),
        ("amount:<-0.000000005", ["-9999999999.99999999", "-1234567890.12345678", "-0.00000001"]),
        ("amount:-1..0", ["-0.00000001", "0"]),
        ("amount:<-99999999999999999999999999999999999999999", []),
        ("amount:>-99999999999999999999999999999999999999999 amount:<0", [
            "-9999999999.99999999", "-1234567890.12345678", "-0.00000001",
        ]),
        ("amount:* amount:>=0 amount:<1", ["0", "0.00000001"]),
    ],
)  # fmt: skip
def test_equality_and_ranges_are_exact(client: OpenSearch, filled: Table, query: str, wanted: list[str]) -> None:
    assert found(client, filled, query) == [f"{Decimal(one):.8f}" for one in wanted]


def test_absent_ones_are_told_apart(client: OpenSearch, filled: Table) -> None:
    assert found(client, filled, "-amount:*") == [None]


@pytest.mark.parametrize("query", ["amount:much", "amount:>1e3", "amount:NaN", "amount:0.123456789", "share:0.1"])
def test_what_is_no_such_decimal_is_refused(client: OpenSearch, filled: Table, query: str) -> None:
    with pytest.raises(QueryError):
        search(client, filled, query)


def test_documents_are_read_back_exactly(client: OpenSearch, indices: Indices, filled: Table) -> None:
    [first] = search(client, filled, "amount:0").rows
    assert first["share"] == "-0." + "1".ljust(38, "0")
    read = content(scanned(client, indices, filled), filled)
    assert [row["amount"] for row in read] == [None if v is None else Decimal(v) for v in [*VALUES, None]]
    assert read[0]["share"] == Decimal("-0.1")


def test_an_altered_document_does_not_pass_for_the_value(client: OpenSearch, indices: Indices, filled: Table) -> None:
    """A text that the cast would round to the stored value is another value."""
    with own_table(client, indices) as made, BulkWriter(indices, patience_s=20) as writer:
        table = with_amounts(made)
        indices.ensure_template(table)
        writer.write(table, to_ndjson(table, rows(table, 1, amount=Decimal("12.5")), 1))
        indices.refresh(table)
        client.update_by_query(
            index=period_alias(table, "2026-11-21"), params={"refresh": "true"},
            body={"script": {"source": "ctx._source.amount = '12.500000001'"}, "query": {"exists": {"field": "event_id"}}},
        )  # fmt: skip
        assert scanned(client, indices, table)["amount"].to_pylist() == [None]


def test_an_index_takes_more_digits(client: OpenSearch, indices: Indices) -> None:
    with own_table(client, indices) as made, BulkWriter(Indices(client), patience_s=20) as writer:
        table, wider = with_amounts(made), with_amounts(made, 30)
        indices.ensure_template(table)
        writer.write(table, to_ndjson(table, rows(table, 1, amount=Decimal("2")), 1))
        indices.ensure_template(wider)
        more = Decimal("1234567890123456789012.12345678")
        assert not writer.write(wider, to_ndjson(wider, rows(wider, 1, start=1, amount=more), 1)).refused
        indices.refresh(wider)
        assert found(client, wider, "amount:>=2") == ["2.00000000", f"{more}"]
