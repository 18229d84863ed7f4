"""Which keys silver already holds, by dedupe window: the memory behind "the same event twice".

A key is known by 128 bits of its hash (`_key_hi`, `_key_lo`, made by transform), kept in sorted NumPy runs that merge as they
grow. Beside it lie 32 bits of the hash of its row's values (`_content`), so that a repetition that says something else is told
apart from the same record sent again; one in four billion of those passes for the same. The index is a cache of silver, never a
second truth: it states up to which bronze commit it covers silver and reads the rest from there, so a lost or old snapshot costs
time, not rows. Two different keys share 128 bits with probability 1e-21 in a window of a billion rows.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zipfile import BadZipFile

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from platform_assets.contracts.model import Table
from platform_assets.core.files import replacing, unfinished
from platform_assets.core.transactions import REWRITE, SEQ
from platform_assets.tables.files import older
from platform_assets.tables.table import LakeTable, select_from
from platform_assets.transform.hashing import INCOMPARABLE, key_select

U64 = NDArray[np.uint64]
U32 = NDArray[np.uint32]
Bools = NDArray[np.bool_]

Window = tuple[str, int]
"""Event partition, and number of the dedupe window since 1970 (0 where that is the whole partition)."""

MOST_KEYS = 20_000_000
"""Keys kept in memory (20 bytes each) beyond the windows that the last batch touched."""
KEEP_SNAPSHOTS = timedelta(hours=2)
"""A window that nothing was added to for so long is read from silver when a late row comes."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys of rows: the two halves of each key's hash, and the hash of the row's values (see `hashing.key_select`)."""

    hi: U64
    lo: U64
    content: U32

    @classmethod
    def of(cls, rows: pa.Table) -> Keys:
        """The keys of rows that the transform has accepted, or of `hashing.key_select`."""
        hi, lo, content = (rows.column(name).to_numpy() for name in ("_key_hi", "_key_lo", "_content"))
        return cls(hi, lo, content)

    @classmethod
    def joined(cls, parts: Sequence[Keys]) -> Keys:
        """One after the other."""
        hi, lo, content = (
            np.concatenate(column) for column in zip(*((p.hi, p.lo, p.content) for p in parts), strict=True)
        )
        return cls(hi, lo, content)

    def __len__(self) -> int:
        return len(self.hi)

    def take(self, rows: NDArray[np.intp] | Bools) -> Keys:
        """Those at these positions, or where the mask is True."""
        return Keys(self.hi[rows], self.lo[rows], self.content[rows])


@dataclass(frozen=True, slots=True)
class Evaluated:
    """For rows in bronze order: `fresh` are those whose key comes for the first time; of the others, the duplicates,
    `conflicting` are those whose values are not the survivor's."""

    fresh: Bools
    conflicting: Bools


@dataclass
class KeySet:
    """Keys in runs, each sorted by `hi`; a run is at least twice as long as the next."""

    runs: list[Keys] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(map(len, self.runs))

    def add(self, keys: Keys) -> None:
        """Remember keys (not yet held ones, or held ones again: harmless)."""
        if not len(keys):
            return
        self.runs.append(_sorted(keys))
        while len(self.runs) > 1 and len(self.runs[-2]) < 2 * len(self.runs[-1]):
            last, before = self.runs.pop(), self.runs.pop()
            self.runs.append(_sorted(Keys.joined((before, last))))

    def find(self, keys: Keys) -> tuple[Bools, U32]:
        """Which of these keys are held, and the content that is held with them (`INCOMPARABLE` where none is)."""
        found, content = np.zeros(len(keys), np.bool_), np.full(len(keys), INCOMPARABLE, np.uint32)
        order = np.argsort(keys.hi)  # a search in order stays in the processor's caches
        hi, lo = keys.hi[order], keys.lo[order]
        for run in self.runs:
            at = np.searchsorted(run.hi, hi)
            last = np.minimum(at, len(run) - 1)
            same = (at < len(run)) & (run.hi[last] == hi)
            for i in np.flatnonzero(
                same & (run.lo[last] != lo)
            ):  # two keys share the first 64 bits: look at all of them
                end = np.searchsorted(run.hi, hi[i], side="right")
                alike = np.flatnonzero(run.lo[at[i] : end] == lo[i])
                same[i] = len(alike) > 0
                last[i] = at[i] + alike[0] if len(alike) else last[i]
            found[order] |= same
            content[order[same]] = run.content[last[same]]
        return found, content

    def evaluate(self, keys: Keys) -> Evaluated:
        """What these rows, in bronze order, are beside the keys held and the rows before them."""
        first = first_of_each(keys.hi, keys.lo)
        held, content = self.find(keys)
        fresh = (first == np.arange(len(keys))) & ~held
        survivor = np.where(held, content, keys.content[first])
        comparable = (survivor != INCOMPARABLE) & (keys.content != INCOMPARABLE)
        return Evaluated(fresh, ~fresh & comparable & (survivor != keys.content))


def first_of_each(hi: U64, lo: U64) -> NDArray[np.intp]:
    """For rows in bronze order: the position of the first row with the same key."""
    first = np.arange(len(hi))
    order = np.argsort(hi, kind="stable")
    alike = np.flatnonzero(hi[order[1:]] == hi[order[:-1]])
    if len(alike):  # few rows share their first 64 bits, and most of them their key
        some = np.unique(np.concatenate((order[alike], order[alike + 1])))
        order = some[np.lexsort((some, lo[some], hi[some]))]
        begins = np.ones(len(order), np.bool_)
        begins[1:] = (hi[order[1:]] != hi[order[:-1]]) | (lo[order[1:]] != lo[order[:-1]])
        first[order] = order[np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))]
    return first


