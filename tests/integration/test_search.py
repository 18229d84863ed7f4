"""The search room against the real node: nothing here is a stand-in for OpenSearch."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from opensearchpy import OpenSearch
from opensearchpy.exceptions import NotFoundError, RequestError

from platform_assets.contracts.arrow import silver_schema
from platform_assets.contracts.model import Field, FieldType, Format, Grain, IndexType, Mask, Table
from platform_assets.search import lease
from platform_assets.search.bulk import BulkWriter
from platform_assets.search.client import connect
from platform_assets.search.documents import to_ndjson
from platform_assets.search.errors import Conflict, QueryError, SearchError, Unavailable
from platform_assets.search.indices import Indices
from platform_assets.search.mappings import template_name
from platform_assets.search.names import PROGRESS_ID, index_name, partition_alias, read_alias
from platform_assets.search.progress import START, advance, read, read_frontier, write_frontier
from platform_assets.search.query import search
from platform_assets.search.rebuild import Snapshot, SnapshotLost, rebuild
from platform_assets.search.scan import scan, scan_schema
from platform_assets.settings import Settings

pytestmark = pytest.mark.services

TOPIC = "Zy9-x_Q2RkqKn0b1c2d3e4"
DAY = "2026-11-21"
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def make_table(system: str, **changes: Any) -> Table:
    def field(name: str, type_: FieldType, index: IndexType, **more: Any) -> Field:
        return Field(name, type_, source=name, index=index, **more)

    fields = (
        field("event_id", FieldType.STRING, IndexType.KEYWORD, required=True),
        field("event_time", FieldType.TIMESTAMP, IndexType.DATE, required=True),
        field("service", FieldType.STRING, IndexType.KEYWORD, required=True),
        field("level", FieldType.STRING, IndexType.KEYWORD, required=True),
        field("status", FieldType.INTEGER, IndexType.LONG),
        field("latency_ms", FieldType.NUMBER, IndexType.DOUBLE),
        field("retried", FieldType.BOOLEAN, IndexType.BOOLEAN),
        field("user_id", FieldType.STRING, IndexType.KEYWORD, mask=Mask.HMAC, pii=True),
        field("message", FieldType.STRING, IndexType.TEXT),
        field("payload", FieldType.STRING, IndexType.NONE),
    )
    table = Table(
        system=system,
        name="events",
        version="1.0.0",
        description="",
        topic=f"{system}.events",
        format=Format.JSON,
        fields=fields,
        event_time="event_time",
        key=("event_id",),
        attributes="attributes",
        grain=Grain.DAY,
    )
    return replace(table, **changes)


def rows(table: Table, count: int, *, start: int = 0, partition: str = DAY, **values: Any) -> pa.Table:
    """Silver rows at offsets `start`, `start`+1, ... of one Kafka partition; `values` replace whole columns' cells."""
    made = []
    for offset in range(start, start + count):
        row: dict[str, Any] = {
            "event_id": f"e{offset}",
            "event_time": NOON + timedelta(microseconds=offset),
            "service": ("users", "payments", "delivery")[offset % 3],
            "level": "ERROR" if offset % 5 == 0 else "INFO",
            "status": 500 if offset % 5 == 0 else 200,
            "latency_ms": offset + 0.5,
            "retried": offset % 2 == 0,
            "user_id": f"hash{offset % 10}",
            "message": f"request {offset} handled",
            "payload": None,
            "attributes": json.dumps(
                {"region": "eu" if offset % 2 else "us", "deep": {"n": offset}}, separators=(",", ":")
            ),
            "_topic_id": TOPIC,
            "_kafka_partition": 3,
            "_offset": offset,
            "_seq": offset // 10,
            "_landed_at": NOON,
            "_contract_version": table.version,
            "_key_id": "k1",
            "_history": False,
            "_hash": offset * 7919 - 5,
            "event_partition": partition,
        }
        made.append({**row, **values})
    schema = silver_schema(table)
    return pa.Table.from_pylist([{name: row.get(name) for name in schema.names} for row in made], schema=schema)


