"""Processes and their owners: identity, crashes, an orderly end, what `up`, `down` and `wipe` believe. No server runs."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka import KafkaError, KafkaException
from opensearchpy.exceptions import ConnectionTimeout, TransportError

from platform_assets.core.errors import AssayError
from platform_assets.core.files import locked
from platform_assets.local import lifecycle
from platform_assets.local.crashes import MAX_CRASHES, WINDOW_S, Crashes
from platform_assets.local.layout import Layout
from platform_assets.local.process import Command, ProcessId
from platform_assets.local.services import Services, asked
from platform_assets.local.state import State, read_state
from platform_assets.local.supervisor import Child, Ended

FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that stands for a server."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout.of(tmp_path)
    layout.create()
    return layout


def child(ready: Callable[[], bool] = lambda: True, process: subprocess.Popen[bytes] | None = None) -> Child:
    nowhere = Path("/nonexistent")
    return Child("kafka", lambda: Command([], nowhere, nowhere, nowhere), ready, nowhere, nowhere, process=process)


@pytest.mark.skipif(sys.platform != "linux", reason="where psutil adds the boot's time of day")
def test_a_process_is_known_again_after_the_clock_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    identity = ProcessId.of(os.getpid())
    before = psutil.Process().create_time()
    real = psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: real + 3600)
    assert psutil.Process().create_time() > before + 3000
    assert identity.alive()


def test_a_reused_process_id_is_not_the_process(sleeper: subprocess.Popen[bytes]) -> None:
    identity = ProcessId.of(sleeper.pid)
    assert identity.alive()
    assert not replace(identity, started=identity.started - 1).alive()
    assert not replace(identity, boot="another").alive()
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert not identity.alive()  # a zombie: nobody has taken its code


def test_the_state_of_an_earlier_version_is_read(layout: Layout) -> None:
    layout.state.write_text('{"phase": "healthy", "supervisor": {"pid": 1, "started": 1.0}, "services": {}}')
    state = read_state(layout.state)
    assert state is not None
    assert not state.supervisor.alive()


def test_crashes_of_long_ago_do_not_count() -> None:
    crashes = Crashes()
    for number in range(50):
        assert crashes.add(number * WINDOW_S / MAX_CRASHES) <= MAX_CRASHES
        assert not crashes.too_many
    for _ in range(MAX_CRASHES):
        crashes.add(50 * WINDOW_S / MAX_CRASHES)
    assert crashes.too_many


def test_servers_are_ended_on_a_full_disk(
    layout: Layout, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_state: State, _path: Path) -> None:
        raise FULL

    supervisor = Services(layout.home).supervisor
    supervisor.children = [child(process=sleeper)]
    monkeypatch.setattr(State, "write", full)
    supervisor._end("stopped")
    assert sleeper.returncode is not None


def test_what_a_full_disk_did_not_take_is_said_later(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    rounds = iter(range(5))

    def write(state: State, _path: Path) -> None:
        said.append(state.phase)
        if len(said) < 3:
            raise FULL

    def pause(_seconds: float) -> None:
        if next(rounds) == 4:
            raise Ended

    supervisor = Services(layout.home).supervisor
    supervisor.children = [one := child()]
    one.not_before = time.monotonic() + 60
    monkeypatch.setattr(State, "write", write)
    monkeypatch.setattr(supervisor, "pause", pause)
    monkeypatch.setattr(supervisor, "_mend", lambda found: setattr(found, "starts", 2))
    with pytest.raises(Ended):
        supervisor._watch()
    assert said == ["degraded"] * 3


@pytest.mark.parametrize(
    "error",
    [
        AssayError("not yet", ""),
        KafkaException(KafkaError(KafkaError._TIMED_OUT)),
        ConnectionTimeout("TIMEOUT", "slow", Exception()),
        TransportError(503, "security is not initialised"),
        TimeoutError(),
    ],
)
def test_whatever_a_starting_server_answers_it_is_asked_again(layout: Layout, error: Exception) -> None:
    answers: list[Any] = [error, False, True]

    def ready() -> bool:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return bool(answer)

    supervisor, one = Services(layout.home).supervisor, child(asked(ready))
    supervisor._advance(one)
    assert not one.healthy
    assert one.trouble
    assert "\n" not in one.trouble
    supervisor._advance(one)
    assert not one.healthy
    supervisor._advance(one)
    assert one.healthy


def test_an_interrupted_up_ends_what_it_started(
    tmp_path: Path, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lifecycle, "ensure_runtime", lambda _console: None)
    monkeypatch.setattr(lifecycle, "_spawn_supervisor", lambda _layout, _owned: sleeper)
    monkeypatch.setattr(lifecycle, "_await_healthy", interrupt)
    with pytest.raises(KeyboardInterrupt):
        lifecycle.up(tmp_path)
    assert sleeper.returncode is not None


SUPERVISOR = """
import os, sys, time
from pathlib import Path
from platform_assets.core.files import locked
from platform_assets.local.layout import Layout
from platform_assets.local.process import ProcessId
from platform_assets.local.state import State
layout = Layout.of(Path(sys.argv[1]))
with locked(layout.lock):
    print("locked", flush=True)
    time.sleep(1)
    State("starting", ProcessId.of(os.getpid())).write(layout.state)
    time.sleep(60)
"""


def test_a_supervisor_that_has_said_nothing_yet_is_ended_too(layout: Layout) -> None:
    old = State("healthy", ProcessId(os.getpid(), 0.0))
    old.write(layout.state)  # of one that was killed
    assert not lifecycle.down(layout.home)
    process = subprocess.Popen([sys.executable, "-c", SUPERVISOR, str(layout.home)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        assert lifecycle.status(layout.home).phase == "starting"
        assert lifecycle.down(layout.home)
        assert process.wait(5) != 0
    finally:
        process.kill()
        process.wait()


def test_nothing_is_wiped_under_a_held_lock(layout: Layout) -> None:
    with locked(layout.lock), pytest.raises(AssayError, match="are running"):
        lifecycle.wipe(layout.home)
    assert layout.local.is_dir()
    lifecycle.wipe(layout.home)
    assert not layout.local.exists()


def test_up_waits_for_the_end_of_services_that_are_ending(
    layout: Layout, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = threading.Event()

    def ending() -> None:
        with locked(layout.lock):
            State("stopping", ProcessId.of(os.getpid())).write(layout.state)
            held.set()
            time.sleep(0.5)

    started: list[bool] = []

    def spawn(_layout: Layout, owned: bool) -> subprocess.Popen[bytes]:
        started.append(owned)
        return sleeper

    monkeypatch.setattr(lifecycle, "ensure_runtime", lambda _console: None)
    monkeypatch.setattr(lifecycle, "_spawn_supervisor", spawn)
    monkeypatch.setattr(lifecycle, "_await_healthy", lambda *_: None)
    thread = threading.Thread(target=ending)
    thread.start()
    assert held.wait(5)
    try:
        lifecycle.up(layout.home, owned=True)
        assert started == [True]
        assert not thread.is_alive()
    finally:
        thread.join()


def test_a_supervisor_whose_owner_is_gone_does_not_begin(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "platform_assets.local.services", str(tmp_path / "home"), "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "the owner is gone" in done.stderr
    assert not (tmp_path / "home").exists()
