"""Trust on real services: proof down to the index, replay, trace and gaps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from beside import background, traffic
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions
from opensearchpy import OpenSearch
from releases import next_release
from support import event, narrow_index, private_settings, private_system, publish, today
from waiting import eventually

from platform_assets.alerts.platform import GAP, sighting
from platform_assets.alerts.service import AlertService
from platform_assets.contracts.arrow import QUARANTINE_SCHEMA
from platform_assets.contracts.model import Contract, Table
from platform_assets.core.errors import AssayError
from platform_assets.core.settings import Settings
from platform_assets.index.connect import connect_indices
from platform_assets.index.names import PROGRESS_INDEX, period_alias, period_of, read_alias
from platform_assets.ingest.reindex import rebuild_index
from platform_assets.ingest.worker import Worker
from platform_assets.reconcile import documents as documents_module
from platform_assets.reconcile import replay as replay_module
from platform_assets.reconcile.gap import accept_gap, find_gaps
from platform_assets.reconcile.prove import prove
from platform_assets.reconcile.replay import replay
from platform_assets.reconcile.state import table_state
from platform_assets.reconcile.trace import trace
from platform_assets.sources.kafka.topics import Broker
from platform_assets.tables.layout import Lake, TableSet
from platform_assets.tables.session import session

pytestmark = pytest.mark.services


@dataclass
class Drained:
    """A system of its own whose topic went through the worker."""

    settings: Settings
    contract: Contract
    client: OpenSearch

    @property
    def table(self) -> Table:
        return self.contract.table("events")

    @property
    def tables(self) -> TableSet:
        return Lake(self.settings.lake_path).tables(self.table)

    def rows(self, layer: str, where: str = "true") -> list[dict[str, Any]]:
        table = getattr(self.tables, layer)
        table.refresh()
        found: list[dict[str, Any]] = table.read(session(), where=where).to_pylist()
        return found

    def drain(self, values: list[bytes | None]) -> None:
        publish(self.settings, self.table, values)
        Worker(self.settings, self.contract).drain()

    def failures(self) -> dict[str, int]:
        proof = prove(self.settings, self.contract)
        return {
            f"{check.name}.{failure.code}": failure.count
            for check in proof.tables["events"].checks.values()
            for failure in check.failures
        }

    def document(self, event_id: str) -> tuple[str, str, dict[str, Any]]:
        """(index alias, id, the document as stored) of one event."""
        row = self.rows("silver", f"event_id = '{event_id}'")[0]
        period = period_of(self.table, row["event_partition"], history=row["_history"])
        alias = period_alias(self.table, period)
        name = f"{row['_source'][:8]}.{row['_shard']}.{row['_position']}"
        return alias, name, self.client.get(index=alias, id=name)

    def put(self, alias: str, name: str, source: dict[str, Any], version: int) -> None:
        params = {"version": version, "version_type": "external"}
        self.client.index(index=alias, id=name, body=source, params=params)

    def with_level(self, level: str) -> Drained:
        """The same system under a newer contract that knows one more level."""
        fields = tuple(replace(f, enum=(*f.enum, level)) if f.name == "level" else f for f in self.table.fields)
        return replace(self, contract=next_release(self.contract, self.table, fields))


def fresh(services: Settings, folder: Path) -> Iterator[Drained]:
    """1,000 events over three Kafka partitions and two days, a duplicate, two rejects."""
    settings = private_settings(services, folder)
    client = connect_indices(settings).client
    made = Drained(settings, private_system(settings), client)
    late = [event(n, event_time="2026-01-05T10:00:00.000001Z", attempt=n, note='ä\u2028\\"') for n in range(50)]
    made.drain([*late, *(event(n) for n in range(50, 1000)), event(60), b"{", None])
    yield made
    client.close()


@pytest.fixture
def drained(services: Settings, tmp_path: Path) -> Iterator[Drained]:
    """A system for a test alone."""
    yield from fresh(services, tmp_path)


@pytest.fixture(scope="module")
def untouched(services: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drained]:
    """One for all tests that only read."""
    yield from fresh(services, tmp_path_factory.mktemp("untouched"))


def test_a_drained_topic_is_proved_down_to_the_index(untouched: Drained) -> None:
    proof = prove(untouched.settings, untouched.contract)
    assert proof.holds, proof.to_dict()
    table = proof.tables["events"]
    assert all(check.holds for check in table.checks.values())
    wanted = {
        "records": 1003,
        "silver": 1000,
        "quarantined": 2,
        "duplicates": 1,
        "documents": 1000,
        "lag": 0,
        "index_behind": 0,
    }
    assert {name: table.counts[name] for name in wanted} == wanted


def test_damage_in_the_index_is_named(drained: Drained) -> None:
    """A document deleted, altered, altered but for its hash, added, and put into another index as well."""
    alias, name, _ = drained.document("e-00000100")
    drained.client.delete(index=alias, id=name)
    assert drained.failures() == {"index.missing": 1}

    alias, name, found = drained.document("e-00000101")
    drained.put(alias, name, found["_source"] | {"level": "FATAL"}, found["_version"] + 1)
    assert drained.failures() == {"index.missing": 1, "index.altered": 1}

    source = found["_source"] | {"_assay": found["_source"]["_assay"] | {"hash": 1}}
    drained.put(alias, name, source, found["_version"] + 2)
    assert drained.failures() == {"index.missing": 1, "index.altered": 1}

    drained.put(alias, name.rpartition(".")[0] + ".999999", found["_source"], 1)
    assert drained.failures() == {"index.missing": 1, "index.altered": 1, "index.surplus": 1}

    drained.put(period_alias(drained.table, "history-2026"), name, found["_source"], 1)
    assert drained.failures() == {"index.missing": 1, "index.altered": 1, "index.surplus": 2, "index.twice": 1}


def test_a_worker_at_work_disturbs_no_proof(drained: Drained) -> None:
    with (
        background(drained.settings, drained.contract, commit_seconds=0.1, compact_seconds=0.5) as worker,
        traffic(drained.settings, drained.table, 2000),
    ):
        for _ in range(3):
            commits = worker.part.commits
            eventually(lambda before=commits: worker.part.commits > before)
            proof = prove(drained.settings, drained.contract)
            assert proof.holds, proof.to_dict()


def test_an_index_that_is_rebuilt_meanwhile_is_read_again(drained: Drained, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the documents were read from an index that is gone: as a proof that would be a loss."""
    original, calls = documents_module.scan, []

    def scan(*args: Any, **options: Any) -> Iterator[pa.Table]:
        calls.append(1)
        if len(calls) == 1:
            rebuild_index(drained.settings, drained.table, drained.tables, "history-2026")
        return original(*args, **options)

    monkeypatch.setattr(documents_module, "scan", scan)
    assert drained.failures() == {}
    assert len(calls) == 2


