"""The tick: one run a minute for today, ahead of everything else, and not on top of a jam."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from dagster import DagsterInstance, DagsterRunStatus, DefaultSensorStatus, RunRequest, SkipReason, build_sensor_context
from shop_system import SHOP

from platform_assets.defs import policies
from platform_assets.defs.build import build_definitions
from platform_assets.defs.ingest import next_ingest_run

DEFS = build_definitions({"shop": SHOP})
SETTINGS = yaml.safe_load((Path(__file__).parents[3] / "deploy/dagster/dagster.yaml").read_text(encoding="utf-8"))


def add_run(instance: DagsterInstance, status: DagsterRunStatus, job: str = "shop_ingest") -> None:
    """A run in the instance, as the sensor will find it."""
    instance.create_run_for_job(DEFS.resolve_job_def(job), status=status)


def test_a_tick_asks_for_todays_run_once_a_minute(instance: DagsterInstance) -> None:
    now = datetime(2026, 11, 21, 23, 59, 30, tzinfo=UTC)
    first = next_ingest_run(build_sensor_context(instance=instance), "shop", now)
    again = next_ingest_run(build_sensor_context(instance=instance), "shop", now + timedelta(seconds=20))
    later = next_ingest_run(build_sensor_context(instance=instance), "shop", now + timedelta(seconds=40))
    assert isinstance(first, RunRequest)
    assert isinstance(again, RunRequest)
    assert isinstance(later, RunRequest)
    assert first.run_key == again.run_key != later.run_key
    assert (first.partition_key, later.partition_key) == ("2026-11-21", "2026-11-22")


def test_a_successor_comes_beside_its_predecessor(instance: DagsterInstance) -> None:
    for status in (
        DagsterRunStatus.STARTED,
        DagsterRunStatus.STARTING,
        DagsterRunStatus.SUCCESS,
        DagsterRunStatus.FAILURE,
    ):
        add_run(instance, status)
    add_run(instance, DagsterRunStatus.STARTED, "shop_rebuild")
    assert isinstance(next_ingest_run(build_sensor_context(instance=instance), "shop", datetime.now(UTC)), RunRequest)


def test_no_run_is_piled_on_a_jam(instance: DagsterInstance) -> None:
    for _ in range(policies.INGEST_RUNS):
        add_run(instance, DagsterRunStatus.STARTED)
    assert isinstance(next_ingest_run(build_sensor_context(instance=instance), "shop", datetime.now(UTC)), SkipReason)


def test_runs_that_only_seem_to_be_at_work_block_nobody(instance: DagsterInstance) -> None:
    """Machines lose power: their runs stay `started` until somebody tells Dagster otherwise."""
    for _ in range(policies.INGEST_RUNS):
        add_run(instance, DagsterRunStatus.STARTED)
    later = datetime.now(UTC) + timedelta(seconds=policies.IN_FLIGHT_SECONDS + 1)
    assert isinstance(next_ingest_run(build_sensor_context(instance=instance), "shop", later), RunRequest)


def test_the_sensor_runs_by_itself_and_its_request_is_valid(instance: DagsterInstance) -> None:
    sensor = DEFS.resolve_sensor_def("shop_ingest")
    assert sensor.default_status is DefaultSensorStatus.RUNNING
    assert sensor.minimum_interval_seconds == 60
    with build_sensor_context(instance=instance, definitions=DEFS) as context:
        data = sensor.evaluate_tick(context)
    assert data.run_requests is not None
    assert len(data.run_requests) == 1


def test_the_instance_enforces_what_the_tags_promise() -> None:
    """The tags are only words unless the instance's settings know them."""
    runs = SETTINGS["concurrency"]["runs"]
    limits = {limit["key"]: limit for limit in runs["tag_concurrency_limits"]}
    assert limits[policies.INGEST_TAG]["limit"] >= policies.INGEST_RUNS
    assert limits["dagster/backfill"]["limit"] + policies.INGEST_RUNS < runs["max_concurrent_runs"]
    worker, background = policies.ingest_tags("shop"), policies.BACKGROUND_TAGS
    assert int(worker["dagster/priority"]) > 0 > int(background["dagster/priority"])
    assert int(worker["dagster/max_runtime"]) > policies.FOLLOW_MAX_SECONDS
    assert SETTINGS["run_monitoring"]["enabled"]
    assert SETTINGS["run_coordinator"]["config"]["dequeue_interval_seconds"] == 1
    assert SETTINGS["telemetry"]["enabled"] is False
