"""Arrow schemas of the lake's tables: silver from a contract; bronze, quarantine and feed the same for all.

Belongs here: column names, types and nullability. Does not belong here: where a table lies, how it is written.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from platform_assets.contracts.model import Table
from platform_assets.contracts.types import UTC_MICROS, arrow_type


def _column(name: str, type_: pa.DataType, *, null: bool = False) -> pa.Field[Any]:
    return pa.field(name, type_, nullable=null)


BRONZE_SCHEMA: pa.Schema = pa.schema(
    [
        _column("_source", pa.string()),
        _column("_shard", pa.int32()),
        _column("_position", pa.int64()),
        _column("_span", pa.int64()),
        _column("kind", pa.string()),
        _column("record_time", UTC_MICROS, null=True),
        _column("key", pa.binary(), null=True),
        _column("value", pa.binary(), null=True),
        _column("headers", pa.binary(), null=True),
        _column("seq", pa.int64()),
        _column("landed_at", UTC_MICROS),
        _column("landed_date", pa.date32()),
    ]
)
"""What arrived: one row a record, or one a stretch of `span` offsets without records (`kind` 'skipped' or 'gap')."""

QUARANTINE_SCHEMA: pa.Schema = pa.schema(
    [
        _column("_source", pa.string()),
        _column("_shard", pa.int32()),
        _column("_position", pa.int64()),
        _column("_seq", pa.int64()),
        _column("_landed_at", UTC_MICROS),
        _column("contract_version", pa.string()),
        _column("stage", pa.string()),
        _column("reason", pa.string()),
        _column("detail", pa.string(), null=True),
        _column("excerpt", pa.string(), null=True),
        _column("value_bytes", pa.int64(), null=True),
        _column("landed_date", pa.date32()),
    ]
)
"""What was refused and why; never the raw bytes. `value_bytes` is null for a tombstone."""

FEED_SCHEMA: pa.Schema = pa.schema(
    [
        _column("seq_min", pa.int64()),
        _column("seq_max", pa.int64()),
        _column("event_partition", pa.string()),
        _column("rows", pa.int64()),
        _column("_shard", pa.int32()),
        _column("_source", pa.string()),
        _column("position_min", pa.int64()),
        _column("position_max", pa.int64()),
    ]
)
"""Which bronze ranges (bounds inclusive) fed which silver partition; a superset is fine."""

SILVER_SYSTEM_COLUMNS: tuple[pa.Field[Any], ...] = (
    _column("_source", pa.string()),
    _column("_shard", pa.int32()),
    _column("_position", pa.int64()),
    _column("_seq", pa.int64()),
    _column("_landed_at", UTC_MICROS),
    _column("_contract_version", pa.string()),
    _column("_key_id", pa.string(), null=True),
    _column("_history", pa.bool_()),
    _column("_hash", pa.int64()),
    _column("event_partition", pa.string()),
)
"""What every silver row carries besides its contract's fields."""


def silver_schema(table: Table) -> pa.Schema:
    """The silver columns in their order: the contract's fields, the attributes column if any, the system columns.

    Required fields are not null.
    """
    columns = [_column(field.name, arrow_type(field), null=not field.required) for field in table.fields]
    if table.attributes:
        columns.append(_column(table.attributes, pa.string(), null=True))
    return pa.schema([*columns, *SILVER_SYSTEM_COLUMNS])
