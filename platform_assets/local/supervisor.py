"""The process that owns the servers: starts them, watches them, ends them.

Belongs here: the life of one run, from folders and secrets to an orderly end. Does not: what a person sees of it
(`lifecycle.py`), how a server is configured (`kafka.py`, `opensearch.py`).

`python -m platform_assets.local.supervisor HOME` is what `up` starts. Its children die with it, whatever kills it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import FrameType

import psutil
from confluent_kafka import KafkaException
from opensearchpy.exceptions import OpenSearchException

from platform_assets.core.errors import AssayError, one_line
from platform_assets.core.files import locked, tail
from platform_assets.core.settings import Settings, environment, whole_number
from platform_assets.local import kafka, opensearch
from platform_assets.local.artifacts import ensure_runtime
from platform_assets.local.crashes import Crashes
from platform_assets.local.endpoints import HOST, Endpoints, choose_ports, ensure_secrets
from platform_assets.local.java import find_java, reachable_java
from platform_assets.local.kafka import Broker
from platform_assets.local.kafka_access import check_kafka, provision
from platform_assets.local.layout import Layout, RunAs, runtime_folder
from platform_assets.local.opensearch import SearchNode
from platform_assets.local.patience import Patience, family, sizes, work
from platform_assets.local.process import Command, ProcessId, spawn, stop
from platform_assets.local.search_access import apply_security, check_opensearch, security_answers
from platform_assets.local.state import Phase, ServiceState, State, read_state
from platform_assets.local.tls import ensure_certificates

log = logging.getLogger("assay.supervisor")

_STOP_QUIET_S = 20
"""A server that is told to end is killed when it has done nothing for so long."""
_WATCH_S = 0.25
_FREE_DISK = 1 << 30
_MAX_BACKOFF_S = 30
_NOT_YET = (AssayError, KafkaException, OpenSearchException, TimeoutError)
"""What a server that starts, or is busy, may answer: it is asked again."""


class _Ended(Exception):
    """A signal asked us to stop."""


@dataclass
class Child:
    """One server: `ready` makes a step towards health and tells whether it is there, or raises why not (`_NOT_YET`)."""

    name: str
    command: Callable[[], Command]
    ready: Callable[[], bool]
    log: Path
    output: Path
    process: subprocess.Popen[bytes] | None = None
    healthy: bool = False
    crashes: Crashes = field(default_factory=Crashes)
    restarts: int = 0
    not_before: float = 0.0
    given_up: bool = False
    trouble: str = ""
    """Why it was not ready when it was asked last."""

    def state(self) -> ServiceState:
        """As it is written to the state file."""
        running = self.process is not None and self.process.poll() is None
        word = "failed" if self.given_up else "healthy" if self.healthy else "starting" if running else "down"
        with contextlib.suppress(psutil.NoSuchProcess):
            identity = ProcessId.of(self.process.pid) if running and self.process else None
            return ServiceState(word, identity, self.restarts, str(self.log), "" if self.healthy else self.trouble)
        return ServiceState("down", None, self.restarts, str(self.log), self.trouble)

    def signs(self) -> object:
        """What changes as long as the server makes progress."""
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


class Supervisor:
    """Runs the services of one home until told to stop."""

    def __init__(
        self, home: Path, on_healthy: Callable[[], None] = lambda: None, owner: ProcessId | None = None
    ) -> None:
        """`owner`: the services end with that process, however it ends."""
        self.layout = Layout.of(home)
        self._owner = owner
        self._on_healthy = on_healthy
        self.children: list[Child] = []
        self._self = ProcessId.of(os.getpid())
        self._stop = False
        self._silent = False

    def run(self) -> int:
        """Own the services until SIGTERM or SIGINT; returns an exit code. Only one supervisor per home gets to work."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self.layout.create()
        with locked(self.layout.lock, wait=False) as ours:
            if not ours:
                return 0
            try:
                self._end_leftovers()
                self._say("starting")
                self._start()
                self._watch()
            except _Ended:
                self._end("stopped")
                return 0
            except AssayError as error:
                log.error("%s", error)
                self._end("failed", error)
                return 1
            except OSError as error:
                log.exception("the supervisor failed")
                what = f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror or error)
                self._end("failed", AssayError(what, "check the owner of the folder and the space on the disk"))
                return 1
            except Exception as error:
                log.exception("the supervisor failed")
                told = AssayError(f"the supervisor failed: {type(error).__name__}", f"see {self.layout.logs}")
                self._end("failed", told)
                return 1
        return 0

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        log.info("got %s", signal.Signals(number).name)
        self._stop = True

    def _pause(self, seconds: float) -> None:
        if self._stop or (self._owner is not None and not self._owner.alive()):
            raise _Ended
        time.sleep(seconds)

    def _end_leftovers(self) -> None:
        """Children of a killed supervisor are killed by the kernel; where it cannot, they are ended here."""
        previous = read_state(self.layout.state)
        for service in previous.services.values() if previous else ():
            if service.process is not None and service.process.alive():
                log.warning("ending a leftover of the last run, process %d", service.process.pid)
                service.process.signal(signal.SIGKILL)
                while service.process.alive():
                    self._pause(0.05)

    def _start(self) -> None:
        layout = self.layout
        free = shutil.disk_usage(layout.store).free
        if free < _FREE_DISK:
            raise AssayError(
                f"the disk under {layout.store} is full ({free >> 20} MiB free)", "free at least 1 GiB, then `assay up`"
            )
        secrets = ensure_secrets(layout.home)
        ensure_certificates(layout.certificates.folder)
        runtime = ensure_runtime()
        java = reachable_java(find_java(), runtime_folder())
        log.info("Java %d at %s, services run as %s", java.major, java.home, layout.user.name)
        ports = choose_ports(layout)
        broker = Broker.prepare(layout, ports, java, runtime, _heap("ASSAY_KAFKA_HEAP_MB", 512, 1024, 0.05))
        heap = _heap("ASSAY_OPENSEARCH_HEAP_MB", 1024, 4096, 0.25)
        node = SearchNode.prepare(layout, ports, java, runtime, heap_mb=heap, secrets=secrets)
        endpoints = Endpoints(broker.bootstrap, node.url, str(layout.certificates.ca))
        settings = _settings(layout.home, endpoints, secrets)
        self.children = [
            Child(opensearch.NAME, node.command, partial(_search_ready, node, settings), node.log, node.output),
            Child(
                kafka.NAME, broker.command, partial(_broker_ready, broker, settings, secrets), broker.log, broker.output
            ),
        ]
        search, stream = self.children
        self._spawn(search, layout.user)
        broker.ensure_formatted()  # while the node, which takes longest, starts
        self._spawn(stream, layout.user)
        self._await_healthy()
        endpoints.write(layout.home)
        self._say("healthy")
        self._on_healthy()

    def _await_healthy(self) -> None:
        """Wait as long as the servers make progress: their logs grow, or they use the processor."""
        patience = Patience(lambda: [child.signs() for child in self.children])
        said: list[ServiceState] = []
        while not all(child.healthy for child in self.children):
            for child in self.children:
                if child.process is not None and child.process.poll() is not None:
                    raise AssayError(
                        f"{child.name} ended while starting: {child.last_words()}", f"its log is {child.log}"
                    )
                self._advance(child)
            if (states := [child.state() for child in self.children]) != said:
                self._say("starting")
                said = states
            if patience.exhausted():
                late = next(child for child in self.children if not child.healthy)
                raise AssayError(
                    f"{late.name} is not healthy and has done nothing for {patience.quiet_s:.0f} s: "
                    f"{late.trouble or late.last_words()}",
                    f"its log is {late.log}",
                )
            self._pause(_WATCH_S)
        log.info("healthy after %.1f s", patience.waited())

    def _spawn(self, child: Child, user: RunAs) -> None:
        child.process = spawn(child.command(), user)
        child.healthy, child.trouble = False, ""
        log.info("started %s, process %d", child.name, child.process.pid)

    def _advance(self, child: Child) -> None:
        if child.healthy:
            return
        try:
            child.healthy = child.ready()
        except _NOT_YET as error:
            if (trouble := _why(error)) != child.trouble:
                child.trouble = trouble
                log.info("%s is not ready: %s", child.name, trouble)
        if child.healthy:
            log.info("%s is healthy", child.name)

    def _watch(self) -> None:
        """Restart what crashes, after 1, 2, 4 ... seconds, at most five times in ten minutes."""
        said = [child.state() for child in self.children]
        while True:
            for child in self.children:
                self._mend(child)
            if (states := [child.state() for child in self.children]) != said:
                healthy = all(child.healthy for child in self.children)
                if self._try_to_say("healthy" if healthy else "degraded"):
                    said = states
            self._pause(_WATCH_S)

    def _mend(self, child: Child) -> None:
        now = time.monotonic()
        if child.process is not None and (code := child.process.poll()) is not None:
            crashes = child.crashes.add(now)
            child.healthy, child.process = False, None
            child.given_up = child.crashes.too_many
            child.not_before = now + min(2.0 ** (crashes - 1), _MAX_BACKOFF_S)
            log.error("%s ended with code %d: %s", child.name, code, child.last_words())
            if child.given_up:
                log.error("%s crashed %d times, giving up on it", child.name, crashes)
        elif child.process is None and not child.given_up and now >= child.not_before:
            child.restarts += 1
            self._spawn(child, self.layout.user)
        elif child.process is not None and not child.healthy:
            self._advance(child)

    def _end(self, phase: Phase, error: AssayError | None = None) -> None:
        # All at once, then wait for each: their shutdowns overlap.
        alive = [child.process for child in self.children if child.process is not None]
        for process in alive:
            process.terminate()
        self._try_to_say("stopping")
        for process in alive:
            stop(process, _STOP_QUIET_S)
        for child in self.children:
            child.process, child.healthy = None, False
        self._try_to_say(phase, error)
        log.info("%s", phase)

    def _say(self, phase: Phase, error: AssayError | None = None) -> None:
        services = {child.name: child.state() for child in self.children}
        message, hint = (error.message, error.hint) if error else ("", "")
        State(phase, self._self, services, message, hint).write(self.layout.state)

    def _try_to_say(self, phase: Phase, error: AssayError | None = None) -> bool:
        """`_say`, where a full disk must not keep us from our work; whether it could be written."""
        try:
            self._say(phase, error)
        except OSError as failure:
            if not self._silent:  # it is tried again and again
                log.warning("cannot write %s: %s", self.layout.state, failure)
            self._silent = True
            return False
        self._silent = False
        return True