def _sorted(keys: Keys) -> Keys:
    return keys.take(np.argsort(keys.hi, kind="stable"))


class KeyIndex:
    """The key sets of one silver table by dedupe window, loaded as windows are touched, kept up with what others commit.

    `covered` is the last bronze commit (`_seq`) whose silver rows every loaded set includes; `rewrite` is the value of the
    table's rewrite transaction for which that holds (a rebuild or replay changes rows behind `covered`).
    """

    def __init__(
        self, contract: Table, silver: LakeTable, con: duckdb.DuckDBPyConnection, cache: Path, key_id: str
    ) -> None:
        """`cache` is the folder of snapshots, `key_id` the masking key of the rows that will be evaluated."""
        self._contract = contract
        self._key_id = key_id
        self._silver = silver
        self._con = con
        self._cache = cache
        self._sets: OrderedDict[Window, KeySet] = OrderedDict()  # least recently used first
        self._unsaved: set[Window] = set()
        self.covered = 0
        self.rewrite = 0

    def catch_up(self) -> None:
        """Bring the sets to the silver snapshot in hand: another worker, a rebuild or a replay may have written."""
        seq = self._silver.transaction(SEQ) or 0
        rewrite = self._silver.transaction(REWRITE) or 0
        if rewrite != self.rewrite:
            self._sets.clear()
            self._unsaved.clear()
        elif seq > self.covered:
            self._unsaved.update(self._fill(self._sets, self.covered))
        self.covered, self.rewrite = seq, rewrite

    def evaluate(self, accepted: pa.Table) -> Evaluated:
        """For accepted rows in bronze order: which have a key that no earlier row has, here or in silver, and which conflict."""
        keys = Keys.of(accepted)
        fresh, conflicting = np.zeros(len(keys), np.bool_), np.zeros(len(keys), np.bool_)
        touched = self._windows(accepted)
        self._open([window for window, _ in touched])
        for window, mine in touched:
            evaluated = self._sets[window].evaluate(keys.take(mine))
            fresh[mine], conflicting[mine] = evaluated.fresh, evaluated.conflicting
        return Evaluated(fresh, conflicting)

    def committed(self, accepted: pa.Table, seq: int) -> None:
        """These rows, up to bronze commit `seq`, are in silver now."""
        keys = Keys.of(accepted)
        touched = self._windows(accepted)
        self._open([window for window, _ in touched])
        for window, mine in touched:
            self._sets[window].add(keys.take(mine))
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
            keyed = select_from(rows, "silver", key_select(self._contract, self._key_id))
            found = keyed.column("_window").to_numpy()
            keys = Keys.of(keyed)
            order = np.argsort(found, kind="stable")
            ordered = found[order]
            for number in numbers:
                mine = order[np.searchsorted(ordered, number, "left") : np.searchsorted(ordered, number, "right")]
                if len(mine):
                    sets[(partition, number)].add(keys.take(mine))
                    grown.append((partition, number))
        return grown

    def _rows(self, partition: str, numbers: list[int], after: int) -> duckdb.DuckDBPyRelation | None:
        """Silver rows of a partition from the first to the last of these windows, of bronze commits past `after`."""
        files = self._silver.between("_seq", after + 1, partitions=(partition,))
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

    @property
    def _maker(self) -> str:
        """By what the contents in a snapshot are comparable: contract version and masking key."""
        return f"{self._contract.version} {self._key_id}"

    def _save(self, window: Window) -> None:
        self._unsaved.discard(window)
        runs = self._sets[window].runs
        if not runs:
            return
        keys = _sorted(Keys.joined(runs))
        self._cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        state = np.array([self.covered, self.rewrite], np.int64)
        with replacing(snapshot_file(self._cache, self._contract, self._silver, window), durable=False) as sink:
            np.savez(sink, hi=keys.hi, lo=keys.lo, content=keys.content, state=state, maker=np.array(self._maker))

    def _load(self, window: Window) -> tuple[KeySet, int]:
        """A snapshot that this silver table still agrees with, and the bronze commit that it covers."""
        path = snapshot_file(self._cache, self._contract, self._silver, window)
        if not path.exists():
            return KeySet(), 0
        try:
            with np.load(path) as stored:
                covered, rewrite = (int(x) for x in stored["state"])
                same = rewrite == self.rewrite and str(stored["maker"]) == self._maker
                if same and covered <= self.covered:
                    return KeySet([Keys(stored["hi"], stored["lo"], stored["content"])]), covered
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            path.unlink(missing_ok=True)  # a torn snapshot: silver still knows
        return KeySet(), 0


def snapshot_file(folder: Path, contract: Table, silver: LakeTable, window: Window) -> Path:
    """Where the keys of one dedupe window are kept."""
    partition, number = window
    return folder / f"{contract.qualified_name}.{silver.identity}.{partition}.{number}.npz"


def forget_snapshots(folder: Path, before: float) -> int:
    """Delete snapshots, and what a killed worker left half written, last changed before a Unix time; files deleted."""
    old = older((*folder.glob("*.npz"), *unfinished(folder)), before)
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)
