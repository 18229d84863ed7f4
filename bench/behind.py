"""How long gold took to take in each commit of silver: read from the Delta logs when the flow is over.

Belongs here: commits and their marks. Does not: the flow itself (`live.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from deltalake import DeltaTable

from platform_assets.contracts.model import Contract
from platform_assets.core.transactions import SEQ, marks_of
from platform_assets.marts.marts import Mart
from platform_assets.tables.layout import Lake

_OPEN_S = 120.0
"""What silver committed so shortly before the end is left out: gold has had no time for it."""

Marks = list[tuple[float, int]]
"""When each commit was made (seconds since 1970) and up to where the table then was, in order of time."""


def gold_behind(lake: Path, contract: Contract, marts: Sequence[Mart], since: float) -> list[float]:
    """Seconds from each commit of the first table's silver after `since` to the refresh that gave it to the last mart, sorted.

    A commit that no refresh has taken in counts with its age.
    """
    now = datetime.now(UTC).timestamp()
    table = contract.tables[0]
    commits = _marks(Lake(lake).tables(table).silver.path, SEQ)
    seen = [_marks(mart.table(lake).path, marks_of(table.name)[0]) for mart in marts]
    return sorted(
        max(next((taken for taken, upto in marks if upto >= seq), now) for marks in seen) - when
        for when, seq in commits
        if since <= when <= now - _OPEN_S
    )


def _marks(path: Path, mark: str) -> Marks:
    """Commits that moved an application transaction; none of a table that was never made."""
    if not DeltaTable.is_deltatable(str(path)):
        return []
    table, found = DeltaTable(path), Marks()
    for commit in reversed(table.history()):
        table.load_as_version(commit["version"])
        upto = table.transaction_version(mark)
        if upto is not None and (not found or upto > found[-1][1]):
            found.append((commit["timestamp"] / 1000, upto))
    return found
