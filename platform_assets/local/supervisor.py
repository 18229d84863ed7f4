"""The owner of server processes: starts a declared list of them in order, restarts what crashes, ends them all.

Belongs here: the life of the processes, whatever they are. Does not belong here: which there are, and when they are ready
(`services.py`, `dagster_processes.py`); starting and stopping a single one (`process.py`).

Libraries were looked at: circus, honcho and supervisord know neither readiness nor a child that dies with its supervisor.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import FrameType

import psutil

from platform_assets.core.errors import AssayError
from platform_assets.core.files import tail
from platform_assets.local.crashes import Crashes
from platform_assets.local.layout import RunAs
from platform_assets.local.patience import Patience, family, living, sizes, work
from platform_assets.local.process import Command, ProcessId, spawn
from platform_assets.local.state import Phase, ServiceState

log = logging.getLogger("assay.supervisor")

OUTPUT_BYTES = 16 * 1024 * 1024
"""A longer output of a process is moved into one copy, and begins anew."""
_MAX_BACKOFF_S = 30
_PR_SET_CHILD_SUBREAPER = 36


class Ended(Exception):
    """A signal asked us to stop, or our owner has ended."""


@dataclass(frozen=True)
class Restart:
    """What follows when a process ends by itself: a start after 1, 2, 4 ... seconds, at most five in ten minutes.

    `before_ready`: also one that was never ready; otherwise that is an error, which ends all. `essential`: all end when it is
    given up; otherwise the others go on without it.
    """

    before_ready: bool = False
    essential: bool = False


@dataclass
class Child:
    """A process: what it is, and how it is now.

    `command` prepares a start. `ready` makes a step towards readiness and tells whether it is reached, or raises AssayError with
    the reason why not. `after` names the processes that have to be ready before this one is started.
    """

    name: str
    command: Callable[[], Command]
    ready: Callable[[], bool]
    log: Path
    output: Path
    after: Sequence[str] = ()
    restart: Restart = field(default_factory=Restart)
    process: subprocess.Popen[bytes] | None = None
    healthy: bool = False
    crashes: Crashes = field(default_factory=Crashes)
    starts: int = 0
    not_before: float = 0.0
    given_up: bool = False
    trouble: str = ""
    """Why it was not ready when it was asked last."""

    def state(self) -> ServiceState:
        """As it is written to a state file."""
        restarts = max(self.starts - 1, 0)
        running = self.process is not None and self.process.poll() is None
        word = "failed" if self.given_up else "healthy" if self.healthy else "starting" if running else "down"
        with contextlib.suppress(psutil.NoSuchProcess):
            identity = ProcessId.of(self.process.pid) if running and self.process else None
            return ServiceState(word, identity, restarts, str(self.log), "" if self.healthy else self.trouble)
        return ServiceState("down", None, restarts, str(self.log), self.trouble)

    def signs(self) -> object:
        """What changes as long as the process makes progress."""
        running = family(self.process.pid) if self.process is not None else []
        return self.healthy, self.trouble, sizes([self.log, self.output]), work(running)

    def last_words(self) -> str:
        """The line of its output that most likely says why it ended."""
        for path in (self.output, self.log):
            lines = tail(path, 60).splitlines()
            telling = [line for line in lines if not line.lstrip().startswith(("at ", "..."))]
            causes = [line for line in telling if "Exception" in line or "ERROR" in line or "error" in line.lower()]
            if causes or telling:
                return (causes or telling)[-1].strip()[:300]
        return "it said nothing"


@dataclass
class Supervisor:
    """Runs processes until it is told to stop, or its `owner` has ended. Main thread only.

    `prepare` returns the processes in the order of their start; it may take long. `started` is called once when all are ready.
    `tell` gets every change of the whole; an OSError of it keeps nobody from working. `adopts`: whatever the processes
    leave behind becomes ours, and ends with us (Linux). `stop_quiet_s`: a process that is told to end is killed when it has
    done nothing for so long; `look_s`: time between two looks at them.
    """

    prepare: Callable[[], Sequence[Child]]
    user: RunAs
    stop_quiet_s: float
    look_s: float
    owner: ProcessId | None = None
    started: Callable[[], None] = lambda: None
    tell: Callable[[Phase, AssayError | None], None] = lambda _phase, _error: None
    adopts: bool = False
    clock: Callable[[], float] = time.monotonic
    children: list[Child] = field(default_factory=list)
    _stop: bool = False
    _silent: bool = False
    _long: set[Path] = field(default_factory=set)

    def run(self) -> int:
        """Own the processes until SIGTERM or SIGINT; returns an exit code."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        if self.adopts:
            _adopt_orphans()
        try:
            self.tell("starting", None)
            self.children = list(self.prepare())
            self._start()
            self._watch()
        except Ended:
            self._end("stopped")
            return 0
        except AssayError as error:
            self._end("failed", error)
        except OSError as error:
            log.exception("the supervisor failed")
            what = f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror or error)
            self._end("failed", AssayError(what, "check the owner of the folder and the space on the disk"))
        except Exception as error:
            log.exception("the supervisor failed")
            self._end("failed", AssayError(f"the supervisor failed: {type(error).__name__}", "see its log"))
        return 1

    def pause(self, seconds: float) -> None:
        """Sleep. Raises Ended when it is time to stop."""
        if self._stop or (self.owner is not None and not self.owner.alive()):
            raise Ended
        time.sleep(seconds)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        log.info("got %s", signal.Signals(number).name)
        self._stop = True

    def _start(self) -> None:
        """Start all in order and wait as long as they make progress: their logs grow, or they use the processor."""
        patience = Patience(lambda: [child.signs() for child in self.children])
        said: list[ServiceState] = []
        while not all(child.healthy for child in self.children):
            for child in self.children:
                self._mend(child)
            if (states := [child.state() for child in self.children]) != said:
                self.tell("starting", None)
                said = states
            if patience.exhausted():
                late = next(child for child in self.children if not child.healthy)
                raise AssayError(
                    f"{late.name} is not healthy and has done nothing for {patience.quiet_s:.0f} s: "
                    f"{late.trouble or late.last_words()}",
                    f"its log is {late.log}",
                )
            self.pause(self.look_s)
        log.info("healthy after %.1f s", patience.waited())
        self.started()

    def _watch(self) -> None:
        """Restart what crashes, and say what changes."""
        said = [child.state() for child in self.children]
        while True:
            for child in self.children:
                self._mend(child)
                self._shorten(child.output)
            if (states := [child.state() for child in self.children]) != said:
                healthy = all(child.healthy for child in self.children)
                if self._try_to_tell("healthy" if healthy else "degraded"):
                    said = states
            self._reap()
            self.pause(self.look_s)

    def _mend(self, child: Child) -> None:
        """One step: bury it, start it, or ask whether it is ready."""
        if child.process is not None and (code := child.process.poll()) is not None:
            self._bury(child, code)
        elif child.process is None:
            if not child.given_up and self.clock() >= child.not_before and self._may_start(child):
                self._spawn(child)
        elif not child.healthy:
            self._advance(child)

    def _bury(self, child: Child, code: int) -> None:
        words = child.last_words()
        log.error("%s ended with code %d: %s", child.name, code, words)
        first = child.starts == 1 and not child.healthy
        child.healthy, child.process = False, None
        if first and not child.restart.before_ready:
            raise AssayError(f"{child.name} ended while starting: {words}", f"its log is {child.log}")
        now = self.clock()
        crashes = child.crashes.add(now)
        child.given_up = child.crashes.too_many
        child.not_before = now + min(2.0 ** (crashes - 1), _MAX_BACKOFF_S)
        if child.given_up:
            log.error("%s crashed %d times, giving up on it", child.name, crashes)
            if child.restart.essential:
                raise AssayError(f"{child.name} crashed {crashes} times: {words}", f"its log is {child.log}")

    def _may_start(self, child: Child) -> bool:
        return all(other.healthy for other in self.children if other.name in child.after)

    def _spawn(self, child: Child) -> None:
        child.process = spawn(child.command(), self.user)
        child.starts += 1
        child.healthy, child.trouble = False, ""
        log.info("started %s, process %d", child.name, child.process.pid)

    def _advance(self, child: Child) -> None:
        try:
            child.healthy = child.ready()
        except AssayError as error:
            if error.message != child.trouble:
                child.trouble = error.message
                log.info("%s is not ready: %s", child.name, child.trouble)
        if child.healthy:
            log.info("%s is healthy", child.name)

    def _shorten(self, output: Path) -> None:
        """Of what is written for as long as the process runs."""
        try:
            if output.exists() and output.stat().st_size > OUTPUT_BYTES:
                shutil.copy2(output, output.with_suffix(f".1{output.suffix}"))
                os.truncate(output, 0)
            self._long.discard(output)
        except OSError as error:
            if output not in self._long:  # it is tried again and again
                log.warning("cannot shorten %s: %s", output, error)
            self._long.add(output)

    def _processes(self) -> list[psutil.Process]:
        """Ours that still run: the children and what descends from them, orphans too when we adopt them."""
        if self.adopts:
            return living(psutil.Process().children(recursive=True))
        return living(one for child in self.children if child.process is not None for one in family(child.process.pid))

    def _reap(self) -> None:
        """Bury adopted processes that have ended."""
        known = {child.process.pid for child in self.children if child.process is not None}
        for process in psutil.Process().children() if self.adopts else ():
            with contextlib.suppress(psutil.NoSuchProcess, ChildProcessError):
                if process.pid not in known and process.status() == psutil.STATUS_ZOMBIE:
                    os.waitpid(process.pid, os.WNOHANG)

    def _end(self, phase: Phase, error: AssayError | None = None) -> None:
        """Ask every process to end, and kill what has not after a while; new ones may appear meanwhile."""
        patience = Patience(lambda: work(self._processes(), self.stop_quiet_s), self.stop_quiet_s)
        asked: set[int] = set()
        self._try_to_tell("stopping")
        while alive := self._processes():
            overdue = patience.exhausted()
            for process in alive:
                with contextlib.suppress(psutil.NoSuchProcess):
                    if overdue:
                        process.kill()
                    elif process.pid not in asked:
                        process.terminate()
                        asked.add(process.pid)
            time.sleep(0.1)
            self._poll()
        self._poll()
        for child in self.children:
            child.process, child.healthy = None, False
        self._try_to_tell(phase, error)
        if error is None:
            log.info("%s", phase)
        else:
            log.error("%s: %s", phase, error)

    def _poll(self) -> None:
        for child in self.children:
            if child.process is not None:
                child.process.poll()
        self._reap()

    def _try_to_tell(self, phase: Phase, error: AssayError | None = None) -> bool:
        """`tell`, where a full disk must not keep us from our work; whether it could be told."""
        try:
            self.tell(phase, error)
        except OSError as failure:
            if not self._silent:  # it is tried again and again
                log.warning("cannot say how it is: %s", failure)
            self._silent = True
            return False
        self._silent = False
        return True


def owner_of(arguments: Sequence[str], position: int) -> ProcessId | None:
    """The process that `arguments[position]` names as our owner, if any. Ends the process when that has ended."""
    if len(arguments) <= position:
        return None
    if int(arguments[position]) != os.getppid():
        sys.exit("the owner is gone")
    return ProcessId.of(os.getppid())


def log_to(folder: Path) -> None:
    """Send the supervisor's log to `supervisor.log` in `folder`, rotated at 4 MB."""
    handler = RotatingFileHandler(folder / "supervisor.log", maxBytes=4_000_000, backupCount=3)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


def _adopt_orphans() -> None:
    """Become the parent of what our children leave behind. Linux only; elsewhere it is left alone."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
