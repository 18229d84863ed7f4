"""Backup of a lake at work, the loss of everything since, and the way back: the topic, the lake and the index agree again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from beside import traffic
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from support import event, private_system, publish
from waiting import eventually
from worker_runs import ready, worker_process

from platform_assets.backup.backup import backup
from platform_assets.backup.restore import restore
from platform_assets.contracts.compat import to_json
from platform_assets.contracts.model import Contract
from platform_assets.core.settings import Settings
from platform_assets.index.connect import connect_indices
from platform_assets.index.names import period_of
from platform_assets.ingest.reindex import reindex
from platform_assets.ingest.worker import Worker
from platform_assets.reconcile.gap import accept_gap, find_gaps
from platform_assets.reconcile.prove import prove
from platform_assets.reconcile.state import table_state

pytestmark = pytest.mark.services
OLD_DAY = "2026-01-05T10:00:00Z"


def home_of_its_own(settings: Settings, home: Path) -> Settings:
    """The same services with another home: other tests leave files in theirs, and a restore overwrites nothing."""
    return replace(settings, home=home, lake_path=home / "lake")


@pytest.fixture
def system(services: Settings, tmp_path: Path) -> Iterator[tuple[Settings, Contract]]:
    settings = home_of_its_own(services, tmp_path / "first")
    yield settings, private_system(settings)


def rows(settings: Settings, contract: Contract) -> int:
    return table_state(settings, contract.table("events")).rows


def failures(settings: Settings, contract: Contract) -> set[str]:
    checks = prove(settings, contract).tables["events"].checks.values()
    return {f"{check.name}.{failure.code}" for check in checks for failure in check.failures}


def test_lost_and_restored_while_the_worker_was_at_work(system: tuple[Settings, Contract], tmp_path: Path) -> None:
    settings, contract = system
    table = contract.table("events")
    publish(settings, table, [*(event(n) for n in range(500)), event(7), b"{"])
    Worker(settings, contract).drain()

    # A worker in a process of its own, traffic, and the backup in the middle of it.
    described = tmp_path / "contract.json"
    described.write_text(to_json(contract), encoding="utf-8")
    process = worker_process(described, settings.lake_path, "", seconds=120)
    ready(process)
    with traffic(settings, table, 500) as flow:
        eventually(lambda: rows(settings, contract) > 500)
        backup(settings, tmp_path / "copy")
    # An event partition that the restored lake will not know until its worker has landed it again.
    total = 500 + flow.sent + 20
    publish(settings, table, [event(n, event_time=OLD_DAY) for n in range(total - 20, total)])
    eventually(lambda: rows(settings, contract) == total)
    assert process.poll() is None
    process.kill()
    process.wait()
    Worker(settings, contract).drain()
    assert failures(settings, contract) == set()

    there = home_of_its_own(settings, tmp_path / "second")
    restore(there, tmp_path / "copy")
    assert "index.foreign" in failures(there, contract)  # the index is ahead, and it is said
    assert any("assay reindex" in said for said in table_state(there, table, services=True).unanswered)
    report = Worker(there, contract).drain().tables["events"]  # the lake catches up, the index is left alone
    assert "filled from another lake" in report.index_error
    assert "assay reindex" in report.index_error
    found = failures(there, contract)
    assert "index.foreign" in found
    assert found <= {"index.foreign", "index.altered"}  # the same events came in other commits

    done = reindex(there, table)
    assert sum(done.documents.values()) == total
    assert failures(there, contract) == set()
    publish(there, table, [event(n) for n in range(total, total + 80)])
    Worker(there, contract).drain()
    proof = prove(there, contract)
    assert proof.holds, proof.to_dict()
    assert proof.tables["events"].counts["silver"] == proof.tables["events"].counts["documents"] == total + 80

    # A worker of the lake that was lost comes back to life: it can do the index no harm.
    publish(settings, table, [event(total + 80)])
    zombie = Worker(settings, contract).drain().tables["events"]
    assert "filled from another lake" in zombie.index_error
    Worker(there, contract).drain()
    assert prove(there, contract).holds


def test_reindex_before_the_worker_drops_what_the_backup_does_not_know(
    system: tuple[Settings, Contract], tmp_path: Path
) -> None:
    settings, contract = system
    table = contract.table("events")
    publish(settings, table, [event(n) for n in range(300)])
    Worker(settings, contract).drain()
    backup(settings, tmp_path / "copy")
    publish(settings, table, [event(n, event_time=OLD_DAY) for n in range(300, 320)])
    Worker(settings, contract).drain()
    there = home_of_its_own(settings, tmp_path / "second")
    restore(there, tmp_path / "copy")
    assert reindex(there, table).deleted == ["history-2026"]
    indices = connect_indices(there)
    assert all(index.period != "history-2026" for index in indices.all(table))
    indices.client.close()
    Worker(there, contract).drain()
    assert prove(there, contract).holds


def test_what_the_worker_brings_while_the_index_is_built_is_built_too(
    system: tuple[Settings, Contract], tmp_path: Path
) -> None:
    """The lost lake's index of a day that the restored one learns of meanwhile must not pass for its own."""
    settings, contract = system
    table = contract.table("events")
    publish(settings, table, [event(n) for n in range(100)])
    Worker(settings, contract).drain()
    backup(settings, tmp_path / "copy")
    for first in (100, 200):  # in two commits; the restored lake will land them in one
        publish(settings, table, [event(n, event_time=OLD_DAY) for n in range(first, first + 100)])
        Worker(settings, contract).drain()
    there = home_of_its_own(settings, tmp_path / "second")
    restore(there, tmp_path / "copy")
    caught_up: list[int] = []

    def catch_up(_: int) -> None:
        if not caught_up:
            caught_up.append(Worker(there, contract).drain().tables["events"].commits)

    report = reindex(there, table, catch_up)
    assert caught_up == [1]
    assert report.documents[period_of(table, "2026-01-05", history=True)] == 200
    Worker(there, contract).drain()
    proof = prove(there, contract)
    assert proof.holds, proof.to_dict()


def test_records_that_the_broker_no_longer_has_are_a_gap(system: tuple[Settings, Contract], tmp_path: Path) -> None:
    settings, contract = system
    table = contract.table("events")
    publish(settings, table, [event(n) for n in range(300)])
    Worker(settings, contract).drain()
    backup(settings, tmp_path / "copy")
    publish(settings, table, [event(n) for n in range(300, 600)])
    Worker(settings, contract).drain()
    admin = AdminClient(settings.kafka_conf("admin"))
    deleted = admin.delete_records([TopicPartition(table.topic, p, -1) for p in range(3)])  # all that is there
    for future in deleted.values():
        future.result(10)
    there = home_of_its_own(settings, tmp_path / "second")
    restore(there, tmp_path / "copy")
    Worker(there, contract, index=False).drain()
    gaps = find_gaps(there, contract)
    assert sum(gap.missing for gap in gaps) == 300
    for gap in gaps:
        accept_gap(there, contract, "events", gap.shard, "restored from a backup", "operator")
    publish(there, table, [event(n) for n in range(600, 650)])
    Worker(there, contract, index=False).drain()
    reindex(there, table)
    Worker(there, contract).drain()
    proof = prove(there, contract)
    assert proof.holds, proof.to_dict()
    assert proof.tables["events"].counts["gaps"] == 300
