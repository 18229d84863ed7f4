"""Documents that the index will never take: their silver rows stay, and quarantine (stage `index`) says what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from platform_assets.contracts.arrow import QUARANTINE_SCHEMA
from platform_assets.index.documents import Refused
from platform_assets.index.names import TOPIC_PREFIX, parse_document_id
from platform_assets.ingest.settle import counts
from platform_assets.tables.table import LakeTable

STAGE = "index"


def quarantine_refused(
    quarantine: LakeTable, con: duckdb.DuckDBPyConnection, rows: pa.Table, refused: Sequence[Refused]
) -> int:
    """Add the refused rows to quarantine, but for those that are there already (a crash repeats a bulk); rows added."""
    reasons = {(c.topic, c.partition, c.offset): r for r in refused for c in [parse_document_id(r.document_id)]}
    wanted = rows.select(["_topic_id", "_kafka_partition", "_offset", "_seq", "_landed_at", "_contract_version"])
    wanted = wanted.filter(pc.is_in(wanted.column("_offset"), pa.array([offset for *_, offset in reasons], pa.int64())))
    # With the topic: one that was made anew counts its offsets from 0 again.
    found = [(row, reasons[place]) for row in wanted.to_pylist() if (place := _place(row)) in reasons]
    quarantine.refresh()
    bounds = pc.min_max(wanted.column("_seq")).as_py()
    files = quarantine.between("_seq", bounds["min"] or 0, bounds["max"] or 0)
    columns = ["_topic_id", "_kafka_partition", "_offset"]
    known = quarantine.read(con, columns=columns, files=files, where=f"stage = '{STAGE}'").to_pylist()
    there = {(k["_topic_id"], k["_kafka_partition"], k["_offset"]) for k in known}
    fresh = [
        row
        | {
            "contract_version": row["_contract_version"],
            "stage": STAGE,
            "reason": f"index:{why.code}",
            "detail": why.reason,
            "excerpt": None,
            "value_bytes": None,
            "landed_date": row["_landed_at"].date(),
        }
        for row, why in found
        if (row["_topic_id"], row["_kafka_partition"], row["_offset"]) not in there
    ]
    if fresh:
        table = pa.Table.from_pylist(fresh, schema=QUARANTINE_SCHEMA)
        quarantine.commit(quarantine.write(table))
    return len(fresh)


def acknowledged(rows: pa.Table, refused: Sequence[Refused]) -> Counter[str]:
    """How many of the rows that were sent the index has, by event partition: all but the refused."""
    found = counts(rows.column("event_partition"))
    if refused:
        places = {(c.topic, c.partition, c.offset) for r in refused for c in [parse_document_id(r.document_id)]}
        named = rows.filter(pc.is_in(rows.column("_offset"), pa.array([offset for *_, offset in places], pa.int64())))
        wanted = named.select(["_topic_id", "_kafka_partition", "_offset", "event_partition"]).to_pylist()
        found.subtract(row["event_partition"] for row in wanted if _place(row) in places)
    return found


def _place(row: dict[str, Any]) -> tuple[str, int, int]:
    """A row's coordinates as its document's id tells them."""
    return row["_topic_id"][:TOPIC_PREFIX], row["_kafka_partition"], row["_offset"]
