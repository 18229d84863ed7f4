"""The compare-and-set commit of a lake table: what two writers may and may not do to each other."""

from __future__ import annotations

import os
import random
import string
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from platform_assets.tables import files, maintain
from platform_assets.tables.maintain import MERGE_AT, compact, expire, mergeable, vacuum
from platform_assets.tables.table import Conflict, LakeTable

SCHEMA = pa.schema([pa.field("seq", pa.int64(), nullable=False), ("text", pa.string()), ("day", pa.string())])


def rows(first: int, count: int, day: str = "2026-01-01") -> pa.Table:
    return pa.table({"seq": range(first, first + count), "text": ["x"] * count, "day": [day] * count}, schema=SCHEMA)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "table"


def open_table(path: Path) -> LakeTable:
    return LakeTable(path, SCHEMA, "day")


def all_seqs(table: LakeTable) -> list[int]:
    table.refresh()
    return sorted(table.read(duckdb.connect()).column("seq").to_pylist())


def test_rows_and_transaction_arrive_together(path: Path) -> None:
    table = open_table(path)
    version = table.commit(table.write(rows(0, 10)), advance={"t:0": 10}, expect={"t:0": None})
    assert version == 1
    other = open_table(path)
    assert other.transaction("t:0") == 10
    assert all_seqs(other) == list(range(10))


def test_a_repeated_commit_from_a_fresh_handle_is_refused(path: Path) -> None:
    """delta-rs itself accepts it: the offsets would be doubled."""
    first = open_table(path)
    first.commit(first.write(rows(0, 5)), advance={"t:0": 5}, expect={"t:0": None})
    fresh = open_table(path)
    with pytest.raises(Conflict) as conflict:
        fresh.commit(fresh.write(rows(0, 5)), advance={"t:0": 5}, expect={"t:0": None})
    assert conflict.value.actual == {"t:0": 5}
    assert all_seqs(fresh) == list(range(5))


def test_a_stale_handle_sees_the_other_writer_before_it_writes(path: Path) -> None:
    one, two = open_table(path), open_table(path)
    one.refresh(), two.refresh()
    one.commit(one.write(rows(0, 5)), advance={"t:0": 5}, expect={"t:0": None})
    two.commit(two.write(rows(5, 5)), advance={"t:1": 5}, expect={"t:1": None})
    assert all_seqs(one) == list(range(10))


def test_a_writer_between_check_and_commit_is_noticed(path: Path) -> None:
    """Another process commits after this one has compared: strict compare-and-set looks again."""
    table, intruder = open_table(path), open_table(path)
    table.refresh()
    calls = []

    def intrude() -> None:
        calls.append(1)
        if len(calls) == 1:
            intruder.commit(intruder.write(rows(0, 3)), advance={"t:0": 3}, expect={"t:0": None})

    with pytest.raises(Conflict):
        table.commit(table.write(rows(0, 3)), advance={"t:0": 3}, expect={"t:0": None}, check=intrude)
    assert all_seqs(table) == [0, 1, 2]


