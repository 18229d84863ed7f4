"""Dagster on one machine: its home folder, and starting, asking and ending it.

Belongs here: instance settings into a home, waiting until Dagster is healthy. Does not: owning its processes
(`dagster_processes.py`), what Dagster runs (`platform_assets/defs`), nor the services it talks to (`services.py`).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from platform_assets.core.errors import AssayError
from platform_assets.core.files import make_folder, tail, write_text
from platform_assets.core.settings import child_environment, variable
from platform_assets.local.patience import Patience, family, living, sizes, work
from platform_assets.local.progress import Tell, waiting_for

HOST = "127.0.0.1"
OUTPUT = "output"
"""Folder of the processes' logs. Not `logs`: whatever lies in `$DAGSTER_HOME/logs` is sent to Dagster's telemetry and deleted,
even when `telemetry` is disabled in the settings; only the environment variable set below stops that."""
USUAL_PORT = 3000
STUCK_SECONDS = 600.0
"""A start during which one and the same problem stays for so long has failed, however busy the processes are."""
NOT_LOADING = "does not load"
BROKEN_SECONDS = 20.0
"""A code location that does not load is asked for so long: its server may only just have come up."""
_PROJECT = Path(__file__).parents[2]
_HEALTH = """{
  instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } }
  workspaceOrError { ... on Workspace { locationEntries {
    name locationOrLoadError { __typename ... on PythonError { message } }
  } } }
}"""


def dagster_home(home: Path) -> Path:
    """`<home>/dagster`, what `$DAGSTER_HOME` has to be."""
    return home.absolute() / "dagster"


def prepare_dagster_home(home: Path) -> Path:
    """Write the instance settings into `<home>/dagster` and return it. Raises AssayError outside a checkout."""
    template = _PROJECT / "deploy" / "dagster" / "dagster.yaml"
    if not template.is_file():
        raise AssayError(f"{template} is not there", "Dagster is started from a checkout of the project")
    folder = make_folder(dagster_home(home), 0o700)
    make_folder(folder / OUTPUT, 0o700)
    write_text(folder / "dagster.yaml", template.read_text(encoding="utf-8"))
    return folder


@dataclass
class Dagster:
    """Dagster as it runs for a home. `stop` ends it; so does the end of the process that started it."""

    home: Path
    port: int
    supervisor: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Where the UI is."""
        return f"http://{HOST}:{self.port}"

    def alive(self) -> bool:
        """Whether it still runs."""
        return self.supervisor.poll() is None

    def processes(self) -> list[psutil.Process]:
        """Every process of it: supervisor, web server, daemon, code servers, runs."""
        return living(family(self.supervisor.pid))

    def problem(self) -> str | None:
        """What keeps it from being healthy: a daemon without heartbeat, a code location that does not load; None if nothing."""
        try:
            answer = query(self.url, _HEALTH)
        except (OSError, ValueError) as error:
            if isinstance(getattr(error, "reason", error), ConnectionRefusedError):  # urllib wraps it
                return "the web server does not listen yet"
            return f"the web server does not answer ({error})"
        for entry in answer["workspaceOrError"]["locationEntries"]:
            location = entry["locationOrLoadError"]
            if location is None:
                return f"the code location {entry['name']} is loading"
            if location["__typename"] == "PythonError":
                return f"the code location {entry['name']} {NOT_LOADING}: {location['message'].strip()[:500]}"
        statuses = answer["instance"]["daemonHealth"]["allDaemonStatuses"]
        silent = [s["daemonType"].lower() for s in statuses if s["required"] and not s["healthy"]]
        return f"no heartbeat yet of {', '.join(silent)}" if silent else None

    def stop(self) -> None:
        """End every process of it, runs included; workers commit what they hold."""
        if self.alive():
            self.supervisor.terminate()
        self.supervisor.wait()


