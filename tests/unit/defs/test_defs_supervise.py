"""Work in a thread: its result, its error, an interrupt, and work that does not listen."""

from __future__ import annotations

import threading
import time

import pytest
from dagster import DagsterExecutionInterruptedError

from platform_assets.defs.supervise import supervise


def interrupt() -> None:
    """What a termination does to the main thread."""
    raise DagsterExecutionInterruptedError


def test_the_result_of_the_work() -> None:
    outcome = supervise(lambda stop: 42, grace_seconds=1)
    assert (outcome.value, outcome.error) == (42, None)


def test_the_error_of_the_work() -> None:
    def fail(stop: threading.Event) -> int:
        raise ValueError("broken")

    outcome = supervise(fail, grace_seconds=1)
    assert outcome.value is None
    assert isinstance(outcome.error, ValueError)


def test_ticks_come_while_it_works() -> None:
    ticks: list[float] = []
    supervise(lambda stop: time.sleep(0.8), grace_seconds=1, every_seconds=0.25, on_tick=lambda: ticks.append(0))
    assert 2 <= len(ticks) <= 3


@pytest.mark.parametrize("kind", [DagsterExecutionInterruptedError, KeyboardInterrupt])
def test_an_interrupt_stops_the_work_and_keeps_its_result(kind: type[BaseException]) -> None:
    def tick() -> None:
        raise kind

    outcome = supervise(lambda stop: stop.wait(20), grace_seconds=10, every_seconds=0.1, on_tick=tick)
    assert outcome.value is True
    assert isinstance(outcome.error, kind)


def test_work_that_does_not_listen_is_left_behind() -> None:
    release = threading.Event()
    started = time.monotonic()
    outcome = supervise(lambda stop: release.wait(20), grace_seconds=0.2, every_seconds=0.1, on_tick=interrupt)
    release.set()
    assert time.monotonic() - started < 5
    assert outcome.value is None
    assert isinstance(outcome.error, DagsterExecutionInterruptedError)
