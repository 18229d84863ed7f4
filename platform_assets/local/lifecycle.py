"""`up`, `down` and `status`: what a person does with the local services.

Belongs here: starting and ending the supervisor, and asking the services how they are.
Does not: owning the servers (`supervisor.py`), or printing (`cli.py`).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from platform_assets.core.errors import AssayError
from platform_assets.core.files import locked, tail
from platform_assets.core.settings import Settings, child_environment
from platform_assets.local import kafka, opensearch
from platform_assets.local.artifacts import ensure_runtime
from platform_assets.local.kafka_access import check_kafka
from platform_assets.local.layout import Layout
from platform_assets.local.patience import QUIET_SECONDS, Patience, family, sizes, work
from platform_assets.local.process import stop
from platform_assets.local.progress import Tell, waiting_for
from platform_assets.local.search_access import check_opensearch
from platform_assets.local.services import Services
from platform_assets.local.state import State, read_state
from platform_assets.local.supervisor import log_to

_DOWN_QUIET_S = 60
"""A supervisor that is told to end is killed when neither it nor a server has done anything for so long."""
_POLL_S = 0.1


@dataclass(frozen=True)
class ServiceStatus:
    """One service as it is now: `healthy`, `starting`, `down` or `failed`, and in `detail` why."""

    name: str
    state: str
    address: str
    pid: int | None
    restarts: int
    detail: str
    log: str


@dataclass(frozen=True)
class Status:
    """All local services of a home; `healthy` means that each was asked just now and answered."""

    home: str
    phase: str
    services: tuple[ServiceStatus, ...]

    @property
    def healthy(self) -> bool:
        """Whether every service is."""
        return bool(self.services) and all(service.state == "healthy" for service in self.services)


def up(
    home: Path,
    *,
    foreground: bool = False,
    owned: bool = False,
    console: Console | None = None,
    on_healthy: Callable[[Status], None] | None = None,
) -> Status:
    """Start the services of `home` unless they run, and wait until they are healthy.

    With `foreground` the caller becomes the supervisor until Ctrl-C or SIGTERM (main thread only), and `on_healthy` is
    called once they are healthy. Otherwise they go on when the caller ends, unless they are `owned`: then they end with it,
    killed or not. A second call is harmless: it waits for, and reports, what is there.
    Raises AssayError in one line when they cannot be started. Whatever it raises, what it had started is ended.
    """
    console = console or Console(stderr=True)
    layout = Layout.of(home)
    if (state := _unless_ending(layout)) and foreground:
        raise AssayError(
            f"the services of {layout.home} run already (process {state.supervisor.pid})", "end them with `assay down`"
        )
    process = None
    if state is None:
        try:
            layout.create()
            ensure_runtime(console)  # Here, where a person sees the progress.
        except OSError as error:
            raise AssayError(
                f"cannot write {error.filename}: {error.strerror}", "check its owner and the disk"
            ) from error
        if foreground:
            return _foreground(layout, on_healthy)
        process = _spawn_supervisor(layout, owned)
    try:
        with waiting_for("Starting Kafka and OpenSearch", console) as tell:
            _await_healthy(layout, process, tell)
    except BaseException:
        if process is not None:
            stop(process, _DOWN_QUIET_S)
        raise
    now = status(home)
    if on_healthy is not None:
        on_healthy(now)
    return now


def down(home: Path) -> bool:
    """Stop the services of `home` in order; returns whether they were running. Data stays."""
    layout = Layout.of(home)
    state = _announced(layout)
    if state is None:
        return False
    state.supervisor.signal(signal.SIGTERM)
    patience = _patience(layout, state.supervisor.pid, _DOWN_QUIET_S)
    while _locked(layout):
        if patience.exhausted():
            # The kernel ends its children with it.
            state.supervisor.signal(signal.SIGKILL)
            raise AssayError(
                f"the services did nothing for {patience.quiet_s:.0f} s instead of ending, and were killed",
                f"see {layout.logs / 'supervisor.log'}",
            )
        time.sleep(_POLL_S)
    return True


def wipe(home: Path) -> None:
    """Delete the services' data, logs, addresses and secrets. They must be down; the lake is not touched."""
    layout = Layout.of(home)
    if _locked(layout):
        raise AssayError("the services are running", "end them with `assay down`")
    for folder in {layout.local, layout.store}:
        if folder.exists():
            shutil.rmtree(folder)
    (layout.home / "secrets.env").unlink(missing_ok=True)


@contextmanager
def temporary(prefix: str) -> Iterator[Path]:
    """Healthy services in a home of their own, which goes away with the block (the folder stays should we be killed)."""
    home = Path(tempfile.mkdtemp(prefix=prefix))
    home.chmod(0o711)  # a root launcher runs the services as another user
    try:
        up(home, owned=True)
        yield home
    finally:
        down(home)
        wipe(home)
        shutil.rmtree(home)


