"""Bronze batches and contract tables for the transform tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from platform_assets.contracts.arrow import BRONZE_SCHEMA
from platform_assets.contracts.model import Table
from platform_assets.contracts.read import load_contracts
from platform_assets.transform import Masker, Transformed, Transformer

LANDED = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
TOPIC_ID = "rFq1tTzHQn2-0aZ7dPZx4w"
EVENTS = load_contracts()["logs"].table("events")
ACCESS = load_contracts()["logs"].table("access")
BROKER = load_contracts()["logs"].table("broker")
MASKER = Masker({"k1": b"0123456789abcdef" * 2}, "k1")


def event(**changes: Any) -> dict[str, Any]:
    """A valid event; `changes` replace or add members."""
    valid = {
        "event_id": "e-1",
        "event_time": "2026-11-21T08:59:30.250Z",
        "service": "payments",
        "level": "ERROR",
        "status": 502,
        "user_id": "user-secret-77",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "latency_ms": 12.5,
        "host": "node-1",
        "message": "charge declined",
    }
    return valid | changes


def encoded(**changes: Any) -> bytes:
    """A valid event's bytes; `changes` replace or add members."""
    return json.dumps(event(**changes), ensure_ascii=False).encode()


def without(*names: str) -> bytes:
    """A valid event's bytes lacking those members."""
    return json.dumps({name: value for name, value in event().items() if name not in names}).encode()


def bronze(
    values: Sequence[bytes | None], *, first: int = 0, partition: int = 0, seq: int = 1, landed: datetime = LANDED
) -> pa.Table:
    """Bronze rows of kind 'record' with these values and rising offsets."""
    rows = len(values)
    return pa.table(
        {
            "_source": [TOPIC_ID] * rows,
            "_shard": pa.array([partition] * rows, pa.int32()),
            "_position": pa.array(range(first, first + rows), pa.int64()),
            "_span": pa.array([1] * rows, pa.int64()),
            "kind": ["record"] * rows,
            "record_time": pa.array([landed] * rows, pa.timestamp("us", "UTC")),
            "key": pa.nulls(rows, pa.binary()),
            "value": pa.array(values, pa.binary()),
            "headers": pa.nulls(rows, pa.binary()),
            "seq": pa.array([seq] * rows, pa.int64()),
            "landed_at": pa.array([landed] * rows, pa.timestamp("us", "UTC")),
            "landed_date": pa.array([landed.date()] * rows, pa.date32()),
        },
        schema=BRONZE_SCHEMA,
    )


def transform(values: Sequence[bytes | None], table: Table = EVENTS) -> Transformed:
    """What a new transformer makes of these values."""
    with Transformer(table, MASKER) as transformer:
        return transformer.transform(bronze(values))


def reasons(values: Sequence[bytes | None], table: Table = EVENTS) -> list[str | None]:
    """The reason of each value, None where it was accepted."""
    transformed = transform(values, table)
    found = dict(zip(*(transformed.rejected[name].to_pylist() for name in ("_position", "reason")), strict=True))
    return [found.get(offset) for offset in range(len(values))]


def accepted(value: bytes, table: Table = EVENTS) -> dict[str, Any]:
    """The silver row of one value that must be accepted."""
    transformed = transform([value], table)
    assert transformed.rejected.num_rows == 0, transformed.rejected.to_pylist()
    (row,) = transformed.accepted.to_pylist()
    return row


def rejected(value: bytes | None, table: Table = EVENTS) -> dict[str, Any]:
    """The quarantine row of one value that must be rejected."""
    (row,) = transform([value], table).rejected.to_pylist()
    return row


def with_field(name: str, **changes: Any) -> Table:
    """The events table with one field changed."""
    fields = tuple(replace(field, **changes) if field.name == name else field for field in EVENTS.fields)
    return replace(EVENTS, fields=fields)