def query(url: str, text: str) -> Any:
    """The data of a GraphQL query. Raises OSError when nobody answers, ValueError when the query is refused."""
    body = json.dumps({"query": text}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"Content-Type": "application/json"})  # noqa: S310 (loopback)
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
        answer = json.load(response)
    if answer.get("errors"):
        raise ValueError(answer["errors"][0]["message"])
    return answer["data"]


def start_dagster(home: Path, port: int | None = None, *, workspace: Path | None = None) -> Dagster:
    """Start web server and daemon for a home and wait until both and the code locations are healthy.

    `port` None: 3000, or any free one. `workspace` None: the project's own `workspace.yaml`.
    Call it from the main thread: Dagster ends with the thread that started it.
    Raises AssayError when it ends, or makes no progress any more, with the end of the log that tells why.
    """
    folder = prepare_dagster_home(home)
    chosen = free_port(port)
    loaded = (workspace or _PROJECT / "workspace.yaml").absolute()
    command = [
        sys.executable,
        "-m",
        f"{__name__}_processes",
        str(home.absolute()),
        str(chosen),
        str(loaded),
        str(os.getpid()),
    ]
    with append_to(folder / OUTPUT / "supervisor.out") as output:
        supervisor = subprocess.Popen(  # noqa: S603 (the arguments are ours)
            command,
            cwd=_PROJECT,
            env=_environment(home),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C reaches the command only, which then stops us in order
        )
    dagster = Dagster(home.absolute(), chosen, supervisor)
    try:
        with waiting_for("Starting Dagster") as tell:
            _await_healthy(dagster, folder / OUTPUT, tell)
    except BaseException:
        dagster.stop()
        raise
    return dagster


def _await_healthy(dagster: Dagster, logs: Path, tell: Tell) -> None:
    problem: str | None = None
    # Heartbeats and polling use the processor too, so a problem that never changes is no progress however busy they are.
    patience = Patience(lambda: (problem, sizes(_outputs(logs)), work(dagster.processes())))
    stuck = Patience(lambda: problem, STUCK_SECONDS)
    broken = Patience(lambda: problem, BROKEN_SECONDS)
    while (problem := dagster.problem()) is not None:
        if not dagster.alive():
            raise AssayError(f"Dagster ended while starting: {_last_words(logs)}", f"its logs are in {logs}")
        if patience.exhausted() or stuck.exhausted() or (NOT_LOADING in problem and broken.exhausted()):
            raise AssayError(
                f"Dagster is not healthy after {patience.waited():.0f} s: {problem}", f"its logs are in {logs}"
            )
        tell(problem)
        time.sleep(0.5)


def _environment(home: Path) -> dict[str, str]:
    ours = {
        # Dagster looks at 5 failed runs a tick: a bad backfill would be told of for hours.
        "DAGSTER_RUN_STATUS_SENSOR_PROCESS_LIMIT": variable("DAGSTER_RUN_STATUS_SENSOR_PROCESS_LIMIT") or "50",
        "DAGSTER_RUN_STATUS_SENSOR_FETCH_LIMIT": variable("DAGSTER_RUN_STATUS_SENSOR_FETCH_LIMIT") or "100",
        "ASSAY_HOME": str(home.absolute()),
        "DAGSTER_HOME": str(dagster_home(home)),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
    }
    return child_environment(ours)


def _outputs(logs: Path) -> list[Path]:
    return sorted([*logs.glob("*.log"), *logs.glob("supervisor.out")])


def _last_words(logs: Path) -> str:
    for path in sorted(_outputs(logs), key=lambda path: path.stat().st_mtime, reverse=True):
        if said := tail(path, 1):
            return said
    return "it said nothing"


def free_port(port: int | None, usual: int = USUAL_PORT) -> int:
    """`port`, or when it is None the usual one or any. Raises AssayError when the one asked for is taken."""
    for candidate in (usual, 0) if port is None else (port,):
        with contextlib.closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, candidate))
                return int(probe.getsockname()[1])
    raise AssayError(f"port {port} is taken", "choose another one")


def append_to(path: Path) -> Any:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
