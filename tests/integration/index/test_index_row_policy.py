"""A row policy that changes holds in every index of the table, those that nobody writes to any more included."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest
from opensearchpy import OpenSearch
from searchlab import DAY, rows

from platform_assets.contracts.model import Table
from platform_assets.core.settings import Settings
from platform_assets.index.bulk import BulkWriter
from platform_assets.index.callers import CallerPool, token
from platform_assets.index.documents import to_ndjson
from platform_assets.index.indices import Indices
from platform_assets.index.mappings import ROW, mapping
from platform_assets.index.names import index_name, read_alias

pytestmark = pytest.mark.services

Seen = Callable[[Sequence[str]], int]
EARLIER = "2026-11-20"


@pytest.fixture
def seen(services: Settings, table: Table) -> Iterator[Seen]:
    """How many of the table's documents a token with these values sees."""
    pool = CallerPool(services.opensearch_url, services.opensearch_ca, timeout_s=10, size=2)

    def count(only: Sequence[str]) -> int:
        bearer = token(services.opensearch_jwt_key, "t", table.system, only)
        return int(pool.client(bearer).count(index=read_alias(table))["count"])

    yield count
    pool.close()


def test_it_follows_the_contract_in_all_indices(
    client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table, seen: Seen
) -> None:
    for at, day in ((0, EARLIER), (30, DAY)):
        writer.write(table, to_ndjson(table, rows(table, 30, start=at, partition=day), 1))
    indices.refresh(table)
    assert seen(["users", "ERROR"]) == 0
    wanted = {"service": 20, "level": 12, "message": 0, None: 0}
    for policy in ("service", "level", None, "service", None, "level"):
        indices.ensure_template(replace(table, row_policy=policy))
        assert seen(["users", "ERROR"]) == wanted[policy], policy
    assert seen(["nobody"]) == 0


def test_an_index_made_before_there_were_row_policies_shows_nothing_until_it_has_one(
    client: OpenSearch, indices: Indices, table: Table, seen: Seen
) -> None:
    older = mapping(table)
    del older["properties"][ROW], older["properties"]["_assay"]["properties"]["unlimited_only"]
    client.indices.create(index=index_name(table, DAY, 1), body={"mappings": older, "aliases": {read_alias(table): {}}})
    client.index(index=index_name(table, DAY, 1), body={"service": "users"}, params={"refresh": "true"})
    assert seen(["users"]) == 0
    indices.ensure_template(replace(table, row_policy="service"))
    assert seen(["users"]) == 1


def test_an_index_whose_field_is_of_another_type_is_closed_to_limited_readers(
    client: OpenSearch, indices: Indices, table: Table, seen: Seen
) -> None:
    other = mapping(replace(table, row_policy="level"))
    other["properties"]["service"] = {"type": "text"}
    client.indices.create(index=index_name(table, DAY, 1), body={"mappings": other, "aliases": {read_alias(table): {}}})
    document = {"service": "users", "level": "users"}
    client.index(index=index_name(table, DAY, 1), body=document, params={"refresh": "true"})
    assert seen(["users"]) == 1
    indices.ensure_template(replace(table, row_policy="service"))
    assert seen(["users"]) == 0