def test_services_that_are_away_prove_nothing(untouched: Drained) -> None:
    away = replace(
        untouched.settings,
        values={
            **untouched.settings.values,
            "ASSAY_OPENSEARCH_URL": "https://127.0.0.1:1",
            "ASSAY_KAFKA_INGEST_PASSWORD": "wrong",
        },
    )
    proof = prove(away, untouched.contract)
    assert {name for name, check in proof.tables["events"].checks.items() if check.holds is False} == {
        "broker",
        "index",
    }


def loud(first: int, count: int) -> list[bytes | None]:
    return [event(n, level="LOUD") for n in range(first, first + count)]


def test_replay_brings_fixed_rejects_to_silver_and_index(drained: Drained) -> None:
    drained.drain([*loud(5000, 20), *loud(5000, 1)])
    newer = drained.with_level("LOUD")
    report = replay(newer.settings, newer.contract).tables["events"]
    assert (report.accepted, report.duplicates, report.documents) == (20, 1, 20)
    assert newer.failures() == {}
    assert newer.document("e-00005003")[2]["_source"]["level"] == "LOUD"
    assert replay(newer.settings, newer.contract).changed == 0


@pytest.mark.parametrize("step", ["send", "_remove"])
def test_a_replay_cut_off_is_finished_by_the_next(drained: Drained, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Silver has the rows; the index does not, or quarantine still does."""
    drained.drain(loud(5000, 20))
    newer = drained.with_level("LOUD")

    def die(*_args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(replay_module.Documents if step == "send" else replay_module._Replay, step, die)
        with pytest.raises(KeyboardInterrupt):
            replay(newer.settings, newer.contract)
    assert newer.failures() == {"exactly_once.both": 20} | ({"index.missing": 20} if step == "send" else {})
    assert replay(newer.settings, newer.contract).tables["events"].finished == 20
    assert newer.failures() == {}
    assert replay(newer.settings, newer.contract).changed == 0


def test_replay_goes_on_beside_a_worker(drained: Drained) -> None:
    drained.drain(loud(5000, 50))
    newer = drained.with_level("LOUD")

    def number(n: int) -> int:
        """Half of the rejects come again as good events; then new ones, and every second an old one."""
        return n if n < 5050 or n % 2 else n % 1000

    with (
        background(newer.settings, newer.contract, commit_seconds=0.1, compact_seconds=0.5) as worker,
        traffic(newer.settings, newer.table, 5025, make=lambda n: event(number(n)), step=60),
    ):
        eventually(lambda: worker.part.commits > 0)
        report = replay(newer.settings, newer.contract).tables["events"]
        commits = worker.part.commits
        eventually(lambda: worker.part.commits > commits)
    Worker(newer.settings, newer.contract).drain()
    assert report.accepted + report.duplicates == 50
    assert report.accepted >= 25
    assert newer.failures() == {}


def test_what_the_index_refused_is_tried_again(drained: Drained) -> None:
    """A document that OpenSearch never takes stays in quarantine; one that it takes now leaves it."""
    yesterday = (today() - timedelta(days=1)).isoformat()
    narrow_index(drained.client, drained.table, yesterday)
    drained.drain([event(7000, event_time=f"{yesterday}T12:00:00Z")])
    assert [q["stage"] for q in drained.rows("quarantine", "stage = 'index'")] == ["index"]
    assert drained.failures() == {}
    alias, name, _ = drained.document("e-00000100")
    row = drained.rows("silver", "event_id = 'e-00000100'")[0]
    drained.client.delete(index=alias, id=name)
    silver = drained.tables.silver
    for _ in range(3):
        silver.commit([])  # the version of the deletion stays behind silver's
    reject = {
        **{c: row[c] for c in ("_source", "_shard", "_position", "_seq", "_landed_at")},
        "contract_version": drained.table.version,
        "stage": "index",
        "reason": "index:mapper_parsing_exception",
        "landed_date": row["_landed_at"].date(),
    }
    quarantine = drained.tables.quarantine
    quarantine.commit(quarantine.write(pa.Table.from_pylist([reject], schema=QUARANTINE_SCHEMA)))
    assert drained.failures() == {}
    report = replay(drained.settings, drained.contract).tables["events"]
    assert (report.index_looked_at, report.index_accepted, report.index_refused) == (2, 1, 1)
    assert drained.document("e-00000100")[1] == name
    assert len(drained.rows("quarantine", "stage = 'index'")) == 1
    assert drained.failures() == {}
    assert replay(drained.settings, drained.contract).changed == 0


def test_a_document_is_traced_to_its_offset(untouched: Drained) -> None:
    _, name, _ = untouched.document("e-00000100")
    found = trace(untouched.settings, untouched.contract, name)
    assert (found.verdict, found.broker, found.notes) == ("silver", "held", [])
    assert found.silver is not None and found.bronze is not None
    assert [d["id"] for d in found.documents] == [name]
    assert found.documents[0]["source"]["_assay"]["hash"] == found.silver["_hash"]
    places = {(r["_shard"], r["_position"]) for r in untouched.rows("bronze", "kind = 'record'")}
    for layer in ("silver", "quarantine"):
        places -= {(r["_shard"], r["_position"]) for r in untouched.rows(layer)}
    ((partition, offset),) = places
    duplicate = trace(untouched.settings, untouched.contract, f"{name[:8]}.{partition}.{offset}")
    assert (duplicate.verdict, duplicate.survivor) == ("duplicate", untouched.document("e-00000060")[1])
    assert [d["id"] for d in duplicate.documents] == [duplicate.survivor]


def test_state_asks_the_services(drained: Drained) -> None:
    publish(drained.settings, drained.table, [event(n) for n in range(9000, 9010)])
    state = table_state(drained.settings, drained.table, services=True)
    assert state.lag is not None and sum(state.lag.values()) == 10
    assert (state.index_behind, state.unanswered) == (0, [])
    assert state.watermark is not None and (datetime.now(UTC) - state.watermark).total_seconds() < 300


def test_a_gap_stops_the_worker_until_somebody_accepts_it(drained: Drained) -> None:
    topic = drained.table.topic
    publish(drained.settings, drained.table, [event(n) for n in range(3000, 3300)])
    admin = AdminClient(drained.settings.kafka_conf("admin"))
    bronze = drained.rows("bronze", "_shard = 1")
    expected = max(r["_position"] + r["_span"] for r in bronze)
    with pytest.raises(AssayError, match="has no gap"):
        accept_gap(drained.settings, drained.contract, "events", 1, "none", "a test")
    admin.delete_records([TopicPartition(topic, 1, expected + 5)])[TopicPartition(topic, 1)].result(20)

    gap = find_gaps(drained.settings, drained.contract)
    assert [(g.shard, g.expected, g.missing) for g in gap] == [(1, expected, 5)]
    assert drained.failures() == {"broker.gap": 5}
    with closing(AlertService(drained.settings, drained.contract.system, index=False)) as alert_service:
        ago = datetime.now(UTC) - timedelta(minutes=5)  # an earlier ingest run told of it
        alert_service.see([sighting(GAP, drained.table.qualified_name, ago, breach=True)], ago)
        Worker(drained.settings, drained.contract).drain()
        assert [alert.state for alert in alert_service.alerts() if alert.rule == GAP.name] == ["open"]
    assert drained.failures() == {"broker.gap": 5}, "the worker goes on with the others and leaves this one alone"

    with pytest.raises(AssayError, match="no partition 9"):
        accept_gap(drained.settings, drained.contract, "events", 9, "retention", "a test")
    with pytest.raises(AssayError, match="for a reason"):
        accept_gap(drained.settings, drained.contract, "events", 1, " ", "a test")
    accepted = accept_gap(drained.settings, drained.contract, "events", 1, "retention was too short", "a test")
    assert (accepted.missing, accepted.seq) == (5, max(r["seq"] for r in drained.rows("bronze")))
    assert find_gaps(drained.settings, drained.contract) == []
    Worker(drained.settings, drained.contract).drain()
    assert drained.failures() == {}
    note = next(r for r in drained.rows("bronze") if r["kind"] == "gap")
    assert (note["_position"], note["_span"]) == (expected, 5)
    assert b"retention was too short" in note["value"]
    assert trace(drained.settings, drained.contract, f"{note['_source'][:8]}.1.{expected + 2}").verdict == "no_record"
    with pytest.raises(AssayError, match="has no gap"):
        accept_gap(drained.settings, drained.contract, "events", 1, "again", "a test")


def test_a_gap_is_accepted_under_a_worker_at_work(drained: Drained) -> None:
    """The worker at work is not disturbed by the gap, and goes on behind it by itself."""
    publish(drained.settings, drained.table, [event(n) for n in range(3000, 3300)])
    expected = max(r["_position"] + r["_span"] for r in drained.rows("bronze", "_shard = 1"))
    admin = AdminClient(drained.settings.kafka_conf("admin"))
    where = TopicPartition(drained.table.topic, 1, expected + 5)
    admin.delete_records([where])[where].result(20)
    with (
        background(drained.settings, drained.contract, commit_seconds=0.05) as worker,
        traffic(drained.settings, drained.table, 4000),
    ):
        eventually(lambda: worker.part.gaps and worker.part.commits > 3)
        assert 1 not in worker.part.positions
        accept_gap(drained.settings, drained.contract, "events", 1, "test", "a test")
        eventually(lambda: 1 in worker.part.positions)
        assert worker.part.positions[1][0] == expected + 5
        eventually(lambda: not worker.part.gaps)
    Worker(drained.settings, drained.contract).drain()
    assert drained.failures() == {}


def test_retention_on_a_partition_that_bronze_has_never_begun(services: Settings, tmp_path: Path) -> None:
    """It was empty while the worker ran; what came later and went before the worker came back is a gap all the same."""
    settings = private_settings(services, tmp_path)
    contract = private_system(settings)
    topic = contract.table("events").topic

    def send_and_delete(partition: int, first: int, upto: int) -> None:
        """Clients from before would not know a new partition."""
        producer, admin = Producer(settings.kafka_conf("producer")), AdminClient(settings.kafka_conf("admin"))
        for n in range(first, first + 10):
            producer.produce(topic, event(n), partition=partition)
        assert producer.flush(20) == 0
        where = TopicPartition(topic, partition, upto)
        admin.delete_records([where])[where].result(20)

    send_and_delete(2, 0, 6)  # before there was a worker: never promised
    Worker(settings, contract, index=False).drain()
    send_and_delete(1, 10, 5)
    report = Worker(settings, contract, index=False).drain().tables["events"]
    assert [(gap.shard, gap.expected, gap.earliest) for gap in report.gaps] == [(1, 0, 5)]
    proof = prove(settings, contract, index=False)
    assert [f.code for f in proof.tables["events"].checks["broker"].failures] == ["gap"]
    accept_gap(settings, contract, "events", 1, "retention", "a test")
    admin = AdminClient(settings.kafka_conf("admin"))
    admin.create_partitions([NewPartitions(topic, 4)])[topic].result(20)
    eventually(lambda: len(Broker(settings.kafka_conf("admin")).describe([topic])[topic].shards) == 4)
    send_and_delete(3, 20, 3)
    report = Worker(settings, contract, index=False).drain().tables["events"]
    assert [(gap.shard, gap.expected, gap.earliest) for gap in report.gaps] == [(3, 0, 3)]
    accept_gap(settings, contract, "events", 3, "retention", "a test")
    Worker(settings, contract, index=False).drain()
    proof = prove(settings, contract, index=False)
    assert proof.holds, proof.to_dict()
    counts = proof.tables["events"].counts
    assert (counts["gaps"], counts["records"], counts["lag"]) == (8, 16, 0)


def test_an_index_that_lost_everything_does_not_hold(drained: Drained, monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents and the progress of the table are gone; the worker brings both back."""
    monkeypatch.setattr(documents_module, "FIRST_SECONDS", 1.0)
    indices = connect_indices(drained.settings)
    indices.delete([index.name for index in indices.all(drained.table)])
    indices.client.delete(index=PROGRESS_INDEX, id=read_alias(drained.table))
    indices.client.close()
    assert drained.failures() == {"index.empty": 1000}
    Worker(drained.settings, drained.contract).drain()
    assert drained.failures() == {}
