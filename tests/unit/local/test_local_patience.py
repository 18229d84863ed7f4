"""Waiting depends on progress: a slow machine is waited for, a stuck one is not."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil

from platform_assets.local.patience import LOOK_SECONDS, WORK_SHARE, Patience, family, sizes, work
from platform_assets.local.process import stop


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_progress_renews_a_wait_however_long_it_takes() -> None:
    clock, steps = Clock(), [0]
    patience = Patience(lambda: steps[0], quiet_s=60, clock=clock)
    for _ in range(50):
        clock.now += 59
        assert not patience.exhausted()
        steps[0] += 1
        clock.now += LOOK_SECONDS
        assert not patience.exhausted()
    assert patience.waited() == 50 * (59 + LOOK_SECONDS)
    clock.now += 60
    assert patience.exhausted()


def test_a_wait_without_progress_ends() -> None:
    clock = Clock()
    patience = Patience(lambda: "the same", quiet_s=60, clock=clock)
    clock.now += 59
    assert not patience.exhausted()
    clock.now += 1
    assert patience.exhausted()


def test_signs_are_looked_at_once_a_second_at_most() -> None:
    clock, looks = Clock(), []
    patience = Patience(lambda: looks.append(clock.now), quiet_s=60, clock=clock)
    for _ in range(100):
        clock.now += 0.1
        patience.exhausted()
    assert len(looks) <= 11


def test_a_process_that_computes_works_and_one_that_sleeps_does_not() -> None:
    programs = ("print(flush=True)\nwhile True: pass", "import time; print(flush=True); time.sleep(600)")
    busy, idle = (subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for code in programs)
    try:
        for process in (busy, idle):
            assert process.stdout is not None
            process.stdout.readline()  # it has started
        quiet_s = 20.0
        before, signs = (work(family(process.pid), quiet_s) for process in (idle, busy))
        spinning = psutil.Process(busy.pid)
        until = spinning.cpu_times().user + 2 * WORK_SHARE * quiet_s
        while spinning.cpu_times().user < until:
            time.sleep(0.05)
        assert work(family(busy.pid), quiet_s) != signs
        assert work(family(idle.pid), quiet_s) == before
    finally:
        for process in (busy, idle):
            process.kill()
            process.communicate()
    assert work(family(busy.pid), quiet_s) != signs, "its end is a change"


def test_a_log_that_grows_is_a_sign(tmp_path: Path) -> None:
    log = tmp_path / "log"
    before = sizes([log])
    log.write_text("a line\n")
    assert sizes([log]) != before


def test_a_process_that_ignores_the_request_to_end_is_killed() -> None:
    deaf = subprocess.Popen(
        [sys.executable, "-uc", "import signal, time; signal.signal(15, signal.SIG_IGN); print(); time.sleep(600)"],
        stdout=subprocess.PIPE,
    )
    assert deaf.stdout is not None
    deaf.stdout.readline()
    stop(deaf, 1.0)
    assert deaf.returncode == -9
    deaf.stdout.close()
