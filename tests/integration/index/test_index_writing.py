"""Documents into the real node: what comes back, what it refuses, and what it cannot take just now."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from opensearchpy import OpenSearch
from opensearchpy.exceptions import RequestError
from searchlab import DAY, TOPIC, bulk_rows, content, normal, rows, same_ids, scanned

from platform_assets.contracts.model import Table
from platform_assets.core.settings import Settings
from platform_assets.index import lease
from platform_assets.index.bulk import BulkWriter
from platform_assets.index.client import connect
from platform_assets.index.documents import to_ndjson
from platform_assets.index.errors import SearchError, Unavailable
from platform_assets.index.indices import Indices
from platform_assets.index.mappings import template_name
from platform_assets.index.names import index_name, split_index_name
from platform_assets.index.scan import scan, scan_schema

pytestmark = pytest.mark.services


class TestDocuments:
    def test_what_is_scanned_equals_silver(
        self, client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table
    ) -> None:
        nasty = 'tab\t nl\n quote" back\\ nul-free \x01\x1f\x7f é 漢 😀 \u2028\u2029 </script> {"_id":"x"}'
        silver = pa.concat_tables(
            [
                rows(table, 700),
                rows(table, 1, start=700, message=nasty, service=nasty, payload=nasty, attributes=normal({"k": nasty})),
                rows(table, 1, start=701, status=2**63 - 1, latency_ms=5e-324, _hash=-(2**63)),
                rows(table, 1, start=702, status=-(2**63), latency_ms=-1.7976931348623157e308, _hash=2**63 - 1),
                rows(table, 1, start=703, status=None, latency_ms=None, retried=None, user_id=None, message=None, _key_id=None),
                rows(table, 1, start=707, attributes=None),
                rows(table, 1, start=704, latency_ms=0.1 + 0.2, _history=True, message="x" * 200_000, level="y" * 40_000),
                rows(table, 1, start=705, event_time=datetime(1960, 1, 1, tzinfo=UTC)),
                rows(table, 1, start=706, event_time=datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
            ]
        )  # fmt: skip
        report = writer.write(table, to_ndjson(table, silver, 7, body_bytes=50_000))
        assert (report.indexed, report.present, report.refused) == (708, 0, [])
        found = scanned(client, indices, table)
        assert found.schema.equals(scan_schema(table))
        assert set(found.column("_version").to_pylist()) == {7}
        assert content(found, table) == content(silver, table)

    def test_scan_below_offsets_and_by_seq(
        self, client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table
    ) -> None:
        writer.write(table, to_ndjson(table, rows(table, 100), 1))
        assert same_ids(scanned(client, indices, table, below={f"{TOPIC}:3": 42}), range(42))
        assert scanned(client, indices, table, below={f"{TOPIC}:4": 42}).num_rows == 0
        assert scanned(client, indices, table, below={f"{'other'}:3": 42}).num_rows == 0
        assert scanned(client, indices, table, below={}).num_rows == 0
        assert same_ids(scanned(client, indices, table, seq=1), range(20))

    def test_a_scan_never_ends_early_without_saying_so(
        self, client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table
    ) -> None:
        writer.write(table, to_ndjson(table, bulk_rows(table, 0, 5000), 1))
        indices.refresh(table)
        pages = scan(client, table)
        next(pages)
        client.indices.delete(index=index_name(table, DAY, 1))
        with pytest.raises(SearchError, match="scan again"):
            list(pages)

    def test_scan_of_what_was_never_indexed_is_empty(self, client: OpenSearch, table: Table) -> None:
        assert list(scan(client, table)) == []

    def test_sent_again_nothing_changes_and_newer_wins(
        self, client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table
    ) -> None:
        writer.write(table, to_ndjson(table, rows(table, 50), 5))
        again = writer.write(table, to_ndjson(table, rows(table, 60), 5))
        assert (again.indexed, again.present) == (10, 50)
        older = writer.write(table, to_ndjson(table, rows(table, 60, level="OLD"), 4))
        assert (older.indexed, older.present) == (0, 60)
        newer = writer.write(table, to_ndjson(table, rows(table, 1, level="NEW"), 6))
        assert newer.indexed == 1
        levels = scanned(client, indices, table).column("level").to_pylist()
        assert levels.count("NEW") == 1
        assert "OLD" not in levels

    def test_rows_of_several_partitions_go_each_to_its_index(
        self, client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table
    ) -> None:
        other = "2026-11-22"
        kinds = [(DAY, False), (other, False), (DAY, True), ("1970-07-20", True), ("2015-05-17", True), (other, True)]
        mixed = pa.concat_tables(
            [rows(table, 3, start=i * 3, partition=day, _history=late) for i, (day, late) in enumerate(kinds)]
        )
        assert writer.write(table, to_ndjson(table, mixed, 1)).indexed == 18
        found = scanned(client, indices, table)
        assert same_ids(found, range(18))
        counts = {split_index_name(table, name): n for name, n in Counter(found.column("_index").to_pylist()).items()}
        assert counts == {
            (DAY, 1): 3,
            (other, 1): 3,
            ("history-1970", 1): 3,
            ("history-2015", 1): 3,
            ("history-2026", 1): 6,
        }


class TestRefusals:
    def test_strict_mapping(self, client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table) -> None:
        writer.write(table, to_ndjson(table, rows(table, 1), 1))
        index = index_name(table, DAY, 1)
        for body in ({"nope": 1}, {"_assay": {"nope": 1}}, {"status": "500"}, {"status": 1.5}, {"attributes": "text"}):
            with pytest.raises(RequestError):
                client.index(index=index, body=body)

    def test_poisoned_documents_are_refused_and_the_rest_is_in(
        self, client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table
    ) -> None:
        mixed = pa.concat_tables(
            [
                rows(table, 20),
                rows(table, 1, start=20, attributes='{"a":{"x":1,"x":2}}'),  # a member twice, below the top
                rows(table, 1, start=21, attributes='{"a":"' + "s3cret" * 6000 + '"}'),  # longer than a Lucene term
                rows(table, 1, start=22, attributes='"text"'),
                rows(table, 1, start=23, attributes='{"a":' * 150 + "1" + "}" * 150),  # would be parsed by recursion
                rows(table, 20, start=24),
            ]
        )
        report = writer.write(table, to_ndjson(table, mixed, 1))
        assert (report.indexed, dict(report.taken)) == (40, {DAY: 40})
        again = writer.write(table, to_ndjson(table, mixed, 1))  # as after an answer that was lost
        assert (again.indexed, again.present, dict(again.taken)) == (0, 40, {DAY: 40})
        refused = {r.document_id.rpartition(".")[2]: r for r in report.refused}
        assert set(refused) == {"20", "21", "22", "23"}
        assert refused["23"].code == "too_deep"
        assert all(r.period == DAY and r.reason and "s3cret" not in r.reason for r in report.refused)
        assert scanned(client, indices, table).num_rows == 40

    def test_the_node_survives_depth_that_would_end_it(self, writer: BulkWriter, table: Table) -> None:
        deep = rows(table, 1, attributes='{"a":' * 5000 + "1" + "}" * 5000)
        report = writer.write(table, to_ndjson(table, pa.concat_tables([deep, rows(table, 1, start=1)]), 1))
        assert (report.indexed, [r.code for r in report.refused]) == (1, ["too_deep"])

    def test_an_answer_that_is_not_known_is_an_error(
        self, client: OpenSearch, writer: BulkWriter, table: Table
    ) -> None:
        # Were this taken for the document's fault, a wrong mapping would send a whole topic into quarantine.
        client.indices.delete_index_template(name=template_name(table))
        client.indices.create(
            index=index_name(table, DAY, 1), body={"mappings": {"dynamic": "strict", "properties": {}}}
        )
        with pytest.raises(SearchError, match="strict_dynamic_mapping_exception"):
            writer.write(table, to_ndjson(table, rows(table, 1), 1), into=index_name(table, DAY, 1))


class TestBlocks:
    def test_read_only_index_then_writable_again(
        self, client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table
    ) -> None:
        writer.write(table, to_ndjson(table, rows(table, 1), 1))
        lease.block(client, index_name(table, DAY, 1))
        timer = threading.Timer(2.0, lease.unblock, (client, index_name(table, DAY, 1)))
        timer.start()
        report = writer.write(table, to_ndjson(table, rows(table, 500), 2))
        timer.join()
        assert (report.indexed, report.refused) == (500, [])
        assert report.retries > 0
        assert scanned(client, indices, table).num_rows == 500

    def test_read_only_for_too_long_is_unavailable(self, client: OpenSearch, indices: Indices, table: Table) -> None:
        with BulkWriter(indices, patience_s=1.5) as impatient:
            impatient.write(table, to_ndjson(table, rows(table, 1), 1))
            # Not `read_only_allow_delete`: the node itself lifts that one when its disk has room.
            client.indices.put_settings(index=index_name(table, DAY, 1), body={"index.blocks.read_only": True})
            with pytest.raises(Unavailable, match=r"did not take 10 documents .* within 2 s"):
                impatient.write(table, to_ndjson(table, rows(table, 10), 2))
            client.indices.put_settings(index=index_name(table, DAY, 1), body={"index.blocks.read_only": None})
            assert impatient.write(table, to_ndjson(table, rows(table, 10), 3)).indexed == 10

    def test_stop_ends_the_waiting(self, client: OpenSearch, indices: Indices, table: Table) -> None:
        stop = threading.Event()
        with BulkWriter(indices, stop=stop, patience_s=86_400) as stopped:
            stopped.write(table, to_ndjson(table, rows(table, 1), 1))
            lease.block(client, index_name(table, DAY, 1))
            threading.Timer(1.0, stop.set).start()
            with pytest.raises(Unavailable):
                stopped.write(table, to_ndjson(table, rows(table, 10), 2))

    def test_an_index_deleted_under_a_writer_is_made_again(
        self, client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table
    ) -> None:
        writer.write(table, to_ndjson(table, rows(table, 5), 1))
        client.indices.delete(index=index_name(table, DAY, 1))
        assert writer.write(table, to_ndjson(table, rows(table, 5), 1)).indexed == 5
        assert [i.serving for i in indices.all(table)] == [True]

    def test_a_server_that_is_down_is_unavailable(self, services: Settings) -> None:
        with pytest.raises(Unavailable, match="does not answer"):
            connect("https://127.0.0.1:1", ("ingest", "x"), services.opensearch_ca)

    def test_wrong_password_is_one_clear_line(self, services: Settings) -> None:
        with pytest.raises(SearchError, match="wrong user or password"):
            connect(services.opensearch_url, ("ingest", "wrong-s3cret"), services.opensearch_ca)
