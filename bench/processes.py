"""What Dagster's processes cost: memory of ingest runs, processor time when idle, from a sensor's tick to a run's first step."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import psutil

from bench.common import median
from platform_assets.local.dagster import Dagster, dagster_home


class Monitor:
    """Samples the processes of a Dagster once a second while the block runs."""

    def __init__(self, dagster: Dagster) -> None:
        self._dagster = dagster
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.largest: list[int] = []  # bytes of the largest process in each sample: an ingest run, once there was one

    def __enter__(self) -> Monitor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._over.wait(1.0):
            sizes = [0]
            for process in self._dagster.processes():
                with suppress(psutil.Error):
                    sizes.append(process.memory_info().rss)
            self.largest.append(max(sizes))

    def by_tenth(self) -> list[int]:
        """The largest size in bytes in each tenth of the time: whether memory grows. Shorter if there are fewer samples."""
        bounds = [n * len(self.largest) // 10 for n in range(11)]
        return [max(self.largest[a:b]) for a, b in pairwise(bounds) if a < b]


def processor_seconds(processes: Iterable[psutil.Process]) -> float:
    """Processor time of processes so far, those included that have ended and were children of one that lives."""
    total = 0.0
    for process in processes:
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def tick_to_step(home: Path) -> float | None:
    """Median seconds from a run's creation by the sensor to the start of its first step; None without runs."""
    delays = []
    with suppress(sqlite3.Error):
        for runs in (dagster_home(home) / "history").rglob("runs.db"):
            with sqlite3.connect(f"file:{runs}?mode=ro", uri=True) as database:
                created = (
                    "(julianday(create_timestamp) - 2440587.5) * 86400"  # strftime('%s') would cut the fraction off
                )
                query = f"SELECT start_time - {created} FROM runs WHERE start_time IS NOT NULL"  # noqa: S608
                delays += [float(delay) for (delay,) in database.execute(query)]
    return round(median(delays), 1) if delays else None


def sleep_measured(dagster: Dagster, seconds: float) -> float:
    """Cores that Dagster uses while nothing happens."""
    before, began = processor_seconds(dagster.processes()), time.monotonic()
    time.sleep(seconds)
    return (processor_seconds(dagster.processes()) - before) / (time.monotonic() - began)