def normal(value: object) -> str:
    """JSON as refine stores it: in DuckDB's own spelling."""
    [[found]] = duckdb.execute("SELECT CAST(json_extract(?, '$') AS VARCHAR)", [json.dumps(value)]).fetchall()
    return str(found)


def bulk_rows(table: Table, start: int, count: int, partition: str = DAY) -> pa.Table:
    """As `rows`, made by DuckDB: for tests that need thousands."""
    relation = duckdb.connect().sql(f"""
        SELECT 'e' || i AS event_id, TIMESTAMP '2026-11-21 12:00:00' AS event_time, 'users' AS service,
            'INFO' AS level, CAST(200 AS BIGINT) AS status, i + 0.5 AS latency_ms, true AS retried, 'h' AS user_id,
            'request ' || i AS message, NULL AS payload, '{{"n":' || i || '}}' AS attributes, '{TOPIC}' AS _topic_id,
            CAST(3 AS INTEGER) AS _kafka_partition, i AS _offset, i // 10 AS _seq,
            TIMESTAMP '2026-11-21 12:00:00' AS _landed_at, '{table.version}' AS _contract_version,
            'k1' AS _key_id, false AS _history, i * 7919 AS _hash, '{partition}' AS event_partition
        FROM range({start}, {start + count}) t(i)""")  # noqa: S608
    return relation.to_arrow_table().cast(silver_schema(table))


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


def scanned(client: OpenSearch, indices: Indices, table: Table, **how: Any) -> pa.Table:
    indices.refresh(table)
    found = list(scan(client, table, topics=[TOPIC], **how))
    return pa.concat_tables(found) if found else scan_schema(table).empty_table()


def ids(found: pa.Table) -> list[str]:
    return sorted(found.column("_id").to_pylist())


def content(found: pa.Table, table: Table) -> list[dict[str, Any]]:
    columns = [name for name in silver_schema(table).names if name not in ("_landed_at", "event_partition")]
    return sorted(found.select(columns).to_pylist(), key=lambda row: (row["_kafka_partition"], row["_offset"]))


def same_ids(found: pa.Table, offsets: Sequence[int]) -> bool:
    return ids(found) == sorted(f"{TOPIC[:8]}.3.{offset}" for offset in offsets)


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
        assert list(scan(client, table, event_partition=DAY)) == []

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
        hour = "2026-11-21T08"
        mixed = pa.concat_tables([rows(table, 3, start=i * 3, partition=(DAY, hour)[i % 2]) for i in range(6)])
        assert writer.write(table, to_ndjson(table, mixed, 1)).indexed == 18
        assert {(i.event_partition, i.serving) for i in indices.all(table)} == {(DAY, True), (hour, True)}
        assert scanned(client, indices, table, event_partition=hour).num_rows == 9
        assert scanned(client, indices, table).num_rows == 18


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
        assert report.indexed == 40
        refused = {r.document_id.rpartition(".")[2]: r for r in report.refused}
        assert set(refused) == {"20", "21", "22", "23"}
        assert refused["23"].code == "too_deep"
        assert all(r.event_partition == DAY and r.reason and "s3cret" not in r.reason for r in report.refused)
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
        with BulkWriter(indices, stop=stop) as stopped:
            stopped.write(table, to_ndjson(table, rows(table, 1), 1))
            lease.block(client, index_name(table, DAY, 1))
            threading.Timer(1.0, stop.set).start()
            began = time.monotonic()
            with pytest.raises(Unavailable):
                stopped.write(table, to_ndjson(table, rows(table, 10), 2))
            assert time.monotonic() - began < 10

    def test_an_index_deleted_under_a_writer_is_made_again(
        self, client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table
    ) -> None:
        writer.write(table, to_ndjson(table, rows(table, 5), 1))
        client.indices.delete(index=index_name(table, DAY, 1))
        assert writer.write(table, to_ndjson(table, rows(table, 5), 1)).indexed == 5
        assert [i.serving for i in indices.all(table)] == [True]

    def test_a_server_that_is_down_is_unavailable(self, services: Settings) -> None:
        with pytest.raises(Unavailable, match="does not answer"):
            connect("https://127.0.0.1:1", ("lane", "x"), services.opensearch_ca)

    def test_wrong_password_is_one_clear_line(self, services: Settings) -> None:
        with pytest.raises(SearchError, match="wrong user or password"):
            connect(services.opensearch_url, ("lane", "wrong-s3cret"), services.opensearch_ca)


