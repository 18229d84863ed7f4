"""What a replay did, in numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class TableReplay:
    """One table's part. Counts are rows; of a dry run what would have happened.

    Of the duplicates, `conflicts` have other values than the row that stays.
    Stage `transform`: `looked_at` = `accepted` (in silver now) + `duplicates` (silver holds their key) + `finished` (an
    interrupted replay had brought them to silver) + `still_rejected` (by today's reason) + `unavailable` (bronze no longer
    has them). Stage `index`: of `index_looked_at`, `index_accepted` have a document now and `without_row` are no longer in
    silver.
    """

    table: str
    looked_at: int = 0
    accepted: int = 0
    duplicates: int = 0
    conflicts: int = 0
    finished: int = 0
    still_rejected: Counter[str] = field(default_factory=Counter)
    unavailable: int = 0
    documents: int = 0
    index_looked_at: int = 0
    index_accepted: int = 0
    index_refused: int = 0
    without_row: int = 0
    seconds: float = 0.0

    @property
    def changed(self) -> int:
        """Rows that left quarantine (or would)."""
        return self.accepted + self.duplicates + self.finished + self.index_accepted


@dataclass
class ReplayReport:
    """A system's replay."""

    system: str
    dry_run: bool
    tables: dict[str, TableReplay] = field(default_factory=dict)

    @property
    def changed(self) -> int:
        """Rows that left quarantine (or would); 0 for a second replay."""
        return sum(table.changed for table in self.tables.values())

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form with stable names."""
        return {
            "system": self.system,
            "dry_run": self.dry_run,
            "changed": self.changed,
            "tables": {
                name: vars(table) | {"still_rejected": dict(table.still_rejected), "changed": table.changed}
                for name, table in self.tables.items()
            },
        }
