"""Waiting for as long as there is progress, instead of for a fixed time.

Belongs here: `Patience`, and the signs of progress that every process shows. Does not: what is waited for.

A busy machine makes everything slow, but nothing still. So a wait ends when nothing has moved for a while: no log has
grown, no process has used the processor, no offset has changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

QUIET_SECONDS = 120.0
"""Default time without any progress after which a wait is given up."""
LOOK_SECONDS = 1.0
"""Time between two looks at the signs: walking over processes is not free."""
WORK_SHARE = 0.025
"""Share of one processor that counts as work: an idle server uses less, and one on a crowded machine gets more."""


@dataclass
class Patience:
    """Tells when a wait is in vain: `signs` has returned the same value for `quiet_s` seconds."""

    signs: Callable[[], object]
    quiet_s: float = QUIET_SECONDS
    clock: Callable[[], float] = time.monotonic
    began: float = field(init=False)
    _moved: float = field(init=False)
    _looked: float = field(init=False)
    _last: object = field(init=False)

    def __post_init__(self) -> None:
        """Start to wait."""
        self._last = self.signs()
        self.began = self._moved = self._looked = self.clock()

    def exhausted(self) -> bool:
        """Whether nothing has moved for `quiet_s` seconds. Call it as often as you like."""
        now = self.clock()
        if now - self._looked < LOOK_SECONDS:
            return False
        self._looked = now
        if (seen := self.signs()) != self._last:
            self._last, self._moved = seen, now
        return now - self._moved >= self.quiet_s

    def waited(self) -> float:
        """Seconds since the wait began."""
        return self.clock() - self.began


def work(
    processes: Iterable[psutil.Process], quiet_s: float = QUIET_SECONDS, *, less_s: float = 0.0
) -> tuple[int, ...]:
    """A sign of progress: it stays the same when processes use less than `WORK_SHARE` of a processor for `quiet_s` seconds.

    It changes, too, when processes come or go. `less_s` are seconds of the processor that do not count.
    """
    seconds, pids = -less_s, []
    for process in processes:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            used = process.cpu_times()
            seconds += used.user + used.system
            pids.append(process.pid)
    return (int(seconds / (WORK_SHARE * quiet_s)), *sorted(pids))


def family(pid: int) -> list[psutil.Process]:
    """A process and all that descend from it; empty when it is gone."""
    with suppress(psutil.NoSuchProcess):
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    return []


def living(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that are neither gone nor zombies."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def sizes(paths: Iterable[Path]) -> tuple[int, ...]:
    """A sign of progress: the sizes of files in bytes, 0 where there is none."""
    return tuple(path.stat().st_size if path.is_file() else 0 for path in paths)
