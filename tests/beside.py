"""What goes on beside a test, for a block: a worker in a thread, and traffic. A failure there is the block's failure too."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from support import event, publish

from platform_assets.contracts.model import Contract, Table
from platform_assets.core.settings import Settings
from platform_assets.ingest.report import TableReport
from platform_assets.ingest.worker import Worker


@contextmanager
def beside(work: Callable[[threading.Event], object]) -> Iterator[Future[object]]:
    """Do it in a thread until the block ends; the event says when that is. Raises what it raised."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(work, stop)
        try:
            yield run
        finally:
            stop.set()
            run.result()


@dataclass(frozen=True)
class Background:
    """A worker in a thread."""

    worker: Worker
    run: Future[object]

    @property
    def part(self) -> TableReport:
        """What it says of `events` so far. Raises what ended it: nobody is to wait for a dead worker."""
        if self.run.done():
            self.run.result()
        return self.worker.report.tables.get("events", TableReport("events"))


@contextmanager
def background(
    settings: Settings, contract: Contract, *, commit_seconds: float = 0.2, **options: Any
) -> Iterator[Background]:
    """A worker for the block; `options` are those of `Worker`."""
    worker = Worker(settings, contract, commit_seconds=commit_seconds, **options)
    with beside(lambda stop: worker.follow(max_seconds=7200, stop=stop)) as run:
        yield Background(worker, run)


@dataclass
class Traffic:
    """How many events have been acknowledged."""

    sent: int = 0


@contextmanager
def traffic(
    settings: Settings, table: Table, first: int, make: Callable[[int], bytes] = event, step: int = 100
) -> Iterator[Traffic]:
    """Events of the numbers from `first` on, `step` at a time, as long as the block lasts."""
    made = Traffic()

    def flow(stop: threading.Event) -> None:
        while not stop.is_set():
            number = first + made.sent
            made.sent += publish(settings, table, [make(n) for n in range(number, number + step)])
            stop.wait(0.05)

    with beside(flow):
        yield made
