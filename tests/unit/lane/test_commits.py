"""The order of commits and who may make them: hand-over, lost races, torn commits, clocks. No services."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from lakes import SmallLake, topic_batch
from support import event

from platform_assets.lake.table import Conflict
from platform_assets.lane.land import HandedOver
from platform_assets.lane.report import TableReport


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
    """Quarantine is written first; a lane that dies then must not leave its rejects twice."""
    landed = lake.land([event(1), b"{"])
    refined = lake.refinery.refine(landed.rows)
    lake.settler._write_quarantine(refined.rejected, 0, 1, None)
    lake.settler = lake.new_settler()
    list(lake.settler.catch_up(lake.report))
    assert lake.quarantine_reasons() == ["malformed_json"]
    assert lake.silver_ids() == ["e-00000001"]


def test_two_lanes_land_the_same_records_once(lake: SmallLake) -> None:
    other = lake.new_landing()
    batch = topic_batch([event(1), event(2)], 0)
    lake.landing.land(batch, lake.landing.next_offsets())
    with pytest.raises(Conflict):
        other.land(batch, {0: None, 1: None})
    assert other.next_offsets()[0] == 2


def test_the_younger_lane_wins_and_the_older_ends(lake: SmallLake) -> None:
    old = lake.landing
    old.land(topic_batch([event(1)], 0), old.next_offsets())
    young = lake.new_landing()
    young.claim()
    assert young.epoch > old.epoch
    with pytest.raises(HandedOver):
        old.land(topic_batch([event(2)], 1), {})
    with pytest.raises(HandedOver):
        old.check()
    young.land(topic_batch([event(2)], 1), young.next_offsets())


def test_two_lanes_settle_the_same_commit_once(lake: SmallLake) -> None:
    landed = lake.land([event(1), b"{"])
    slow, quick = lake.new_settler(), lake.new_settler()
    quick.settle(landed.rows, 0, 1, TableReport("events"))
    with pytest.raises(Conflict):
        slow.settle(landed.rows, 0, 1, TableReport("events"))
    assert lake.silver_ids() == ["e-00000001"]
    assert lake.quarantine_reasons() == ["malformed_json"]


def test_the_lane_clock_never_runs_backwards(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    first = lake.land([event(1)])
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000_000_000_000)  # 2001
    second = lake.land([event(2)])
    assert second.rows.column("landed_at")[0].as_py() > first.rows.column("landed_at")[0].as_py()
    assert second.landed_date == first.landed_date


def test_events_days_late_and_history_land_where_they_belong(lake: SmallLake) -> None:
    lake.settle(lake.land([event(1), event(2, event_time="2015-05-20T12:00:00Z")]))
    lake.tables.silver.refresh()
    partitions = lake.tables.silver.partitions()
    assert partitions["2015-05-20"] == 1
    assert lake.report.history == 1
    assert lake.report.watermark is not None
    assert lake.report.watermark.year > 2015
