"""How much a caller may ask: rates by key, sizes, times.

Belongs here: the figures and the counting. Does not belong here: who the caller is (`access.py`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from platform_assets.errors import AssayError
from platform_assets.settings import Settings

MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_RECORDS = 1000
MAX_PAGE = 1000
MAX_TOP = 200
MAX_RANGE = timedelta(days=366)
DEFAULT_RANGE = timedelta(days=31)
MAX_REPORT_ROWS = 200_000
SEARCH_TIMEOUT_S = 10.0
REPORT_TIMEOUT_S = 30.0
"""For all rows that a report rests on: less than a caller's token is good for."""
SUBMIT_TIMEOUT_S = 15.0


class TooMany(AssayError):
    """A rate is exceeded; `retry_after_s` says when there is room again."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message, f"try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Rates:
    """Requests in a time, as `limits` writes them (`3000/minute`); `$ASSAY_API_RATE` and its like set others."""

    requests: RateLimitItem
    personal: RateLimitItem
    refused: RateLimitItem

    @classmethod
    def of(cls, settings: Settings) -> Rates:
        """The rates in force. Raises AssayError for one that is malformed."""

        def rate(name: str, default: str) -> RateLimitItem:
            text = settings.values.get(name, default)
            try:
                return parse(text)
            except ValueError as error:
                raise AssayError(f"{name}={text} is not a rate", "write it like 3000/minute") from error

        return cls(
            rate("ASSAY_API_RATE", "3000/minute"),
            rate("ASSAY_API_PERSONAL_RATE", "30/minute"),
            rate("ASSAY_API_REFUSED_RATE", "60/minute"),
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
