"""Dagster's processes of one home as declared processes: code servers, web server, daemon, and the runs below them.

Belongs here: their command lines, order and readiness. Does not belong here: the life of processes in general
(`supervisor.py`), what a person does with Dagster (`dagster.py`).

`python -m platform_assets.local.dagster_processes HOME PORT WORKSPACE OWNER` is what `start_dagster` starts. It adopts
whatever its processes leave behind (code servers, runs), so that it can end them all, and it ends when its owner does.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml

from platform_assets.core.errors import AssayError
from platform_assets.core.files import locked, write_text
from platform_assets.core.settings import child_environment
from platform_assets.local.dagster import HOST, OUTPUT, append_to, dagster_home, free_port
from platform_assets.local.layout import RunAs
from platform_assets.local.process import Command, ProcessId
from platform_assets.local.supervisor import Child, Restart, Supervisor, log_to, owner_of

STOP_QUIET_SECONDS = 25.0
"""A worker that is told to stop commits what it holds; processes that do nothing for so long are killed."""
_LOOK_S = 1.0
_RESTART = Restart(before_ready=True, essential=True)

log = logging.getLogger("assay.supervisor")


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


def supervisor(home: Path, port: int, workspace: Path, owner: ProcessId | None = None) -> Supervisor:
    """The owner of Dagster's processes.

    Web server and daemon wait for the code servers: they do not look again for one that was not there.
    """
    folder, servers = dagster_home(home), code_servers(workspace)
    loaded = folder / "workspace.yaml"
    entries = [{"grpc_server": {"host": HOST, "port": s.port, "location_name": s.name}} for s in servers]
    write_text(loaded, yaml.safe_dump({"load_from": entries}))
    names = [f"code-{server.name}" for server in servers]
    children = [
        *(
            _child(folder, name, server.command(), partial(_listens, server.port))
            for name, server in zip(names, servers, strict=True)
        ),
        _child(
            folder,
            "webserver",
            [_script("dagster-webserver"), "-h", HOST, "-p", str(port), "-w", str(loaded)],
            after=names,
        ),
        _child(folder, "daemon", [_script("dagster-daemon"), "run", "-w", str(loaded)], after=names),
    ]

    def prepare() -> list[Child]:
        _create_storage(folder)
        return children

    ourselves = RunAs(os.geteuid(), os.getegid(), "")
    return Supervisor(prepare, ourselves, STOP_QUIET_SECONDS, _LOOK_S, owner=owner, adopts=True)


def _child(
    folder: Path, name: str, arguments: list[str], ready: Callable[[], bool] = lambda: True, after: Sequence[str] = ()
) -> Child:
    output = folder / OUTPUT / f"{name}.log"
    command = Command(arguments, Path.cwd(), output, folder, child_environment({}), append=True)
    return Child(name, lambda: command, ready, output, output, after, _RESTART)


def _create_storage(folder: Path) -> None:
    """Once for a new home: code servers that start together would all create the same SQLite tables, and fail."""
    if not (folder / "schedules").exists():
        with append_to(folder / OUTPUT / "storage.log") as output:
            subprocess.run([_script("dagster"), "instance", "migrate"], check=True, stdout=output, stderr=output)  # noqa: S603


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


def main(arguments: Sequence[str]) -> int:
    """Own the processes of HOME on PORT with WORKSPACE until told to end or OWNER has ended; an exit code."""
    home, port, workspace = Path(arguments[0]), int(arguments[1]), Path(arguments[2])
    owner = owner_of(arguments, 3)
    log_to(dagster_home(home) / OUTPUT)
    with locked(dagster_home(home) / "lock", wait=False) as ours:
        if not ours:
            log.error("Dagster runs for %s already", home)
            return 1
        return supervisor(home, port, workspace, owner).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
