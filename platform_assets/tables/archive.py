"""A table frozen at one version, as files that a copy needs: for backup and restore, whatever the table's contract was.

Belongs here: what Delta says of a folder. Does not: copying (`backup/`), or the order in which tables are frozen.

Data files never change and stay for a day after no snapshot needs them; log entries go two hours after the checkpoint that
covers them. So the log is copied at once, the data in peace.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable

from platform_assets.core.transactions import RESTORED
from platform_assets.tables.table import LakeTable

LOG = "_delta_log"

_ENTRY = re.compile(r"(\d{20})\.(json|checkpoint(?:\..+)?\.parquet)")


class LogMoved(Exception):
    """The log was shortened while it was being listed: freeze again."""


@dataclass(frozen=True)
class FrozenTable:
    """One table at `version`. Paths are relative to `path`; `log` begins at the newest checkpoint that the version has."""

    path: Path
    version: int
    log: tuple[str, ...]
    data: tuple[str, ...]


def find_tables(root: Path) -> list[Path]:
    """Every Delta table below `root`, in order of path."""
    return sorted(
        folder.parent for folder in root.rglob(LOG) if folder.is_dir() and DeltaTable.is_deltatable(str(folder.parent))
    )


def freeze(path: Path) -> FrozenTable:
    """The table's newest version. Raises LogMoved when its log changed hands meanwhile."""
    delta = DeltaTable(str(path))
    version = int(delta.version())
    return FrozenTable(path, version, tuple(f"{LOG}/{name}" for name in _log(path / LOG, version)), live_files(delta))


def live_files(delta: DeltaTable) -> tuple[str, ...]:
    """Paths of the live files of an opened table, in order."""
    return tuple(sorted(pa.table(delta.get_add_actions(flatten=True)).column("path").to_pylist()))


def _log(folder: Path, version: int) -> Sequence[str]:
    """Names of the entries that make up `version`: the newest checkpoint and what follows it."""
    entries: dict[int, list[str]] = {}
    checkpoint = -1
    for name in sorted(entry.name for entry in folder.iterdir()):
        found = _ENTRY.fullmatch(name)
        if found is None or int(found[1]) > version:
            continue
        entries.setdefault(int(found[1]), []).append(name)
        if found[2] != "json":
            checkpoint = max(checkpoint, int(found[1]))
    for number in range(checkpoint + 1, version + 1):
        if not any(name.endswith(".json") for name in entries.get(number, ())):
            raise LogMoved
    return [name for number in range(max(checkpoint, 0), version + 1) for name in entries.get(number, ())]


def transaction(path: Path, app_id: str) -> int | None:
    """What the table in this folder records for an application transaction, now."""
    found = DeltaTable(str(path)).transaction_version(app_id)
    return None if found is None else int(found)


def history(table: LakeTable) -> str:
    """What tells this table from every other, also from itself before a restore. In the snapshot in hand."""
    return history_of(table.identity, table.transaction(RESTORED))


def history_of(identity: str, restored: int | None) -> str:
    """`<table's UUID>`, and `/<moment>` when the table was restored."""
    return identity if restored is None else f"{identity}/{restored}"


def mark_restored(path: Path, moment: int) -> None:
    """Record in a table that it was restored at `moment` (microseconds since 1970): its versions may have been used before."""
    delta = DeltaTable(str(path))
    partition_by = next(iter(delta.metadata().partition_columns), None)
    LakeTable(path, pa.schema(delta.schema().to_arrow()), partition_by).commit([], advance={RESTORED: moment})
