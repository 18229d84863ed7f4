"""State from the logs alone: counts, sequence numbers and a watermark that history does not move."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prooflab import BEGAN, Lab, document, event

from platform_assets.contracts.model import Contract
from platform_assets.index.documents import Refused
from platform_assets.ingest.dead_letters import quarantine_refused
from platform_assets.reconcile.state import table_state
from platform_assets.tables.table import LakeTable


def at(when: datetime) -> str:
    return when.isoformat(timespec="microseconds").replace("+00:00", "Z")


def test_counts_and_positions(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.land([event(900)])
    monkeypatch.setattr(LakeTable, "relation", lambda *_: pytest.fail("state must not read data files"))
    state = table_state(lab.settings, lab.table)
    assert state.rows == sum(state.rows_by_partition.values()) == 35
    assert sum(state.quarantined.values()) == 3
    assert sum(state.bronze_by_date.values()) == 46
    assert (state.bronze_seq, state.silver_seq) == (5, 4)
    assert (state.index_seq, state.index_behind, state.lag) == (None, None, None)
    assert state.last_commit is not None and BEGAN < state.last_commit < datetime.now(UTC)
    assert json.loads(json.dumps(state.to_dict()))["rows"] == 35


def refuse(lab: Lab, *offsets: int) -> None:
    """The index refuses the documents of these rows."""
    rows = lab.tables.silver.read(lab.con, where=f"_shard = 0 AND _position IN {offsets}")
    refused = [Refused(document(0, n), "today", "too_deep", "why") for n in offsets]
    assert quarantine_refused(lab.tables.quarantine, lab.con, rows, refused) == len(offsets)


def test_what_the_index_refused_is_counted_apart(lab: Lab) -> None:
    """Also in files that a merge has made of both."""
    refuse(lab, 1, 2)
    for mixed in (False, True):
        if mixed:
            lab.rewrite("quarantine", "SELECT * FROM rows")
        state = table_state(lab.settings, lab.table)
        assert (state.rows, sum(state.quarantined.values()), state.index_refused) == (35, 3, 2)


def test_rejects_without_their_silver_commit_are_not_counted(lab: Lab) -> None:
    """A worker that dies between the two commits leaves rejects that the next one replaces."""
    lab.run([b"{", b"{"])
    lab.rewrite("quarantine", "SELECT * REPLACE (_seq + CASE WHEN _seq = 5 THEN 1 ELSE 0 END AS _seq) FROM rows")
    assert sum(table_state(lab.settings, lab.table).quarantined.values()) == 3


def test_the_watermark_is_the_newest_event_that_is_no_history(tmp_path: Path, logs: Contract) -> None:
    lab = Lab(tmp_path, logs, "events")
    now = datetime.now(UTC)
    lab.run([event(1, event_time=at(now - timedelta(days=30)))])
    assert table_state(lab.settings, lab.table).watermark is None
    lab.run([event(2, event_time=at(now - timedelta(hours=3))), event(3, event_time=at(now - timedelta(days=40)))])
    assert table_state(lab.settings, lab.table).watermark == now - timedelta(hours=3)


def test_a_file_of_both_kinds_is_looked_into(tmp_path: Path, logs: Contract) -> None:
    """Merged files mix rows that were history when they landed with rows of the same day that were not."""
    lab = Lab(tmp_path, logs, "events")
    old = datetime.now(UTC) - timedelta(days=5)
    lab.run([event(1, event_time=at(old)), event(2, event_time=at(old + timedelta(seconds=1)))])
    lab.rewrite(
        "silver",
        "SELECT * REPLACE (_landed_at - INTERVAL (CASE event_id WHEN 'e1' THEN 4 ELSE 0 END) DAY AS _landed_at,"
        " event_id <> 'e1' AS _history) FROM rows",
    )
    assert table_state(lab.settings, lab.table).watermark == old


def test_a_table_that_does_not_exist_yet(tmp_path: Path, logs: Contract) -> None:
    lab = Lab(tmp_path, logs, "events")
    state = table_state(lab.settings, lab.table)
    assert (state.rows, state.watermark, state.last_commit) == (0, None, None)
    assert not any(tmp_path.rglob("*.json")), "looking must not create tables"


def test_services_that_do_not_answer_are_named(tmp_path: Path, logs: Contract) -> None:
    lab = Lab(tmp_path, logs, "events")
    state = table_state(lab.settings, lab.table, services=True)
    assert (state.lag, state.index_seq) == (None, None)
    assert len(state.unanswered) == 2


def test_any_name_of_the_event_time_will_do(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statistics are kept for `event_time`; a contract may call it otherwise."""
    state = table_state(lab.settings, lab.table)
    original = LakeTable.files

    def without(self: LakeTable, partition: Any = None) -> Any:
        files = original(self, partition)
        for f in files:
            f.low.pop("event_time", None)
            f.high.pop("event_time", None)
        return files

    monkeypatch.setattr(LakeTable, "files", without)
    assert table_state(lab.settings, lab.table).watermark == state.watermark
