"""A table of its own for each test, on the real node."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opensearchpy import OpenSearch
from searchlab import own_table

from platform_assets.contracts.model import Table
from platform_assets.core.settings import Settings
from platform_assets.index.bulk import BulkWriter
from platform_assets.index.client import connect
from platform_assets.index.indices import Indices


@pytest.fixture(scope="module")
def client(services: Settings) -> Iterator[OpenSearch]:
    made = connect(services.opensearch_url, services.opensearch_auth("ingest"), services.opensearch_ca)
    yield made
    made.close()


@pytest.fixture
def indices(client: OpenSearch) -> Indices:
    return Indices(client)


@pytest.fixture
def table(client: OpenSearch, indices: Indices) -> Iterator[Table]:
    with own_table(client, indices) as made:
        yield made


@pytest.fixture
def writer(indices: Indices) -> Iterator[BulkWriter]:
    with BulkWriter(indices, patience_s=20) as made:
        yield made
