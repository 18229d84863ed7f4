"""Dagster for real: web server, daemon and sensor drive ingest runs on the real broker and index, and a person steps in.

One start serves the whole story, because each start takes seconds: the tick, the hand-over, a backfill beside the worker,
a termination, a run that is killed, and the end of every process.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from dagster import AssetCheckKey, AssetRecordsFilter, DagsterEventType, DagsterInstance
from support import alive, event, private_system, publish
from waiting import eventually

from platform_assets.contracts.compat import to_json
from platform_assets.contracts.model import Contract, Table
from platform_assets.core.settings import ENDPOINTS_FILE, SECRETS_FILE, Settings
from platform_assets.defs.checks import LAYER
from platform_assets.defs.policies import ingest_tags
from platform_assets.defs.specs import Layer, key, topic_key
from platform_assets.local.dagster import Dagster, dagster_home, query, start_dagster
from platform_assets.reconcile.state import table_state

pytestmark = pytest.mark.services

LOCATION = """
from pathlib import Path
from platform_assets.contracts.compat import from_json
from platform_assets.defs.build import build_definitions
contract = from_json(Path(__file__).with_name("contract.json").read_text(encoding="utf-8"))
defs = build_definitions({contract.system: contract})
"""


@dataclass
class Platform:
    """A running Dagster with one system's worker."""

    settings: Settings
    contract: Contract
    dagster: Dagster
    instance: DagsterInstance
    began: datetime

    @property
    def today(self) -> str:
        """The day of most events."""
        return self.began.date().isoformat()

    @property
    def yesterday(self) -> str:
        """The day of a few late ones."""
        return (self.began - timedelta(days=1)).date().isoformat()

    @property
    def table(self) -> Table:
        """The only table."""
        return self.contract.tables[0]

    def carry(self, first: int, count: int) -> None:
        """Publish so many new events and wait until silver has them."""
        goal = self.rows() + count
        publish(self.settings, self.table, [event(n) for n in range(first, first + count)])
        eventually(lambda: self.rows() == goal, f"{count} rows more in silver")

    def rows(self) -> int:
        """Rows in silver."""
        return table_state(self.settings, self.table).rows

    def runs(self) -> list[Any]:
        """Ingest runs, the oldest first."""
        records = self.instance.get_run_records()
        return [r for r in reversed(records) if r.dagster_run.job_name == f"{self.contract.system}_ingest"]

    def status(self, run_id: str) -> str:
        """The status of a run."""
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status.value

    def reported(self, layer: Layer, day: str, run_id: str | None = None) -> dict[str, Any]:
        """Figures of a partition's last materialization, by that run if it is named; empty when there is none."""
        wanted = AssetRecordsFilter(asset_key=key(layer, self.table), asset_partitions=[day])
        records = self.instance.fetch_materializations(wanted, limit=100).records
        mine = [r for r in records if run_id in (None, r.run_id)]
        found = mine[0].asset_materialization if mine else None
        return {} if found is None else {name: value.value for name, value in found.metadata.items()}

    def ask(self, text: str) -> Any:
        """A GraphQL query or mutation, with the selector of our location filled in."""
        selector = 'repositoryName: "__repository__", repositoryLocationName: "private"'
        return query(self.dagster.url, text.replace("$SELECTOR", selector))

    def launch_ingest(self) -> str:
        """What a click on Launch does; the run's id."""
        answer = self.ask(
            f'mutation {{ launchRun(executionParams: {{ selector: {{ $SELECTOR, jobName: "{self.contract.system}_ingest" }}, '
            f'executionMetadata: {{ tags: [{{ key: "dagster/partition", value: "{self.today}" }}] }} }}) '
            "{ __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"
        )["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return str(answer["run"]["runId"])

    def launch_rebuild(self) -> None:
        """A backfill of yesterday's silver."""
        path = json.dumps(key(Layer.SILVER, self.table).path)
        answer = self.ask(
            f"mutation {{ launchPartitionBackfill(backfillParams: {{ assetSelection: [{{ path: {path} }}], "
            f'partitionNames: ["{self.yesterday}"] }}) {{ __typename ... on LaunchBackfillSuccess {{ backfillId }} '
            "... on PythonError { message } } }"
        )["launchPartitionBackfill"]
        assert answer["__typename"] == "LaunchBackfillSuccess", answer

    def stop_sensor(self) -> None:
        """The worker's, as a person does: it ticks once a minute, which is no time for a test to wait or to be overtaken."""
        name = f'sensorSelector: {{ $SELECTOR, sensorName: "{self.contract.system}_ingest" }}'
        found = self.ask(f"{{ sensorOrError({name}) {{ ... on Sensor {{ id }} }} }}")["sensorOrError"]["id"]
        answer = self.ask(f'mutation {{ stopSensor(id: "{found}") {{ __typename ... on PythonError {{ message }} }} }}')
        assert answer["stopSensor"]["__typename"] == "StopSensorMutationResult", answer

    def start_sensor(self) -> None:
        """It ticks at once when its last tick was a minute ago."""
        name = f'sensorSelector: {{ $SELECTOR, sensorName: "{self.contract.system}_ingest" }}'
        answer = self.ask(f"mutation {{ startSensor({name}) {{ __typename ... on PythonError {{ message }} }} }}")
        assert answer["startSensor"]["__typename"] == "Sensor", answer


@pytest.fixture(scope="module")
def platform(services: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A system of its own in a home of its own, on the shared services."""
    home = tmp_path_factory.mktemp("dagster")
    (home / ENDPOINTS_FILE).parent.mkdir()
    for name in (SECRETS_FILE, ENDPOINTS_FILE):
        shutil.copy(services.home / name, home / name)
    contract = private_system(services)
    (home / "contract.json").write_text(to_json(contract), encoding="utf-8")
    (home / "private_location.py").write_text(LOCATION, encoding="utf-8")
    module = {"module_name": "private_location", "location_name": "private", "working_directory": str(home)}
    workspace = {"load_from": [{"python_module": module}]}
    (home / "workspace.yaml").write_text(json.dumps(workspace), encoding="utf-8")
    began = datetime.now(UTC)
    late = (began - timedelta(days=1)).isoformat()
    publish(services, contract.tables[0], [event(n) for n in range(200)])
    publish(services, contract.tables[0], [event(n, event_time=late) for n in range(200, 220)] + [b"{poison"])
    dagster = start_dagster(home, workspace=home / "workspace.yaml")
    processes = dagster.processes()
    try:
        with DagsterInstance.from_config(str(dagster_home(home))) as instance:
            yield Platform(Settings.load(home), contract, dagster, instance, began)
    finally:
        processes += dagster.processes()
        dagster.stop()
        assert not [process for process in processes if alive(process)], "orphans"


def test_the_sensor_starts_the_worker_and_it_is_at_work_in_seconds(platform: Platform) -> None:
    run = eventually(platform.runs, "the first ingest run")[0]
    platform.stop_sensor()
    eventually(lambda: platform.rows() == 220, "rows in silver")
    started = platform.instance.all_logs(run.dagster_run.run_id, of_type=DagsterEventType.STEP_START)[0].timestamp
    seconds = started - run.create_timestamp.timestamp()
    print(f"from tick to first step: {seconds:.1f} s")
    assert seconds < 30  # a bound for a crowded machine; the figure itself is the benchmark's matter


def test_a_successor_takes_over_and_every_day_is_reported(platform: Platform) -> None:
    [only] = platform.runs()
    first = only.dagster_run.run_id
    platform.launch_rebuild()  # of yesterday: the next test waits for it, as the daemon looks for such work twice a minute
    second = platform.launch_ingest()
    run = platform.instance.get_run_by_id(second)
    assert run is not None
    assert ingest_tags(platform.contract.system).items() <= run.tags.items()
    platform.carry(300, 50)
    eventually(lambda: platform.status(first) == "SUCCESS", "the hand-over")
    assert platform.status(second) in ("STARTED", "SUCCESS")
    assert platform.reported(Layer.BRONZE, platform.today, first)["ended_by"] == "handed_over"
    assert platform.reported(Layer.SILVER, platform.today, first)["rows"] >= 200
    assert platform.reported(Layer.SILVER, platform.yesterday, first)["rows"] == 20
    assert platform.reported(Layer.INDEX, platform.yesterday, first)["documents"] == 20
    assert platform.reported(Layer.QUARANTINE, platform.today, first)["reasons"] == {"malformed_json": 1}
    path = json.dumps(key(Layer.SILVER, platform.table).path)
    node = platform.ask(
        f"{{ assetNodeOrError(assetKey: {{ path: {path} }}) {{ ... on AssetNode {{ partitionStats {{ numMaterialized }} }} }} }}"
    )
    assert node["assetNodeOrError"]["partitionStats"]["numMaterialized"] == 2  # as the UI shows it
    offsets = platform.reported(Layer.BRONZE, platform.today, first)["offsets"]
    assert sum(end - start for start, end in offsets.values()) >= 221
    assert platform.instance.get_latest_materialization_event(topic_key(platform.table)) is not None
    for check, layer in LAYER.items():
        history = platform.instance.event_log_storage.get_asset_check_execution_history(
            AssetCheckKey(key(layer, platform.table), check.value), limit=10
        )
        verdicts = [execution.status.value for execution in history if execution.run_id == first]
        assert verdicts == ["SUCCEEDED"], check


def test_a_day_is_backfilled_while_the_worker_goes_on(platform: Platform) -> None:
    platform.carry(400, 50)
    eventually(
        lambda: platform.reported(Layer.SILVER, platform.yesterday).get("ended_by") == "rebuild", "the rebuilt day"
    )
    assert platform.reported(Layer.SILVER, platform.yesterday)["rows"] == 20
    assert platform.reported(Layer.INDEX, platform.yesterday)["documents"] == 20


def test_a_terminated_worker_stops_cleanly_and_reports(platform: Platform) -> None:
    run = eventually(
        lambda: [r for r in platform.runs() if r.dagster_run.status.value == "STARTED"], "a worker at work"
    )[-1]
    run_id = run.dagster_run.run_id
    platform.carry(500, 10)
    platform.ask(f'mutation {{ terminateRun(runId: "{run_id}") {{ __typename }} }}')
    eventually(lambda: platform.status(run_id) == "CANCELED", "the end of the run")
    assert platform.reported(Layer.SILVER, platform.today)["ended_by"] == "stopped"


def test_a_killed_run_does_not_stay_at_work(platform: Platform) -> None:
    run_id = platform.launch_ingest()
    eventually(lambda: platform.status(run_id) == "STARTED", "a worker at work")
    workers = [p for p in platform.dagster.processes() if "multiprocessing.spawn" in " ".join(p.cmdline())]
    assert workers
    for worker in workers:
        worker.kill()
    eventually(lambda: platform.status(run_id) == "FAILURE", "the failure")
    platform.start_sensor()
    platform.carry(600, 10)  # by the run of the next tick
    assert platform.dagster.problem() is None


KILLED = """
import sys, time
from pathlib import Path
from platform_assets.local.dagster import start_dagster
dagster = start_dagster(Path(sys.argv[1]))
print(dagster.url, *[process.pid for process in dagster.processes()], flush=True)
time.sleep(600)
"""
LOCATIONS = "{ workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError { __typename } } } } }"


def test_the_projects_own_definitions_are_served_and_nothing_outlives_a_killed_command(tmp_path: Path) -> None:
    """Loading them is not enough: a code server sends them to web server and daemon, which refuses what it cannot write."""
    command = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert command.stdout is not None
    said = command.stdout.readline().split()
    assert said, f"it ended with code {command.wait()}"
    processes = [psutil.Process(int(pid)) for pid in said[1:]]
    assert len(processes) >= 7  # supervisor, two code servers with a proxy each, web server, daemon
    entries = query(said[0], LOCATIONS)["workspaceOrError"]["locationEntries"]
    loaded = {entry["name"]: entry["locationOrLoadError"]["__typename"] for entry in entries}
    assert loaded == {"assay": "RepositoryLocation", "gold": "RepositoryLocation"}
    command.kill()
    command.wait()
    eventually(lambda: not any(map(alive, processes)), "the end of all")
