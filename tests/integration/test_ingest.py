"""The whole worker on real services: topic to bronze, silver, quarantine and index, its hand-over, and its rebuild."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
from beside import background, traffic
from confluent_kafka.admin import AdminClient, NewPartitions
from support import event, private_settings, private_system, publish, today
from waiting import eventually

from platform_assets.contracts.model import Contract, FieldType, Table
from platform_assets.core.settings import Settings
from platform_assets.core.transactions import start_mark
from platform_assets.index.connect import connect_indices
from platform_assets.index.names import read_alias
from platform_assets.ingest import pipeline
from platform_assets.ingest.rebuild import rebuild
from platform_assets.ingest.report import IngestReport
from platform_assets.ingest.worker import Worker
from platform_assets.local.topics import TopicSpec, ensure_topics
from platform_assets.reconcile.prove import prove
from platform_assets.sources.base import SourceError
from platform_assets.sources.kafka.topics import Broker
from platform_assets.tables.layout import Lake
from platform_assets.tables.session import session

LINE = (
    b'203.0.113.7 - - [%s] "GET /products/42 HTTP/1.1" 200 5120 "-" "-"'
    % datetime.now(UTC).strftime("%d/%b/%Y:%H:%M:%S +0000").encode()
)

pytestmark = pytest.mark.services


@pytest.fixture
def settings(services: Settings, tmp_path: Path) -> Settings:
    return private_settings(services, tmp_path)


def documents(settings: Settings, table: Table) -> int:
    indices = connect_indices(settings)
    indices.refresh(table)
    count = int(indices.client.count(index=read_alias(table))["count"])
    indices.client.close()
    return count


def silver(settings: Settings, table: Table) -> list[dict]:
    """Every row, in an order of its own."""
    rows = Lake(settings.lake_path).tables(table).silver
    rows.refresh()
    return rows.read(session(), order="_source, _shard, _position").to_pylist()


def test_from_topic_to_index(settings: Settings) -> None:
    contract = private_system(settings)
    table = contract.table("events")
    sent = publish(settings, table, [*(event(n) for n in range(1000)), event(5), b"{", None])
    report = Worker(settings, contract).drain()
    part = report.tables["events"]
    assert report.reason == "caught_up"
    assert part.records == sent == 1003
    assert (sum(part.silver.values()), part.duplicates, dict(part.rejected)) == (
        1000,
        1,
        {"malformed_json": 1, "tombstone": 1},
    )
    assert sum(part.indexed.values()) == documents(settings, table) == 1000
    assert set(part.lag.values()) == {0}
    again = Worker(settings, contract).drain().tables["events"]
    assert (again.records, sum(again.indexed.values())) == (0, 0)
    assert prove(settings, contract).holds


def test_what_was_read_ahead_and_not_landed_is_lag(settings: Settings) -> None:
    """A worker reads the next batch while it commits one; when it ends, that batch is the next worker's."""
    contract = private_system(settings)
    table = contract.table("events")
    publish(settings, table, [event(n) for n in range(100)])
    stop, read = threading.Event(), threading.Event()
    worker = Worker(settings, contract, commit_seconds=5.0)
    original = worker._read

    def second(until: object) -> list:
        found = original(until)  # type: ignore[arg-type]
        if found and found[0].start != dict.fromkeys(found[0].start, 0):
            read.set()
        return found

    def more(_: object) -> None:
        if not stop.is_set():
            publish(settings, table, [event(n) for n in range(100, 150)])
            stop.set()

    worker._read = second  # type: ignore[method-assign]
    report = worker.follow(max_seconds=60, stop=stop, on_commit=more).tables["events"]
    assert report.records + sum(report.lag.values()) == 150
    assert report.records < 150 and read.is_set()


def starts(settings: Settings, table: Table) -> dict[int, int | None]:
    """From which offset bronze promised to read each partition of the topic as it is now."""
    topic = Broker(settings.kafka_conf("ingest")).describe([table.topic])[table.topic]
    bronze = Lake(settings.lake_path).tables(table).bronze
    bronze.refresh()
    return {p: bronze.transaction(start_mark(topic.app_id(p))) for p in topic.shards}


def test_partitions_that_are_added_while_a_worker_runs_are_read_from_their_first_offset(settings: Settings) -> None:
    contract = private_system(settings, partitions=1)
    table = contract.table("events")
    publish(settings, table, [event(n) for n in range(100)])
    with background(settings, contract) as worker:
        eventually(lambda: worker.part.records == 100)
        admin = AdminClient(settings.kafka_conf("admin"))
        admin.create_partitions([NewPartitions(table.topic, 4)])[table.topic].result(20)
        eventually(lambda: len(Broker(settings.kafka_conf("ingest")).describe([table.topic])[table.topic].shards) == 4)
        publish(settings, table, [event(n) for n in range(100, 300)])  # at once: before the worker has looked
        eventually(lambda: worker.part.records == 300)
    assert {p: start for p, (start, _) in worker.part.positions.items()} == {0: 0, 1: 0, 2: 0, 3: 0}
    assert starts(settings, table) == {0: 0, 1: 0, 2: 0, 3: 0}
    Worker(settings, contract).drain()
    proof = prove(settings, contract)
    assert proof.holds, proof.to_dict()
    assert proof.tables["events"].counts["records"] == 300


