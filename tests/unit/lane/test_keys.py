"""The memory of keys: exact against a plain set, and true to silver after a restart, a rebuild or a torn snapshot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lakes import SmallLake

from platform_assets.lane.keys import KeyIndex, KeySet, first_of_each

PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30)


def columns(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    hi = np.array([h for h, _ in pairs], np.uint64)
    return hi, np.array([low for _, low in pairs], np.uint64)


@given(st.lists(PAIRS, max_size=6), PAIRS)
def test_a_key_set_is_a_set(batches: list[list[tuple[int, int]]], asked: list[tuple[int, int]]) -> None:
    """Few distinct values, so that keys share their first half all the time."""
    keys, plain = KeySet(), set()
    for batch in batches:
        keys.add(*columns(batch))
        plain |= set(batch)
    assert keys.holds(*columns(asked)).tolist() == [pair in plain for pair in asked]


@given(PAIRS)
def test_the_first_of_each_key_survives(pairs: list[tuple[int, int]]) -> None:
    expected = [pairs.index(pair) == i for i, pair in enumerate(pairs)]
    assert first_of_each(*columns(pairs)).tolist() == expected


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
