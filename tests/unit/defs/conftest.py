"""A Dagster instance with the project's own settings, and the stand-ins of `shop_system` put in place."""

from __future__ import annotations

import shutil
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest
from dagster import DagsterInstance
from shop_system import AlertServices, Rebuilt, State

from platform_assets.contracts.model import Contract, Table
from platform_assets.ingest.report import IngestReport
from platform_assets.local.dagster import dagster_home, prepare_dagster_home

A_TEST_S = 30
A_DAY_S = 86_400


@pytest.fixture(autouse=True)
def _one_day() -> None:
    """Tests ask what their runs said of today: one that would run into midnight begins with the next day."""
    if (left := A_DAY_S - time.time() % A_DAY_S) < A_TEST_S:
        time.sleep(left)


@pytest.fixture
def alert_services(monkeypatch: pytest.MonkeyPatch) -> AlertServices:
    """Worker, rebuild and state of the platform, replaced by stand-ins."""
    found = AlertServices()

    class Worker:
        def __init__(self, settings: object, contract: Contract) -> None:
            self._system = contract.system

        def follow(self, *, max_seconds: float, stop: threading.Event, on_commit: Callable[..., None]) -> IngestReport:
            return self._run("follow", stop, on_commit)

        def drain(self, *, stop: threading.Event, on_commit: Callable[..., None]) -> IngestReport:
            return self._run("drain", stop, on_commit)

        def _run(self, how: str, stop: threading.Event, on_commit: Callable[..., None]) -> IngestReport:
            found.calls.append((how, self._system))
            found.work(stop, on_commit)
            report = found.report()
            if stop.is_set():
                report.reason = "stopped"
            return report

    def rebuild(settings: object, table: Table, day: date, progress: Callable[[str, int], None]) -> Rebuilt:
        found.calls.append(("rebuild", table.name, day.isoformat()))
        found.rebuild()
        progress("rows", 12)
        return Rebuilt(table.name, day, {f"{day}T00": 11})

    def table_state(settings: object, table: Table, *, services: bool = False) -> State:
        return found.states.get(table.name, State())

    modules: dict[str, dict[str, object]] = {
        "ingest.worker": {"Worker": Worker},
        "ingest.rebuild": {"rebuild": rebuild},
        "reconcile.state": {"table_state": table_state},
    }
    for name, members in modules.items():
        module = types.ModuleType(f"platform_assets.{name}")
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return found


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose Dagster tables are made already: making them takes longer than most tests."""
    home = tmp_path_factory.mktemp("dagster")
    with DagsterInstance.from_config(str(prepare_dagster_home(home))) as instance:
        instance.get_asset_keys()
        instance.get_runs_count()
        instance.all_instigator_state()
    return home


@pytest.fixture
def instance(empty_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DagsterInstance]:
    """A real instance on SQLite with the settings of `deploy/dagster/dagster.yaml`."""
    monkeypatch.setenv("ASSAY_HOME", str(tmp_path))
    shutil.copytree(dagster_home(empty_home), dagster_home(tmp_path))
    with DagsterInstance.from_config(str(dagster_home(tmp_path))) as found:
        yield found
