"""A small lake made by the worker's own pieces (Landing, Settler), without Kafka: what the tests of reconcile damage on
purpose.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from platform_assets.contracts.model import Contract, Table
from platform_assets.core.settings import Settings
from platform_assets.ingest.land import Landing
from platform_assets.ingest.report import TableReport
from platform_assets.ingest.settle import Settler
from platform_assets.sources.base import RECORD_SCHEMA, SourceBatch, Stream
from platform_assets.tables.layout import Lake, TableSet
from platform_assets.transform.masking import Masker
from platform_assets.transform.transformer import Transformer

TOPIC_ID = "c0ffee00-aaaa-4bbb-8ccc-000000000001"
WINDOW = timedelta(minutes=10)
"""In which an event sent again is the same event: the dedupe window of logs.events."""
_now = datetime.now(UTC)
BEGAN = _now.replace(minute=_now.minute // 10 * 10, second=0, microsecond=0) - WINDOW
"""Where the last whole window begins: all events lie in it, and so in one day, whatever the time of day."""


def event(n: int, **members: Any) -> bytes:
    """A valid message of logs.events, the same of a number for the whole session; members given as None are left out."""
    when = BEGAN + timedelta(seconds=n) % WINDOW
    message: dict[str, Any] = {
        "event_id": f"e{n}",
        "event_time": when.isoformat().replace("+00:00", "Z"),
        "service": "payments",
        "level": "INFO",
        "user_id": f"u{n % 7}",
        "latency_ms": 1.5 * n,
        "message": f"number {n}",
        "attempt": n,
    } | members
    return json.dumps({k: v for k, v in message.items() if v is not None}).encode()


class Lab:
    """One contract table in a temporary lake. `land` is one bronze commit, `settle` consumes what bronze holds."""

    def __init__(self, root: Path, contract: Contract, table: str) -> None:
        self.settings = Settings(
            root,
            root / "lake",
            {"ASSAY_HMAC_KEY_ID": "k1", "ASSAY_HMAC_KEY": base64.b64encode(b"0123456789abcdef").decode()},
        )
        self.contract = contract
        self.table: Table = contract.table(table)
        self.topic = Stream(self.table.topic, TOPIC_ID, (0, 1))
        self.con = duckdb.connect()
        self.next = {0: 0, 1: 0}

    @property
    def tables(self) -> TableSet:
        """Fresh handles."""
        return Lake(self.settings.lake_path).tables(self.table)

    def land(self, values: Sequence[bytes | None], *, partition: int = 0, kind: str = "record", span: int = 1) -> None:
        """One bronze commit: records, or one marker of `span` offsets."""
        n = len(values)
        start = self.next[partition]
        rows = pa.table(
            [
                pa.repeat(pa.scalar(TOPIC_ID), n),
                pa.repeat(pa.scalar(partition, pa.int32()), n),
                pa.array(range(start, start + n), pa.int64()),
                pa.repeat(pa.scalar(span, pa.int64()), n),
                pa.repeat(pa.scalar(kind), n),
                pa.repeat(pa.scalar(datetime.now(UTC), pa.timestamp("us", tz="UTC")), n),
                pa.nulls(n, pa.binary()),
                pa.array(values, pa.binary()),
                pa.nulls(n, pa.binary()),
            ],
            schema=RECORD_SCHEMA,
        )
        end = start + n * span
        landing = Landing(self.tables.bronze, self.topic, self.table.qualified_name)
        began = landing.next_positions()
        landing.land(SourceBatch(self.topic, rows, {partition: start}, {partition: end}, 0), began)
        self.next[partition] = end

    def settle(self) -> TableReport:
        """Consume everything that bronze holds."""
        masker = Masker(self.settings.hmac_keys(), self.settings.hmac_key_id)
        report = TableReport(self.table.name)
        with Transformer(self.table, masker) as transformer:
            settler = Settler(self.table, self.tables, transformer, self.con, self.settings.home / "_keys")
            for _ in settler.catch_up(report):
                pass
        return report

    def run(self, values: Sequence[bytes | None], **land: Any) -> TableReport:
        """Land and settle one batch."""
        self.land(values, **land)
        return self.settle()

    def with_contract(self, **changes: Any) -> Lab:
        """The same lake under a changed table contract, of the next minor version unless told otherwise."""
        major, minor, _ = self.table.version.split(".")
        table = replace(self.table, **({"version": f"{major}.{int(minor) + 1}.0"} | changes))
        other = Lab.__new__(Lab)
        other.__dict__ |= self.__dict__
        other.table = table
        tables = tuple(table if t.name == table.name else t for t in self.contract.tables)
        other.contract = replace(self.contract, version=table.version, tables=tables)
        return other

    # -- damage ------------------------------------------------------------------------------------------------------

    def rewrite(self, layer: str, select: str) -> None:
        """Replace a layer's rows by `SELECT` over a view `rows`, as a vandal with write access would."""
        table = getattr(self.tables, layer)
        table.refresh()
        files = table.files()
        rows = table.relation(self.con, files).query("rows", select).to_arrow_table().cast(table.schema)
        table.commit(table.write(rows), removes=files)

    def drop_files(self, layer: str, keep: Iterable[str] = ()) -> int:
        """Remove every file of a layer whose path is not in `keep`."""
        table = getattr(self.tables, layer)
        table.refresh()
        gone = [f for f in table.files() if f.path not in set(keep)]
        table.commit([], removes=gone)
        return len(gone)

    def rows(self, layer: str, where: str = "true") -> list[dict[str, Any]]:
        """Rows of a layer as dictionaries."""
        table = getattr(self.tables, layer)
        table.refresh()
        found: list[dict[str, Any]] = table.read(self.con, where=where).to_pylist()
        return found


def document(partition: int, offset: int) -> str:
    """The id of a coordinate."""
    return f"{TOPIC_ID[:8]}.{partition}.{offset}"
