"""What retention has dropped from silver leaves the index too."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from opensearchpy import OpenSearch
from searchlab import NOON, rows, same_ids, scanned

from platform_assets.contracts.model import Table
from platform_assets.errors import AssayError
from platform_assets.lake.layout import Lake
from platform_assets.lane import maintain as maintenance
from platform_assets.lane.maintain import maintain
from platform_assets.search.bulk import BulkWriter
from platform_assets.search.documents import to_ndjson
from platform_assets.search.indices import Indices
from platform_assets.settings import Settings

pytestmark = pytest.mark.services


def test_forgotten_documents_go_though_a_row_of_their_day_comes_back(
    services: Settings,
    client: OpenSearch,
    indices: Indices,
    writer: BulkWriter,
    table: Table,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    silver = Lake(tmp_path).tables(table).silver
    settings = replace(services, lake_path=tmp_path)
    now = NOON + table.retention + timedelta(days=2)

    def publish(batch: pa.Table) -> None:
        version = silver.commit(silver.write(batch))
        writer.write(table, to_ndjson(table, batch, version))

    def dies(_: Settings) -> None:
        raise AssayError("the maintenance dies here")

    publish(rows(table, 10, _landed_at=NOON))
    with monkeypatch.context() as patch, pytest.raises(AssayError):
        patch.setattr(maintenance, "connect_indices", dies)
        maintain(settings, table, now=now)
    publish(rows(table, 1, start=10, _landed_at=now))
    assert same_ids(scanned(client, indices, table), range(11))
    maintain(settings, table, now=now)
    assert same_ids(scanned(client, indices, table), [10])
    [index] = indices.all(table)
    maintain(settings, table, now=now)
    assert indices.all(table) == [index]  # built anew once
