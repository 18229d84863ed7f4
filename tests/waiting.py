"""Waiting in tests: as long as something works, however slow the machine is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

from platform_assets.local.patience import Patience, family, work

QUIET_SECONDS = 90.0
T = TypeVar("T")


def eventually(true: Callable[[], T], what: str = "", every_s: float = 0.1) -> T:
    """Wait for the first true answer and return it.

    Fails when neither this process nor any below it has worked for a while. What the questions themselves cost is no work.
    """
    asked = [0.0]

    def signs() -> object:
        return work(family(os.getpid()), QUIET_SECONDS, less_s=asked[0])

    patience = Patience(signs, QUIET_SECONDS)
    while not (answer := _timed(true, asked)):
        assert not patience.exhausted(), f"waited {patience.waited():.0f} s in vain {what and f'for {what}'}"
        time.sleep(every_s)
    return answer


def _timed(true: Callable[[], T], asked: list[float]) -> T:
    before = time.thread_time()
    try:
        return true()
    finally:
        asked[0] += time.thread_time() - before