def _broker_ready(broker: Broker, settings: Settings, secrets: Mapping[str, str]) -> bool:
    try:
        socket.create_connection((HOST, broker.ports.kafka_internal), timeout=1).close()
    except OSError as error:
        raise AssayError("its port is closed") from error
    provision(broker.internal_conf(), secrets)
    log.info("kafka: published and consumed in %.2f s", check_kafka(settings))
    return True


def _search_ready(node: SearchNode, settings: Settings) -> bool:
    if not security_answers(node):
        raise AssayError("its security plugin does not answer")
    if apply_security(node):
        log.info("opensearch: users and roles brought up to date")
    log.info("opensearch: cluster is %s", check_opensearch(settings))
    return True


def _why(error: Exception) -> str:
    if isinstance(error, AssayError):
        return error.message
    said = one_line(error)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _settings(home: Path, endpoints: Endpoints, secrets: Mapping[str, str]) -> Settings:
    """Settings of these very services, whatever the environment says of others."""
    values = {
        **secrets,
        "ASSAY_KAFKA_BOOTSTRAP": endpoints.kafka_bootstrap,
        "ASSAY_OPENSEARCH_URL": endpoints.opensearch_url,
        "ASSAY_OPENSEARCH_CA": endpoints.opensearch_ca,
    }
    return Settings(home, home / "lake", values)


def _heap(variable: str, least: int, most: int, share: float) -> int:
    """Heap in MiB: configured, else `share` of the memory between `least` and `most`."""
    if (configured := whole_number(environment(), variable, 256)) is not None:
        return configured
    return int(min(max(psutil.virtual_memory().total / (1 << 20) * share, least), most))


def log_to(folder: Path) -> None:
    """Send the supervisor's log to `supervisor.log` in `folder`, rotated at 4 MB."""
    handler = RotatingFileHandler(folder / "supervisor.log", maxBytes=4_000_000, backupCount=3)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


if __name__ == "__main__":
    owner = int(sys.argv[2]) if len(sys.argv) > 2 else None
    if owner not in (None, os.getppid()):
        sys.exit("the owner is gone")
    supervisor = Supervisor(Path(sys.argv[1]), owner=ProcessId.of(owner) if owner else None)
    supervisor.layout.create()
    log_to(supervisor.layout.logs)
    sys.exit(supervisor.run())
