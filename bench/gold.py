"""How long a refresh of gold takes for a minute's rows, with a day before it and with ten times that day."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from bench.common import machine, median, private_lake
from platform_assets.contracts.arrow import silver_schema
from platform_assets.contracts.model import Contract
from platform_assets.contracts.read import load_contracts
from platform_assets.core.settings import Settings
from platform_assets.core.transactions import SEQ
from platform_assets.marts.refresh import RefreshReport, refresh
from platform_assets.tables.layout import Lake
from platform_assets.tables.maintain import compact
from platform_assets.tables.session import session

HOURS = 12
COMMIT_ROWS = 50_000
_ROWS = """
SELECT
    'e-' || i AS event_id,
    make_timestamptz({begin} + CAST((i - {first}) * {step} AS BIGINT)) AS event_time,
    ['users', 'payments', 'delivery'][1 + i % 3] AS service,
    CASE WHEN i % 40 = 0 THEN 'ERROR' ELSE 'INFO' END AS level,
    CASE WHEN i % 40 = 0 THEN 500 ELSE 200 END AS status,
    md5('u' || hash(i) % 20000) AS user_id,
    CAST(hash(i) % 100000 AS DOUBLE) / 100 AS latency_ms,
    'request ' || i || ' for order ' || hash(i) % 1000 AS message,
    '{{"route":"/r' || i % 12 || '"}}' AS attributes,
    'AAAAAAAAAAAAAAAAAAAAAA' AS _source, 0 AS _shard, i AS _position, {seq} AS _seq,
    make_timestamptz({begin}) AS _landed_at, '1.0.0' AS _contract_version, false AS _history, i AS _hash,
    '{day}' AS event_partition
FROM range({first}, {first} + {rows}) AS t(i)
"""


def run(
    home: Path | None = None, *, rows: int = 600_000, factor: int = 10, minute_rows: int = 20_000, repeats: int = 5
) -> dict[str, Any]:
    """`gold.refresh_s` and `gold.refresh_s_10x`: medians of refreshes in a warm process, without an index.

    Silver holds `rows` (then `factor` times as many) over twelve hours; each refresh takes in a minute of `minute_rows` more.
    `gold.first_refresh_s` takes in the smaller day at once.
    """
    settings = Settings.load(home)
    settings.home.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Any] = {"gold.rows": rows, "gold.minute_rows": minute_rows}
    for name, times in (("", 1), (f"_{factor}x", factor)):
        with private_lake(settings) as private:
            bench = _Bench(private, load_contracts()["logs"])
            bench.fill(rows * times)
            started = time.perf_counter()
            while bench.refresh().more:
                pass
            figures[f"gold.first_refresh_s{name}"] = round(time.perf_counter() - started, 2)
            taken, build = [], []
            for _ in range(repeats):
                bench.minute(minute_rows)
                started = time.perf_counter()
                report = bench.refresh()
                taken.append(time.perf_counter() - started)
                build.append(report.seconds["build"])
                assert report.minutes == 1
            figures[f"gold.refresh_s{name}"] = round(median(taken), 2)
            figures[f"gold.build_s{name}"] = round(median(build), 2)
    return {**figures, "machine": machine()}


class _Bench:
    """A lake whose silver is written directly: transforming is measured elsewhere."""

    def __init__(self, settings: Settings, contract: Contract) -> None:
        self._settings = settings
        self._contract = contract
        self._table = contract.table("events")
        self._silver = Lake(settings.lake_path).tables(self._table).silver
        self._con = session(memory_limit="4GB")  # compacts millions of long rows at once
        self._begin = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
        self._at = self._begin + timedelta(hours=HOURS)
        self._rows = self._seq = 0

    def refresh(self) -> RefreshReport:
        return refresh(self._settings, self._contract, index=False)

    def fill(self, rows: int) -> None:
        """Twelve hours of rows, in commits as a worker makes them, compacted as it does."""
        step = timedelta(hours=HOURS) / rows
        for first in range(0, rows, COMMIT_ROWS):
            self._commit(self._begin + first * step, step, min(COMMIT_ROWS, rows - first))
        compact(self._silver, self._con, "_seq, _shard, _position")

    def minute(self, rows: int) -> None:
        """The next minute."""
        self._commit(self._at, timedelta(minutes=1) / rows, rows)
        self._at += timedelta(minutes=1)

    def _commit(self, begin: datetime, step: timedelta, rows: int) -> None:
        self._seq += 1
        sql = _ROWS.format(
            begin=int(begin.timestamp() * 1_000_000), step=step / timedelta(microseconds=1), first=self._rows, rows=rows,
            seq=self._seq, day=f"{begin:%Y-%m-%d}",
        )  # fmt: skip
        found = self._con.sql(sql).to_arrow_table()
        schema = silver_schema(self._table)
        columns = [
            found.column(f.name).cast(f.type) if f.name in found.column_names else pa.nulls(rows, f.type)
            for f in schema
        ]
        self._silver.commit(self._silver.write(pa.table(columns, schema=schema)), advance={SEQ: self._seq})
        self._rows += rows