class TestProgress:
    def test_compare_and_set(self, client: OpenSearch, table: Table) -> None:
        assert read_frontier(client, table) == START
        first = write_frontier(client, table, {"a:0": 5}, 3, START, seq=2)
        with pytest.raises(Conflict):
            write_frontier(client, table, {"a:0": 6}, 3, START, seq=2)
        second = write_frontier(client, table, {"a:1": 7}, 4, first, seq=3)
        assert read_frontier(client, table) == second
        assert second.offsets == {"a:0": 5, "a:1": 7}
        with pytest.raises(Conflict):
            write_frontier(client, table, {"a:0": 9}, 9, first, seq=9)
        for lower in (({"a:0": 4}, 4, 3), ({"a:0": 5}, 3, 3), ({"a:0": 5}, 4, 2)):
            with pytest.raises(ValueError, match="never lowered"):
                write_frontier(client, table, lower[0], lower[1], second, seq=lower[2])
        assert read_frontier(client, table) == second
        client.delete(index="assay-progress", id=read_alias(table))

    def test_an_index_keeps_its_progress_out_of_sight(
        self, client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table
    ) -> None:
        writer.write(table, to_ndjson(table, rows(table, 5), 1))
        alias = partition_alias(table, DAY)
        racers = [threading.Thread(target=advance, args=(client, alias, {f"a:{n % 2}": n}, n, n)) for n in range(1, 9)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        assert advance(client, alias, {"a:0": 1}, 1, 1).offsets == {"a:0": 8, "a:1": 7}
        stored = read(client, index_name(table, DAY, 1), PROGRESS_ID)
        assert (stored.offsets, stored.silver_version, stored.seq) == ({"a:0": 8, "a:1": 7}, 8, 8)
        assert scanned(client, indices, table).num_rows == 5
        assert scanned(client, indices, table, event_partition=DAY).num_rows == 5
        assert client.count(index=read_alias(table))["count"] == 5
        assert len(search(client, table).rows) == 5


class TestIndices:
    def test_writers_race_to_create(self, services: Settings, client: OpenSearch, table: Table) -> None:
        racers, errors = [], []
        gate = threading.Barrier(6)

        def race(number: int) -> None:
            own = connect(services.opensearch_url, services.opensearch_auth("lane"), services.opensearch_ca)
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

    def test_retention_keeps_what_silver_keeps(self, indices: Indices, writer: BulkWriter, table: Table) -> None:
        days = ["2015-05-17", "2026-10-01", "2026-10-02", DAY]
        for day in days:
            writer.write(table, to_ndjson(table, rows(table, 2, partition=day), 1))
        assert indices.expire(table, "2026-10-02", keep={"2015-05-17"}) == ["2026-10-01"]
        assert [i.event_partition for i in indices.all(table)] == ["2015-05-17", "2026-10-02", DAY]

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


class Silver:
    """A stand-in for the lake's silver partition: versions, and the rows that each added."""

    def __init__(self) -> None:
        self.commits: list[pa.Table] = []
        self.lock = threading.Lock()
        self.reads = 0
        self.lose_at: int | None = None

    def commit(self, batch: pa.Table) -> int:
        with self.lock:
            self.commits.append(batch)
            return len(self.commits)

    def read(self, since: Snapshot | None) -> Snapshot:
        with self.lock:
            self.reads += 1
            if self.reads == self.lose_at:
                raise SnapshotLost
            done = since.version if since else 0
            added = self.commits[done:]
            return Snapshot(len(self.commits), {f"{TOPIC}:3": 1}, 0, added)


class TestRebuild:
    def test_with_a_concurrent_writer(
        self, client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table
    ) -> None:
        silver = Silver()
        done = threading.Event()
        errors: list[Exception] = []
        per = 500

        def live() -> None:
            number = 0
            try:
                with BulkWriter(Indices(client)) as own:
                    while not done.is_set():
                        batch = bulk_rows(table, number * per, per)
                        version = silver.commit(batch)
                        own.write(table, to_ndjson(table, batch, version))
                        number += 1
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=live)
        thread.start()
        reports = []
        while len(silver.commits) < 5 and not errors:
            time.sleep(0.05)
        for _ in range(3):
            reports.append(rebuild(indices, writer, table, DAY, silver.read))
        done.set()
        thread.join()
        assert errors == []
        total = pa.concat_tables(silver.commits)
        found = scanned(client, indices, table)
        assert content(found, table) == content(total, table)
        assert [(i.generation, i.serving, i.blocked) for i in indices.all(table)] == [(4, True, False)]
        assert [r.index for r in reports] == [index_name(table, DAY, n) for n in (2, 3, 4)]
        assert read(client, partition_alias(table, DAY), PROGRESS_ID).silver_version >= reports[-1].version - 5

    def test_rows_that_silver_no_longer_has_stay_out(
        self, client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table
    ) -> None:
        silver = Silver()
        late = to_ndjson(table, rows(table, 100), 1)  # a lane that will wake up after the rebuild
        silver.commit(rows(table, 100))
        writer.write(table, late)
        silver.commits = [rows(table, 50), rows(table, 0)]  # silver was rewritten at version 2: 50 rows left it
        rebuild(indices, writer, table, DAY, silver.read)
        assert same_ids(scanned(client, indices, table), range(50))
        zombie = BulkWriter(Indices(client)).write(table, late)
        assert (zombie.indexed, zombie.present) == (0, 100)
        assert same_ids(scanned(client, indices, table), range(50))
        assert writer.write(table, to_ndjson(table, rows(table, 1, start=200), 3)).indexed == 1

    def test_a_rewrite_meanwhile_begins_again(
        self, client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table
    ) -> None:
        silver = Silver()
        silver.commit(rows(table, 30))
        silver.lose_at = 2
        report = rebuild(indices, writer, table, DAY, silver.read)
        assert report.documents == 30
        assert same_ids(scanned(client, indices, table), range(30))
        assert [(i.serving, i.blocked) for i in indices.all(table)] == [(True, False)]

    def test_what_a_dead_rebuild_left_is_removed(
        self, client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table
    ) -> None:
        silver = Silver()
        silver.commit(rows(table, 10))
        writer.write(table, to_ndjson(table, rows(table, 10), 1))
        half = indices.create(table, DAY, 2, serve=False)
        writer.write(table, to_ndjson(table, rows(table, 4, start=90), 1), into=half)
        assert same_ids(scanned(client, indices, table), range(10))  # it never serves
        rebuild(indices, writer, table, DAY, silver.read)
        assert [(i.generation, i.serving) for i in indices.all(table)] == [(3, True)]
        assert same_ids(scanned(client, indices, table), range(10))

    def test_a_failure_leaves_the_old_index_serving(
        self, client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table
    ) -> None:
        writer.write(table, to_ndjson(table, rows(table, 10), 1))
        silver = Silver()
        silver.commit(rows(table, 10))

        def fails_when_blocked(since: Snapshot | None) -> Snapshot:
            if indices.all(table)[0].blocked:
                raise OSError("the lake is away")
            return silver.read(since)

        with pytest.raises(OSError, match="the lake is away"):
            rebuild(indices, writer, table, DAY, fails_when_blocked)
        assert [(i.generation, i.serving, i.blocked) for i in indices.all(table)] == [(1, True, False)]
        assert writer.write(table, to_ndjson(table, rows(table, 1, start=10), 2)).indexed == 1

    def test_only_one_at_a_time(self, indices: Indices, writer: BulkWriter, table: Table, client: OpenSearch) -> None:
        with lease.Lease(client, table, DAY), pytest.raises(SearchError, match="another rebuild"):
            rebuild(indices, writer, table, DAY, Silver().read)

    def test_a_writer_ends_the_block_of_a_dead_rebuild(
        self, client: OpenSearch, indices: Indices, table: Table, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lease, "STALE_S", 3.0)
        monkeypatch.setattr(lease, "BEAT_S", 0.5)
        with BulkWriter(indices, patience_s=30) as writer:
            writer.write(table, to_ndjson(table, rows(table, 5), 1))
            dead = lease.Lease(client, table, DAY)
            dead.__enter__()
            dead.blocks(index_name(table, DAY, 1))
            lease.block(client, index_name(table, DAY, 1))
            dead._ended.set()  # the process dies: no more heartbeats, and nothing is tidied up
            report = writer.write(table, to_ndjson(table, rows(table, 5, start=5), 2))
            assert report.indexed == 5
            with pytest.raises(Conflict):
                dead.check()  # stopped, not dead after all: it may do nothing any more


