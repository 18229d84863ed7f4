"""A process that does one piece of work after the other, and what each of them cost its whole tree.

Belongs here: starting it, asking, measuring, ending it. Does not: what is asked (`compare.py`) or done (`*_job.py`).

A request is one line of JSON on standard input, so that no secret stands in arguments or environment; the answer is one line
on standard output. Everything else that the process says goes to its log.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.processes import processor_seconds
from platform_assets.core.errors import AssayError
from platform_assets.core.files import tail

SAMPLE_S = 0.5
PATIENCE_S = 900.0
_GOODBYE_S = 60.0


@dataclass(frozen=True)
class Work:
    """One piece of work: seconds by the clock, processor seconds of all its processes, what was answered."""

    seconds: float
    cpu_s: float
    answer: dict[str, Any]


class Worker:
    """The process `name`. The cost of the first piece of work is counted from the start of the process."""

    def __init__(
        self, name: str, command: Sequence[str], *, log: Path, cwd: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._name = name
        self._log = log
        self._since: tuple[float, float] | None = (time.perf_counter(), 0.0)
        self.peak_rss = 0  # bytes of all its processes together, sampled
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                cwd=cwd,
                env=os.environ | (environment or {}),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()  # upon which it ends by itself
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GOODBYE_S)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()

    def ask(self, request: Mapping[str, Any]) -> Work:
        """Send a request and wait for its answer. Raises AssayError when the process ends instead or takes too long."""
        assert self._process.stdin is not None and self._process.stdout is not None
        began, used = self._since or (time.perf_counter(), processor_seconds(self._tree()))
        self._since = None
        guard = threading.Timer(PATIENCE_S, self._process.kill)
        guard.start()
        try:
            with suppress(BrokenPipeError):  # it has ended: there will be no answer
                self._process.stdin.write(json.dumps(request) + "\n")
                self._process.stdin.flush()
            line = self._process.stdout.readline()
        finally:
            guard.cancel()
        seconds = time.perf_counter() - began
        if not line:
            said = tail(self._log, 1) or "it said nothing"
            raise AssayError(f"{self._name} did not finish its work: {said}", f"see {self._log}")
        return Work(seconds, processor_seconds(self._tree()) - used, json.loads(line))

    def _tree(self) -> list[psutil.Process]:
        with suppress(psutil.Error):
            root = psutil.Process(self._process.pid)
            return [root, *root.children(recursive=True)]
        return []

    def _sample(self) -> None:
        before: set[int] = set()
        while not self._over.wait(SAMPLE_S):
            tree = self._tree()
            rss = 0
            for process in tree:
                # A process on its way to another program still has its parent's memory: it would count twice.
                if process.pid in before:
                    with suppress(psutil.Error):
                        rss += process.memory_info().rss
            before = {process.pid for process in tree}
            self.peak_rss = max(self.peak_rss, rss)
