"""Which keys silver already holds, by event partition: the memory behind "the same event twice".

A key is known by 128 bits of its hash (`_key_hi`, `_key_lo`, made by refine), kept in sorted NumPy runs that merge as they
grow. It is a cache of silver, never a second truth: it states up to which bronze commit it covers silver and reads the
rest from there, so a lost or old snapshot costs time, not rows. Two different keys share 128 bits with probability 1e-21
in a partition of a billion rows.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from platform_assets.contracts.model import Table
from platform_assets.lake.table import LakeTable, select_from
from platform_assets.refine.hashing import key_select

U64 = NDArray[np.uint64]

KEY_FOLDER = "_keys"
"""Where snapshots lie, below the lake's root."""


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
        for run_hi, run_lo in self.runs:
            at = np.searchsorted(run_hi, hi)
            inside = at < len(run_hi)
            same = inside & (run_hi[np.minimum(at, len(run_hi) - 1)] == hi)
            exact = same & (run_lo[np.minimum(at, len(run_lo) - 1)] == lo)
            for i in np.flatnonzero(same & ~exact):  # two keys share the first 64 bits: look at all of them
                end = np.searchsorted(run_hi, hi[i], side="right")
                exact[i] = bool((run_lo[at[i] : end] == lo[i]).any())
            found |= exact
        return found


def first_of_each(hi: U64, lo: U64) -> NDArray[np.bool_]:
    """For rows in bronze order: which are the first with their key."""
    order = np.lexsort((np.arange(len(hi)), lo, hi))
    sorted_hi, sorted_lo = hi[order], lo[order]
    first = np.ones(len(hi), np.bool_)
    first[order[1:]] = (sorted_hi[1:] != sorted_hi[:-1]) | (sorted_lo[1:] != sorted_lo[:-1])
    return first


class KeyIndex:
    """The key sets of one silver table, loaded as partitions are touched, kept up with what other writers commit.

    `covered` is the last bronze commit (`_seq`) whose silver rows every loaded set includes; `rewrite` is the value of the
    table's rewrite transaction for which that holds (a rebuild or replay changes rows behind `covered`).
    """

    def __init__(self, contract: Table, silver: LakeTable, con: duckdb.DuckDBPyConnection, cache: Path) -> None:
        self._contract = contract
        self._silver = silver
        self._con = con
        self._cache = cache
        self._sets: dict[str, KeySet] = {}
        self.covered = 0
        self.rewrite = 0

    def catch_up(self) -> None:
        """Bring the sets to the silver snapshot in hand: another lane, a rebuild or a replay may have written."""
        seq = self._silver.transaction("seq") or 0
        rewrite = self._silver.transaction("rewrite") or 0
        if rewrite != self.rewrite:
            self._sets.clear()
        elif seq > self.covered:
            for partition, keys in self._sets.items():
                keys.add(*self._read(partition, self.covered))
        self.covered, self.rewrite = seq, rewrite

    def _set(self, partition: str) -> KeySet:
        if partition not in self._sets:
            keys, after = self._load(partition)
            keys.add(*self._read(partition, after))
            self._sets[partition] = keys
        return self._sets[partition]

    def _read(self, partition: str, after: int) -> tuple[U64, U64]:
        files = self._silver.between("_seq", after + 1, partition=partition)
        if not files:
            return np.empty(0, np.uint64), np.empty(0, np.uint64)
        rows = self._silver.relation(self._con, files).filter(f"_seq > {after}")
        return key_columns(select_from(rows, "silver", key_select(self._contract)))

    def first_seen(self, accepted: pa.Table) -> NDArray[np.bool_]:
        """For accepted rows in bronze order: True where no earlier row, here or in silver, has the key."""
        hi, lo = key_columns(accepted)
        keep = np.zeros(len(hi), np.bool_)
        partitions = accepted.column("event_partition").combine_chunks().dictionary_encode()
        codes = partitions.indices.to_numpy(zero_copy_only=False)
        for code, partition in enumerate(partitions.dictionary.to_pylist()):
            mine = np.flatnonzero(codes == code)
            fresh = first_of_each(hi[mine], lo[mine]) & ~self._set(partition).holds(hi[mine], lo[mine])
            keep[mine] = fresh
        return keep

    def committed(self, accepted: pa.Table, seq: int) -> None:
        """These rows, up to bronze commit `seq`, are in silver now."""
        hi, lo = key_columns(accepted)
        partitions = accepted.column("event_partition").combine_chunks().dictionary_encode()
        codes = partitions.indices.to_numpy(zero_copy_only=False)
        for code, partition in enumerate(partitions.dictionary.to_pylist()):
            self._set(partition).add(hi[codes == code], lo[codes == code])
        self.covered = seq

    # -- snapshots: the next run is a new process and should not read the day again -------------------------------------

    def _file(self, partition: str) -> Path:
        return snapshot_file(self._cache, self._contract, self._silver, partition)

    def save(self, largest: int = 2) -> None:
        """Write the largest sets beside the lake, whole or not at all."""
        self._cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        for partition, keys in sorted(self._sets.items(), key=lambda item: -len(item[1]))[:largest]:
            merged = KeySet()
            merged.add(
                np.concatenate([hi for hi, _ in keys.runs] or [np.empty(0, np.uint64)]),
                np.concatenate([lo for _, lo in keys.runs] or [np.empty(0, np.uint64)]),
            )
            if not merged.runs:
                continue
            descriptor, name = tempfile.mkstemp(dir=self._cache, suffix=".tmp")
            with os.fdopen(descriptor, "wb") as sink:
                np.savez(
                    sink,
                    hi=merged.runs[0][0],
                    lo=merged.runs[0][1],
                    state=np.array([self.covered, self.rewrite], np.int64),
                )
            Path(name).replace(self._file(partition))

    def _load(self, partition: str) -> tuple[KeySet, int]:
        """A snapshot that this silver table still agrees with, and the bronze commit that it covers."""
        path = self._file(partition)
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


def snapshot_file(folder: Path, contract: Table, silver: LakeTable, partition: str) -> Path:
    """Where the keys of one event partition are kept."""
    return folder / f"{contract.qualified_name}.{silver.identity}.{partition}.npz"


def key_columns(rows: pa.Table) -> tuple[U64, U64]:
    """The two halves of each row's key hash."""
    return rows.column("_key_hi").to_numpy(), rows.column("_key_lo").to_numpy()
