"""What an ingest run did, in numbers: the metadata of its materializations, and what `assay status` and tests read."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime

from platform_assets.sources.base import Gap


@dataclass
class TableReport:
    """One table's part of a run. Counts are rows, sizes are bytes, times are seconds."""

    table: str
    source: str = ""
    positions: dict[int, tuple[int, int]] = field(default_factory=dict)  # shard -> [start, end)
    lag: dict[int, int] = field(default_factory=dict)  # records not yet landed, by shard, at the end
    bronze: Counter[str] = field(default_factory=Counter)  # landing date -> records landed
    bronze_bytes: int = 0
    skipped: int = 0  # positions that hold no readable record
    silver: Counter[str] = field(default_factory=Counter)  # event partition -> rows accepted
    history: int = 0  # of them, older than the contract's lateness
    rejected: Counter[str] = field(default_factory=Counter)  # reason -> rows
    duplicates: int = 0  # rows whose key silver held already
    conflicts: int = 0  # of them, with other values than the row that stays
    indexed: Counter[str] = field(
        default_factory=Counter
    )  # event partition -> documents that the index has acknowledged
    index_refused: int = (
        0  # documents that it will never take: they are in quarantine (stage `index`), and not in `indexed`
    )
    index_behind: int | None = (
        0  # bronze commits that silver holds and the index does not yet; None when it cannot be asked
    )
    index_error: str = ""  # why the index does not take documents now
    index_asked: bool = (
        False  # whether `index_error` says how it is: the publisher has confirmed, failed or had nothing to do
    )
    commits: int = 0
    compacted: int = 0
    watermark: datetime | None = None  # greatest event time of rows that are not history
    gaps: list[Gap] = field(default_factory=list)
    gaps_asked: bool = False  # whether `gaps` says how it is: the broker was asked
    trouble: dict[str, str] = field(
        default_factory=dict
    )  # what needs a person although the worker goes on, by its kind
    seconds: defaultdict[str, float] = field(
        default_factory=lambda: defaultdict(float)
    )  # phase -> seconds spent (consume, bronze, transform, silver, index, compact)

    def tell(self, kind: str, trouble: str) -> None:
        """Say in one line what needs a person; empty when it is over. From any thread."""
        if trouble:
            self.trouble[kind] = trouble
        else:
            self.trouble.pop(kind, None)

    @property
    def records(self) -> int:
        """Records landed in bronze by this run."""
        return sum(self.bronze.values())

    @property
    def quarantine_rate(self) -> float:
        """Rejected share of what was transformed; 0 when nothing was."""
        transformed = sum(self.silver.values()) + sum(self.rejected.values()) + self.duplicates
        return sum(self.rejected.values()) / transformed if transformed else 0.0


@dataclass
class IngestReport:
    """An ingest run: when, why it ended (`time`, `handed_over`, `caught_up`, `index_failed`, `stopped`), and each table's
    part.
    """

    system: str
    started: datetime
    epoch: int = 0
    ended: datetime | None = None
    reason: str = ""
    tables: dict[str, TableReport] = field(default_factory=dict)
    peak_rss: int = 0
    alert_error: str = ""  # why alerts were not evaluated, told or shown, at the end of the run
