"""Work that can be told to stop: in a thread of its own, while the main thread takes Dagster's interrupts.

An interrupt is an exception in the main thread, wherever that happens to be. The worker must not be torn out of a commit
by it, although it would survive: it is asked to stop, and what it did is still reported.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from dagster import DagsterExecutionInterruptedError

T = TypeVar("T")
POLL_SECONDS = 0.25


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What the work returned (None: it failed or did not stop in time), and what is to be raised once all is reported."""

    value: T | None
    error: BaseException | None


class _Worker(threading.Thread, Generic[T]):
    def __init__(self, work: Callable[[threading.Event], T]) -> None:
        super().__init__(name="worker-run", daemon=True)
        self._work = work
        self.stop = threading.Event()
        self.done = threading.Event()
        self.value: T | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.value = self._work(self.stop)
        except BaseException as error:  # handed to the main thread, which raises it
            self.error = error
        finally:
            self.done.set()


def supervise(
    work: Callable[[threading.Event], T],
    *,
    grace_seconds: float,
    every_seconds: float = 10.0,
    on_tick: Callable[[], None] = lambda: None,
) -> Outcome[T]:
    """Run `work(stop)` to its end, calling `on_tick` now and then from this thread; on an interrupt set `stop` and wait
    for up to `grace_seconds`. An error of the work comes before the interrupt that may have led to it."""
    worker = _Worker(work)
    interrupt: BaseException | None = None
    worker.start()
    try:
        due = time.monotonic() + every_seconds
        # Not `join`: interrupted by a signal's exception it takes a thread that runs for ended (CPython 3.11).
        while not worker.done.wait(POLL_SECONDS):
            if time.monotonic() >= due:
                due += every_seconds
                on_tick()
    except (DagsterExecutionInterruptedError, KeyboardInterrupt) as raised:
        interrupt = raised
        worker.stop.set()
        worker.done.wait(grace_seconds)
    return Outcome(worker.value, worker.error or interrupt)
