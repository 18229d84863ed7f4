"""Marts in Dagster: keys, lineage, checks, what a run reports, and when the sensor asks for one."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dagster import AssetKey, DagsterInstance, RunRequest, SkipReason, build_sensor_context

from platform_assets.alerts.service import AlertService
from platform_assets.contracts.read import load_contracts
from platform_assets.core.settings import Settings
from platform_assets.defs import policies
from platform_assets.defs.gold import gold_job, next_refresh
from platform_assets.defs.partitions import day_of
from platform_assets.defs.specs import mart_of
from platform_assets.gold_definitions import defs
from platform_assets.marts import refresh as gold
from platform_assets.marts.build import BuildFailed, NodeResult

LOGS = load_contracts()["logs"]
KEYS = {key for key in defs.resolve_asset_graph().get_all_asset_keys() if key.path[0] == "gold"}
TODAY = day_of()
YESTERDAY = day_of(datetime.now(UTC) - timedelta(days=1))
JOBS = (gold_job("logs"), "logs_gold_audit")
BAD = "in_range_errors_minute_status__999__0"


def test_lineage_goes_from_silver_to_the_daily_report() -> None:
    graph = defs.resolve_asset_graph()
    assert len(KEYS) == 9
    refresh, audit = (set(defs.resolve_job_def(name).asset_layer.asset_graph.asset_check_keys) for name in JOBS)
    assert {key.name for key in audit} == {"recomputed"} and {key.asset_key for key in audit} == KEYS
    assert refresh and not refresh & audit  # the audit is no part of a refresh
    errors = graph.get(AssetKey(["gold", "logs", "gold_errors_minute"]))
    assert errors.parent_keys == {
        AssetKey(["silver", "logs", f"silver_{name}"]) for name in ("events", "access", "broker")
    }
    day = graph.get(AssetKey(["gold", "logs", "gold_errors_day"]))
    assert day.parent_keys == {
        AssetKey(["gold", "logs", f"gold_{n}"]) for n in ("errors_hour", "error_users_hour", "latency_hour")
    }
    for key in KEYS:
        node = graph.get(key)
        assert node.group_name == "logs"
        assert node.freshness_policy is not None
        assert node.check_keys
        assert all(column.description for column in node.metadata["dagster/column_schema"].columns)


def report(**changes: Any) -> gold.RefreshReport:
    found = gold.RefreshReport("logs", 7, 2, (YESTERDAY, TODAY), rows={"errors_day": 3})
    found.results = [NodeResult(BAD, True, "pass", "", 0, 0.1)]
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def run(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch, answer: Any, **options: Any
) -> tuple[Any, list[Any]]:
    """One run of the job with a stand-in for the refresh; its calls."""
    calls: list[Any] = []

    def refresh(_settings: object, contract: Any, day: Any, *, only: Any, progress: Any) -> gold.RefreshReport:
        progress("published errors_day, 3 rows", 9, 9)
        calls.append((contract.system, day, only))
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    monkeypatch.setattr(gold, "refresh", refresh)
    job = defs.resolve_job_def(options.pop("job", gold_job("logs")))
    done = job.execute_in_process(instance=instance, partition_key=TODAY, raise_on_error=False, **options)
    return done, calls


def test_a_refresh_reports_every_day_that_it_touched(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, calls = run(instance, monkeypatch, report())
    assert done.success
    assert calls == [("logs", None, {mart_of(key) for key in KEYS})]
    made = {(e.asset_key, e.partition) for e in done.all_events if e.is_step_materialization}
    assert made == {(key, day) for key in KEYS for day in (YESTERDAY, TODAY)}
    assert [e.passed for e in done.get_asset_check_evaluations()] == [True]


def test_a_mart_whose_index_stands_still_is_an_alert(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    trouble = {"errors_hour": "the index of logs.errors_hour was filled from another lake"}
    found = report(documents={"errors_minute": 3}, index_errors=trouble, index_error=trouble["errors_hour"])
    done, _ = run(instance, monkeypatch, found)
    made = {mart_of(e.asset_key): e.materialization.metadata for e in done.all_events if e.is_step_materialization}
    assert {name for name, metadata in made.items() if "index_trouble" in metadata} == {"errors_hour"}
    with closing(AlertService(Settings.load(), "logs", index=False)) as alert_service:
        (alert,) = alert_service.alerts()
        assert (alert.rule, alert.state) == ("index_behind", "open")
        assert alert.summary.startswith("logs.errors_hour: the index of ")


def test_by_hand_the_day_is_recomputed(instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    one = AssetKey(["gold", "logs", "gold_errors_day"])
    done, calls = run(instance, monkeypatch, report(), job="__ASSET_JOB", asset_selection=[one])
    assert done.success
    assert calls == [("logs", datetime.fromisoformat(TODAY).date(), {"errors_day"})]


def test_a_failed_test_is_told_and_nothing_is_made(instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = BuildFailed("logs", [NodeResult(BAD, True, "fail", "Got 1 result", 1, 0.1)])
    done, _ = run(instance, monkeypatch, failed)
    assert not done.success
    assert not [e for e in done.all_events if e.is_step_materialization]
    assert [(e.check_name, e.passed) for e in done.get_asset_check_evaluations()] == [(BAD, False)]


def test_the_sensor_asks_when_silver_is_ahead(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    context, now = build_sensor_context(instance=instance), datetime.now(UTC)
    assert isinstance(next_refresh(context, LOGS, now), RunRequest)  # never asked before
    run(instance, monkeypatch, report())
    assert isinstance(next_refresh(context, LOGS, now + timedelta(seconds=60)), SkipReason)  # an empty lake
    idle = now + timedelta(seconds=policies.GOLD_IDLE_SECONDS + 60)
    asked = next_refresh(context, LOGS, idle)
    assert isinstance(asked, RunRequest)
    assert asked.partition_key == day_of(idle)
    monkeypatch.setattr("platform_assets.defs.gold._behind", lambda _contract: True)
    assert isinstance(next_refresh(context, LOGS, now + timedelta(seconds=60)), RunRequest)
    run(instance, monkeypatch, BuildFailed("logs", [NodeResult(BAD, True, "fail", "1", 1, 0.1)]))
    assert isinstance(next_refresh(context, LOGS, now + timedelta(seconds=60)), SkipReason)  # not in a hot loop
