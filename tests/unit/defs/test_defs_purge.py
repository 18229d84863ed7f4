"""The purge on a real SQLite instance: what goes, what stays, and that no partition forgets its state."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from dagster import AssetMaterialization, DagsterInstance, DagsterRunStatus, RunsFilter
from shop_system import ORDERS, SHOP, AlertServices, busy_report, empty_report

from platform_assets.defs.build import build_definitions
from platform_assets.defs.partitions import day_of
from platform_assets.defs.purge import last_runs, purge
from platform_assets.defs.specs import Layer, key, topic_key

DEFS = build_definitions({"shop": SHOP})
SILVER = key(Layer.SILVER, ORDERS)
DAY = timedelta(days=1)


@pytest.fixture
def worker(instance: DagsterInstance, alert_services: AlertServices) -> Callable[[], str]:
    """Executes one ingest run and gives its id."""
    return lambda: (
        DEFS.resolve_job_def("shop_ingest").execute_in_process(instance=instance, partition_key=day_of()).run_id
    )


def in_days(days: int) -> datetime:
    """The clock of the purge: the runs are then that old."""
    return datetime.now(UTC) + days * DAY


def ids(instance: DagsterInstance) -> set[str]:
    """The runs that are left."""
    return {record.dagster_run.run_id for record in instance.get_run_records()}


def count(connection: Any, table: str) -> int:
    """Rows of one of Dagster's tables."""
    with connection as open_connection:
        return int(open_connection.execute(sqlalchemy.text(f"SELECT count(*) FROM {table}")).scalar())  # noqa: S608


def test_old_runs_go_and_every_partition_keeps_its_state(
    instance: DagsterInstance, alert_services: AlertServices, worker: Callable[[], str]
) -> None:
    alert_services.report = busy_report
    late = worker()  # the only run that ever touched 2016-02-29
    alert_services.report = empty_report
    empty = [worker() for _ in range(3)]
    before = {
        asset: instance.get_materialized_partitions(asset)
        for asset in instance.get_asset_keys()
        if asset != topic_key(ORDERS)
    }
    done = purge(instance, DAY, now=in_days(3))
    assert (done.runs, done.kept) == (2, 2)
    assert ids(instance) == {late, empty[-1]}
    assert {asset: instance.get_materialized_partitions(asset) for asset in before} == before
    assert "2016-02-29" in before[SILVER]
    latest = instance.get_latest_materialization_event(topic_key(ORDERS))
    assert latest is not None
    assert latest.run_id == empty[-1]


def test_the_partition_status_that_the_ui_shows_survives(
    instance: DagsterInstance, alert_services: AlertServices, worker: Callable[[], str]
) -> None:
    """The UI's own cache is thrown away first, so that the status is derived from what the purge has left."""
    alert_services.report = busy_report
    worker()
    alert_services.report = empty_report
    for _ in range(2):
        worker()
    purge(instance, DAY, now=in_days(3))
    with DagsterInstance.from_config(instance.root_directory) as fresh:
        assert {"2016-02-29", day_of()} <= fresh.get_materialized_partitions(SILVER)
        records = fresh.fetch_materializations(SILVER, limit=100).records
        assert {record.partition_key for record in records} == fresh.get_materialized_partitions(SILVER)
        for record in records:
            assert fresh.get_run_by_id(record.run_id) is not None, (
                "a materialization whose run is gone cannot be opened"
            )


def test_young_and_unfinished_runs_stay(instance: DagsterInstance, worker: Callable[[], str]) -> None:
    young = [worker() for _ in range(2)]
    assert purge(instance, DAY).runs == 0
    assert ids(instance) == set(young)
    started = instance.create_run_for_job(DEFS.resolve_job_def("shop_ingest"), status=DagsterRunStatus.STARTED).run_id
    purge(instance, DAY, now=in_days(3))
    assert started in ids(instance)


def test_the_run_that_last_failed_a_partition_stays(
    instance: DagsterInstance, alert_services: AlertServices, worker: Callable[[], str]
) -> None:
    """A failed rebuild shows as failed until it is done again, however old it is."""
    rebuild = DEFS.resolve_job_def("shop_rebuild")
    made = rebuild.execute_in_process(instance=instance, partition_key="2026-01-05").run_id

    def broken() -> None:
        raise RuntimeError

    alert_services.rebuild = broken
    failed = rebuild.execute_in_process(instance=instance, partition_key="2026-01-05", raise_on_error=False)
    assert not failed.success
    purge(instance, DAY, now=in_days(3))
    assert ids(instance) == {made, failed.run_id}


def test_nothing_of_a_purged_run_is_left(instance: DagsterInstance, worker: Callable[[], str]) -> None:
    purged, kept = worker(), worker()
    shards = Path(instance.event_log_storage.path_for_shard(kept)).parent  # type: ignore[attr-defined]
    assert (shards / f"{purged}.db").exists()
    evaluations = count(instance.event_log_storage.index_connection(), "asset_check_executions")  # type: ignore[attr-defined]
    done = purge(instance, DAY, now=in_days(3))
    assert done.check_evaluations == evaluations // 2
    assert not list(shards.glob(f"{purged}*"))
    assert (shards / f"{kept}.db").exists()
    tags = count(instance.run_storage.connect(), f"run_tags WHERE run_id = '{purged}'")  # type: ignore[attr-defined]
    events = count(instance.event_log_storage.index_connection(), f"event_logs WHERE run_id = '{purged}'")  # type: ignore[attr-defined]
    assert (tags, events) == (0, 0)
    assert instance.get_run_by_id(kept) is not None
    assert len(instance.all_logs(kept)) > 10


def test_checks_keep_their_last_verdict(instance: DagsterInstance, worker: Callable[[], str]) -> None:
    worker()
    kept = worker()
    purge(instance, DAY, now=in_days(3))
    asset = DEFS.resolve_asset_graph()
    for check in asset.asset_check_keys:
        if check.name == "keys_unique":
            continue
        history = instance.event_log_storage.get_asset_check_execution_history(check, limit=10)
        assert [execution.run_id for execution in history] == [kept]


def test_a_purge_has_a_limit_and_the_next_goes_on(instance: DagsterInstance, worker: Callable[[], str]) -> None:
    runs = [worker() for _ in range(4)]
    assert purge(instance, DAY, max_runs=2, now=in_days(3)).runs == 2
    assert ids(instance) == set(runs[2:])  # the oldest went first
    assert purge(instance, DAY, max_runs=2, now=in_days(3)).runs == 1


def test_the_job_purges_its_own_instance(instance: DagsterInstance, worker: Callable[[], str]) -> None:
    worker()
    result = DEFS.resolve_job_def("purge").execute_in_process(instance=instance)
    assert result.success
    assert instance.get_runs_count(RunsFilter(job_name="shop_ingest")) == 1


def test_last_runs_knows_assets_without_partitions(instance: DagsterInstance, worker: Callable[[], str]) -> None:
    worker()
    instance.report_runless_asset_event(AssetMaterialization("elsewhere"))
    assert len(last_runs(instance)) == 2