def test_a_topic_that_is_made_while_a_worker_runs_is_read_from_its_first_offset(settings: Settings) -> None:
    contract = private_system(settings, tables=("events", "access"))
    late, admin = contract.table("access"), AdminClient(settings.kafka_conf("admin"))
    admin.delete_topics([late.topic])[late.topic].result(20)
    eventually(lambda: late.topic not in Broker(settings.kafka_conf("ingest")).describe([late.topic]))
    publish(settings, contract.table("events"), [event(n) for n in range(10)])
    with background(settings, contract) as beside:
        eventually(lambda: beside.part.records == 10)
        tables = beside.worker.report.tables
        assert "there is no topic" in tables["access"].trouble["topic"]
        ensure_topics(settings.kafka_conf("admin"), [TopicSpec(late.topic, 2)])
        publish(settings, late, [LINE] * 20)
        eventually(lambda: tables["access"].records == 20)
        assert not tables["access"].trouble
    assert set(starts(settings, late).values()) == {0}
    Worker(settings, contract).drain()
    assert prove(settings, contract).holds
    admin.delete_topics([late.topic])[late.topic].result(20)
    eventually(lambda: late.topic not in Broker(settings.kafka_conf("ingest")).describe([late.topic]))
    with pytest.raises(SourceError, match="was deleted"):  # it was there: that is no topic nobody has made yet
        Worker(settings, contract).drain()


@pytest.mark.parametrize("again", [True, False])
def test_a_topic_that_goes_away_while_a_worker_runs_ends_it(settings: Settings, again: bool) -> None:
    contract = private_system(settings)
    table, admin = contract.table("events"), AdminClient(settings.kafka_conf("admin"))
    publish(settings, table, [event(n) for n in range(10)])
    worker = Worker(settings, contract, index=False)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(worker.follow, max_seconds=60)
        eventually(lambda: worker.report.tables["events"].records == 10 if worker.report.tables else False)
        admin.delete_topics([table.topic])[table.topic].result(20)
        if again:
            ensure_topics(settings.kafka_conf("admin"), [TopicSpec(table.topic, 5)])
        with pytest.raises(SourceError, match="deleted or created again"):
            run.result(60)


def test_a_rebuild_gives_the_rows_of_the_live_path_while_the_worker_goes_on(settings: Settings) -> None:
    contract = private_system(settings)
    table = contract.table("events")
    late = "2026-01-05T10:00:00Z"
    publish(settings, table, [event(n) for n in range(500)])
    publish(settings, table, [event(n, event_time=late) for n in range(500, 520)])
    Worker(settings, contract).drain()
    publish(settings, table, [event(n % 600) for n in range(400, 700)])
    Worker(settings, contract).drain()
    before = silver(settings, table)

    with (
        background(settings, contract, commit_seconds=0.1) as worker,
        traffic(settings, table, 1000, step=50),
    ):
        eventually(lambda: worker.part.commits > 3)
        newer = rebuild(settings, table, today())
        older = rebuild(settings, table, datetime.fromisoformat(late).date())
        commits = worker.part.commits
        eventually(lambda: worker.part.commits > commits)
    Worker(settings, contract).drain()

    after = silver(settings, table)
    positions = {(r["_shard"], r["_position"]) for r in before}
    assert [r for r in after if (r["_shard"], r["_position"]) in positions] == before
    assert list(older.partitions.values()) == [20]
    assert sum(newer.partitions.values()) >= 580
    assert documents(settings, table) == len(after)
    assert prove(settings, contract).holds


def test_a_successor_takes_over_and_nothing_is_lost_at_the_turn(settings: Settings) -> None:
    contract = private_system(settings)
    table = contract.table("events")
    publish(settings, table, [event(n) for n in range(100)])
    with background(settings, contract) as first:
        eventually(lambda: first.part.records == 100)
        publish(settings, table, [event(n) for n in range(100, 200)])
        with background(settings, contract) as second:
            publish(settings, table, [event(n) for n in range(200, 300)])
            eventually(lambda: first.worker.report.ended)
            publish(settings, table, [event(n) for n in range(300, 400)])
            eventually(lambda: first.part.records + second.part.records == 400)
    assert first.worker.report.reason == "handed_over"
    assert second.worker.report.reason == "stopped"
    assert second.worker.report.epoch > first.worker.report.epoch
    assert len(silver(settings, table)) == 400
    assert prove(settings, contract).holds


