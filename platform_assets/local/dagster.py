"""Dagster on one machine: its home folder, its web server and its daemon, and no process left behind.

Belongs here: instance settings into a home, starting, watching and ending Dagster's processes. Does not: what Dagster runs
(`platform_assets/defs`), nor the services it talks to (`supervisor.py`).

`python -m platform_assets.local.dagster HOME PORT WORKSPACE PARENT` owns the processes. It adopts whatever they leave
behind (code servers, runs), so that it can end them all, and it ends when its parent does.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import yaml

from platform_assets.errors import AssayError
from platform_assets.local.crashes import Crashes
from platform_assets.local.files import locked, make_folder, tail, write_text
from platform_assets.settings import inherited_environment

HOST = "127.0.0.1"
OUTPUT = "output"
"""Folder of the processes' logs. Not `logs`: whatever lies in `$DAGSTER_HOME/logs` is sent to Dagster's telemetry and deleted,
even when `telemetry` is disabled in the settings; only the environment variable set below stops that."""
USUAL_PORT = 3000
START_SECONDS = 120.0
STOP_SECONDS = 25.0
"""A lane that is told to stop commits what it holds; after this the rest is killed."""
LOG_BYTES = 16 * 1024 * 1024
_PROJECT = Path(__file__).parents[2]
_LAUNCHER = Path(__file__).with_name("launcher.py")
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_HEALTH = """{
  instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } }
  workspaceOrError { ... on Workspace { locationEntries {
    name locationOrLoadError { __typename ... on PythonError { message } }
  } } }
}"""

log = logging.getLogger("assay.dagster")


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
        with contextlib.suppress(psutil.NoSuchProcess):
            top = psutil.Process(self.supervisor.pid)
            return _living([top, *top.children(recursive=True)])
        return []

    def problem(self) -> str | None:
        """What keeps it from being healthy: a daemon without heartbeat, a code location that does not load; None if nothing."""
        try:
            answer = query(self.url, _HEALTH)
        except (OSError, ValueError) as error:
            return f"the web server does not answer ({error})"
        for entry in answer["workspaceOrError"]["locationEntries"]:
            location = entry["locationOrLoadError"]
            if location is None:
                return f"the code location {entry['name']} is loading"
            if location["__typename"] == "PythonError":
                return f"the code location {entry['name']} does not load: {location['message'].strip()[:500]}"
        statuses = answer["instance"]["daemonHealth"]["allDaemonStatuses"]
        silent = [s["daemonType"].lower() for s in statuses if s["required"] and not s["healthy"]]
        return f"no heartbeat yet of {', '.join(silent)}" if silent else None

    def stop(self) -> None:
        """End every process of it, runs included; lanes commit what they hold."""
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


def start_dagster(
    home: Path, port: int | None = None, *, workspace: Path | None = None, timeout_seconds: float = START_SECONDS
) -> Dagster:
    """Start web server and daemon for a home and wait until both and the code location are healthy.

    `port` None: 3000, or any free one. `workspace` None: the project's own `workspace.yaml`.
    Call it from the main thread: Dagster ends with the thread that started it.
    Raises AssayError when it is not healthy in time, with the end of the log that tells why.
    """
    folder = prepare_dagster_home(home)
    chosen = free_port(port)
    loaded = (workspace or _PROJECT / "workspace.yaml").absolute()
    command = [sys.executable, "-m", __name__, str(home.absolute()), str(chosen), str(loaded), str(os.getpid())]
    with _append(folder / OUTPUT / "supervisor.log") as output:
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
    deadline = time.monotonic() + timeout_seconds
    while (problem := dagster.problem()) is not None:
        if not dagster.alive():
            raise AssayError(
                f"Dagster ended while starting: {_last_words(folder)}", f"its logs are in {folder / OUTPUT}"
            )
        if time.monotonic() > deadline:
            dagster.stop()
            raise AssayError(f"Dagster is not healthy: {problem}", f"its logs are in {folder / OUTPUT}")
        time.sleep(0.5)
    return dagster


def _environment(home: Path) -> dict[str, str]:
    return {
        # Dagster looks at 5 failed runs a tick: a bad backfill would be told of for hours.
        "DAGSTER_RUN_STATUS_SENSOR_PROCESS_LIMIT": "50",
        "DAGSTER_RUN_STATUS_SENSOR_FETCH_LIMIT": "100",
        **os.environ,
        **inherited_environment(),
        "ASSAY_HOME": str(home.absolute()),
        "DAGSTER_HOME": str(dagster_home(home)),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
    }


def _last_words(folder: Path) -> str:
    for path in sorted((folder / OUTPUT).glob("*.log"), key=lambda path: path.stat().st_mtime, reverse=True):
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


def _append(path: Path) -> Any:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


@dataclass(frozen=True)
class CodeServer:
    """A process that loads a code location for web server and daemon alike, and whose children the runs are.

    Left to themselves both would start a server of their own, and the daemon a new one each minute: it takes its servers
    for stale after that time, and importing Dagster costs seconds.
    """

    module: str
    name: str
    folder: str | None
    port: int

    def command(self) -> list[str]:
        """Its command line."""
        place = ["-d", self.folder] if self.folder else []
        listen = ["-h", HOST, "-p", str(self.port), "--location-name", self.name, "--log-level", "warning"]
        return [_script("dagster"), "code-server", "start", "-m", self.module, *place, *listen]


def code_servers(workspace: Path) -> list[CodeServer]:
    """One for each `python_module` of a workspace file, on a free port. Raises AssayError for anything else in it."""
    servers = []
    for entry in yaml.safe_load(workspace.read_text(encoding="utf-8"))["load_from"]:
        module = entry.get("python_module")
        if not isinstance(module, dict):
            raise AssayError(f"{workspace}: only python_module entries are started here", "list others by themselves")
        name = str(module.get("location_name", module["module_name"]))
        servers.append(CodeServer(module["module_name"], name, module.get("working_directory"), free_port(0)))
    return servers


def _script(name: str) -> str:
    """A command of the environment that we run in."""
    return str(Path(sys.executable).with_name(name))


class Supervisor:
    """Owns code servers, web server and daemon: starts them, starts them again when they crash, and ends everything."""

    def __init__(self, home: Path, port: int, workspace: Path) -> None:
        self._home = dagster_home(home)
        self._logs = self._home / OUTPUT
        self._servers = code_servers(workspace)
        loaded = self._home / "workspace.yaml"
        entries = [{"grpc_server": {"host": HOST, "port": s.port, "location_name": s.name}} for s in self._servers]
        write_text(loaded, yaml.safe_dump({"load_from": entries}))
        self._commands = {f"code-{server.name}": server.command() for server in self._servers} | {
            "webserver": [_script("dagster-webserver"), "-h", HOST, "-p", str(port), "-w", str(loaded)],
            "daemon": [_script("dagster-daemon"), "run", "-w", str(loaded)],
        }
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._crashes: defaultdict[str, Crashes] = defaultdict(Crashes)
        self._long: set[str] = set()
        self._ending = False

    def run(self) -> int:
        """Until SIGTERM or SIGINT, or too many crashes; returns an exit code."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._end)
        try:
            self._create_storage()
            while not self._ending:
                for name in self._commands:
                    if name in ("webserver", "daemon") and not all(_listens(server.port) for server in self._servers):
                        continue  # they do not look again for a code server that was not there
                    if not self._watch(name):
                        return 1
                self._reap()
                self._shorten_logs()
                time.sleep(1.0)
            return 0
        finally:
            self._end_all()

    def _create_storage(self) -> None:
        """Once for a new home: code servers that start together would all create the same SQLite tables, and fail."""
        if not (self._home / "schedules").exists():
            with _append(self._logs / "storage.log") as output:
                subprocess.run([_script("dagster"), "instance", "migrate"], check=True, stdout=output, stderr=output)  # noqa: S603

    def _end(self, number: int, _frame: FrameType | None) -> None:
        log.info("got %s", signal.Signals(number).name)
        self._ending = True

    def _watch(self, name: str) -> bool:
        """Start what does not run; False when it crashed too often."""
        child = self._children.get(name)
        if child is not None and child.poll() is None:
            return True
        if child is not None:
            crashes = self._crashes[name].add(time.monotonic())
            log.error("%s ended with code %d: %s", name, child.returncode, tail(self._logs / f"{name}.log", 1))
            if self._crashes[name].too_many:
                log.error("%s crashed %d times, giving up", name, crashes)
                return False
        # The launcher has the kernel kill the process should we be killed.
        launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getuid()), str(os.getgid()), str(os.getpid())]
        with _append(self._logs / f"{name}.log") as output:
            self._children[name] = subprocess.Popen(  # noqa: S603 (the arguments are ours)
                [*launcher, *self._commands[name]], stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        log.info("started %s, process %d", name, self._children[name].pid)
        return True

    def _reap(self) -> None:
        """Bury adopted processes that have ended."""
        known = {child.pid for child in self._children.values()}
        for process in psutil.Process().children():
            with contextlib.suppress(psutil.NoSuchProcess, ChildProcessError):
                if process.pid not in known and process.status() == psutil.STATUS_ZOMBIE:
                    os.waitpid(process.pid, os.WNOHANG)

    def _shorten_logs(self) -> None:
        """Of what is written for as long as we run; the copies themselves are left alone."""
        for name in ("supervisor", *self._commands):
            path = self._logs / f"{name}.log"
            try:
                if path.exists() and path.stat().st_size > LOG_BYTES:
                    shutil.copy2(path, path.with_suffix(".1.log"))
                    os.truncate(path, 0)
                self._long.discard(name)
            except OSError as error:
                if name not in self._long:  # it is tried each second
                    log.warning("cannot shorten %s: %s", path, error)
                self._long.add(name)

    def _end_all(self) -> None:
        """Ask every descendant to end, and kill what has not after a while; new ones may appear meanwhile."""
        deadline = time.monotonic() + STOP_SECONDS
        asked: set[int] = set()
        while alive := _living(psutil.Process().children(recursive=True)):
            for process in alive:
                with contextlib.suppress(psutil.NoSuchProcess):
                    if time.monotonic() > deadline:
                        process.kill()
                    elif process.pid not in asked:
                        process.terminate()
                        asked.add(process.pid)
            time.sleep(0.1)
            for child in self._children.values():
                child.poll()
            self._reap()
        log.info("ended")


def _living(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Those that are neither gone nor zombies."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


def _bind_to_parent(parent: int) -> None:
    """End with the parent, and adopt the orphans of our children. Linux only; elsewhere `stop` is what ends us."""
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        if os.getppid() != parent:
            sys.exit("the parent is gone")


def main(arguments: Sequence[str]) -> int:
    """Own the processes of HOME on PORT with WORKSPACE until told to end or PARENT has ended; an exit code."""
    home, port, workspace, parent = Path(arguments[0]), int(arguments[1]), Path(arguments[2]), int(arguments[3])
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    _bind_to_parent(parent)
    with locked(dagster_home(home) / "lock", wait=False) as ours:
        if not ours:
            log.error("Dagster runs for %s already", home)
            return 1
        return Supervisor(home, port, workspace).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
