"""The order of commits and who may make them: hand-over, lost races, torn commits, clocks. No services."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from confluent_kafka import Message
from lakes import TOPIC, SmallLake, topic_batch
from support import event

from platform_assets.core.errors import AssayError
from platform_assets.ingest import settle
from platform_assets.ingest.land import HandedOver, Landed, Landing
from platform_assets.ingest.report import TableReport
from platform_assets.sources.base import Stream
from platform_assets.sources.kafka import consume
from platform_assets.tables.table import Conflict, LakeTable


@pytest.fixture
def lake(tmp_path: Path) -> SmallLake:
    return SmallLake(tmp_path)


def test_duplicates_in_a_batch_across_batches_and_after_a_restart(lake: SmallLake) -> None:
    lake.land_and_settle([1, 2, 2])
    lake.land_and_settle([2, 3])
    lake.settler = lake.new_settler()
    lake.land_and_settle([1, 4])
    assert lake.silver_ids() == [f"e-{n:08d}" for n in (1, 2, 3, 4)]
    assert lake.report.duplicates == 3


def test_two_producers_may_use_the_same_id(lake: SmallLake) -> None:
    """In a batch, across batches and after a restart: the key names the producer."""
    lake.settle(lake.land([event(1, service="users"), event(1, service="payments")]))
    lake.settle(lake.land([event(1, service="delivery"), event(1, service="users")]))
    lake.settler = lake.new_settler()
    lake.settle(lake.land([event(1, service="billing"), event(1, service="delivery")]))
    assert len(lake.silver_ids()) == 4
    assert (lake.report.duplicates, lake.report.conflicts) == (2, 0)


def test_the_same_key_with_other_values_is_counted(lake: SmallLake) -> None:
    """In a batch, across batches and after a restart, with the commit that drops it; the first stays."""
    lake.settle(lake.land([event(1), event(1), event(1, message="other"), event(1, message="third")]))
    assert (lake.report.duplicates, lake.report.conflicts) == (3, 2)
    lake.settle(lake.land([event(2), event(1), event(1, latency_ms=None)]))
    lake.settler.keys.save()  # type: ignore[union-attr]
    lake.settler = lake.new_settler()
    last = lake.settle(lake.land([event(1, more="x"), event(1), event(3)]))
    assert (lake.report.duplicates, lake.report.conflicts) == (7, 4)
    assert lake.tables.silver.transactions(["conflicts", "conflict_seq"]) == {"conflicts": 4, "conflict_seq": last.seq}
    lake.land_and_settle([1])
    assert lake.tables.silver.transactions(["conflicts", "conflict_seq"]) == {"conflicts": 4, "conflict_seq": last.seq}


def test_conflicts_are_counted_once_whoever_settles(lake: SmallLake) -> None:
    lake.land([event(1), event(1, message="other")])
    slow, quick = lake.new_settler(), lake.new_settler()
    list(quick.catch_up(TableReport("events")))
    list(slow.catch_up(TableReport("events")))
    assert lake.tables.silver.transaction("conflicts") == 1


def test_rejects_go_to_quarantine_and_the_rest_to_silver(lake: SmallLake) -> None:
    lake.settle(lake.land([event(1), b"{", None, event(2, status="500")]))
    assert lake.silver_ids() == ["e-00000001"]
    assert lake.quarantine_reasons() == ["malformed_json", "tombstone", "type:status"]


def test_a_batch_that_is_all_poison_moves_the_offsets(lake: SmallLake) -> None:
    lake.settle(lake.land([b"\xff"] * 10))
    lake.land_and_settle([1])
    assert lake.silver_ids() == ["e-00000001"]
    assert len(lake.quarantine_reasons()) == 10
    assert lake.tables.silver.transaction("AAAAAAAAAAAAAAAAAAAAAA:0") == 11


def test_what_died_between_bronze_and_silver_is_settled_by_the_next_run(lake: SmallLake) -> None:
    lake.land([event(1), b"{"])
    lake.land([event(2), event(1)])
    successor = lake.new_settler()
    report = TableReport("events")
    assert [s.seq for s in successor.catch_up(report)] == [2]
    assert lake.silver_ids() == ["e-00000001", "e-00000002"]
    assert (lake.quarantine_reasons(), report.duplicates) == (["malformed_json"], 1)


def test_a_quarantine_commit_without_its_silver_commit_is_replaced(lake: SmallLake) -> None:
    """Quarantine is written first; a worker that dies then must not leave its rejects twice."""
    landed = lake.land([event(1), b"{"])
    transformed = lake.transformer.transform(landed.rows)
    lake.settler._write_quarantine(transformed.rejected, 0, 1, None, {"seq": None, "fence": None})
    lake.settler = lake.new_settler()
    list(lake.settler.catch_up(lake.report))
    assert lake.quarantine_reasons() == ["malformed_json"]
    assert lake.silver_ids() == ["e-00000001"]


def test_two_workers_land_the_same_records_once(lake: SmallLake) -> None:
    other = lake.new_landing()
    batch = topic_batch([event(1), event(2)], 0)
    lake.landing.land(batch, lake.landing.next_positions())
    with pytest.raises(Conflict):
        other.land(batch, {0: None, 1: None})
    assert other.next_positions()[0] == 2


def test_the_younger_worker_wins_and_the_older_ends(lake: SmallLake) -> None:
    old = lake.landing
    old.land(topic_batch([event(1)], 0), old.next_positions())
    young = lake.new_landing()
    young.claim()
    assert young.epoch > old.epoch
    with pytest.raises(HandedOver):
        old.land(topic_batch([event(2)], 1), {})
    with pytest.raises(HandedOver):
        old.check()
    young.land(topic_batch([event(2)], 1), young.next_positions())


def test_two_workers_settle_the_same_commit_once(lake: SmallLake) -> None:
    landed = lake.land([event(1), b"{"])
    slow, quick = lake.new_settler(), lake.new_settler()
    quick.settle(landed.rows, 0, 1, TableReport("events"))
    with pytest.raises(Conflict):
        slow.settle(landed.rows, 0, 1, TableReport("events"))
    assert lake.silver_ids() == ["e-00000001"]
    assert lake.quarantine_reasons() == ["malformed_json"]


def test_the_worker_clock_never_runs_backwards(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    first = lake.land([event(1)])
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000_000_000_000)  # 2001
    second = lake.land([event(2)])
    assert second.rows.column("landed_at")[0].as_py() > first.rows.column("landed_at")[0].as_py()
    assert second.landed_date == first.landed_date


DAY = timedelta(days=1)


def _set_clock(monkeypatch: pytest.MonkeyPatch, now: datetime) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: int(now.timestamp()) * 1_000_000_000)


def _landed_at(landed: Landed) -> datetime:
    return landed.rows.column("landed_at")[0].as_py()


def _behind_its_topic(lake: SmallLake, now: datetime) -> Landing:
    """The landing of a worker whose topic holds records up to now."""
    return Landing(lake.tables.bronze, TOPIC, "logs.events", lambda moment: moment <= now.timestamp() * 1_000_000)


def test_a_clock_years_ahead_does_no_lasting_damage(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The records say what time it is: were the clock believed, all later rows would be dated with it, as history."""
    now = datetime.now(UTC)
    lake.land_and_settle([1])
    _set_clock(monkeypatch, now + 4000 * DAY)
    wrong = lake.land([event(2)], stamp=now + timedelta(seconds=2))
    assert abs(_landed_at(wrong) - now) < timedelta(minutes=1)
    assert "if the clock is wrong, set it right" in lake.landing.clock_trouble
    lake.settle(wrong)
    monkeypatch.undo()
    lake.land_and_settle([3])
    assert (lake.report.history, lake.landing.clock_trouble) == (0, "")


