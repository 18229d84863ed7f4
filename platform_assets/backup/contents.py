"""What a backup holds: tables of the lake in the order in which they must be frozen, and the plain files beside them.

Belongs here: the order, and what is left out. Does not: copying (`copy.py`).

The order is downstream first. Silver is frozen before bronze, so that a restored silver never holds a bronze commit that bronze
lacks (the worker would refuse it); what bronze holds beyond silver is settled by the next worker. Quarantine comes after
silver: what it holds past silver is not yet true, and is replaced. A replay moves rows from quarantine to silver: when
silver's `rewrite` has moved between the two, both are frozen again. Accepted contracts come last: no row is newer than its
contract.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from platform_assets.alerts.buckets import FOLDER
from platform_assets.core.errors import AssayError
from platform_assets.core.transactions import REWRITE
from platform_assets.tables.archive import FrozenTable, LogMoved, find_tables, freeze, transaction
from platform_assets.tables.layout import KEY_FOLDER
from platform_assets.tables.runs import RUNS

_TRIES = 20
_SILVER, _QUARANTINE = "silver", "quarantine"
_BEHIND = ("feed", "bronze")
_LOCAL = frozenset({"local", "dagster/output", "dagster/logs", "secrets.env"})
"""Below a home: the local services' own data, logs, and what is copied only on request."""
_PASSING = (".lock", ".tmp", "-wal", "-shm", "-journal", "-lock")

Save = Callable[[FrozenTable], None]
"""Keeps a frozen table's log; raises FileNotFoundError when an entry has gone. Called again for a table that is frozen again."""


def freeze_lake(lake: Path, save: Save) -> list[FrozenTable]:
    """Freeze every table of the lake, downstream first. Raises AssayError when one never stands still."""
    tables = find_tables(lake)
    layers: dict[str, list[Path]] = {}
    for path in tables:
        layers.setdefault(path.relative_to(lake).parts[0], []).append(path)
    known = (_SILVER, _QUARANTINE, *_BEHIND)
    frozen = [_freeze(path, save) for layer, paths in layers.items() if layer not in known for path in paths]
    rejects = {path.relative_to(lake / _QUARANTINE): path for path in layers.get(_QUARANTINE, ())}
    for path in layers.get(_SILVER, ()):
        frozen += _freeze_pair(path, rejects.pop(path.relative_to(lake / _SILVER), None), save)
    frozen += [_freeze(path, save) for path in rejects.values()]
    return frozen + [_freeze(path, save) for layer in _BEHIND for path in layers.get(layer, ())]


def _freeze_pair(silver: Path, quarantine: Path | None, save: Save) -> list[FrozenTable]:
    for _ in range(_TRIES):
        before = transaction(silver, REWRITE)
        frozen = [_freeze(path, save) for path in (silver, quarantine) if path is not None]
        if transaction(silver, REWRITE) == before:
            return frozen
    raise AssayError(f"{silver} was rewritten again and again", "back up when replay and rebuild are done")


def _freeze(path: Path, save: Save) -> FrozenTable:
    for _ in range(_TRIES):
        try:
            frozen = freeze(path)
            save(frozen)
        except (LogMoved, FileNotFoundError):
            continue
        return frozen
    raise AssayError(
        f"the log of {path} never stood still", "another process commits or vacuums without pause; try again"
    )


def lake_files(lake: Path) -> Iterator[Path]:
    """Plain files of the lake, relative to it: what is neither a table's nor a cache nor a run's."""
    yield from _files(
        lake, {KEY_FOLDER, FOLDER, RUNS, *(path.relative_to(lake).as_posix() for path in find_tables(lake))}
    )


def home_files(home: Path, lake: Path) -> Iterator[Path]:
    """Plain files of the home, relative to it: Dagster's databases, audit, all that is neither service nor log."""
    skip = set(_LOCAL)
    if lake.is_relative_to(home):
        skip.add(lake.relative_to(home).as_posix())
    yield from _files(home, skip)


def _files(root: Path, skip: set[str]) -> Iterator[Path]:
    """Files below `root`, relative to it, in order; links, sockets, locks and what is being written are left out."""
    if not root.is_dir():
        return
    folders = [root]
    while folders:
        for entry in sorted(folders.pop().iterdir()):
            relative = entry.relative_to(root)
            passing = entry.name.startswith(".") or entry.name.endswith(_PASSING) or entry.name == "lock"
            if entry.is_symlink() or relative.as_posix() in skip or passing:
                continue
            if entry.is_dir():
                folders.append(entry)
            elif entry.is_file():
                yield relative
