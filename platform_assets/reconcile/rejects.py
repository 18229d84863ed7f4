"""What quarantine holds, for people: counts by reason and the latest rejects.

Belongs here: reading quarantine. Does not belong here: sending it through again (`replay.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from platform_assets.contracts.model import Table
from platform_assets.core.coordinates import document_id
from platform_assets.core.serialization import plain
from platform_assets.core.settings import Settings
from platform_assets.tables.layout import Lake
from platform_assets.tables.session import session

_COUNTS = """
    SELECT stage, reason, count(*) AS rejects, max(_landed_at) AS latest FROM quarantine
    WHERE _landed_at >= ? AND _landed_at < ? GROUP BY stage, reason ORDER BY rejects DESC, stage, reason
"""
_LATEST = """
    SELECT _source, _shard, _position, _landed_at AS landed_at, contract_version, stage, reason, detail, excerpt,
        value_bytes
    FROM quarantine WHERE _landed_at >= ? AND _landed_at < ? AND (? IS NULL OR reason = ?)
    ORDER BY _landed_at DESC, _position DESC LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class Rejects:
    """`counts` are `{stage, reason, rejects, latest}`, the most frequent first; `rows` the latest, each with its `id`."""

    counts: list[dict[str, Any]]
    rows: list[dict[str, Any]]


def rejects(
    settings: Settings, table: Table, since: datetime, until: datetime, *, reason: str | None, limit: int
) -> Rejects:
    """Rejects that landed in [since, until); the rows of one reason, or of all. Excerpts are scrubbed."""
    quarantine = Lake(settings.lake_path).tables(table).quarantine
    if not quarantine.exists():
        return Rejects([], [])
    quarantine.refresh()
    day = since.date().isoformat()
    files = [file for file in quarantine.files() if str(file.partition) >= day]
    with session() as con:
        quarantine.relation(con, files).create_view("quarantine")
        counts = con.sql(_COUNTS, params=[since, until]).to_arrow_table().to_pylist()
        found = con.sql(_LATEST, params=[since, until, reason, reason, limit]).to_arrow_table().to_pylist()
    for row in found:
        row["id"] = document_id(row.pop("_source"), row.pop("_shard"), row.pop("_position"))
    return Rejects(plain(counts), plain(found))
