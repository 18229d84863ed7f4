"""A table at one version: the files and transactions that a proof goes by, whatever others commit meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
from deltalake import DeltaTable

from platform_assets.tables.files import DataFile
from platform_assets.tables.table import LakeTable


@dataclass(frozen=True)
class Snapshot:
    """Immutable view of a table; `version` is -1 for a table that does not exist (looking at it must not create it)."""

    table: LakeTable
    version: int
    files: tuple[DataFile, ...]
    transactions: dict[str, int]

    @classmethod
    def take(cls, table: LakeTable, app_ids: Iterable[str] = ()) -> Snapshot:
        """The newest version, with those application transactions that are known of `app_ids`."""
        if not table.exists():
            return cls(table, -1, (), {})
        version = table.refresh()
        known = {a: v for a, v in table.transactions(app_ids).items() if v is not None}
        return cls(table, version, tuple(table.files()), known)

    @property
    def rows(self) -> int:
        """Rows by the log."""
        return sum(f.rows for f in self.files)

    def transaction(self, app_id: str) -> int:
        """A transaction's version; 0 when there is none."""
        return self.transactions.get(app_id, 0)

    def look_up(self, app_ids: Iterable[str]) -> dict[str, int | None]:
        """More transactions of the same version (they only ever rise, so an older snapshot's are read from its own version).

        Ask soon: the log entries of a version go two hours after the checkpoint that covers them.
        """
        if self.version < 0:
            return dict.fromkeys(app_ids)
        delta = DeltaTable(str(self.table.path), version=self.version)
        return {a: delta.transaction_version(a) for a in app_ids}

    def between(self, column: str, low: int, high: int) -> list[DataFile]:
        """Files that may hold `low <= column <= high`, by their statistics."""
        return [f for f in self.files if column not in f.low or (f.low[column] <= high and f.high[column] >= low)]

    def view(self, con: duckdb.DuckDBPyConnection, name: str, files: Sequence[DataFile] | None = None) -> None:
        """Make the rows of these files (default: all) a view of that name on the connection."""
        chosen = list(self.files if files is None else files)
        con.execute(f"DROP VIEW IF EXISTS {name}")
        self.table.relation(con, chosen).create_view(name, replace=True)


def created(path: Path) -> datetime:
    """When the table was created."""
    return datetime.fromtimestamp(DeltaTable(str(path)).metadata().created_time / 1000, UTC)
