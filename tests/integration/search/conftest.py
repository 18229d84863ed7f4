"""A table of its own for each test, on the real node."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from opensearchpy import OpenSearch
from searchlab import make_table

from platform_assets.contracts.model import Table
from platform_assets.search.bulk import BulkWriter
from platform_assets.search.client import connect
from platform_assets.search.indices import Indices
from platform_assets.search.mappings import template_name
from platform_assets.settings import Settings


@pytest.fixture
def client(services: Settings) -> Iterator[OpenSearch]:
    made = connect(services.opensearch_url, services.opensearch_auth("lane"), services.opensearch_ca)
    yield made
    made.close()


@pytest.fixture
def indices(client: OpenSearch) -> Indices:
    return Indices(client)


@pytest.fixture
def table(client: OpenSearch, indices: Indices) -> Iterator[Table]:
    """A table under a name of its own, with its template; its indices are deleted afterwards."""
    made = make_table(f"t{secrets.token_hex(5)}")
    indices.ensure_template(made)
    yield made
    indices.delete([index.name for index in indices.all(made)])
    client.indices.delete_index_template(name=template_name(made), params={"ignore": 404})


@pytest.fixture
def writer(indices: Indices) -> Iterator[BulkWriter]:
    with BulkWriter(indices, patience_s=20) as made:
        yield made