class TestQueries:
    @pytest.fixture
    def filled(self, client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table) -> Table:
        extra = [
            rows(table, 1, start=100, message="the payment failed twice", level="FATAL", status=503),
            rows(table, 1, start=101, message="failed to take the payment", service="payments: eu", latency_ms=9000.0),
            rows(
                table,
                1,
                start=102,
                partition="2026-11-20",
                event_time=NOON - timedelta(days=1),
                _history=True,
                status=None,
            ),
        ]
        writer.write(table, to_ndjson(table, pa.concat_tables([rows(table, 100), *extra]), 1))
        indices.refresh(table)
        return table

    @pytest.mark.parametrize(
        ("query", "offsets"),
        [
            ("", range(103)),
            ("level:ERROR status:500", range(0, 100, 5)),
            ("level:ERROR,FATAL -service:users,delivery", [*range(10, 100, 15), 100]),
            ("NOT level:INFO AND status:>500", [100]),
            ('"payment failed"', [100]),
            ("payment failed", [100, 101]),
            ("-payment level:FATAL", []),
            ('service:"payments: eu"', [101]),
            ("service:pay* status:>=503", [100]),
            ("latency_ms:>=9000", [101]),
            ("latency_ms:10..12", [10, 11]),
            ("latency_ms:..1", [0]),
            ("retried:true latency_ms:<4", [0, 2]),
            ("-status:*", [102]),
            ("history:true", [102]),
            ("event_time:2026-11-20", [102]),
            ("event_time:..2026-11-20", [102]),
            ("event_time:>2026-11-20 offset:<3", [0, 1, 2]),
            ("event_time:2026-11-21T12:00:00.000007Z", [7]),
            ("event_time:>=2026-11-21T12:00:00.000007Z offset:<9", [7, 8]),
            ("attributes.region:eu offset:<=3", [1, 3]),
            ("attributes.deep.n:7", [7]),
            ("attributes.region:e* offset:1", [1]),
            ("attributes.nothing:*", []),
            (f"id:{TOPIC[:8]}.3.42", [42]),
            ("e42", [42]),
            ("user_id:hash3 offset:<20", [3, 13]),
            ("message:handled message:17", [17]),
            ('message:"handled 17"', []),
            ("level:* OFFSET", []),
        ],
    )
    def test_finds(self, client: OpenSearch, filled: Table, query: str, offsets: Sequence[int]) -> None:
        found = [row["_assay"]["offset"] for row in search(client, filled, query, limit=1000).rows]
        assert sorted(found) == sorted(offsets)

    def test_masked_values_are_found_by_who_can_mask(self, client: OpenSearch, filled: Table) -> None:
        masker = {"ann": ["hash3", "old3"]}
        found = search(client, filled, "user_id:ann offset:<20", mask=lambda value: masker.get(value, []))
        assert [row["_assay"]["offset"] for row in found.rows] == [13, 3]
        assert search(client, filled, "user_id:ann").rows == []

    def test_newest_first_page_by_page_without_gap_or_repetition(self, client: OpenSearch, filled: Table) -> None:
        seen: list[int] = []
        cursor: str | None = None
        while True:
            page = search(client, filled, "offset:<102", limit=17, cursor=cursor)
            seen += [row["_assay"]["offset"] for row in page.rows]
            cursor = page.cursor
            if cursor is None:
                break
        assert seen == list(range(101, -1, -1))

    def test_equal_times_page_by_bronze_order(
        self, client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table
    ) -> None:
        writer.write(table, to_ndjson(table, rows(table, 30, event_time=NOON), 1))
        indices.refresh(table)
        first = search(client, table, limit=13)
        second = search(client, table, limit=30, cursor=first.cursor)
        assert [row["_assay"]["offset"] for row in first.rows + second.rows] == list(range(29, -1, -1))

    def test_pages_are_whole_across_minutes_and_days(
        self, client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table
    ) -> None:
        # A page is first looked for in the newest seconds: rows further apart than any such window must not be skipped.
        gaps = [
            timedelta(seconds=1),
            timedelta(seconds=20),
            timedelta(minutes=7),
            timedelta(hours=5),
            timedelta(days=90),
        ]
        times = [NOON]
        for number in range(59):
            times.append(times[-1] - gaps[number % len(gaps)])
        batches = [rows(table, 1, start=n, event_time=time) for n, time in enumerate(times)]
        batches.append(rows(table, 1, start=60, event_time=datetime(1960, 1, 1, tzinfo=UTC)))  # not sortable: last
        writer.write(table, to_ndjson(table, pa.concat_tables(batches), 1))
        indices.refresh(table)
        seen: list[int] = []
        cursor: str | None = None
        while True:
            page = search(client, table, limit=4, cursor=cursor)
            seen += [row["_assay"]["offset"] for row in page.rows]
            cursor = page.cursor
            if cursor is None:
                break
        assert seen == list(range(61))
        assert [r["_assay"]["offset"] for r in search(client, table, "offset:<=9", until=times[3], limit=3).rows] == [
            4,
            5,
            6,
        ]

    def test_time_range(self, client: OpenSearch, filled: Table) -> None:
        found = search(client, filled, since=NOON + timedelta(microseconds=3), until=NOON + timedelta(microseconds=6))
        assert [row["event_id"] for row in found.rows] == ["e5", "e4", "e3"]
        assert search(client, filled, until=NOON - timedelta(days=2)).rows == []
        assert len(search(client, filled, since=NOON - timedelta(hours=1), limit=1000).rows) == 102

    def test_rows_carry_fields_id_and_coordinates(self, client: OpenSearch, filled: Table) -> None:
        row = search(client, filled, "offset:5").rows[0]
        assert row["id"] == f"{TOPIC[:8]}.3.5"
        assert (row["status"], row["payload"], row["attributes"]["deep"]) == (500, None, {"n": 5})
        assert row["_assay"] == {
            "seq": 0,
            "partition": 3,
            "offset": 5,
            "hash": 39590,
            "contract": "1.0.0",
            "key_id": "k1",
        }

    def test_a_table_without_documents_has_no_rows(self, client: OpenSearch, table: Table) -> None:
        assert search(client, table, "level:ERROR").rows == []

    def test_a_cursor_of_another_table_is_refused(self, client: OpenSearch, filled: Table) -> None:
        cursor = search(client, filled, limit=1).cursor
        with pytest.raises(QueryError, match="cursor"):
            search(client, replace(filled, name="other"), cursor=cursor)

    def test_the_reader_role_may_search_but_not_write(self, services: Settings, filled: Table) -> None:
        reader = connect(services.opensearch_url, services.opensearch_auth("reader"), services.opensearch_ca)
        assert len(search(reader, filled, "level:FATAL").rows) == 1
        with BulkWriter(Indices(reader)) as own, pytest.raises(SearchError, match="no right"):
            own.write(filled, to_ndjson(filled, rows(filled, 1, start=500), 1))
        reader.close()


def test_a_missing_partition_has_no_progress(client: OpenSearch, table: Table) -> None:
    assert read(client, partition_alias(table, DAY), PROGRESS_ID) == START
    with pytest.raises(NotFoundError):
        client.indices.get(index=partition_alias(table, DAY))
