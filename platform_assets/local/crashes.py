"""How often a process may crash before it is given up: one rule for the services and for Dagster.

Belongs here: the rule. Does not: starting processes again (`supervisor.py`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

MAX_CRASHES = 5
WINDOW_S = 600.0


@dataclass
class Crashes:
    """The crashes of one process in the last ten minutes, as seconds of the monotonic clock."""

    moments: deque[float] = field(default_factory=deque)

    def add(self, now: float) -> int:
        """One more; returns how many there are in the window."""
        while self.moments and now - self.moments[0] >= WINDOW_S:
            self.moments.popleft()
        self.moments.append(now)
        return len(self.moments)

    @property
    def too_many(self) -> bool:
        """Whether it is not worth another start."""
        return len(self.moments) > MAX_CRASHES
