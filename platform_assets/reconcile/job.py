"""What the checks of one table share: the snapshots, the session, where failures go.

Belongs here: opening a bounded session, turning a relation of coordinates into a failure. Does not: any check.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from platform_assets.contracts.model import Table
from platform_assets.core.coordinates import document_id
from platform_assets.core.transactions import SEQ
from platform_assets.reconcile.proof import EXAMPLES, Check, Progress, TableProof
from platform_assets.reconcile.snapshot import Snapshot
from platform_assets.tables.runs import run_folder
from platform_assets.transform import Masker

MEMORY = "1GB"


@dataclass
class Job:
    """One table's proof under way. Snapshots are those that every check goes by; `now` decides what retention may have taken."""

    contract: Table
    masker: Masker
    bronze: Snapshot
    silver: Snapshot
    quarantine: Snapshot
    con: duckdb.DuckDBPyConnection
    proof: TableProof
    tell: Progress
    now: datetime
    deep: bool

    @property
    def bronze_seq(self) -> int:
        """The last bronze commit."""
        return self.bronze.transaction(SEQ)

    @property
    def silver_seq(self) -> int:
        """The last bronze commit that silver has consumed."""
        return self.silver.transaction(SEQ)

    @property
    def bronze_cutoff(self) -> str:
        """Landing dates before this one (ISO) may be gone from bronze."""
        return (self.now - self.contract.bronze_retention).date().isoformat()

    @property
    def silver_cutoff(self) -> str:
        """Event partitions whose rows have all landed before this moment (ISO) may be gone from silver and index."""
        return (self.now - self.contract.retention).isoformat()

    def progress(self, phase: str, done: int, total: int) -> None:
        """Tell whoever watches."""
        self.tell(self.contract.name, phase, done, total)

    def store(self, name: str, relation: duckdb.DuckDBPyRelation) -> None:
        """Keep the relation's rows as a table of the session."""
        self.con.execute(f"DROP TABLE IF EXISTS {name}")
        relation.create(name)

    def refuse(self, check: Check, code: str, message: str, wrong: duckdb.DuckDBPyRelation) -> int:
        """Record a failure for each row of `wrong`: source, shard, position, and a note that may be empty."""
        count = size(wrong)
        if count:
            check.fail(code, message, count, _examples(wrong))
        return count

    def warn(self, check: Check, code: str, message: str, odd: duckdb.DuckDBPyRelation) -> None:
        """Record a warning for each row of `odd`, whose columns are those of `refuse`; the check holds all the same."""
        if count := size(odd):
            check.warn(code, message, count, _examples(odd))


def size(relation: duckdb.DuckDBPyRelation) -> int:
    """How many rows it gives."""
    return int(relation.aggregate("count(*)").fetchall()[0][0])


def _examples(rows: duckdb.DuckDBPyRelation) -> list[str]:
    named = rows.order("1, 2, 3").limit(EXAMPLES).fetchall()
    return [" ".join(filter(None, (_name(t, p, o), note))) for t, p, o, note in named]


def _name(source: str | None, shard: int | None, position: int | None) -> str:
    return document_id(source or "?", -1 if shard is None else shard, -1 if position is None else position)


@contextmanager
def bounded_session(lake: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB session in UTC with bounded memory. It may spill, so its folder lies in the lake, as closed as bronze is."""
    with run_folder(lake, "prove") as folder:
        spill: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": MEMORY,
            "temp_directory": str(folder),
            "preserve_insertion_order": False,
            "threads": 2,
        }
        with closing(duckdb.connect(config=spill)) as con:
            con.execute("SET TimeZone = 'UTC'")
            yield con
