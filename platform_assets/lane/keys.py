"""Which keys silver already holds, by dedupe window: the memory behind "the same event twice".

A key is known by 128 bits of its hash (`_key_hi`, `_key_lo`, made by refine), kept in sorted NumPy runs that merge as they
grow. It is a cache of silver, never a second truth: it states up to which bronze commit it covers silver and reads the
rest from there, so a lost or old snapshot costs time, not rows. Two different keys share 128 bits with probability 1e-21
in a window of a billion rows.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zipfile import BadZipFile

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from platform_assets.contracts.model import Table
from platform_assets.lake.files import older
from platform_assets.lake.table import LakeTable, select_from
from platform_assets.refine.hashing import key_select

U64 = NDArray[np.uint64]

Window = tuple[str, int]
"""Event partition, and number of the dedupe window since 1970 (0 where that is the whole partition)."""

KEY_FOLDER = "_keys"
"""Where snapshots lie, below the lake's root."""
MOST_KEYS = 24_000_000
"""Keys kept in memory (16 bytes each) beyond the windows that the last batch touched."""
KEEP_SNAPSHOTS = timedelta(hours=2)
"""A window that nothing was added to for so long is read from silver when a late row comes."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class KeySet:
    """128-bit keys as runs of (hi, lo), each sorted by hi; a run is at least twice as long as the next."""

    runs: list[tuple[U64, U64]] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(len(hi) for hi, _ in self.runs)

    def add(self, hi: U64, lo: U64) -> None:
        """Remember keys (not yet held ones, or held ones again: harmless)."""
        if not len(hi):
            return
        order = np.argsort(hi, kind="stable")
        self.runs.append((hi[order], lo[order]))
        while len(self.runs) > 1 and len(self.runs[-2][0]) < 2 * len(self.runs[-1][0]):
            (h1, l1), (h2, l2) = self.runs.pop(), self.runs.pop()
            both = np.concatenate((h2, h1))
            order = np.argsort(both, kind="stable")
            self.runs.append((both[order], np.concatenate((l2, l1))[order]))

    def holds(self, hi: U64, lo: U64) -> NDArray[np.bool_]:
        """Which of these keys are held."""
        found = np.zeros(len(hi), np.bool_)
        order = np.argsort(hi)  # a search in order stays in the processor's caches
        hi, lo = hi[order], lo[order]
        for run_hi, run_lo in self.runs:
            at = np.searchsorted(run_hi, hi)
            inside = at < len(run_hi)
            same = inside & (run_hi[np.minimum(at, len(run_hi) - 1)] == hi)
            exact = same & (run_lo[np.minimum(at, len(run_lo) - 1)] == lo)
            for i in np.flatnonzero(same & ~exact):  # two keys share the first 64 bits: look at all of them
                end = np.searchsorted(run_hi, hi[i], side="right")
                exact[i] = bool((run_lo[at[i] : end] == lo[i]).any())
            found[order] |= exact
        return found

    def fresh(self, hi: U64, lo: U64) -> NDArray[np.bool_]:
        """For rows in bronze order: which have a key that is not held and that no row before them has."""
        return first_of_each(hi, lo) & ~self.holds(hi, lo)


def first_of_each(hi: U64, lo: U64) -> NDArray[np.bool_]:
    """For rows in bronze order: which are the first with their key."""
    first = np.ones(len(hi), np.bool_)
    order = np.argsort(hi, kind="stable")
    alike = np.flatnonzero(hi[order[1:]] == hi[order[:-1]])
    if len(alike):  # few rows share their first 64 bits, and most of them their key
        some = np.unique(np.concatenate((order[alike], order[alike + 1])))
        order = some[np.lexsort((some, lo[some], hi[some]))]
        first[order[1:]] = (hi[order[1:]] != hi[order[:-1]]) | (lo[order[1:]] != lo[order[:-1]])
    return first


class KeyIndex:
    """The key sets of one silver table by dedupe window, loaded as windows are touched, kept up with what others commit.

    `covered` is the last bronze commit (`_seq`) whose silver rows every loaded set includes; `rewrite` is the value of the
    table's rewrite transaction for which that holds (a rebuild or replay changes rows behind `covered`).
    """

    def __init__(self, contract: Table, silver: LakeTable, con: duckdb.DuckDBPyConnection, cache: Path) -> None:
        self._contract = contract
        self._silver = silver
        self._con = con
        self._cache = cache
        self._sets: OrderedDict[Window, KeySet] = OrderedDict()  # least recently used first
        self._unsaved: set[Window] = set()
        self.covered = 0
        self.rewrite = 0

    def catch_up(self) -> None:
        """Bring the sets to the silver snapshot in hand: another lane, a rebuild or a replay may have written."""
        seq = self._silver.transaction("seq") or 0
        rewrite = self._silver.transaction("rewrite") or 0
        if rewrite != self.rewrite:
            self._sets.clear()
            self._unsaved.clear()
        elif seq > self.covered:
            self._unsaved.update(self._fill(self._sets, self.covered))
        self.covered, self.rewrite = seq, rewrite

    def first_seen(self, accepted: pa.Table) -> NDArray[np.bool_]:
        """For accepted rows in bronze order: True where no earlier row, here or in silver, has the key."""
        hi, lo = key_columns(accepted)
        keep = np.zeros(len(hi), np.bool_)
        touched = self._windows(accepted)
        self._open([window for window, _ in touched])
        for window, mine in touched:
            keep[mine] = self._sets[window].fresh(hi[mine], lo[mine])
        return keep

    def committed(self, accepted: pa.Table, seq: int) -> None:
        """These rows, up to bronze commit `seq`, are in silver now."""
        hi, lo = key_columns(accepted)
        touched = self._windows(accepted)
        self._open([window for window, _ in touched])
        for window, mine in touched:
            self._sets[window].add(hi[mine], lo[mine])
            self._unsaved.add(window)
        self.covered = seq
        self._evict(len(touched))

    def _windows(self, accepted: pa.Table) -> list[tuple[Window, NDArray[np.intp]]]:
        """The dedupe windows that rows fall into, each with its rows' positions in order."""
        length = self._contract.dedupe_window
        partitions = accepted.column("event_partition").combine_chunks().dictionary_encode()
        codes = partitions.indices.to_numpy(zero_copy_only=False)
        names = partitions.dictionary.to_pylist()
        if length is None:
            return [((str(name), 0), np.flatnonzero(codes == code)) for code, name in enumerate(names)]
        times = accepted.column(self._contract.event_time).cast(pa.int64()).to_numpy()
        numbers = times // round(length.total_seconds() * 1_000_000)
        order = np.argsort(numbers, kind="stable")
        starts = np.flatnonzero(np.diff(numbers[order], prepend=numbers[order][:1] - 1))
        groups = np.split(order, starts[1:])
        return [((str(names[codes[rows[0]]]), int(numbers[rows[0]])), rows) for rows in groups if len(rows)]

    def _open(self, windows: list[Window]) -> None:
        """Have the sets of these windows, from a snapshot where there is one, completed from silver.

        All of them or, on an error, none: a set that lacks what silver holds would take duplicates for new.
        """
        opened: dict[int, dict[Window, KeySet]] = {}
        for window in windows:
            if window in self._sets:
                self._sets.move_to_end(window)
                continue
            keys, covered = self._load(window)
            opened.setdefault(covered, {})[window] = keys
        grown = [window for covered, sets in opened.items() for window in self._fill(sets, covered)]
        for sets in opened.values():
            self._sets.update(sets)
        self._unsaved.update(grown)

    def _fill(self, sets: Mapping[Window, KeySet], after: int) -> list[Window]:
        """Add what silver holds of these windows from bronze commits past `after`, a partition at a time.

        Returns the windows of which it held something.
        """
        grown = []
        wanted: dict[str, list[int]] = {}
        for partition, number in sets:
            wanted.setdefault(partition, []).append(number)
        for partition, numbers in wanted.items():
            rows = self._rows(partition, numbers, after)
            if rows is None:
                continue
            keyed = select_from(rows, "silver", key_select(self._contract))
            found = keyed.column("_window").to_numpy()
            hi, lo = key_columns(keyed)
            order = np.argsort(found, kind="stable")
            ordered = found[order]
            for number in numbers:
                mine = order[np.searchsorted(ordered, number, "left") : np.searchsorted(ordered, number, "right")]
                if len(mine):
                    sets[(partition, number)].add(hi[mine], lo[mine])
                    grown.append((partition, number))
        return grown

    def _rows(self, partition: str, numbers: list[int], after: int) -> duckdb.DuckDBPyRelation | None:
        """Silver rows of a partition from the first to the last of these windows, of bronze commits past `after`."""
        files = self._silver.between("_seq", after + 1, partition=partition)
        where = f"_seq > {after}"
        if (length := self._contract.dedupe_window) is not None:
            name = self._contract.event_time
            begin, end = (_EPOCH + length * n for n in (min(numbers), max(numbers) + 1))
            files = [f for f in files if name not in f.low or (f.low[name] < end and f.high[name] >= begin)]
            where += f" AND \"{name}\" >= TIMESTAMPTZ '{begin}' AND \"{name}\" < TIMESTAMPTZ '{end}'"
        return self._silver.relation(self._con, files).filter(where) if files else None

    def _evict(self, in_use: int) -> None:
        """Forget the windows that were not used for longest, above the bound on keys; those of the last batch stay."""
        total = sum(map(len, self._sets.values()))
        while total > MOST_KEYS and len(self._sets) > in_use:
            window = next(iter(self._sets))
            if window in self._unsaved:
                self._save(window)
            total -= len(self._sets.pop(window))

    # -- snapshots: the next run is a new process and should not read the window again ----------------------------------

    def save(self, largest: int = 4) -> None:
        """Write the largest sets that have grown beside the lake, each whole or not at all; delete what is old."""
        for window in sorted(self._unsaved, key=lambda w: -len(self._sets[w]))[:largest]:
            self._save(window)
        forget_snapshots(self._cache, time.time() - KEEP_SNAPSHOTS.total_seconds())

    def _save(self, window: Window) -> None:
        self._unsaved.discard(window)
        keys = self._sets[window]
        merged = KeySet()
        merged.add(
            np.concatenate([hi for hi, _ in keys.runs] or [np.empty(0, np.uint64)]),
            np.concatenate([lo for _, lo in keys.runs] or [np.empty(0, np.uint64)]),
        )
        if not merged.runs:
            return
        self._cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, name = tempfile.mkstemp(dir=self._cache, suffix=".tmp")
        with os.fdopen(descriptor, "wb") as sink:
            np.savez(
                sink, hi=merged.runs[0][0], lo=merged.runs[0][1], state=np.array([self.covered, self.rewrite], np.int64)
            )
        Path(name).replace(snapshot_file(self._cache, self._contract, self._silver, window))

    def _load(self, window: Window) -> tuple[KeySet, int]:
        """A snapshot that this silver table still agrees with, and the bronze commit that it covers."""
        path = snapshot_file(self._cache, self._contract, self._silver, window)
        if not path.exists():
            return KeySet(), 0
        try:
            with np.load(path) as stored:
                covered, rewrite = (int(x) for x in stored["state"])
                if rewrite == self.rewrite and covered <= self.covered:
                    return KeySet([(stored["hi"], stored["lo"])]), covered
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            path.unlink(missing_ok=True)  # a torn snapshot: silver still knows
        return KeySet(), 0


def snapshot_file(folder: Path, contract: Table, silver: LakeTable, window: Window) -> Path:
    """Where the keys of one dedupe window are kept."""
    partition, number = window
    return folder / f"{contract.qualified_name}.{silver.identity}.{partition}.{number}.npz"


def forget_snapshots(folder: Path, before: float) -> int:
    """Delete snapshots, and what a killed lane left half written, last changed before a Unix time; files deleted."""
    old = older((*folder.glob("*.npz"), *folder.glob("*.tmp")), before)
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)


def key_columns(rows: pa.Table) -> tuple[U64, U64]:
    """The two halves of each row's key hash."""
    return rows.column("_key_hi").to_numpy(), rows.column("_key_lo").to_numpy()
