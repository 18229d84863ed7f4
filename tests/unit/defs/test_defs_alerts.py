"""What Dagster alone knows becomes an alert, through the alert service that the worker uses, and ends with its cause."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dagster import (
    AssetKey,
    AssetMaterialization,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    SensorResult,
    SkipReason,
    build_run_status_sensor_context,
    build_sensor_context,
)
from duckdb import ConversionException
from shop_system import SHOP, AlertServices, State

from platform_assets import gold_definitions
from platform_assets.alerts.incident import Alert
from platform_assets.alerts.service import AlertService
from platform_assets.core.errors import AssayError
from platform_assets.core.settings import Settings
from platform_assets.defs import alerts as alert_service_of_defs
from platform_assets.defs import policies
from platform_assets.defs.alerts import checks_of, look_now, raise_failed_run, system_of
from platform_assets.defs.build import build_definitions
from platform_assets.defs.partitions import day_of
from platform_assets.defs.specs import Layer, alerts_key, gold_key, key
from platform_assets.defs.stale import mart_keys, stale_marts
from platform_assets.index.budget import ShardBudget

DEFS = build_definitions({"shop": SHOP})
ORDERS = SHOP.tables[0]


@pytest.fixture
def alert_service(instance: DagsterInstance) -> Iterator[AlertService]:
    """The shop's alerts in the instance's own home."""
    found = AlertService(Settings.load(), "shop", index=False)
    yield found
    found.close()


def worker(instance: DagsterInstance) -> DagsterRun:
    job = DEFS.resolve_job_def("shop_ingest")
    return job.execute_in_process(instance=instance, partition_key=day_of(), raise_on_error=False).dagster_run


def test_a_failed_run_is_told_and_over_when_the_job_succeeds(
    instance: DagsterInstance, alert_services: AlertServices, alert_service: AlertService
) -> None:
    def work(stop: threading.Event, on_commit: object) -> None:
        raise AssayError("the disk <!here> is full", "make room")

    good, alert_services.work = alert_services.work, work
    run = worker(instance)
    (failure,) = [e.dagster_event for e in instance.all_logs(run.run_id, of_type=DagsterEventType.RUN_FAILURE)]
    assert failure is not None
    context = build_run_status_sensor_context("failed_runs", failure, instance, run).for_run_failure()
    raise_failed_run(context, ["shop"])
    raise_failed_run(context, ["shop"])  # a tick may be repeated
    (alert,) = alert_service.alerts()
    assert (alert.rule, alert.state, alert.severity) == ("run_failed", "open", "critical")
    assert alert.summary.startswith(f"shop_ingest: run {run.run_id[:8]} failed: the disk ")
    assert "here" in alert.summary and "<!here>" not in alert.summary
    later = datetime.now(UTC) + timedelta(minutes=2)
    alert_service.see(alert_service_of_defs._recovered(instance, alert_service, later))
    assert alert_service.alerts()[0].state == "open"
    alert_services.work = good
    assert worker(instance).is_success
    alert_service.see(alert_service_of_defs._recovered(instance, alert_service, later))
    assert alert_service.alerts()[0].state == "resolved"


def test_a_failed_run_whose_alert_could_not_be_stored_is_told_by_the_next_look(
    instance: DagsterInstance, alert_services: AlertServices, alert_service: AlertService
) -> None:
    """The sensor of failed runs goes on to the next run, whatever became of this one's alert."""

    def work(stop: threading.Event, on_commit: object) -> None:
        raise AssayError("the disk is full", "make room")

    def look() -> list[Alert]:
        alert_service.see(alert_service_of_defs._failed(instance, "shop", ["shop"], alert_service, datetime.now(UTC)))
        return alert_service.alerts()

    good, alert_services.work = alert_services.work, work
    run = worker(instance)
    assert (
        list(alert_service_of_defs._failed(instance, "logs", ["shop", "logs"], alert_service, datetime.now(UTC))) == []
    )
    look_now(instance, "shop", {"shop": SHOP}, datetime.now(UTC))
    [alert] = [alert for alert in alert_service.alerts() if alert.rule == "run_failed"]
    assert alert.state == "open" and alert.notified_at is not None
    assert alert.summary.startswith(f"shop_ingest: run {run.run_id[:8]} failed: the disk is full")
    known = alert_service.acknowledge(alert.alert_id, "somebody")
    assert look() == [known]
    alert_services.work = good
    assert worker(instance).is_success
    alert_service.see(
        alert_service_of_defs._recovered(instance, alert_service, datetime.now(UTC) + timedelta(minutes=2))
    )
    assert [alert.state for alert in look()] == ["resolved"]
    alert_services.work = work
    worker(instance)  # before the moment at which it was resolved
    assert [alert.state for alert in look()] == ["resolved"]


def materialized(instance: DagsterInstance, *assets: AssetKey) -> None:
    for asset in assets:
        instance.report_runless_asset_event(AssetMaterialization(asset))


def stored(alert_service: AlertService) -> dict[str, tuple[str, str]]:
    """(state, severity) of each alert, by what it is about."""
    return {alert.summary.partition(":")[0]: (alert.state, alert.severity) for alert in alert_service.alerts()}


