"""How fast a silver day is rebuilt from bronze (without and with its index), beside the raw read of the same bronze files."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.common import fill, machine, median, private_lake, private_system, services
from platform_assets.core.settings import Settings
from platform_assets.ingest.rebuild import rebuild
from platform_assets.ingest.worker import Worker
from platform_assets.tables.layout import Lake
from platform_assets.tables.session import session


def run(home: Path | None = None, *, events: int = 2_000_000, repeats: int = 3) -> dict[str, Any]:
    """`rebuild.*`: bronze rows a second, median of `repeats`."""
    with services(home) as settings:
        return _run(settings, events, repeats)


def _run(settings: Settings, events: int, repeats: int) -> dict[str, Any]:
    contract = private_system(settings)
    table = contract.tables[0]
    fill(settings, contract, events)
    with private_lake(settings) as private:
        Worker(private, contract, index=False).drain()
        bronze = Lake(private.lake_path).tables(table).bronze
        started = time.perf_counter()
        with session() as con:
            bronze.relation(con).aggregate("sum(octet_length(value))").fetchall()
        raw = events / (time.perf_counter() - started)
        rates = []
        for _ in range(repeats):
            started = time.perf_counter()
            report = rebuild(private, table, datetime.now(UTC).date(), index=False)
            rates.append(report.bronze_rows / (time.perf_counter() - started))
    return {
        "rebuild.events": events,
        "rebuild.rows_per_s": round(median(rates)),
        "rebuild.raw_read_per_s": round(raw),
        "machine": machine(),
    }