def test_a_clock_years_ahead_of_a_worker_that_is_behind_its_topic(
    lake: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    lake.landing = _behind_its_topic(lake, now)
    lake.land([event(1)], stamp=now - 5 * DAY)
    _set_clock(monkeypatch, now + 4000 * DAY)
    assert abs(_landed_at(lake.land([event(2)], stamp=now - 5 * DAY)) - now) < timedelta(minutes=1)


def test_a_worker_that_slept_for_days_goes_on_by_itself(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    _set_clock(monkeypatch, now - 9 * DAY)
    lake.land([event(1)], stamp=now - 9 * DAY)
    monkeypatch.undo()
    left = lake.land([event(2)], stamp=now - 9 * DAY + timedelta(hours=1))  # nobody has produced since
    assert _landed_at(left) == now - 9 * DAY + timedelta(hours=1)
    fresh = lake.land([event(3)])
    assert _landed_at(fresh) >= now
    assert not lake.landing.clock_trouble


def test_a_worker_that_slept_and_has_a_backlog_goes_on_by_itself(
    lake: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    lake.landing = _behind_its_topic(lake, now)
    _set_clock(monkeypatch, now - 9 * DAY)
    lake.land([event(1)], stamp=now - 9 * DAY)
    monkeypatch.undo()
    assert _landed_at(lake.land([event(2)], stamp=now - 9 * DAY)) >= now
    assert not lake.landing.clock_trouble


def test_stamps_of_an_archive_tell_nothing_of_the_time(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    _set_clock(monkeypatch, now - 9 * DAY)
    lake.land([event(1)], stamp=now - 4000 * DAY)
    monkeypatch.undo()
    assert _landed_at(lake.land([event(2)], stamp=now - 3999 * DAY)) >= now


def test_bronze_dated_ahead_of_the_clock_is_told(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    lake.land([event(1)])
    _set_clock(monkeypatch, now - timedelta(hours=2))
    lake.land([event(2)])
    assert "counts as history" in lake.landing.clock_trouble
    monkeypatch.undo()
    lake.land([event(3)])
    assert not lake.landing.clock_trouble


def test_events_days_late_and_history_land_where_they_belong(lake: SmallLake) -> None:
    lake.settle(lake.land([event(1), event(2, event_time="2015-05-20T12:00:00Z")]))
    lake.tables.silver.refresh()
    partitions = lake.tables.silver.partitions()
    assert partitions["2015-05-20"] == 1
    assert lake.report.history == 1
    assert lake.report.watermark is not None
    assert lake.report.watermark.year > 2015


def test_who_replaces_an_unconfirmed_quarantine_commit_fences_out_who_made_it(
    lake: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two contract versions at a hand-over: the record must not vanish between the one's quarantine and the other's silver."""
    landed = lake.land([event(1), event(2, latency_ms=-1)])
    tolerant = SmallLake(lake.root, tolerant=True)
    real = settle.fault_point

    def interrupted(name: str) -> None:
        if name == "quarantine_committed":
            monkeypatch.setattr(settle, "fault_point", real)
            list(tolerant.settler.catch_up(tolerant.report))
        real(name)

    monkeypatch.setattr(settle, "fault_point", interrupted)
    with pytest.raises(Conflict):
        lake.settle(landed)
    list(lake.settler.catch_up(lake.report))
    assert (lake.silver_ids(), lake.quarantine_reasons()) == (["e-00000001", "e-00000002"], [])


def test_the_fence_holds_in_the_other_order_too(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one who replaces stalls before its silver commit; the one who was fenced out looks again and finishes first."""
    landed = lake.land([event(1), event(2, latency_ms=-1)])
    transformed = lake.transformer.transform(landed.rows)
    lake.settler._write_quarantine(transformed.rejected, 0, 1, None, {"seq": None, "fence": None})
    tolerant = SmallLake(lake.root, tolerant=True)
    real = settle.fault_point

    def interrupted(name: str) -> None:
        if name == "quarantine_committed":
            monkeypatch.setattr(settle, "fault_point", real)
            list(lake.new_settler().catch_up(lake.report))
        real(name)

    monkeypatch.setattr(settle, "fault_point", interrupted)
    with pytest.raises(Conflict):
        list(tolerant.settler.catch_up(tolerant.report))
    assert (lake.silver_ids(), lake.quarantine_reasons()) == (["e-00000001"], ["range:latency_ms"])


def test_a_backlog_without_any_text_is_cut_into_windows(lake: SmallLake) -> None:
    """A contract may promise numbers and times only."""
    numbers = LakeTable(lake.root / "numbers", pa.schema([("_seq", pa.int64()), ("at", pa.timestamp("us", tz="UTC"))]))
    for seq in range(1, 5):
        numbers.commit(
            numbers.write(pa.table({"_seq": [seq] * 3, "at": [datetime.now(UTC)] * 3}, schema=numbers.schema))
        )
    assert list(settle.seq_windows(numbers, lake.con, 0, 4, "_seq", rows=6)) == [(0, 2), (2, 4)]


def test_a_bronze_older_than_its_silver_stops_the_worker(lake: SmallLake) -> None:
    """Restored from a backup: commits would be numbered again, and what they hold would never be settled."""
    lake.land_and_settle([1])
    lake.land_and_settle([2])
    shutil.rmtree(lake.tables.bronze.path)
    restored = SmallLake(lake.root)
    restored.land([event(1)])
    with pytest.raises(AssayError, match="silver holds bronze commit 2, bronze ends at 1"):
        list(restored.settler.catch_up(restored.report))


def test_bronze_that_does_not_go_on_where_silver_ended_stops_the_worker(lake: SmallLake) -> None:
    lake.land_and_settle([1, 2])
    landed = lake.land([event(3), event(4)])
    with pytest.raises(AssayError, match="bronze goes on at 3"):
        lake.settler.settle(landed.rows.slice(1), 1, 2, lake.report)


def test_a_timestamp_past_the_year_9999_lands(lake: SmallLake) -> None:
    """What a producer may write into Kafka's own timestamp is not ours to choose."""

    message = Message(topic="logs.events", partition=0, offset=0, value=event(1), timestamp=(1, 10**17))
    rows = consume._columns(topic_batch([event(1)], 0).stream, [message])
    assert rows.column("record_time").to_pylist() == [None]


def marks(**earliest: int) -> dict[int, tuple[int, int]]:
    """What a broker says of partitions p0, p1, …: each holds a record or none from its earliest offset on."""
    return {int(name[1:]): (low, low) for name, low in earliest.items()}


def of_topic(lake: SmallLake, topic: Stream) -> Landing:
    return Landing(lake.tables.bronze, topic, "logs.events")


def test_a_topic_is_promised_from_what_it_holds_when_it_is_first_followed(lake: SmallLake) -> None:
    lake.landing.begin(lambda: marks(p0=0, p1=500))
    assert lake.landing.next_positions() == {0: 0, 1: 500}
    successor = lake.new_landing()
    successor.begin(lambda: pytest.fail("nothing is unknown"))
    assert successor.next_positions() == {0: 0, 1: 500}, "retention since then is a gap, also where nothing was landed"
    lake.land_and_settle([1, 2])
    assert lake.landing.next_positions() == {0: 2, 1: 500}


def test_partitions_that_come_later_and_a_topic_created_again_are_promised_whole(lake: SmallLake) -> None:
    lake.landing.begin(lambda: marks(p0=7, p1=7))
    wider = of_topic(lake, replace(TOPIC, shards=(0, 1, 2)))
    wider.begin(lambda: marks(p0=7, p1=7, p2=9))
    assert wider.next_positions() == {0: 7, 1: 7, 2: 0}
    again = of_topic(lake, replace(TOPIC, id="BBBBBBBBBBBBBBBBBBBBBB"))
    again.begin(lambda: marks(p0=9, p1=9))
    assert again.next_positions() == {0: 0, 1: 0}
    other = of_topic(lake, Stream("logs.renamed", "CCCCCCCCCCCCCCCCCCCCCC", (0,)))
    other.begin(lambda: marks(p0=9))
    assert other.next_positions() == {0: 9}, "another topic's past was never promised"


def test_a_lake_from_before_promises_from_now_on(lake: SmallLake) -> None:
    lake.land_and_settle([1, 2])
    lake.landing.begin(lambda: marks(p0=0, p1=500))
    assert lake.landing.next_positions() == {0: 2, 1: 500}
    wider = of_topic(lake, replace(TOPIC, shards=(0, 1, 2)))
    wider.begin(lambda: pytest.fail("the topic is known by now"))
    assert wider.next_positions()[2] == 0


def test_who_lands_a_partition_while_it_is_promised_looks_again(lake: SmallLake) -> None:
    old, young = lake.landing, lake.new_landing()
    began = old.next_positions()
    young.begin(lambda: marks(p0=0, p1=0))
    with pytest.raises(Conflict):
        old.land(topic_batch([event(1)], 0), began)
    old.land(topic_batch([event(1)], 0), old.next_positions())
    assert young.next_positions() == {0: 1, 1: 0}


def test_a_promise_looks_again_when_records_land_meanwhile(lake: SmallLake) -> None:
    young = lake.new_landing()

    def landed() -> dict[int, tuple[int, int]]:
        if lake.landing.next_positions()[0] is None:
            lake.landing.land(topic_batch([event(1)], 0), {0: None, 1: None})
        return marks(p0=0, p1=5)

    young.begin(landed)
    assert young.next_positions() == {0: 1, 1: 5}