def test_an_empty_minute_reports_and_claims(settings: Settings) -> None:
    contract = private_system(settings)
    report = Worker(settings, contract, commit_seconds=0.1).follow(max_seconds=1)
    assert (report.reason, report.tables["events"].records) == ("time", 0)
    assert Worker(settings, contract).drain().epoch == report.epoch + 1


def test_a_table_without_any_text_is_published_from_a_backlog(settings: Settings) -> None:
    """What memory does not hold is read in pieces, cut by the sizes of texts."""
    contract = private_system(settings)
    plain = (FieldType.INTEGER, FieldType.NUMBER, FieldType.TIMESTAMP)
    fields = tuple(f for f in contract.table("events").fields if f.type in plain)
    without = {"attributes": None, "display": (), "row_policy": None, "severity": None, "origin": ()}
    table = replace(contract.table("events"), fields=fields, key=(), dedupe_window=None, **without)
    contract = replace(contract, tables=(table,))
    now = datetime.now(UTC).isoformat()
    publish(settings, table, [b'{"event_time":"%s","status":%d}' % (now.encode(), 200 + n) for n in range(100)])
    Worker(settings, contract, index=False).drain()
    report = Worker(settings, contract).drain().tables["events"]
    assert (sum(report.indexed.values()), report.index_error) == (100, "")
    assert documents(settings, table) == 100
    assert prove(settings, contract).holds


def drained(settings: Settings, contract: Contract, stop: threading.Event) -> Future[IngestReport]:
    """A worker that drains, in a thread of its own."""
    pool = ThreadPoolExecutor(1)
    report = pool.submit(Worker(settings, contract).drain, stop=stop)
    pool.shutdown(wait=False)
    return report


def test_a_bounded_worker_does_not_wait_for_an_index_that_refuses_it(settings: Settings) -> None:
    contract = private_system(settings)
    publish(settings, contract.table("events"), [event(n) for n in range(50)])
    stranger = replace(settings, values={**settings.values, "ASSAY_OPENSEARCH_INGEST_PASSWORD": "not this one"})
    stop = threading.Event()
    try:
        report = drained(stranger, contract, stop).result()
    finally:
        stop.set()
    part = report.tables["events"]
    assert (report.reason, sum(part.silver.values()), part.index_behind) == ("index_failed", 50, None)
    assert "wrong user or password" in part.index_error
    assert "check secrets.env" in part.index_error
    assert Worker(settings, contract).drain().reason == "caught_up"
    assert documents(settings, contract.table("events")) == 50


def test_a_bounded_worker_that_waits_for_its_index_ends_when_told_and_when_succeeded(settings: Settings) -> None:
    contract = private_system(settings)
    publish(settings, contract.table("events"), [event(n) for n in range(50)])
    away = replace(settings, values={**settings.values, "ASSAY_OPENSEARCH_URL": "https://localhost:1"})
    stop = threading.Event()
    try:
        waiting = drained(away, contract, stop)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=6)
        Worker(settings, contract, index=False, commit_seconds=0.1).follow(max_seconds=1)
        assert waiting.result().reason == "handed_over"
        waiting = drained(away, contract, stop)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=4)
        stop.set()
        report = waiting.result()
    finally:
        stop.set()
    assert (report.reason, report.tables["events"].index_behind) == ("stopped", None)


def test_a_compaction_that_fails_is_told_and_the_worker_goes_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*_: object) -> int:
        raise duckdb.OutOfMemoryException("could not allocate block")

    monkeypatch.setattr(pipeline, "compact", out_of_memory)
    contract = private_system(settings)
    publish(settings, contract.table("events"), [event(n) for n in range(100)])
    report = Worker(settings, contract, commit_seconds=0.1, compact_seconds=0.2).follow(max_seconds=3)
    part = report.tables["events"]
    assert (report.reason, part.records, sum(part.indexed.values())) == ("time", 100, 100)
    assert "silver: could not allocate block" in part.trouble["compaction"]


def test_documents_of_several_days_are_all_proved(settings: Settings) -> None:
    """Enough for several pages of each index: paging over an alias of several indices would lose some."""
    contract = private_system(settings)
    table = contract.table("events")
    for day in range(1, 5):
        moment = f"2026-01-0{day}T10:00:00Z"
        publish(settings, table, [event(n, event_time=moment) for n in range(day * 10_000, day * 10_000 + 700)])
    Worker(settings, contract).drain()
    proof = prove(settings, contract)
    assert proof.holds, proof.to_dict()
    assert proof.tables["events"].counts["documents"] == 2800