def test_one_look_sees_late_data_failed_checks_and_a_worker_that_does_not_report(
    instance: DagsterInstance, alert_services: AlertServices, alert_service: AlertService
) -> None:
    now = datetime.now(UTC) + policies.freshness(ORDERS).fail
    alert_services.states["orders"] = State(watermark=now - timedelta(hours=1), bronze_seq=5000, silver_seq=1)
    assert worker(instance).is_success
    figures, problems = look_now(instance, "shop", {"shop": SHOP}, now + timedelta(seconds=5))
    assert set(stored(alert_service)) == {"shop.orders", "the worker of shop", "silver/shop/silver_orders"}
    assert figures["open"] == 3
    assert any("60 minutes old" in alert.summary for alert in alert_service.alerts())
    # The index cannot be reached here: that is told, and the rest is done all the same.
    assert len(problems) == 1 and "OpenSearch" in problems[0]
    assert all(alert.notified_at is not None for alert in alert_service.alerts())


def test_data_from_ahead_of_the_clock_is_told_as_late(
    instance: DagsterInstance, alert_services: AlertServices, alert_service: AlertService
) -> None:
    """The clock was set back: nothing that comes now would be newer."""
    now = datetime.now(UTC)
    for ahead, expected in ((ORDERS.max_ahead, []), (timedelta(hours=1), ["shop.orders"])):
        alert_services.states["orders"] = State(watermark=now + ahead)
        look_now(instance, "shop", {"shop": SHOP}, now)
        assert list(stored(alert_service)) == expected
    assert "60 minutes ahead of this machine's clock" in alert_service.alerts()[0].summary


@pytest.mark.parametrize("refreshed", [True, False], ids=["stopped", "never started"])
def test_gold_that_stands_still_is_told_though_its_code_location_is_gone(
    instance: DagsterInstance, alert_service: AlertService, monkeypatch: pytest.MonkeyPatch, refreshed: bool
) -> None:
    """Only Dagster's records are looked at: there is neither a daemon nor another code location here."""
    marts = tuple(gold_key("shop", name) for name in ("sales_hour", "sales_day"))
    monkeypatch.setattr("platform_assets.defs.stale.mart_keys", {"shop": marts}.__getitem__)
    materialized(instance, key(Layer.SILVER, ORDERS), *(marts if refreshed else ()))
    began = datetime.now(UTC)

    def look(after: timedelta) -> None:
        alert_service.see(stale_marts(instance, SHOP, began + after))

    assert policies.GOLD_FRESHNESS.warn is not None
    look(policies.GOLD_FRESHNESS.warn - timedelta(seconds=60))
    assert alert_service.alerts() == []
    look(policies.GOLD_FRESHNESS.warn + timedelta(seconds=60))
    assert stored(alert_service) == {"the marts of shop": ("open", "warning")}
    look(policies.GOLD_FRESHNESS.fail + timedelta(seconds=60))
    assert stored(alert_service) == {"the marts of shop": ("open", "critical")}
    [alert] = alert_service.alerts()
    assert "gold/shop/gold_sales_day and 1 more" in alert.summary
    assert alert.runbook == "freshness_late.md"
    materialized(instance, marts[0])
    [seen] = stale_marts(instance, SHOP, datetime.now(UTC) + timedelta(seconds=60))
    assert not seen.breach
    [seen] = stale_marts(instance, SHOP, datetime.now(UTC) + policies.GOLD_FRESHNESS.fail)
    assert (seen.breach, seen.value) == (True, 2 if refreshed else 1), "a new mart is waited for"


def test_the_marts_that_are_watched_are_those_of_the_other_code_location() -> None:
    made = gold_definitions.defs.resolve_asset_graph().get_all_asset_keys()
    assert set(mart_keys("logs")) == {asset for asset in made if asset.path[0] == "gold"}
    assert mart_keys("shop") == ()


def test_a_look_reports_and_another_sees_when_it_does_not(
    instance: DagsterInstance, alert_services: AlertServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform_assets.alerts.service.AlertService.publish", lambda self: 0)  # there is no index here
    monkeypatch.setattr("platform_assets.index.connect.ask_shards", lambda _: ShardBudget(900, 1000))
    [look] = [one for one in DEFS.get_repository_def().sensor_defs if one.name == "shop_alerts"]
    told = look(build_sensor_context(instance=instance, definitions=DEFS))
    assert isinstance(told, SensorResult)
    assert [event.asset_key for event in told.asset_events] == [alerts_key("shop")]
    again = look(build_sensor_context(instance=instance, definitions=DEFS, cursor=str(told.cursor)))
    assert isinstance(again, SkipReason) or again.cursor != told.cursor  # the next ten minutes may have begun
    materialized(instance, alerts_key("shop"))
    later = datetime.now(UTC) + policies.ALERTS_FRESHNESS.fail + timedelta(seconds=60)
    figures, problems = look_now(instance, "assay", {"shop": SHOP}, later)
    assert (figures["open"], problems) == (2, [])
    own = AlertService(Settings.load(), "assay", index=False)
    try:
        assert stored(own) == {"the alerts of shop": ("open", "critical"), "opensearch": ("open", "critical")}
    finally:
        own.close()


def test_whatever_one_part_of_a_look_raises_the_others_are_done(
    instance: DagsterInstance,
    alert_services: AlertServices,
    alert_service: AlertService,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise ConversionException("Conversion Error: no number")

    monkeypatch.setattr(alert_service_of_defs, "_own_rules", fail)
    alert_services.states["orders"] = State(watermark=datetime.now(UTC) - timedelta(hours=1))
    _, problems = look_now(instance, "shop", {"shop": SHOP}, datetime.now(UTC))
    assert problems[0] == "ConversionException: Conversion Error: no number"
    (late,) = alert_service.alerts()
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
    node = graph.get(alerts_key("shop"))
    assert set(node.parent_keys) == {key(Layer.SILVER, table) for table in SHOP.tables}
    names = {sensor.name for sensor in DEFS.get_repository_def().sensor_defs}
    assert {"shop_alerts", "assay_alerts", "failed_runs"} <= names
