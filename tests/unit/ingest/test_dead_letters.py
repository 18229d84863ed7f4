"""Which rows quarantine gets when the index refuses documents. No services."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from lakes import SmallLake

from platform_assets.core.coordinates import document_id
from platform_assets.index.documents import Refused
from platform_assets.ingest.dead_letters import quarantine_refused


def test_a_topic_that_was_made_anew_is_another(tmp_path: Path) -> None:
    lake = SmallLake(tmp_path)
    rows = lake.land_and_settle([1]).rows
    place = rows.schema.get_field_index("_source")
    anew = rows.set_column(place, rows.schema.field(place), pa.array(["B" * 22]))  # its offsets count from 0 again
    refused = [Refused(document_id("B" * 22, 0, 0), "2026-11-21", "too_deep", "why")]
    both = pa.concat_tables([rows, anew])
    assert quarantine_refused(lake.tables.quarantine, lake.con, both, refused) == 1
    assert quarantine_refused(lake.tables.quarantine, lake.con, both, refused) == 0
    found = lake.tables.quarantine.read(lake.con, columns=["_source", "_position", "reason"]).to_pylist()
    assert found == [{"_source": "B" * 22, "_position": 0, "reason": "index:too_deep"}]
