"""What Dagster alone knows becomes an alert, through the room that the lane uses, and ends with its cause."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    AssetKey,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    build_run_status_sensor_context,
    deserialize_value,
    serialize_value,
)
from duckdb import ConversionException
from shop_system import SHOP, Rooms, State

from platform_assets.alerts.room import AlertRoom
from platform_assets.defs import alerts as room_of_defs
from platform_assets.defs.alerts import checks_of, look_now, raise_failed_run, system_of
from platform_assets.defs.build import build_definitions
from platform_assets.defs.partitions import day_of
from platform_assets.defs.specs import Layer, key
from platform_assets.errors import AssayError
from platform_assets.settings import Settings

DEFS = build_definitions({"shop": SHOP})
ORDERS = SHOP.tables[0]


@pytest.fixture
def room(instance: DagsterInstance) -> Iterator[AlertRoom]:
    """The shop's alerts in the instance's own home."""
    found = AlertRoom(Settings.load(), "shop", index=False)
    yield found
    found.close()


def lane(instance: DagsterInstance) -> DagsterRun:
    job = DEFS.resolve_job_def("shop_lane")
    return job.execute_in_process(instance=instance, partition_key=day_of(), raise_on_error=False).dagster_run


def stale(asset: AssetKey) -> Any:
    """The event by which Dagster's daemon says that an asset is stale, as it stores it: Dagster 1.13 exports no name for it."""
    states = {name: {"__enum__": f"FreshnessState.{state}"} for name, state in (("new", "FAIL"), ("previous", "PASS"))}
    event = {
        "__class__": "FreshnessStateChange",
        "key": json.loads(serialize_value(asset)),
        **{f"{name}_state": state for name, state in states.items()},
        "state_change_timestamp": datetime.now(UTC).timestamp(),
    }
    return deserialize_value(json.dumps(event))


def test_a_failed_run_is_told_and_over_when_the_job_succeeds(
    instance: DagsterInstance, rooms: Rooms, room: AlertRoom
) -> None:
    def work(stop: threading.Event, on_commit: object) -> None:
        raise AssayError("the disk <!here> is full", "make room")

    good, rooms.work = rooms.work, work
    run = lane(instance)
    (failure,) = [e.dagster_event for e in instance.all_logs(run.run_id, of_type=DagsterEventType.RUN_FAILURE)]
    assert failure is not None
    context = build_run_status_sensor_context("failed_runs", failure, instance, run).for_run_failure()
    raise_failed_run(context, ["shop"])
    raise_failed_run(context, ["shop"])  # a tick may be repeated
    (alert,) = room.alerts()
    assert (alert.rule, alert.state, alert.severity) == ("run_failed", "open", "critical")
    assert alert.summary.startswith(f"shop_lane: run {run.run_id[:8]} failed: the disk ")
    assert "here" in alert.summary and "<!here>" not in alert.summary
    later = datetime.now(UTC) + timedelta(minutes=2)
    room.see(room_of_defs._recovered(instance, room, later))
    assert room.alerts()[0].state == "open"
    rooms.work = good
    assert lane(instance).is_success
    room.see(room_of_defs._recovered(instance, room, later))
    assert room.alerts()[0].state == "resolved"


def test_one_look_sees_late_data_failed_checks_and_a_lane_that_does_not_report(
    instance: DagsterInstance, rooms: Rooms, room: AlertRoom
) -> None:
    rooms.states["orders"] = State(watermark=datetime.now(UTC) - timedelta(hours=1), bronze_seq=5000, silver_seq=1)
    assert lane(instance).is_success
    instance.report_runless_asset_event(stale(key(Layer.SILVER, ORDERS)))
    figures, problems = look_now(instance, "shop", SHOP)
    found = {alert.summary.partition(":")[0] for alert in room.alerts()}
    assert found == {"shop.orders", "the lane of shop", "silver/shop/orders"}
    assert figures["open"] == 3
    assert any("60 minutes old" in alert.summary for alert in room.alerts())
    # The index cannot be reached here: that is told, and the rest is done all the same.
    assert len(problems) == 1 and "OpenSearch" in problems[0]
    assert all(alert.notified_at is not None for alert in room.alerts())


def test_whatever_one_part_of_a_look_raises_the_others_are_done(
    instance: DagsterInstance, rooms: Rooms, room: AlertRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ConversionException("Conversion Error: no number")

    monkeypatch.setattr(room_of_defs, "_own_rules", fail)
    rooms.states["orders"] = State(watermark=datetime.now(UTC) - timedelta(hours=1))
    _, problems = look_now(instance, "shop", SHOP)
    assert problems[0] == "ConversionException: Conversion Error: no number"
    (late,) = room.alerts()
    assert late.rule == "freshness_late" and late.notified_at is not None


def test_checks_with_a_rule_of_their_own_raise_no_second_alert() -> None:
    assert {check.name for check in checks_of(ORDERS)} == {"complete", "keys_unique"}
    assert {check.name for check in checks_of(SHOP.tables[1])} == {"complete"}


def test_a_run_belongs_to_its_system_or_to_housekeeping() -> None:
    run = DagsterRun("shop_rebuild")
    assert system_of(run, ["shop", "logs"]) == "shop"
    assert (
        system_of(DagsterRun("__ASSET_JOB", asset_selection=frozenset({key(Layer.SILVER, ORDERS)})), ["shop"]) == "shop"
    )
    assert system_of(DagsterRun("maintenance"), ["shop"]) == "assay"


def test_the_catalogue_shows_alerts_behind_silver(tmp_path: Path) -> None:
    graph = DEFS.resolve_asset_graph()
    node = graph.get(room_of_defs.alerts_key("shop"))
    assert set(node.parent_keys) == {key(Layer.SILVER, table) for table in SHOP.tables}
    names = {sensor.name for sensor in DEFS.get_repository_def().sensor_defs}
    assert {"shop_alerts", "assay_alerts", "failed_runs"} <= names