def test_every_log_entry_up_to_ours_is_synced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others commit before and behind ours: a power cut must not take an entry from below one that stays."""
    table, other = open_table(path), open_table(path)
    table.refresh()
    other.commit(other.write(rows(0, 1)))
    synced = {table: set[str](), other: set[str]()}
    monkeypatch.setattr(files, "sync", lambda path: synced[table].add(path.name))
    real = table.refresh
    refreshed: list[int] = []

    def overtaken() -> int:
        refreshed.append(1)
        if len(refreshed) == 2:  # our entry is written
            with monkeypatch.context() as patch:
                patch.setattr(files, "sync", lambda path: synced[other].add(path.name))
                other.commit(other.write(rows(2, 1)))
        return real()

    monkeypatch.setattr(table, "refresh", overtaken)
    assert table.commit([], advance={"t:0": 1}) == 2
    assert {f"{version:020d}.json" for version in (1, 2)} | {"_delta_log"} <= synced[table]
    assert table.version == 3


def test_entries_of_creation_of_new_columns_and_of_vacuum_are_synced(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(files, "sync", lambda path: synced.append(path.name))
    open_table(path).refresh()
    assert f"{0:020d}.json" in synced
    wider = LakeTable(path, SCHEMA.append(pa.field("more", pa.string())), "day")
    assert wider.refresh() == 1
    assert f"{1:020d}.json" in synced
    wider.commit(wider.write(rows(0, 1)))
    removed = wider.commit([], removes=wider.files())
    assert vacuum(wider, timedelta(0)) == 1
    assert wider.refresh() > removed
    assert {f"{version:020d}.json" for version in range(removed, wider.version + 1)} <= set(synced)


def test_a_transaction_never_falls(path: Path) -> None:
    table = open_table(path)
    table.commit([], advance={"t:0": 10})
    with pytest.raises(ValueError, match="would fall from 10 to 4"):
        table.commit([], advance={"t:0": 4})


def test_removing_a_file_that_is_gone_is_a_conflict(path: Path) -> None:
    """delta-rs accepts the removal of a missing file: two compactions would double its rows."""
    table = open_table(path)
    table.commit(table.write(rows(0, 3)))
    old = table.files()
    table.commit(table.write(rows(0, 3)), removes=old)
    with pytest.raises(Conflict):
        table.commit(table.write(rows(0, 3)), removes=old)
    assert all_seqs(table) == [0, 1, 2]


def test_files_are_pruned_by_statistics_and_partition(path: Path) -> None:
    table = open_table(path)
    for day, first in (("2026-01-01", 0), ("2026-01-02", 10), ("2026-01-02", 20)):
        table.commit(table.write(rows(first, 10, day)))
    assert [f.low["seq"] for f in table.between("seq", 12, 15)] == [10]
    assert {f.low["seq"] for f in table.files("2026-01-02")} == {10, 20}
    assert table.partitions() == {"2026-01-01": 10, "2026-01-02": 20}
    found = table.read(
        duckdb.connect(), files=table.between("seq", 12, 15), where="seq >= 12", columns=["seq", "day"], order="seq"
    )
    assert found.to_pylist()[0] == {"seq": 12, "day": "2026-01-02"}


def test_compaction_keeps_rows_and_transactions(path: Path) -> None:
    table = open_table(path)
    commits = MERGE_AT[0]
    for i in range(commits):
        assert not mergeable(table.files())
        table.commit(table.write(rows(i * 10, 10)), advance={"t:0": (i + 1) * 10})
    assert len(mergeable(table.files())) == 1
    assert compact(table, duckdb.connect(), "seq") == commits - 1
    assert len(table.files()) == 1
    assert all_seqs(table) == list(range(commits * 10))
    assert table.transaction("t:0") == commits * 10


def wide(first: int, count: int, text: str = "x" * 3000) -> pa.Table:
    """Rows whose text is long and the same in each: nothing on the disk, 3 KB a row in memory."""
    return rows(first, count).set_column(1, "text", pa.array([text] * count))


def test_what_is_merged_at_once_is_bounded_by_its_size_in_memory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dictionary of one text hides all its repetitions from Parquet's own figures."""
    monkeypatch.setattr(maintain, "MERGE_RAW_BYTES", 10 * 400 * 3100)
    table = open_table(path)
    for i in range(MERGE_AT[0]):
        table.commit(table.write(wide(i * 400, 400)))
    assert compact(table, duckdb.connect(config={"threads": 1}), "seq") == 18
    assert sorted(f.rows for f in table.files()) == [400, 400, 400, 400, 4000, 4000]
    assert all_seqs(table) == list(range(400 * MERGE_AT[0]))


