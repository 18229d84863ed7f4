"""Silver rows for the index package's tests, and what the index holds of them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
from opensearchpy import OpenSearch

from platform_assets.contracts.arrow import silver_schema
from platform_assets.contracts.model import Field, FieldType, Format, Grain, IndexPeriod, IndexType, Mask, Table
from platform_assets.index.indices import Indices
from platform_assets.index.mappings import template_name
from platform_assets.index.scan import scan, scan_schema

TOPIC = "Zy9-x_Q2RkqKn0b1c2d3e4"
DAY = "2026-11-21"
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def make_table(system: str, **changes: Any) -> Table:
    def field(name: str, type_: FieldType, index: IndexType, **more: Any) -> Field:
        return Field(name, type_, source=name, index=index, **more)

    fields = (
        field("event_id", FieldType.STRING, IndexType.KEYWORD, required=True),
        field("event_time", FieldType.TIMESTAMP, IndexType.DATE, required=True),
        field("service", FieldType.STRING, IndexType.KEYWORD, required=True),
        field("level", FieldType.STRING, IndexType.KEYWORD, required=True),
        field("status", FieldType.INTEGER, IndexType.LONG),
        field("latency_ms", FieldType.NUMBER, IndexType.DOUBLE),
        field("retried", FieldType.BOOLEAN, IndexType.BOOLEAN),
        field("user_id", FieldType.STRING, IndexType.KEYWORD, mask=Mask.HMAC, pii=True),
        field("message", FieldType.STRING, IndexType.TEXT),
        field("payload", FieldType.STRING, IndexType.NONE),
    )
    table = Table(
        system=system,
        name="events",
        version="1.0.0",
        description="",
        topic=f"{system}.events",
        format=Format.JSON,
        fields=fields,
        event_time="event_time",
        key=("event_id",),
        attributes="attributes",
        grain=Grain.DAY,
        index_period=IndexPeriod.DAY,
    )
    return replace(table, **changes)


@contextmanager
def own_table(client: OpenSearch, indices: Indices) -> Iterator[Table]:
    """A table under a name of its own, with its template; its indices are deleted afterwards."""
    made = make_table(f"t{secrets.token_hex(5)}")
    indices.ensure_template(made)
    yield made
    indices.delete([index.name for index in indices.all(made)])
    client.indices.delete_index_template(name=template_name(made), params={"ignore": 404})


def rows(table: Table, count: int, *, start: int = 0, partition: str = DAY, **values: Any) -> pa.Table:
    """Silver rows at offsets `start`, `start`+1, ... of one Kafka partition; `values` replace whole columns' cells."""
    made = []
    for offset in range(start, start + count):
        row: dict[str, Any] = {
            "event_id": f"e{offset}",
            "event_time": NOON + timedelta(microseconds=offset),
            "service": ("users", "payments", "delivery")[offset % 3],
            "level": "ERROR" if offset % 5 == 0 else "INFO",
            "status": 500 if offset % 5 == 0 else 200,
            "latency_ms": offset + 0.5,
            "retried": offset % 2 == 0,
            "user_id": f"hash{offset % 10}",
            "message": f"request {offset} handled",
            "payload": None,
            "attributes": json.dumps(
                {"region": "eu" if offset % 2 else "us", "deep": {"n": offset}}, separators=(",", ":")
            ),
            "_source": TOPIC,
            "_shard": 3,
            "_position": offset,
            "_seq": offset // 10,
            "_landed_at": NOON,
            "_contract_version": table.version,
            "_key_id": "k1",
            "_history": False,
            "_hash": offset * 7919 - 5,
            "event_partition": partition,
        }
        made.append({**row, **values})
    schema = silver_schema(table)
    return pa.Table.from_pylist([{name: row.get(name) for name in schema.names} for row in made], schema=schema)


def normal(value: object) -> str:
    """JSON as the transform stores it: in DuckDB's own spelling."""
    [[found]] = duckdb.execute("SELECT CAST(json_extract(?, '$') AS VARCHAR)", [json.dumps(value)]).fetchall()
    return str(found)


def bulk_rows(table: Table, start: int, count: int, partition: str = DAY) -> pa.Table:
    """As `rows`, made by DuckDB: for tests that need thousands."""
    relation = duckdb.connect().sql(f"""
        SELECT 'e' || i AS event_id, TIMESTAMP '2026-11-21 12:00:00' AS event_time, 'users' AS service,
            'INFO' AS level, CAST(200 AS BIGINT) AS status, i + 0.5 AS latency_ms, true AS retried, 'h' AS user_id,
            'request ' || i AS message, NULL AS payload, '{{"n":' || i || '}}' AS attributes, '{TOPIC}' AS _source,
            CAST(3 AS INTEGER) AS _shard, i AS _position, i // 10 AS _seq,
            TIMESTAMP '2026-11-21 12:00:00' AS _landed_at, '{table.version}' AS _contract_version,
            'k1' AS _key_id, false AS _history, i * 7919 AS _hash, '{partition}' AS event_partition
        FROM range({start}, {start + count}) t(i)""")  # noqa: S608
    return relation.to_arrow_table().cast(silver_schema(table))


def scanned(client: OpenSearch, indices: Indices, table: Table, **how: Any) -> pa.Table:
    indices.refresh(table)
    found = list(scan(client, table, sources=[TOPIC], **how))
    return pa.concat_tables(found) if found else scan_schema(table).empty_table()


def ids(found: pa.Table) -> list[str]:
    return sorted(found.column("_id").to_pylist())


def content(found: pa.Table, table: Table) -> list[dict[str, Any]]:
    columns = [name for name in silver_schema(table).names if name not in ("_landed_at", "event_partition")]
    return sorted(found.select(columns).to_pylist(), key=lambda row: (row["_shard"], row["_position"]))


def same_ids(found: pa.Table, offsets: Sequence[int]) -> bool:
    return ids(found) == sorted(f"{TOPIC[:8]}.3.{offset}" for offset in offsets)