def status(home: Path) -> Status:
    """Ask every service as its clients would; never raises for one that is down."""
    layout = Layout.of(home)
    state = _running(layout)
    if state is None:
        return Status(str(layout.home), "starting" if _locked(layout) else "stopped", ())
    settings = Settings.load(layout.home)
    found = []
    for name, service in state.services.items():
        address, word, detail = "", service.state, ""
        if service.state == "healthy":
            try:
                address, detail = _ask(name, settings)
            except AssayError as error:
                word, detail = "down", str(error)
        pid = service.process.pid if service.process else None
        found.append(ServiceStatus(name, word, address, pid, service.restarts, detail, service.log))
    return Status(str(layout.home), state.phase, tuple(found))


def _ask(name: str, settings: Settings) -> tuple[str, str]:
    if name == kafka.NAME:
        return settings.kafka_bootstrap, f"published and consumed in {check_kafka(settings, 5.0) * 1000:.0f} ms"
    if name == opensearch.NAME:
        return settings.opensearch_url, f"cluster is {check_opensearch(settings)}"
    raise ValueError(name)


def _foreground(layout: Layout, on_healthy: Callable[[Status], None] | None) -> Status:
    log_to(layout.logs)

    def tell() -> None:
        if on_healthy is not None:
            on_healthy(status(layout.home))

    if Services(layout.home, tell).run() != 0:
        raise _failure(layout, os.getpid())
    return status(layout.home)


def _spawn_supervisor(layout: Layout, owned: bool) -> subprocess.Popen[bytes]:
    owner = [str(os.getpid())] if owned else []
    output = layout.logs / "supervisor.out"
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        return subprocess.Popen(  # noqa: S603 (the arguments are ours)
            [sys.executable, "-m", "platform_assets.local.services", str(layout.home), *owner],
            # The package must be found there as it was here, installed or not.
            env=child_environment({"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}),
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)


def _missing(state: State | None) -> str:
    """Which services are not healthy yet, and why."""
    services = state.services if state is not None else {}
    late = {name: service for name, service in services.items() if service.state != "healthy"}
    return "; ".join(f"{name}: {service.trouble or service.state}" for name, service in late.items())


def _patience(layout: Layout, pid: int | None, quiet_s: float = QUIET_SECONDS) -> Patience:
    """Of a wait for the supervisor: it logs what it does, and the servers below it use the processor."""
    logs = [layout.logs / "supervisor.log", layout.logs / "supervisor.out", layout.state]
    return Patience(lambda: (sizes(logs), work(family(pid) if pid else (), quiet_s)), quiet_s)


def _await_healthy(layout: Layout, process: subprocess.Popen[bytes] | None, tell: Tell) -> None:
    """Wait for the supervisor, `process` when we started it ourselves. It gives up on its servers by itself."""
    running = read_state(layout.state)
    patience = _patience(layout, process.pid if process else running.supervisor.pid if running else None)
    while not patience.exhausted():
        state = _running(layout)
        tell(_missing(state))
        if state is not None and state.phase == "healthy":
            return
        for name, service in state.services.items() if state is not None else ():
            if service.state == "failed":
                raise AssayError(
                    f"{name} crashes again and again", f"see {service.log}, then `assay down` and `assay up`"
                )
        # Ours may have ended because somebody else's was faster: then that one is waited for.
        if state is None and (process is None or process.poll() is not None) and not _locked(layout):
            raise _failure(layout, process.pid if process else None)
        time.sleep(_POLL_S)
    raise AssayError(f"the services' supervisor has done nothing for {patience.quiet_s:.0f} s", f"see {layout.logs}")


def _failure(layout: Layout, pid: int | None) -> AssayError:
    """What the supervisor with `pid` said at its end; None stands for whichever was last."""
    state = read_state(layout.state)
    if state is not None and state.message and pid in (None, state.supervisor.pid):
        return AssayError(state.message, state.hint)
    last = tail(layout.logs / "supervisor.out", 1) or tail(layout.logs / "supervisor.log", 1)
    return AssayError(f"the supervisor ended: {last or 'it said nothing'}", f"see {layout.logs / 'supervisor.log'}")


def _locked(layout: Layout) -> bool:
    """Whether a supervisor holds the home's lock."""
    if not layout.lock.exists():
        return False
    with locked(layout.lock, wait=False) as free:
        return not free


def _running(layout: Layout) -> State | None:
    """What the living supervisor says; None when there is none."""
    if not _locked(layout):
        return None
    state = read_state(layout.state)
    return state if state is not None and state.supervisor.alive() else None


def _announced(layout: Layout) -> State | None:
    """What the living supervisor says; one that has only just begun is given time to say it. None when there is none."""
    patience = _patience(layout, None)
    while (state := _running(layout)) is None and _locked(layout):
        if patience.exhausted():
            raise AssayError(
                f"a process holds {layout.lock} and does not say which it is", "end it by hand: it owns the services"
            )
        time.sleep(_POLL_S)
    return state


def _unless_ending(layout: Layout) -> State | None:
    """What the living supervisor says; the end of one that is ending is waited for. None when there is none."""
    state = _running(layout)
    patience = _patience(layout, state.supervisor.pid if state else None, _DOWN_QUIET_S)
    while (state := _running(layout)) is not None and state.phase in ("stopping", "stopped", "failed"):
        if patience.exhausted():
            raise AssayError("the services do not end", f"see {layout.logs / 'supervisor.log'}")
        time.sleep(_POLL_S)
    return state
