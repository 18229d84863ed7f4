"""The memory of keys: exact against a plain set, and true to silver after a restart, a rebuild or a torn snapshot."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lakes import SmallLake
from support import event

from platform_assets.lake.table import LakeTable
from platform_assets.lane import keys
from platform_assets.lane.keys import KeyIndex, KeySet, first_of_each, forget_snapshots

PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30)


def columns(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    hi = np.array([h for h, _ in pairs], np.uint64)
    return hi, np.array([low for _, low in pairs], np.uint64)


@given(st.lists(PAIRS, max_size=6), PAIRS)
def test_a_key_set_is_a_set(batches: list[list[tuple[int, int]]], asked: list[tuple[int, int]]) -> None:
    """Few distinct values, so that keys share their first half all the time."""
    held, plain = KeySet(), set()
    for batch in batches:
        held.add(*columns(batch))
        plain |= set(batch)
    assert held.holds(*columns(asked)).tolist() == [pair in plain for pair in asked]


@given(PAIRS)
def test_the_first_of_each_key_survives(pairs: list[tuple[int, int]]) -> None:
    expected = [pairs.index(pair) == i for i, pair in enumerate(pairs)]
    assert first_of_each(*columns(pairs)).tolist() == expected


def test_windows_of_event_time_separate_equal_keys(tmp_path: Path) -> None:
    """The same id is the same event within its ten minutes, in memory, after a restart and read from silver."""
    lake = SmallLake(tmp_path)
    day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    times = [(day + timedelta(minutes=m)).isoformat() for m in (0, 9, 10, 19, 20)]
    again = lake.land([event(1, event_time=t) for t in times])
    assert lake.settle(again).rows.num_rows == 3  # 0 and 9 are one, 10 and 19, 20
    lake.settler.keys.save()  # type: ignore[union-attr]
    for cached in (True, False):
        if not cached:
            assert forget_snapshots(lake.root / "_keys", time.time() + 1) == 3
        index = fresh_index(lake)
        more = [(day + timedelta(minutes=m)).isoformat() for m in (5, 15, 25, 35)]
        accepted = lake.refined_values([event(1, event_time=t) for t in more])
        assert index.first_seen(accepted).tolist() == [False, False, False, True]


def test_windows_not_used_for_longest_leave_memory_and_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = SmallLake(tmp_path)
    monkeypatch.setattr(keys, "MOST_KEYS", 2)
    day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    for minute in range(0, 60, 10):
        time_of = (day + timedelta(minutes=minute)).isoformat()
        lake.settle(lake.land([event(n, event_time=time_of) for n in range(2)]))
    assert lake.settler.keys is not None
    assert len(lake.settler.keys._sets) == 1
    late = [event(1, event_time=(day + timedelta(minutes=m)).isoformat()) for m in range(0, 70, 10)]
    assert lake.settle(lake.land(late)).rows.num_rows == 1


@pytest.fixture
def lake(tmp_path: Path) -> SmallLake:
    return SmallLake(tmp_path)


def fresh_index(lake: SmallLake) -> KeyIndex:
    lake.tables.silver.refresh()
    index = KeyIndex(lake.contract, lake.tables.silver, lake.con, lake.root / "_keys")
    index.catch_up()
    return index


def seen(index: KeyIndex, lake: SmallLake, numbers: range) -> list[bool]:
    accepted = lake.refined(numbers)
    return [not fresh for fresh in index.first_seen(accepted)]


def test_keys_that_could_not_be_read_are_read_again(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A settle may be tried again after an error: the window must not count as known from then on."""
    lake.land_and_settle(range(3))
    index = fresh_index(lake)
    read, failures = LakeTable.relation, [duckdb.OutOfMemoryException("once")]

    def failing(table: LakeTable, con: Any, files: Any) -> Any:
        if failures:
            raise failures.pop()
        return read(table, con, files)

    monkeypatch.setattr(LakeTable, "relation", failing)
    with pytest.raises(duckdb.OutOfMemoryException):
        seen(index, lake, range(4))
    index.save()
    for known in (index, fresh_index(lake)):
        assert seen(known, lake, range(4)) == [True, True, True, False]


def test_keys_of_other_writers_are_learnt_from_silver(lake: SmallLake) -> None:
    index = fresh_index(lake)
    assert seen(index, lake, range(4)) == [False] * 4
    lake.land_and_settle(range(3))
    lake.tables.silver.refresh()
    index.catch_up()
    assert seen(index, lake, range(4)) == [True, True, True, False]


def test_a_snapshot_is_completed_from_silver(lake: SmallLake) -> None:
    lake.land_and_settle(range(3))
    first = fresh_index(lake)
    seen(first, lake, range(1))
    first.save()
    lake.land_and_settle(range(3, 6))
    again = fresh_index(lake)
    assert seen(again, lake, range(8)) == [True] * 6 + [False] * 2


def test_a_torn_snapshot_is_forgotten(lake: SmallLake) -> None:
    lake.land_and_settle(range(3))
    index = fresh_index(lake)
    seen(index, lake, range(1))
    index.save()
    (snapshot,) = (lake.root / "_keys").iterdir()
    snapshot.write_bytes(snapshot.read_bytes()[:100])
    assert seen(fresh_index(lake), lake, range(4)) == [True] * 3 + [False]


def test_a_rewrite_behind_the_covered_commits_is_noticed(lake: SmallLake) -> None:
    """A replay appends rows of old bronze commits; a snapshot from before must not hide them."""
    lake.land_and_settle(range(3))
    index = fresh_index(lake)
    seen(index, lake, range(1))
    index.save()
    replayed = lake.refined(range(7, 8)).select(lake.tables.silver.schema.names)
    old = replayed.set_column(replayed.column_names.index("_seq"), "_seq", pa.array([1], pa.int64()))
    lake.tables.silver.commit(lake.tables.silver.write(old), advance={"rewrite": 1}, expect={"rewrite": None})
    for again in (index, fresh_index(lake)):
        lake.tables.silver.refresh()
        again.catch_up()
        assert seen(again, lake, range(6, 9)) == [False, True, False]
