"""The owner of processes: order, crashes and what follows, long outputs, an end that leaves nobody. Real processes."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from waiting import eventually

from platform_assets.core.errors import AssayError
from platform_assets.local import supervisor as owner
from platform_assets.local.crashes import MAX_CRASHES, WINDOW_S
from platform_assets.local.layout import RunAs
from platform_assets.local.process import Command
from platform_assets.local.supervisor import Child, Ended, Restart, Supervisor

OURSELVES = RunAs(os.geteuid(), os.getegid(), "")


class Clock:
    """Seconds that pass when the test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make(folder: Path, name: str, code: str, ready: Callable[[], bool] = lambda: True, **more: object) -> Child:
    output = folder / f"{name}.log"
    command = Command([sys.executable, "-S", "-c", code], folder, output, folder, append=True)
    return Child(name, lambda: command, ready, output, output, **more)  # type: ignore[arg-type]


def supervise(children: list[Child], clock: Clock, **more: object) -> Iterator[Supervisor]:
    made = Supervisor(lambda: children, OURSELVES, 1.0, 0.01, clock=clock, children=children, **more)  # type: ignore[arg-type]
    yield made
    made._end("stopped")


@pytest.fixture
def owned(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., Supervisor]]:
    """Makes supervisors, which end with the test."""
    made: list[Iterator[Supervisor]] = []

    def own(*children: Child, **more: object) -> Supervisor:
        made.append(supervise(list(children), clock, **more))
        return next(made[-1])

    yield own
    for one in made:
        next(one, None)


def crash(supervisor: Supervisor, child: Child) -> None:
    """Start it and bury it."""
    supervisor._mend(child)
    assert child.process is not None
    child.process.wait()
    supervisor._mend(child)


def test_a_process_starts_after_those_it_needs(tmp_path: Path, owned: Callable[..., Supervisor]) -> None:
    up = threading.Event()
    first = make(tmp_path, "first", "import time; time.sleep(600)", up.is_set)
    second = make(tmp_path, "second", "import time; time.sleep(600)", after=["first"])
    supervisor = owned(second, first)
    for _ in range(3):
        supervisor._mend(second)
        supervisor._mend(first)
    assert first.process is not None
    assert second.process is None
    up.set()
    supervisor._mend(first)
    supervisor._mend(second)
    assert second.process is not None


def test_only_crashes_in_quick_succession_end_all(
    tmp_path: Path, owned: Callable[..., Supervisor], clock: Clock
) -> None:
    child = make(tmp_path, "daemon", "print('an error of the daemon')", restart=Restart(True, essential=True))
    supervisor = owned(child)
    for _ in range(3 * MAX_CRASHES):
        crash(supervisor, child)
        clock.now += WINDOW_S / MAX_CRASHES + 1
    assert not child.given_up
    with pytest.raises(AssayError, match="daemon crashed 6 times: an error of the daemon"):
        for _ in range(MAX_CRASHES + 1):
            crash(supervisor, child)
            clock.now += 31


def test_a_restart_waits_longer_each_time(tmp_path: Path, owned: Callable[..., Supervisor], clock: Clock) -> None:
    child = make(tmp_path, "server", "", restart=Restart(before_ready=True))
    supervisor = owned(child)
    for wait in (1, 2, 4, 8, 16):
        crash(supervisor, child)
        clock.now += wait - 0.5
        supervisor._mend(child)
        assert child.process is None
        clock.now += 0.5
    crash(supervisor, child)
    assert child.given_up  # the others go on
    assert child.state().state == "failed"
    assert child.state().restarts == MAX_CRASHES


def test_one_that_never_was_ready_is_an_error_unless_declared_otherwise(
    tmp_path: Path, owned: Callable[..., Supervisor]
) -> None:
    child = make(tmp_path, "server", "raise SystemExit('an error of the heap')", lambda: False)
    with pytest.raises(AssayError, match="server ended while starting: an error of the heap"):
        crash(owned(child), child)


