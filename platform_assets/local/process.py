"""Starting and ending one server process.

Belongs here: spawning under the launcher, stopping, telling whether a process id is still the process we mean.
Does not: when to do so (`supervisor.py`), or with which arguments (`kafka.py`, `opensearch.py`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import psutil

from platform_assets.core.settings import variable
from platform_assets.local.layout import RunAs
from platform_assets.local.patience import Patience, family, work

_LAUNCHER = Path(__file__).with_name("launcher.py")


@dataclass(frozen=True)
class Command:
    """A server's command line and where it runs. Arguments are visible to every user: no secret belongs in them.

    `environment` is what the server gets besides a path, a language and a home. `append`: its output follows that of its last
    start; otherwise it replaces it, and one older output is kept.
    """

    arguments: Sequence[str]
    cwd: Path
    output: Path
    home: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    append: bool = False


@dataclass(frozen=True)
class ProcessId:
    """A process id with its start as the kernel counts it, and which boot that was: ids are reused, the three are not."""

    pid: int
    started: float
    boot: str = ""

    @classmethod
    def of(cls, pid: int) -> ProcessId:
        """The identity of a running process. Raises psutil.NoSuchProcess."""
        # What psutil itself knows a process again by: the public `create_time` moves when the clock is set.
        _, started = psutil.Process(pid)._ident  # type: ignore[attr-defined]
        return cls(pid, started, _boot())

    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        try:
            return ProcessId.of(self.pid) == self and psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if it still runs."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


@cache
def _boot() -> str:
    """Linux counts a start from the boot. Elsewhere it is a time of day, which is never again."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


def spawn(command: Command, user: RunAs) -> subprocess.Popen[bytes]:
    """Start a server as `user`; it dies with the calling thread's process.

    Only the main thread may call this: the kernel ties the child to the *thread* that forked it.
    """
    environment = {"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": str(command.home), **command.environment}
    if zone := variable("TZ"):
        environment["TZ"] = zone
    launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(user.uid), str(user.gid), str(os.getpid())]
    if command.output.exists() and not command.append:
        command.output.replace(command.output.with_suffix(".1.out"))
    # Appending, so that the file may be shortened while it is written.
    descriptor = os.open(command.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(  # noqa: S603 (the arguments are ours)
            [*launcher, *command.arguments],
            cwd=command.cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=subprocess.STDOUT,
            # A Ctrl-C in the terminal reaches the supervisor only, which then ends its children in order.
            start_new_session=True,
        )
    finally:
        os.close(descriptor)


def stop(process: subprocess.Popen[bytes], quiet_s: float) -> None:
    """Ask a child to end, and kill it when it has not used the processor for `quiet_s` seconds."""
    process.terminate()
    patience = Patience(lambda: work(family(process.pid), quiet_s), quiet_s)
    while not patience.exhausted():
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.2)
            return
    process.kill()
    process.wait()
