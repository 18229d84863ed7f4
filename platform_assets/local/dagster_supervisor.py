"""The process that owns Dagster's processes on one machine: code servers, web server, daemon, and the runs below them.

Belongs here: starting them, starting them again when they crash, ending them. Does not: what a person does with Dagster
(`dagster.py`).

`python -m platform_assets.local.dagster_supervisor HOME PORT WORKSPACE PARENT` is what `start_dagster` starts. It adopts
whatever its processes leave behind (code servers, runs), so that it can end them all, and it ends when its parent does.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import psutil
import yaml

from platform_assets.core.errors import AssayError
from platform_assets.core.files import locked, tail, write_text
from platform_assets.local.crashes import Crashes
from platform_assets.local.dagster import HOST, OUTPUT, append_to, dagster_home, free_port
from platform_assets.local.patience import Patience, living, work

STOP_QUIET_SECONDS = 25.0
"""A worker that is told to stop commits what it holds; processes that do nothing for so long are killed."""
LOG_BYTES = 16 * 1024 * 1024
_LAUNCHER = Path(__file__).with_name("launcher.py")
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36

log = logging.getLogger("assay.dagster")


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
            with append_to(self._logs / "storage.log") as output:
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
        with append_to(self._logs / f"{name}.log") as output:
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
        patience = Patience(lambda: work(_descendants(), STOP_QUIET_SECONDS), STOP_QUIET_SECONDS)
        asked: set[int] = set()
        while alive := _descendants():
            overdue = patience.exhausted()
            for process in alive:
                with contextlib.suppress(psutil.NoSuchProcess):
                    if overdue:
                        process.kill()
                    elif process.pid not in asked:
                        process.terminate()
                        asked.add(process.pid)
            time.sleep(0.1)
            for child in self._children.values():
                child.poll()
            self._reap()
        log.info("ended")


def _descendants() -> list[psutil.Process]:
    """Our children, and theirs, that still run."""
    return living(psutil.Process().children(recursive=True))


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
