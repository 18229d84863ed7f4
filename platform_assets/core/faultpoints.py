"""Named places where a test may kill the process, so that recovery is proved where it matters and not only by luck.

`ASSAY_FAULT=<name>:<n>` ends the process with SIGKILL the n-th time that the place is reached. Without the variable a
fault point costs one dictionary look-up. Nothing else belongs here.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import Final

from platform_assets.core.settings import variable

INGEST_POINTS: Final = (
    "after_consume",
    "bronze_file_written",
    "bronze_committed",
    "quarantine_committed",
    "silver_file_written",
    "silver_committed",
    "bulk_half",
    "bulk_done",
    "compact_file_written",
    "progress_written",
)
"""Reached by any worker with events to carry; compaction by one that has made enough files."""

GOLD_POINTS: Final = ("gold_claimed", "gold_mart_committed")
"""Reached where the marts are refreshed."""

ALERT_POINTS: Final = ("alert_stored", "alert_sent", "alert_indexed")
"""Reached only where a rule has something to say."""

REBUILD_POINTS: Final = ("index_filled", "index_blocked", "index_swapped")
"""Reached where an index is built anew."""

RETIRE_POINTS: Final = ("documents_forgotten", "index_retiring")
"""Reached where retention takes documents out of the index; the second when an index goes as a whole."""

POINTS: Final = INGEST_POINTS + GOLD_POINTS + ALERT_POINTS + REBUILD_POINTS + RETIRE_POINTS

_reached: Counter[str] = Counter()


def fault_point(name: str) -> None:
    """Dies here if the environment asks for it. `name` must be one of `POINTS`."""
    wanted = variable("ASSAY_FAULT")
    if wanted is None:
        return
    if name not in POINTS:
        raise ValueError(f"unknown fault point {name!r}")
    point, _, count = wanted.partition(":")
    if point == name:
        _reached[name] += 1
        if _reached[name] >= int(count or 1):
            os.kill(os.getpid(), signal.SIGKILL)
