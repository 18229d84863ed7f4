"""Columns whose decimals a newer contract gives more digits: the table's schema follows, its files stay as they are.

Belongs here: that one change of a schema. Does not belong here: new columns, which delta-rs adds (`table.py`).

delta-rs can add columns and change none, so the log entry with the new schema is written here, in the way in which delta-rs
writes its own: put into place only where no other process has written that version.
"""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")
_TRIES = 20


def widen_decimals(table: DeltaTable, root: Path, schema: pa.Schema) -> None:
    """Give decimals of `table` the precision that `schema` has, where that is more at the same scale."""
    for _ in range(_TRIES):
        stored = json.loads(table.schema().to_json())
        changed = [column["name"] for column in stored["fields"] if _widen(column, schema)]
        if not changed:
            return
        _commit(root / "_delta_log" / f"{table.version() + 1:020d}.json", _entry(table, stored))
        table.update_incremental()


def _widen(column: dict[str, Any], schema: pa.Schema) -> bool:
    """Whether this column of a stored schema was changed."""
    found = _DECIMAL.fullmatch(column["type"]) if isinstance(column["type"], str) else None
    if found is None or column["name"] not in schema.names:
        return False
    wanted = schema.field(column["name"]).type
    if not pa.types.is_decimal(wanted) or wanted.scale != int(found[2]) or wanted.precision <= int(found[1]):
        return False
    column["type"] = f"decimal({wanted.precision},{wanted.scale})"
    return True


def _entry(table: DeltaTable, stored: dict[str, Any]) -> str:
    metadata = table.metadata()
    action = {
        "id": str(metadata.id),
        "format": {"provider": "parquet", "options": {}},
        "schemaString": json.dumps(stored, separators=(",", ":")),
        "partitionColumns": metadata.partition_columns,
        "configuration": metadata.configuration,
        "createdTime": metadata.created_time,
    }
    info = {"timestamp": int(time.time() * 1000), "operation": "CHANGE COLUMN", "operationParameters": {}}
    return json.dumps({"commitInfo": info}) + "\n" + json.dumps({"metaData": action}) + "\n"


def _commit(path: Path, entry: str) -> None:
    """Put a log entry into place, whole, unless another process was first: then nothing changes."""
    beside = path.with_name(f"_{uuid.uuid4().hex}.tmp")
    try:
        beside.write_text(entry, encoding="utf-8")
        with suppress(FileExistsError):
            os.link(beside, path)
    finally:
        beside.unlink(missing_ok=True)
