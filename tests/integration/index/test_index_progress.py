"""What an index says of itself: how far it has come, which of its generations serve, what its mapping can take."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from opensearchpy import OpenSearch
from opensearchpy.exceptions import NotFoundError
from searchlab import DAY, rows, same_ids, scanned

from platform_assets.contracts.model import Field, FieldType, IndexType, Table
from platform_assets.core.settings import Settings
from platform_assets.index.bulk import BulkWriter
from platform_assets.index.checkpoints import START, advance, read, read_checkpoint, write_checkpoint
from platform_assets.index.client import connect
from platform_assets.index.documents import to_ndjson
from platform_assets.index.errors import Conflict, SearchError
from platform_assets.index.indices import Indices
from platform_assets.index.names import PROGRESS_ID, index_name, period_alias, read_alias
from platform_assets.index.query import search

pytestmark = pytest.mark.services


class TestProgress:
    def test_compare_and_set(self, client: OpenSearch, table: Table) -> None:
        assert read_checkpoint(client, table) == START
        first = write_checkpoint(client, table, {"a:0": 5}, 3, START, seq=2)
        with pytest.raises(Conflict):
            write_checkpoint(client, table, {"a:0": 6}, 3, START, seq=2)
        second = write_checkpoint(client, table, {"a:1": 7}, 4, first, seq=3)
        assert read_checkpoint(client, table) == second
        assert second.positions == {"a:0": 5, "a:1": 7}
        with pytest.raises(Conflict):
            write_checkpoint(client, table, {"a:0": 9}, 9, first, seq=9)
        for lower in (({"a:0": 4}, 4, 3), ({"a:0": 5}, 3, 3), ({"a:0": 5}, 4, 2)):
            with pytest.raises(ValueError, match="never lowered"):
                write_checkpoint(client, table, lower[0], lower[1], second, seq=lower[2])
        assert read_checkpoint(client, table) == second
        client.delete(index="assay-progress", id=read_alias(table))

    def test_the_progress_of_an_index_that_a_rebuild_replaced_is_a_conflict(
        self, client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table
    ) -> None:
        """So that the publisher looks again, also one that is about to end."""
        writer.write(table, to_ndjson(table, rows(table, 5), 1))
        name = indices.resolve(table, DAY).name
        indices.delete([name])
        with pytest.raises(Conflict, match=f"{name} is gone"):
            advance(client, name, {"a:0": 1}, 1, 1)

    def test_an_index_keeps_its_progress_out_of_sight(
        self, client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table
    ) -> None:
        writer.write(table, to_ndjson(table, rows(table, 5), 1))
        alias = period_alias(table, DAY)
        racers = [threading.Thread(target=advance, args=(client, alias, {f"a:{n % 2}": n}, n, n)) for n in range(1, 9)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        assert advance(client, alias, {"a:0": 1}, 1, 1).positions == {"a:0": 8, "a:1": 7}
        stored = read(client, index_name(table, DAY, 1), PROGRESS_ID)
        assert (stored.positions, stored.silver_version, stored.seq) == ({"a:0": 8, "a:1": 7}, 8, 8)
        assert scanned(client, indices, table).num_rows == 5
        assert client.count(index=read_alias(table))["count"] == 5
        assert len(search(client, table).rows) == 5


class TestIndices:
    def test_writers_race_to_create(self, services: Settings, client: OpenSearch, table: Table) -> None:
        racers, errors = [], []
        gate = threading.Barrier(6)

        def race(number: int) -> None:
            own = connect(services.opensearch_url, services.opensearch_auth("ingest"), services.opensearch_ca)
            try:
                with BulkWriter(Indices(own)) as racing:
                    documents = to_ndjson(table, rows(table, 20, start=number * 20), 1)
                    gate.wait()
                    racing.write(table, documents)
            except Exception as error:
                errors.append(error)
            finally:
                own.close()

        for number in range(6):
            racers.append(threading.Thread(target=race, args=(number,)))
            racers[-1].start()
        for racer in racers:
            racer.join()
        assert errors == []
        indices = Indices(client)
        assert [(i.generation, i.serving) for i in indices.all(table)] == [(1, True)]
        assert same_ids(scanned(client, indices, table), range(120))

    def test_a_new_field_needs_no_rebuild_but_a_changed_type_does(
        self, client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table
    ) -> None:
        writer.write(table, to_ndjson(table, rows(table, 2), 1))
        host = Field("host", FieldType.STRING, source="host", index=IndexType.KEYWORD)
        wider = replace(table, fields=(*table.fields, host), version="1.1.0")
        with BulkWriter(Indices(client)) as fresh:
            assert fresh.write(wider, to_ndjson(wider, rows(wider, 2, start=2, host="h1"), 2)).indexed == 2
        indices.refresh(wider)
        assert len(search(client, wider, "host:h1").rows) == 2
        narrowed = replace(
            table, fields=tuple(replace(f, index=IndexType.TEXT) if f.name == "level" else f for f in table.fields)
        )
        with BulkWriter(Indices(client)) as fresh, pytest.raises(SearchError, match="does not fit contract"):
            fresh.write(narrowed, to_ndjson(narrowed, rows(narrowed, 1, start=9), 3))


def test_a_missing_partition_has_no_progress(client: OpenSearch, table: Table) -> None:
    assert read(client, period_alias(table, DAY), PROGRESS_ID) == START
    with pytest.raises(NotFoundError):
        client.indices.get(index=period_alias(table, DAY))
