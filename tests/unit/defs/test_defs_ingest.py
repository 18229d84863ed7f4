"""A worker's runs through Dagster's own executor: what they report, for which partitions, and how they end."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dagster import (
    AssetCheckKey,
    AssetCheckSeverity,
    AssetKey,
    AssetRecordsFilter,
    DagsterEventType,
    DagsterExecutionInterruptedError,
    DagsterInstance,
    ExecuteInProcessResult,
)
from shop_system import ORDERS, SHOP, AlertServices, State, busy_report, empty_report

from platform_assets.core.errors import AssayError
from platform_assets.defs.build import build_definitions
from platform_assets.defs.checks import check_specs
from platform_assets.defs.partitions import DAYS, day_of
from platform_assets.defs.specs import Layer, key, topic_key
from platform_assets.ingest.report import IngestReport, TableReport

DEFS = build_definitions({"shop": SHOP})


def run(
    instance: DagsterInstance, job: str = "shop_ingest", day: str | None = None, assets: list[AssetKey] | None = None
) -> ExecuteInProcessResult:
    """Execute a job for one day, by default today, without raising what the run raised."""
    definition = DEFS.resolve_job_def(job)
    return definition.execute_in_process(
        instance=instance, partition_key=day or day_of(), raise_on_error=False, asset_selection=assets
    )


def figures(instance: DagsterInstance, asset: AssetKey, day: str) -> Mapping[str, Any]:
    """The metadata of the last materialization of a partition."""
    records = instance.fetch_materializations(
        AssetRecordsFilter(asset_key=asset, asset_partitions=[day]), limit=1
    ).records
    materialization = records[0].asset_materialization
    assert materialization is not None
    return {name: value.value for name, value in materialization.metadata.items()}


def error_of(result: ExecuteInProcessResult) -> str:
    """The message of the step that failed."""
    failures = [event for event in result.all_events if event.event_type is DagsterEventType.STEP_FAILURE]
    return failures[0].step_failure_data.error_display_string


def test_an_empty_minute_reports_every_asset_of_today(instance: DagsterInstance, alert_services: AlertServices) -> None:
    result = run(instance)
    assert result.success
    assert alert_services.calls == [("follow", "shop")]
    for table in SHOP.tables:
        for layer in Layer:
            assert instance.get_materialized_partitions(key(layer, table)) == {day_of()}
        assert instance.get_latest_materialization_event(topic_key(table)) is not None
    assert figures(instance, key(Layer.SILVER, ORDERS), day_of())["rows"] == 0
    evaluations = result.get_asset_check_evaluations()
    assert len(evaluations) == 11  # five of a table, and one of the table with a key
    assert all(evaluation.passed for evaluation in evaluations)


def test_a_check_is_recorded_once_a_run(instance: DagsterInstance, alert_services: AlertServices) -> None:
    """Planned for one partition and recorded for another, it would stay open for ever beside its own verdict."""
    run(instance)
    for spec in check_specs(SHOP):
        history = instance.event_log_storage.get_asset_check_execution_history(spec.key, limit=10)
        assert [execution.status.value for execution in history] == ["SUCCEEDED"]


def test_every_touched_day_is_reported_with_its_own_rows(
    instance: DagsterInstance, alert_services: AlertServices
) -> None:
    """Late rows land where they belong; Dagster has to know, or the day shows an old state."""
    alert_services.report = busy_report
    assert run(instance).success
    silver, yesterday = key(Layer.SILVER, ORDERS), day_of(datetime.now(UTC) - timedelta(days=1))
    assert instance.get_materialized_partitions(silver) == {day_of(), yesterday, "2016-02-29"}
    assert instance.get_materialized_partitions(key(Layer.INDEX, ORDERS)) == {day_of(), yesterday}
    assert instance.get_materialized_partitions(key(Layer.BRONZE, ORDERS)) == {day_of()}
    assert figures(instance, silver, day_of())["rows"] == 50
    assert figures(instance, silver, yesterday)["rows"] == 30
    assert figures(instance, silver, "2016-02-29")["rows"] == 10
    bronze = figures(instance, key(Layer.BRONZE, ORDERS), day_of())
    assert bronze["offsets"] == {"0": [10, 60], "1": [0, 53]}
    assert (bronze["rows"], bronze["bytes"], bronze["lag"], bronze["seconds"]) == (103, 20_000, 3, {"bronze": 0.25})
    assert figures(instance, key(Layer.QUARANTINE, ORDERS), day_of())["reasons"] == {"missing:order_id": 3}
    assert "dagster/column_schema" in figures(instance, silver, "2016-02-29")


def test_status_of_the_days_is_what_the_ui_asks_for(instance: DagsterInstance, alert_services: AlertServices) -> None:
    """The UI reads the same storage as this public call; a day outside the definition would be lost to it."""
    alert_services.report = busy_report
    run(instance)
    shown = set(DAYS.get_partition_keys()) & instance.get_materialized_partitions(key(Layer.SILVER, ORDERS))
    assert "2016-02-29" in shown
    assert "1999-12-31" not in shown


def test_a_poisoned_minute_fails_its_check_and_not_the_run(
    instance: DagsterInstance, alert_services: AlertServices
) -> None:
    def poison() -> IngestReport:
        report = empty_report()
        report.tables["orders"].rejected["malformed_json"] = 500
        return report

    alert_services.report = poison
    result = run(instance)
    assert result.success
    failed = [evaluation for evaluation in result.get_asset_check_evaluations() if not evaluation.passed]
    assert [found.asset_check_key for found in failed] == [AssetCheckKey(key(Layer.QUARANTINE, ORDERS), "reject_rate")]
    assert failed[0].severity is AssetCheckSeverity.ERROR


def test_the_worker_does_not_follow_the_past(instance: DagsterInstance, alert_services: AlertServices) -> None:
    """A backfill of the wrong job would otherwise follow the present once a day of it."""
    result = run(instance, day="2026-01-05")
    assert not result.success
    assert "shop_rebuild" in error_of(result)
    assert alert_services.calls == []


def test_a_backfilled_day_is_rebuilt_and_reported_with_its_index(
    instance: DagsterInstance, alert_services: AlertServices
) -> None:
    result = run(instance, "shop_rebuild", "2026-01-05", [key(Layer.SILVER, ORDERS)])
    assert result.success
    assert alert_services.calls == [("rebuild", "orders", "2026-01-05")]
    assert figures(instance, key(Layer.SILVER, ORDERS), "2026-01-05")["rows"] == 11
    assert figures(instance, key(Layer.INDEX, ORDERS), "2026-01-05")["documents"] == 11


def test_bronze_by_hand_lands_what_waits(instance: DagsterInstance, alert_services: AlertServices) -> None:
    alert_services.report = busy_report
    result = run(instance, "__ASSET_JOB", assets=[key(Layer.BRONZE, ORDERS)])
    assert result.success
    assert alert_services.calls == [("drain", "shop")]
    # What it carried on to silver is reported too, although silver was not selected.
    assert "2016-02-29" in instance.get_materialized_partitions(key(Layer.SILVER, ORDERS))
    assert figures(instance, key(Layer.SILVER, ORDERS), day_of())["rows"] == 50


def test_all_assets_by_hand_are_landed_then_rebuilt(instance: DagsterInstance, alert_services: AlertServices) -> None:
    result = run(instance, "__ASSET_JOB", assets=[key(layer, table) for table in SHOP.tables for layer in Layer])
    assert result.success, error_of(result)
    assert [call[0] for call in alert_services.calls] == ["drain", "rebuild", "rebuild"]


def test_an_error_for_people_is_the_failure_of_the_run(
    instance: DagsterInstance, alert_services: AlertServices
) -> None:
    def work(stop: threading.Event, on_commit: object) -> None:
        raise AssayError("the broker does not answer", "is it running?")

    alert_services.work = work
    result = run(instance)
    assert not result.success
    assert "the broker does not answer - is it running?" in error_of(result)


def test_what_a_failed_worker_had_committed_is_reported(
    instance: DagsterInstance, alert_services: AlertServices
) -> None:
    def work(stop: threading.Event, on_commit: Any) -> None:
        on_commit(busy_report().tables["orders"])
        raise AssayError("the disk is full")

    alert_services.work = work
    assert not run(instance).success
    assert "2016-02-29" in instance.get_materialized_partitions(key(Layer.SILVER, ORDERS))
    assert figures(instance, key(Layer.SILVER, ORDERS), day_of())["ended_by"] == "failed"


def test_a_terminated_worker_stops_and_reports(
    instance: DagsterInstance, alert_services: AlertServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Termination is an exception in the main thread; the worker gets its stop event and time to commit."""
    monkeypatch.setattr("platform_assets.defs.run.LOG_SECONDS", 0.1)
    alert_services.report = busy_report
    stopped = threading.Event()

    def work(stop: threading.Event, on_commit: Any) -> None:
        on_commit(Interrupting("orders"))
        assert stop.wait(20)
        stopped.set()

    class Interrupting(TableReport):
        @property
        def records(self) -> int:  # read by the main thread when it logs how far the worker is
            raise DagsterExecutionInterruptedError

    alert_services.work = work
    with pytest.raises(DagsterExecutionInterruptedError):
        DEFS.resolve_job_def("shop_ingest").execute_in_process(instance=instance, partition_key=day_of())
    assert stopped.is_set()
    assert figures(instance, key(Layer.SILVER, ORDERS), day_of())["ended_by"] == "stopped"


def test_late_data_fails_the_watermark_and_not_the_run(
    instance: DagsterInstance, alert_services: AlertServices
) -> None:
    alert_services.states["orders"] = State(watermark=datetime.now(UTC) - timedelta(minutes=5))
    result = run(instance)
    assert result.success
    failed = {e.asset_check_key.name: e for e in result.get_asset_check_evaluations() if not e.passed}
    assert set(failed) == {"watermark"}
    assert failed["watermark"].severity is AssetCheckSeverity.WARN
