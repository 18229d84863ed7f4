"""Documents that the index will never take: their silver rows stay, and quarantine (stage `index`) says what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from platform_assets.contracts.arrow import QUARANTINE_SCHEMA
from platform_assets.core.coordinates import COLUMNS, POSITION, Coordinates, parse_document_id
from platform_assets.index.documents import Refused
from platform_assets.ingest.settle import counts
from platform_assets.tables.table import LakeTable

STAGE = "index"


def quarantine_refused(
    quarantine: LakeTable, con: duckdb.DuckDBPyConnection, rows: pa.Table, refused: Sequence[Refused]
) -> int:
    """Add the refused rows to quarantine, but for those that are there already (a crash repeats a bulk); rows added."""
    reasons = {parse_document_id(one.document_id): one for one in refused}
    wanted = _at(rows.select([*COLUMNS, "_seq", "_landed_at", "_contract_version"]), reasons)
    # With the source: a topic that was made anew counts from 0 again.
    found = [(row, reasons[place]) for row in wanted.to_pylist() if (place := Coordinates.of(row).short) in reasons]
    quarantine.refresh()
    bounds = pc.min_max(wanted.column("_seq")).as_py()
    files = quarantine.between("_seq", bounds["min"] or 0, bounds["max"] or 0)
    known = quarantine.read(con, columns=COLUMNS, files=files, where=f"stage = '{STAGE}'").to_pylist()
    there = set(map(Coordinates.of, known))
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
        if Coordinates.of(row) not in there
    ]
    if fresh:
        table = pa.Table.from_pylist(fresh, schema=QUARANTINE_SCHEMA)
        quarantine.commit(quarantine.write(table))
    return len(fresh)


def acknowledged(rows: pa.Table, refused: Sequence[Refused]) -> Counter[str]:
    """How many of the rows that were sent the index has, by event partition: all but the refused."""
    found = counts(rows.column("event_partition"))
    if refused:
        places = {parse_document_id(one.document_id) for one in refused}
        wanted = _at(rows.select([*COLUMNS, "event_partition"]), places).to_pylist()
        found.subtract(row["event_partition"] for row in wanted if Coordinates.of(row).short in places)
    return found


def _at(rows: pa.Table, places: Collection[Coordinates]) -> pa.Table:
    """The rows at the positions of these places, whatever their source and shard."""
    positions = pa.array([place.position for place in places], pa.int64())
    return rows.filter(pc.is_in(rows.column(POSITION), positions))
