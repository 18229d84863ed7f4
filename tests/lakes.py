"""A small lake fed by the real worker pieces, without a broker: topics are made up, offsets count from zero."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from releases import next_minor
from support import event

from platform_assets.contracts.arrow import BRONZE_SCHEMA
from platform_assets.contracts.model import Field
from platform_assets.contracts.read import load_contracts
from platform_assets.ingest.land import Landed, Landing
from platform_assets.ingest.report import TableReport
from platform_assets.ingest.settle import Settled, Settler
from platform_assets.sources.base import RECORD_SCHEMA, SourceBatch, Stream
from platform_assets.tables.layout import Lake
from platform_assets.tables.session import session
from platform_assets.transform import Masker, Transformer

TOPIC = Stream("logs.events", "AAAAAAAAAAAAAAAAAAAAAA", (0, 1))
MASKER = Masker({"k1": b"0123456789abcdef"}, "k1")


def topic_batch(
    values: Sequence[bytes | None],
    start: int,
    partition: int = 0,
    topic: Stream = TOPIC,
    stamp: datetime | None = None,
) -> SourceBatch:
    """Values as the next records of one Kafka partition, stamped with the present unless told otherwise."""
    n = len(values)
    rows = pa.table(
        {
            "_source": [topic.id] * n,
            "_shard": pa.array([partition] * n, pa.int32()),
            "_position": range(start, start + n),
            "_span": [1] * n,
            "kind": ["record"] * n,
            "record_time": pa.array([stamp or datetime.now(UTC)] * n, pa.timestamp("us", tz="UTC")),
            "key": pa.nulls(n, pa.binary()),
            "value": pa.array(values, pa.binary()),
            "headers": pa.nulls(n, pa.binary()),
        },
        schema=RECORD_SCHEMA,
    )
    return SourceBatch(topic, rows, {partition: start}, {partition: start + n}, sum(len(v or b"") for v in values))


class SmallLake:
    """One `logs.events` table set under `root`, with a landing and a settler as a worker has them."""

    def __init__(self, root: Path, *, tolerant: bool = False, more: Sequence[Field] = ()) -> None:
        """`tolerant`: a later contract, which lets negative latencies in. `more`: further fields."""
        self.root = root
        self.contract = load_contracts()["logs"].table("events")
        self.contract = replace(self.contract, fields=(*self.contract.fields, *more))
        if tolerant:
            fields = tuple(replace(f, minimum=None) if f.name == "latency_ms" else f for f in self.contract.fields)
            self.contract = replace(self.contract, version=next_minor(self.contract.version), fields=fields)
        self.tables = Lake(root).tables(self.contract)
        self.con = session()
        self.transformer = Transformer(self.contract, MASKER)
        self.report = TableReport("events")
        self.landing = self.new_landing()
        self.settler = self.new_settler()
        self.offset = 0

    def new_landing(self) -> Landing:
        return Landing(self.tables.bronze, TOPIC, self.contract.qualified_name)

    def new_settler(self) -> Settler:
        return Settler(self.contract, self.tables, self.transformer, self.con, self.root / "_keys")

    def land(self, values: Sequence[bytes | None], stamp: datetime | None = None) -> Landed:
        began = self.landing.next_positions()
        landed = self.landing.land(topic_batch(values, self.offset, stamp=stamp), began)
        self.offset += len(values)
        return landed

    def settle(self, landed: Landed) -> Settled:
        return self.settler.settle(landed.rows, landed.seq - 1, landed.seq, self.report)

    def land_and_settle(self, numbers: Iterable[int]) -> Settled:
        """Events of these numbers through bronze to silver."""
        return self.settle(self.land([event(n) for n in numbers]))

    def transformed(self, numbers: Iterable[int]) -> pa.Table:
        """Events transformed, not written: what the deduplication is asked about."""
        return self.transformed_values([event(n) for n in numbers])

    def transformed_values(self, values: Sequence[bytes | None]) -> pa.Table:
        """Messages transformed, not written."""
        batch = topic_batch(values, 10_000)
        now = datetime.now(UTC)
        rows = batch.rows
        for name, value in (("seq", 99), ("landed_at", now), ("landed_date", now.date())):
            rows = rows.append_column(name, pa.array([value] * rows.num_rows, BRONZE_SCHEMA.field(name).type))
        return self.transformer.transform(rows).accepted

    def silver_ids(self) -> list[str]:
        self.tables.silver.refresh()
        return sorted(self.tables.silver.read(self.con, columns=["event_id"]).column("event_id").to_pylist())

    def quarantine_reasons(self) -> list[str]:
        self.tables.quarantine.refresh()
        return sorted(self.tables.quarantine.read(self.con, columns=["reason"]).column("reason").to_pylist())
