"""The whole lane on real services: topic to bronze, silver, quarantine and index, its hand-over, and its rebuild."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
from beside import background, eventually, traffic
from support import event, private_settings, private_system, publish, today

from platform_assets.contracts.model import Contract, FieldType, Table
from platform_assets.lake.layout import Lake
from platform_assets.lane import track
from platform_assets.lane.rebuild import rebuild
from platform_assets.lane.report import LaneReport
from platform_assets.lane.run import Lane
from platform_assets.lane.sessions import connect_indices, session
from platform_assets.search.names import read_alias
from platform_assets.settings import Settings
from platform_assets.trust.prove import prove

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
    return rows.read(session(), order="_topic_id, _kafka_partition, _offset").to_pylist()


def test_from_topic_to_index(settings: Settings) -> None:
    contract = private_system(settings)
    table = contract.table("events")
    sent = publish(settings, table, [*(event(n) for n in range(1000)), event(5), b"{", None])
    report = Lane(settings, contract).drain()
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
    again = Lane(settings, contract).drain().tables["events"]
    assert (again.records, sum(again.indexed.values())) == (0, 0)
    assert prove(settings, contract).holds


def test_a_rebuild_gives_the_rows_of_the_live_path_while_the_lane_goes_on(settings: Settings) -> None:
    contract = private_system(settings)
    table = contract.table("events")
    late = "2026-01-05T10:00:00Z"
    publish(settings, table, [event(n) for n in range(500)])
    publish(settings, table, [event(n, event_time=late) for n in range(500, 520)])
    Lane(settings, contract).drain()
    publish(settings, table, [event(n % 600) for n in range(400, 700)])
    Lane(settings, contract).drain()
    before = silver(settings, table)

    with (
        background(settings, contract, commit_seconds=0.1) as lane,
        traffic(settings, table, 1000, step=50),
    ):
        eventually(lambda: lane.part.commits > 3)
        newer = rebuild(settings, table, today())
        older = rebuild(settings, table, datetime.fromisoformat(late).date())
        commits = lane.part.commits
        eventually(lambda: lane.part.commits > commits)
    Lane(settings, contract).drain()

    after = silver(settings, table)
    positions = {(r["_kafka_partition"], r["_offset"]) for r in before}
    assert [r for r in after if (r["_kafka_partition"], r["_offset"]) in positions] == before
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
            eventually(lambda: first.lane.report.ended)
            publish(settings, table, [event(n) for n in range(300, 400)])
            eventually(lambda: first.part.records + second.part.records == 400)
    assert first.lane.report.reason == "handed_over"
    assert second.lane.report.reason == "stopped"
    assert second.lane.report.epoch > first.lane.report.epoch
    assert len(silver(settings, table)) == 400
    assert prove(settings, contract).holds


def test_an_empty_minute_reports_and_claims(settings: Settings) -> None:
    contract = private_system(settings)
    report = Lane(settings, contract, commit_seconds=0.1).follow(max_seconds=1)
    assert (report.reason, report.tables["events"].records) == ("time", 0)
    assert Lane(settings, contract).drain().epoch == report.epoch + 1


def test_a_table_without_any_text_is_published_from_a_backlog(settings: Settings) -> None:
    """What memory does not hold is read in pieces, cut by the sizes of texts."""
    contract = private_system(settings)
    plain = (FieldType.INTEGER, FieldType.NUMBER, FieldType.TIMESTAMP)
    fields = tuple(f for f in contract.table("events").fields if f.type in plain)
    table = replace(contract.table("events"), fields=fields, key=(), dedupe_window=None, attributes=None, display=())
    contract = replace(contract, tables=(table,))
    now = datetime.now(UTC).isoformat()
    publish(settings, table, [b'{"event_time":"%s","status":%d}' % (now.encode(), 200 + n) for n in range(100)])
    Lane(settings, contract, index=False).drain()
    report = Lane(settings, contract).drain().tables["events"]
    assert (sum(report.indexed.values()), report.index_error) == (100, "")
    assert documents(settings, table) == 100
    assert prove(settings, contract).holds


def drained(settings: Settings, contract: Contract, stop: threading.Event) -> Future[LaneReport]:
    """A lane that drains, in a thread of its own."""
    pool = ThreadPoolExecutor(1)
    report = pool.submit(Lane(settings, contract).drain, stop=stop)
    pool.shutdown(wait=False)
    return report


def test_a_bounded_lane_does_not_wait_for_an_index_that_refuses_it(settings: Settings) -> None:
    contract = private_system(settings)
    publish(settings, contract.table("events"), [event(n) for n in range(50)])
    stranger = replace(settings, values={**settings.values, "ASSAY_OPENSEARCH_LANE_PASSWORD": "not this one"})
    stop = threading.Event()
    try:
        report = drained(stranger, contract, stop).result(timeout=60)
    finally:
        stop.set()
    part = report.tables["events"]
    assert (report.reason, sum(part.silver.values()), part.index_behind) == ("index_failed", 50, None)
    assert "wrong user or password" in part.index_error
    assert "check secrets.env" in part.index_error
    assert Lane(settings, contract).drain().reason == "caught_up"
    assert documents(settings, contract.table("events")) == 50


def test_a_bounded_lane_that_waits_for_its_index_ends_when_told_and_when_succeeded(settings: Settings) -> None:
    contract = private_system(settings)
    publish(settings, contract.table("events"), [event(n) for n in range(50)])
    away = replace(settings, values={**settings.values, "ASSAY_OPENSEARCH_URL": "https://localhost:1"})
    stop = threading.Event()
    try:
        waiting = drained(away, contract, stop)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=6)
        Lane(settings, contract, index=False, commit_seconds=0.1).follow(max_seconds=1)
        assert waiting.result(timeout=30).reason == "handed_over"
        waiting = drained(away, contract, stop)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=4)
        stop.set()
        report = waiting.result(timeout=20)
    finally:
        stop.set()
    assert (report.reason, report.tables["events"].index_behind) == ("stopped", None)


def test_a_compaction_that_fails_is_told_and_the_lane_goes_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*_: object) -> int:
        raise duckdb.OutOfMemoryException("could not allocate block")

    monkeypatch.setattr(track, "compact", out_of_memory)
    contract = private_system(settings)
    publish(settings, contract.table("events"), [event(n) for n in range(100)])
    report = Lane(settings, contract, commit_seconds=0.1, compact_seconds=0.2).follow(max_seconds=3)
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
    Lane(settings, contract).drain()
    proof = prove(settings, contract)
    assert proof.holds, proof.to_dict()
    assert proof.tables["events"].counts["documents"] == 2800
