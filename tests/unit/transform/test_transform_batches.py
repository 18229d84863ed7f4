"""Order, splitting, isolation of rows that break the engine, memory, and the compiled text."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import duckdb
import numpy as np
import psutil
import pyarrow as pa
import pytest
from transform_samples import ACCESS, BROKER, EVENTS, MASKER, bronze, encoded, transform

from platform_assets.contracts.model import Grain, Table
from platform_assets.transform import Transformer, compile_select
from platform_assets.transform import transformer as transformer_module

Result = TypeVar("Result")
MIXED = [encoded(event_id=f"e{i}", user_id=f"u{i % 5}") if i % 3 else b"bad" * i for i in range(200)]


def test_the_whole_equals_the_sum_of_its_parts() -> None:
    batch = bronze(MIXED)
    with Transformer(EVENTS, MASKER) as whole, Transformer(EVENTS, MASKER, slice_bytes=9_000, threads=1) as sliced:
        expected = whole.transform(batch)
        parts = [whole.transform(batch.slice(start, 67)) for start in range(0, len(batch), 67)]
        in_slices = sliced.transform(batch)
    assert expected.accepted.num_rows + expected.rejected.num_rows == len(MIXED)
    for name in ("accepted", "rejected"):
        assert pa.concat_tables([getattr(part, name) for part in parts]).equals(getattr(expected, name))
        assert getattr(in_slices, name).equals(getattr(expected, name))


def test_rows_come_out_in_bronze_order() -> None:
    batches = [bronze(MIXED[:50], seq=seq, partition=partition, first=100) for seq in (1, 2) for partition in (0, 1)]
    batch = pa.concat_tables(batches)
    shuffled = batch.take(np.random.default_rng(3).permutation(len(batch)))
    with Transformer(EVENTS, MASKER) as transformer:
        expected, found = transformer.transform(batch), transformer.transform(shuffled)
    assert found.accepted.equals(expected.accepted)
    assert found.rejected.equals(expected.rejected)
    order = [found.accepted[name].to_pylist() for name in ("_seq", "_shard", "_position")]
    assert list(zip(*order, strict=True)) == sorted(zip(*order, strict=True))


@pytest.mark.parametrize("table", [EVENTS, ACCESS, BROKER], ids=lambda table: table.name)
def test_the_plan_holds_nothing_that_could_change_the_order_of_rows(table: Table) -> None:
    with Transformer(table, MASKER) as transformer:
        connection = transformer._connection
        connection.register("bronze", bronze([]))
        ((_, plan),) = connection.execute(f"EXPLAIN {compile_select(table)}").fetchall()
    operators = set(re.findall(r"╭─ ([A-Za-z ]+?) [─┴]", plan))
    assert operators == {"Projection", "Filter", "Python Arrow Scan"}


def test_order_holds_when_the_engine_works_in_parallel() -> None:
    values = [encoded(event_id=f"e{i}") if i % 50 else b"{" for i in range(30_000)]
    batch = pa.concat_tables(
        [bronze(values[i : i + 1_000], first=i % 10_000, partition=i // 10_000) for i in range(0, len(values), 1_000)]
    )
    with Transformer(EVENTS, MASKER, threads=4) as transformer:
        transformed = transformer.transform(batch)
    sent = [transformed.accepted[name].to_pylist() for name in ("_shard", "_position", "event_id")]
    assert all(name == f"e{partition * 10_000 + offset}" for partition, offset, name in zip(*sent, strict=True))
    assert transformed.rejected.num_rows == 600


def test_rows_that_break_the_engine_are_set_aside_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fragile(table: Table) -> str:
        guard = "CASE WHEN contains(CAST(value AS VARCHAR), 'bomb') THEN error('boom') ELSE kind END = 'record'"
        return compile_select(table).replace("kind = 'record'", guard)

    monkeypatch.setattr(transformer_module, "compile_select", fragile)
    values = [encoded(event_id=f"e{i}", message="bomb" if i in (3, 11) else "fine") for i in range(20)]
    transformed = transform([*values, b"{"])
    assert transformed.rejected["_position"].to_pylist() == [3, 11, 20]
    assert transformed.rejected["reason"].to_pylist() == ["undecodable", "undecodable", "malformed_json"]
    assert transformed.rejected["value_bytes"].to_pylist() == [len(values[3]), len(values[11]), 1]
    monkeypatch.undo()
    assert transformed.accepted.num_rows == 18
    others = [value for i, value in enumerate(values) if i not in (3, 11)]
    assert transformed.accepted["event_id"].equals(transform(others).accepted["event_id"])


def test_faults_of_the_surroundings_are_not_blamed_on_the_data() -> None:
    with Transformer(EVENTS, MASKER, memory_limit="4MB") as transformer, pytest.raises(duckdb.OutOfMemoryException):
        transformer.transform(bronze([encoded(event_id=f"e{i}", message="m" * 30_000) for i in range(2_000)]))


def test_a_batch_that_is_all_poison() -> None:
    poison = [b"\xff", b"{", b"\x00", None, b"[" * 9_999, b'{"event_id":' * 500] * 500
    transformed = transform(poison)
    assert (transformed.accepted.num_rows, transformed.rejected.num_rows) == (0, len(poison))


def _grown_by_large_messages() -> tuple[int, int]:
    values = [encoded(event_id=f"e{i}") for i in range(1_000)] + [b"x" * 10_000_000] * 30
    batch = bronze(values)
    process = psutil.Process()
    with Transformer(EVENTS, MASKER, slice_bytes=16_000_000) as transformer:
        transformer.transform(batch.slice(0, 1_000))
        before = process.memory_info().rss
        transformed = transformer.transform(batch)
        return transformed.rejected.num_rows, process.memory_info().rss - before


def _grown_by_batches() -> int:
    batch = bronze([encoded(event_id=f"e{i}") for i in range(5_000)])
    process = psutil.Process()
    with Transformer(EVENTS, MASKER) as transformer:
        for _ in range(10):
            transformer.transform(batch)
        before = process.memory_info().rss
        for _ in range(40):
            transformer.transform(batch)
        return process.memory_info().rss - before


def alone(measure: Callable[[], Result]) -> Result:
    """In a process of its own: what other tests left in this one's allocators would be measured with it."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure).result(timeout=100)


def test_large_messages_are_not_copied_about() -> None:
    rejected, grown = alone(_grown_by_large_messages)
    assert rejected == 30
    assert grown < 150_000_000  # half of what the batch holds


def test_many_batches_leave_no_memory_behind() -> None:
    assert alone(_grown_by_batches) < 50_000_000  # one batch and its rows are 3 MB, so a leak of them would be 120 MB


SNAPSHOTS = Path(__file__).parent / "snapshots"


@pytest.mark.parametrize("table", [EVENTS, ACCESS, BROKER], ids=lambda table: table.name)
def test_the_compiled_text_is_the_reviewed_one(table: Table) -> None:
    # ASSAY_UPDATE_SNAPSHOTS=1 writes the files anew; read the difference before committing it.
    path = SNAPSHOTS / f"{table.system}.{table.name}.sql"
    text = compile_select(table) + "\n"
    if os.environ.get("ASSAY_UPDATE_SNAPSHOTS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text


def test_compiling_is_pure() -> None:
    assert compile_select(EVENTS) == compile_select(replace(EVENTS))
    assert compile_select(EVENTS) != compile_select(replace(EVENTS, grain=Grain.HOUR))
