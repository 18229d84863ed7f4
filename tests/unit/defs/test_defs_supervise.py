"""Work in a thread: its result, its error, an interrupt, and work that does not listen."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator

import pytest
from dagster import DagsterExecutionInterruptedError

from platform_assets.defs.supervise import supervise


@pytest.fixture
def interrupt(request: pytest.FixtureRequest) -> Iterator[None]:
    """A real signal soon, whose handler raises in the main thread wherever that is: what a termination does."""

    def raise_it(number: int, frame: object) -> None:
        raise getattr(request, "param", DagsterExecutionInterruptedError)

    before = signal.signal(signal.SIGALRM, raise_it)
    signal.setitimer(signal.ITIMER_REAL, 0.4)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


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
    second = threading.Event()

    def tick() -> None:
        ticks.append(time.monotonic())
        if len(ticks) == 2:
            second.set()

    began = time.monotonic()
    outcome = supervise(lambda stop: second.wait(20), grace_seconds=1, every_seconds=0.25, on_tick=tick)
    assert outcome.value is True
    assert ticks[0] - began >= 0.25
    assert ticks[1] - began >= 0.5


@pytest.mark.parametrize("interrupt", [DagsterExecutionInterruptedError, KeyboardInterrupt], indirect=True)
@pytest.mark.usefixtures("interrupt")
def test_an_interrupt_stops_the_work_and_waits_for_its_result() -> None:
    def work(stop: threading.Event) -> str:
        assert stop.wait(20)
        time.sleep(0.5)  # commits what it holds
        return "committed"

    outcome = supervise(work, grace_seconds=10)
    assert outcome.value == "committed"
    assert isinstance(outcome.error, (DagsterExecutionInterruptedError, KeyboardInterrupt))


@pytest.mark.usefixtures("interrupt")
def test_work_that_does_not_listen_is_left_behind() -> None:
    release = threading.Event()
    outcome = supervise(lambda stop: release.wait(3600), grace_seconds=0.2)
    release.set()
    assert outcome.value is None
    assert isinstance(outcome.error, DagsterExecutionInterruptedError)
