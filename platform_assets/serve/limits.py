"""How much a caller may ask: rates by key, how much at once, sizes, times.

Belongs here: the figures and the counting. Does not belong here: who the caller is (`access.py`), connections (`server.py`).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from platform_assets.core.errors import AssayError
from platform_assets.core.settings import Settings, whole_number

MAX_BODY_BYTES = 4 * 1024 * 1024
"""Of a submission."""
MAX_QUESTION_BYTES = 64 * 1024
"""Of any other body: it is read before anything of it is looked at."""
MAX_RECORDS = 1000
MAX_PAGE = 1000
MAX_PAGE_BYTES = 8 * 1024 * 1024
"""Of a page's rows: then it ends, however few they are."""
MAX_TOP = 200
MAX_RANGE = timedelta(days=366)
DEFAULT_RANGE = timedelta(days=31)
MAX_REPORT_ROWS = 200_000
SEARCH_TIMEOUT_S = 10.0
REPORT_TIMEOUT_S = 30.0
"""Of a report, for all rows that it rests on: less than a caller's token is good for."""
SUBMIT_TIMEOUT_S = 15.0
SUBMISSIONS_AT_ONCE = 4
"""Each parses up to 4 MB and checks them in a database of its own."""
SUBMISSION_WAIT_S = 5.0
_T = TypeVar("_T")


class TooMany(AssayError):
    """A caller's rate is exceeded, or it asks too much at once; `retry_after_s` says when there is room again."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message, f"try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class Busy(AssayError):
    """There is no room for this now, whoever asks."""


@dataclass(frozen=True)
class Rates:
    """Requests in a time, as `limits` writes them (`3000/minute`), and at once; `$ASSAY_API_RATE` and its like set others."""

    requests: RateLimitItem
    personal: RateLimitItem
    refused: RateLimitItem
    at_once: int

    @classmethod
    def of(cls, settings: Settings) -> Rates:
        """The rates in force. Raises AssayError for one that is malformed."""

        def rate(name: str, default: str) -> RateLimitItem:
            text = settings.values.get(name, default)
            try:
                return parse(text)
            except ValueError as error:
                raise AssayError(f"{name} is not a rate", "write it like 3000/minute") from error

        return cls(
            rate("ASSAY_API_RATE", "3000/minute"),
            rate("ASSAY_API_PERSONAL_RATE", "30/minute"),
            rate("ASSAY_API_REFUSED_RATE", "60/minute"),
            whole_number(settings.values, "ASSAY_API_AT_ONCE", 1) or 8,
        )


class RateCounter:
    """Counts in this process. Threads may share it."""

    def __init__(self) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def take(self, rate: RateLimitItem, *whose: str) -> None:
        """Count one request of `whose`. Raises TooMany when there is no room left."""
        if not self._limiter.hit(rate, *whose):
            reset, _ = self._limiter.get_window_stats(rate, *whose)
            raise TooMany(
                f"more than {rate.amount} requests in {rate.get_expiry()} s", max(1, round(reset - time.time()))
            )


class AtOnce:
    """How many requests of each caller are being answered in this process. Threads may share it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._running: Counter[str] = Counter()

    @contextmanager
    def one(self, whose: str) -> Iterator[None]:
        """Count one as long as the block takes. Raises TooMany when `whose` has as many already."""
        with self._lock:
            if self._running[whose] >= self._limit:
                raise TooMany(f"more than {self._limit} requests at once", 1)
            self._running[whose] += 1
        try:
            yield
        finally:
            with self._lock:
                self._running[whose] -= 1
                if not self._running[whose]:
                    del self._running[whose]


class Turns:
    """Heavy work, a few pieces at a time in threads of their own; the rest waits for its turn, but not for long.

    It belongs to one event loop.
    """

    def __init__(self, at_once: int, wait_s: float) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._threads = ThreadPoolExecutor(at_once, "assay-api-turns")
        self._wait_s = wait_s

    async def run(self, work: Callable[..., _T], *arguments: object) -> _T:
        """What `work` returns. Raises Busy when its turn does not come in time; then it was not begun."""
        try:
            async with asyncio.timeout(self._wait_s):
                await self._free.acquire()
        except TimeoutError:
            raise Busy(
                "too many submissions are being evaluated now", "nothing was published; try again soon"
            ) from None
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        finally:
            self._free.release()

    def close(self) -> None:
        """End the threads, when what they have begun is done."""
        self._threads.shutdown()
