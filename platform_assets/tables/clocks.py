"""Clocks that tables keep in their transactions, so that they never run backwards: of landing and of retention."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from platform_assets.core.transactions import CLOCK, RETENTION
from platform_assets.tables.layout import TableSet
from platform_assets.tables.table import LakeTable


def next_clock(bronze: LakeTable, now: int | None = None) -> int:
    """Microseconds since 1970, never before the last commit's, whatever the machine's clock says (or `now`)."""
    return max(time.time_ns() // 1000 if now is None else now, (bronze.transaction(CLOCK) or 0) + 1)


STEP = timedelta(days=2)
"""How far the retention clock may go past the last landing and the last maintenance. Maintenance is daily."""


def retention_clock(tables: TableSet) -> datetime:
    """The moment that retention counts from: the machine's clock, at most `STEP` past the last landing or the last care.

    So a quiet table forgets too, day by day, and a clock that is years ahead takes two days of rows before somebody sees it.
    """
    now, known = datetime.now(UTC), 0
    for table, mark in ((tables.bronze, CLOCK), (tables.silver, RETENTION)):
        if table.exists():
            table.refresh()
            known = max(known, table.transaction(mark) or 0)
    return min(now, datetime.fromtimestamp(known / 1_000_000, UTC) + STEP) if known else now