def test_a_file_without_its_note_is_measured(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written by another engine, or by an earlier release."""
    monkeypatch.setattr(maintain, "MERGE_RAW_BYTES", 10 * 400 * 3100)
    monkeypatch.setattr(maintain, "memory_bytes", lambda _path: None)
    table = open_table(path)
    for i in range(MERGE_AT[0]):
        table.commit(table.write(wide(i * 400, 400)))
    assert compact(table, duckdb.connect(config={"threads": 1}), "seq") == 18
    assert all_seqs(table) == list(range(400 * MERGE_AT[0]))


def test_files_behind_one_that_is_too_large_are_merged(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintain, "MERGE_RAW_BYTES", 100_000)
    table = open_table(path)
    table.commit(table.write(wide(0, 50, "".join(random.choices(string.ascii_letters, k=3000)))))
    for i in range(MERGE_AT[0]):
        table.commit(table.write(rows(50 + i, 1)))
    assert compact(table, duckdb.connect(), "seq") == MERGE_AT[0] - 1
    assert sorted(f.rows for f in table.files()) == [MERGE_AT[0], 50]
    for i in range(MERGE_AT[0]):
        table.commit(table.write(rows(50 + MERGE_AT[0] + i, 1)))
    assert compact(table, duckdb.connect(), "seq") == MERGE_AT[0]
    assert all_seqs(table) == list(range(50 + 2 * MERGE_AT[0]))


def test_a_merge_that_fails_keeps_no_other_from_being_done(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = open_table(path)
    for i in range(MERGE_AT[0]):
        table.commit(table.write(pa.concat_tables([rows(i, 1), rows(100 + i, 1, "2026-01-02")])))
    real = LakeTable.read

    def out_of_memory(self: LakeTable, con: duckdb.DuckDBPyConnection, **read: Any) -> pa.Table:
        if read["files"][0].partition == "2026-01-01":
            raise duckdb.OutOfMemoryException("too much")
        return real(self, con, **read)

    monkeypatch.setattr(LakeTable, "read", out_of_memory)
    with pytest.raises(duckdb.OutOfMemoryException):
        compact(table, duckdb.connect(), "seq")
    monkeypatch.undo()
    assert (len(table.files("2026-01-01")), len(table.files("2026-01-02"))) == (MERGE_AT[0], 1)
    assert len(all_seqs(table)) == 2 * MERGE_AT[0]


def test_other_engines_read_what_was_written(path: Path) -> None:
    table = open_table(path)
    table.commit(table.write(pa.concat_tables([rows(0, 3), rows(3, 2, "2026-01-02")])))
    assert DeltaTable(str(path)).to_pyarrow_table().num_rows == 5


def test_rows_written_by_another_engine_are_read(path: Path) -> None:
    table = open_table(path)
    table.commit(table.write(rows(0, 3)))
    write_deltalake(
        str(path),
        rows(3, 2),
        mode="append",
        commit_properties=CommitProperties(app_transactions=[Transaction("t:9", 1)]),
    )
    assert all_seqs(table) == [0, 1, 2, 3, 4]
    assert table.transaction("t:9") == 1


def test_a_new_column_needs_no_rebuild(path: Path) -> None:
    table = open_table(path)
    table.commit(table.write(rows(0, 2)))
    wider = LakeTable(path, pa.schema([*SCHEMA, pa.field("extra", pa.int64())]), "day")
    more = rows(2, 1).append_column("extra", pa.array([7], pa.int64())).select([f.name for f in wider.schema])
    wider.commit(wider.write(more))
    assert sorted(wider.read(duckdb.connect()).column("extra").to_pylist(), key=str) == [7, None, None]


def test_a_decimal_gains_digits_without_a_rebuild(path: Path) -> None:
    def schema(precision: int) -> pa.Schema:
        return pa.schema([pa.field("amount", pa.decimal128(precision, 2)), pa.field("day", pa.string())])

    def row(amount: str, precision: int) -> pa.Table:
        return pa.table({"amount": [Decimal(amount)], "day": ["2026-01-01"]}, schema=schema(precision))

    old = LakeTable(path, schema(5), "day")
    old.commit(old.write(row("123.45", 5)), advance={"t:0": 1})
    for precision, amount in ((9, "1234567.89"), (38, "999999999999999999999999999999999999.99")):
        table = LakeTable(path, schema(precision), "day")
        table.commit(table.write(row(amount, precision)))
        assert str(DeltaTable(str(path)).schema().fields[0].type) == f'PrimitiveType("decimal({precision},2)")'
    wanted = [Decimal("123.45"), Decimal("1234567.89"), Decimal("999999999999999999999999999999999999.99")]
    found = table.read(duckdb.connect(), columns=["amount"], order="amount")
    assert found.schema.field("amount").type == pa.decimal128(38, 2)
    assert found["amount"].to_pylist() == wanted
    assert sorted(DeltaTable(str(path)).to_pyarrow_table()["amount"].to_pylist()) == wanted
    assert table.transaction("t:0") == 1
    assert compact(table, duckdb.connect(), "amount") == 0


def test_expire_and_vacuum_forget_old_partitions(path: Path) -> None:
    table = open_table(path)
    table.commit(table.write(rows(0, 3, "2025-01-01")))
    table.commit(table.write(rows(3, 3)))
    assert expire(table, "2026-01-01") == 3
    assert all_seqs(table) == [3, 4, 5]
    assert vacuum(table, timedelta(0)) == 1
    assert all_seqs(open_table(path)) == [3, 4, 5]


def test_what_is_deleted_between_listing_and_looking_is_left_out(tmp_path: Path) -> None:
    """Two runs tidy up at the same moment; a link that leads nowhere stands for the file that is gone."""
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "old").touch()
    os.utime(tmp_path / "old", (1, 1))
    (tmp_path / "young").touch()
    assert files.older(tmp_path.iterdir(), 2) == [tmp_path / "old"]


def test_a_full_disk_leaves_no_file_and_no_commit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = open_table(path)
    table.commit(table.write(rows(0, 1)))

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        table.write(rows(1, 5))
    monkeypatch.undo()
    assert len(list(path.rglob("part-*.parquet"))) == 1
    assert all_seqs(table) == [0]
