"""The memory of keys: exact against a plain set, and true to silver after a restart, a rebuild or a torn snapshot."""

from __future__ import annotations

import time
from dataclasses import replace
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

from platform_assets.ingest import keys
from platform_assets.ingest.keys import KeyIndex, Keys, KeySet, first_of_each, forget_snapshots
from platform_assets.tables.table import LakeTable

PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30)


CONTENTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 2)), max_size=30)


def columns(rows: list[tuple[int, int, int]]) -> Keys:
    hi, lo, content = zip(*rows, strict=True) if rows else ((), (), ())
    return Keys(np.array(hi, np.uint64), np.array(lo, np.uint64), np.array(content, np.uint32))


@given(st.lists(CONTENTS, max_size=6), CONTENTS)
def test_a_key_set_is_a_dictionary(
    batches: list[list[tuple[int, int, int]]], asked: list[tuple[int, int, int]]
) -> None:
    """Few distinct values, so that keys share their first half all the time; content 0 can be compared with nothing."""
    held, plain = KeySet(), {}
    for batch in [*batches, asked]:
        evaluated = held.evaluate(columns(batch))
        fresh, conflicting = [], []
        for hi, lo, content in batch:
            fresh.append((hi, lo) not in plain)
            survivor = plain.setdefault((hi, lo), content)
            conflicting.append(0 not in (survivor, content) and survivor != content)
        assert (evaluated.fresh.tolist(), evaluated.conflicting.tolist()) == (fresh, conflicting)
        held.add(columns(batch).take(evaluated.fresh))


@given(PAIRS)
def test_the_first_of_each_key_is_found(pairs: list[tuple[int, int]]) -> None:
    keys = columns([(hi, lo, 1) for hi, lo in pairs])
    assert first_of_each(keys.hi, keys.lo).tolist() == [pairs.index(pair) for pair in pairs]


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
        accepted = lake.transformed_values([event(1, event_time=t) for t in more])
        assert index.evaluate(accepted).fresh.tolist() == [False, False, False, True]


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
    index = KeyIndex(lake.contract, lake.tables.silver, lake.con, lake.root / "_keys", "k1")
    index.catch_up()
    return index


def seen(index: KeyIndex, lake: SmallLake, numbers: range) -> list[bool]:
    accepted = lake.transformed(numbers)
    return [not fresh for fresh in index.evaluate(accepted).fresh]


def conflicting(index: KeyIndex, lake: SmallLake, **changes: Any) -> list[bool]:
    """Whether event 1, changed like that, conflicts with what silver holds."""
    return index.evaluate(lake.transformed_values([event(1, **changes)])).conflicting.tolist()


@pytest.mark.parametrize("cached", [True, False])
def test_values_are_compared_after_a_restart(lake: SmallLake, cached: bool) -> None:
    """By the snapshot, and by silver alone; where a record lies and when it landed are no values."""
    lake.land_and_settle(range(3))
    lake.settler.keys.save()  # type: ignore[union-attr]
    if not cached:
        assert forget_snapshots(lake.root / "_keys", time.time() + 1) == 1
    index = fresh_index(lake)
    assert conflicting(index, lake) == [False]
    for change in ({"message": "other"}, {"latency_ms": None}, {"user_id": "u-9"}, {"more": 1}, {"level": "FATAL"}):
        assert conflicting(index, lake, **change) == [True], change


def test_rows_of_another_version_or_masking_key_cannot_be_compared(lake: SmallLake) -> None:
    """The same record would have other values today: a pseudonym by another key, a field that was an attribute."""
    lake.land_and_settle(range(3))
    lake.settler.keys.save()  # type: ignore[union-attr]
    lake.tables.silver.refresh()
    newer = replace(lake.contract, version="9.9.9")
    for contract, key_id in ((newer, "k1"), (lake.contract, "k2")):
        index = KeyIndex(contract, lake.tables.silver, lake.con, lake.root / "_keys", key_id)
        index.catch_up()
        assert conflicting(index, lake, message="other") == [False]
    assert conflicting(fresh_index(lake), lake, message="other") == [True]


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
    replayed = lake.transformed(range(7, 8)).select(lake.tables.silver.schema.names)
    old = replayed.set_column(replayed.column_names.index("_seq"), "_seq", pa.array([1], pa.int64()))
    lake.tables.silver.commit(lake.tables.silver.write(old), advance={"rewrite": 1}, expect={"rewrite": None})
    for again in (index, fresh_index(lake)):
        lake.tables.silver.refresh()
        again.catch_up()
        assert seen(again, lake, range(6, 9)) == [False, True, False]
