"""How fast transform turns bronze rows into silver rows with checks, masking and scrubbing on; no services needed.

`python -m bench.transform` prints the figures as JSON.
"""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from typing import Any

import psutil
import pyarrow as pa

from bench.common import machine, median
from platform_assets.contracts.arrow import BRONZE_SCHEMA
from platform_assets.contracts.model import Table
from platform_assets.contracts.read import load_contracts
from platform_assets.core.settings import Settings
from platform_assets.systems.logs.simulate import simulate
from platform_assets.transform import Masker, Transformer

SMALL = 1_000
ACCESS_LINE = (
    '203.0.113.{0} - user{0} [{1:%d/%b/%Y:%H:%M:%S %z}] "GET /products/{0} HTTP/1.1" 200 5120 "-" "Mozilla/5.0 (X11)"'
)


def run(settings: Settings | None = None, *, events: int = 1_000_000, repeats: int = 5) -> dict[str, Any]:
    """`transform.*`: rows a second by the wall clock and by processor time, and what bad input and small batches cost."""
    events_table, access = (load_contracts()["logs"].table(name) for name in ("events", "access"))
    good = _bronze(_simulated(events, bad=0.0))
    poison = _bronze([value[: len(value) // 2] for value in good["value"].slice(0, events // 10).to_pylist()])
    now = datetime.now(UTC)
    lines = _bronze([ACCESS_LINE.format(i % 256, now).encode() for i in range(events // 4)])
    wall, cpu = _measure(events_table, good, repeats)
    bad_wall, _ = _measure(events_table, _bronze(_simulated(events // 2, bad=0.01)), repeats)
    poison_wall, _ = _measure(events_table, poison, repeats)
    small_wall, small_cpu = _measure(events_table, good.slice(0, SMALL), 10)
    access_wall, _ = _measure(access, lines, repeats)
    return {
        "transform.rows": events,
        "transform.bytes_per_row": round(good["value"].nbytes / events),
        "transform.rows_per_s": round(events / wall),
        "transform.rows_per_cpu_s": round(events / cpu),
        "transform.one_percent_bad_rows_per_s": round(events // 2 / bad_wall),
        "transform.all_malformed_rows_per_s": round(len(poison) / poison_wall),
        "transform.access_rows_per_s": round(len(lines) / access_wall),
        "transform.small_batch_s": round(small_wall, 4),
        "transform.small_batch_cpu_s": round(small_cpu, 4),
        "transform.rss_mb": round(psutil.Process(os.getpid()).memory_info().rss / 1e6),
        "machine": machine(),
    }


def _measure(table: Table, bronze: pa.Table, repeats: int) -> tuple[float, float]:
    """Median seconds by the wall clock and by processor time, after one run to warm up."""
    wall, cpu = [], []
    with Transformer(table, Masker({"bench": os.urandom(32)}, "bench")) as transformer:
        transformer.transform(bronze)
        for _ in range(repeats):
            started = time.perf_counter(), time.process_time()
            transformed = transformer.transform(bronze)
            wall.append(time.perf_counter() - started[0])
            cpu.append(time.process_time() - started[1])
            assert len(transformed.accepted) + len(transformed.rejected) == len(bronze)
    return median(wall), median(cpu)


def _simulated(events: int, *, bad: float) -> list[bytes | None]:
    values: list[bytes | None] = []
    for batch in simulate(None, None, seed=1, bad=bad):
        values += [value for _, value in batch]
        if len(values) >= events:
            break
    return values[:events]


def _bronze(values: list[bytes | None]) -> pa.Table:
    rows, now = len(values), datetime.now(UTC)
    instant = pa.repeat(pa.scalar(now, pa.timestamp("us", "UTC")), rows)
    columns = {
        "_source": pa.repeat("rFq1tTzHQn2-0aZ7dPZx4w", rows),
        "_shard": pa.repeat(pa.scalar(0, pa.int32()), rows),
        "_position": pa.array(range(rows), pa.int64()),
        "_span": pa.repeat(1, rows),
        "kind": pa.repeat("record", rows),
        "record_time": instant,
        "key": pa.nulls(rows, pa.binary()),
        "value": pa.array(values, pa.binary()),
        "headers": pa.nulls(rows, pa.binary()),
        "seq": pa.repeat(1, rows),
        "landed_at": instant,
        "landed_date": pa.repeat(pa.scalar(now.date(), pa.date32()), rows),
    }
    # Batches as a worker would consume them: the engine shares them between its threads.
    return pa.Table.from_batches(pa.table(columns, schema=BRONZE_SCHEMA).to_batches(max_chunksize=65_536))


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