def test_a_long_output_keeps_one_copy(
    tmp_path: Path, owned: Callable[..., Supervisor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, "OUTPUT_BYTES", 10)
    child = make(tmp_path, "daemon", "")
    supervisor = owned(child)
    for number in range(200):
        child.output.write_text(f"{number:020}")
        supervisor._shorten(child.output)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "daemon.log": "",
        "daemon.1.log": f"{199:020}",
    }


def test_an_output_is_shortened_while_it_is_written(
    tmp_path: Path, owned: Callable[..., Supervisor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, "OUTPUT_BYTES", 1000)
    child = make(tmp_path, "daemon", "import sys, time\nwhile True: print('x' * 99, flush=True); time.sleep(0.001)")
    supervisor = owned(child)
    supervisor._mend(child)

    def shortened() -> bool:
        supervisor._shorten(child.output)
        return (tmp_path / "daemon.1.log").exists()

    eventually(shortened, "a copy of the output")
    eventually(lambda: child.output.stat().st_size > 0, "the next line")
    assert b"\0" not in child.output.read_bytes()  # written at the new end, not where the old one was


def test_an_output_that_cannot_be_shortened_ends_nothing(
    tmp_path: Path,
    owned: Callable[..., Supervisor],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(owner.log, "propagate", True)
    monkeypatch.setattr(owner, "OUTPUT_BYTES", 10)
    monkeypatch.setattr(shutil, "copy2", full)
    child = make(tmp_path, "daemon", "")
    child.output.write_text("x" * 20)
    supervisor = owned(child)
    for _ in range(3):
        supervisor._shorten(child.output)
    assert [record.message for record in caplog.records if "No space left" in record.message] == [
        f"cannot shorten {child.output}: [Errno 28] No space left on device"
    ]


STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
print("there", flush=True)
time.sleep(600)
"""


def test_the_end_leaves_nobody_not_even_one_that_does_not_listen(
    tmp_path: Path, owned: Callable[..., Supervisor]
) -> None:
    child = make(tmp_path, "server", STUBBORN)
    supervisor = owned(child)
    supervisor._mend(child)
    eventually(lambda: child.output.read_text() == "there\n", "its own child")
    processes = supervisor._processes()
    assert len(processes) == 2
    supervisor._end("stopped")
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)
    assert child.process is None


ADOPTING = """
import os, sys
from pathlib import Path
from platform_assets.local.layout import RunAs
from platform_assets.local.process import Command
from platform_assets.local.supervisor import Child, Supervisor
folder = Path(sys.argv[1])
orphan = "import time; time.sleep(600)"
leaves = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-S', '-c', {orphan!r}]).pid, flush=True)"
leaves += "; import time; time.sleep(1)"
output = folder / "server.log"
command = Command([sys.executable, "-S", "-c", leaves], folder, output, folder)
child = Child("server", lambda: command, lambda: True, output, output)
user = RunAs(os.geteuid(), os.getegid(), "")
sys.exit(Supervisor(lambda: [child], user, 5.0, 0.05, adopts=True).run())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets us adopt orphans")
def test_what_a_process_leaves_behind_ends_with_the_supervisor(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ADOPTING, str(tmp_path)]) as running:
        output = tmp_path / "server.log"
        previous = tmp_path / "server.1.out"
        # A second start: the first process has ended and left an orphan.
        eventually(lambda: previous.exists() and output.read_text() != "", "a restart")
        orphan = psutil.Process(int(previous.read_text()))
        assert orphan.ppid() == running.pid
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0
    assert not orphan.is_running()


def test_an_owner_that_is_gone_ends_it(tmp_path: Path, owned: Callable[..., Supervisor]) -> None:
    from platform_assets.local.process import ProcessId

    with subprocess.Popen(["sleep", "600"]) as process:
        supervisor = owned(make(tmp_path, "server", ""), owner=ProcessId.of(process.pid))
        supervisor.pause(0)
        process.kill()
        process.wait()
        with pytest.raises(Ended):
            supervisor.pause(0)
