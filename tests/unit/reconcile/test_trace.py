"""Trace on a small lake: each place where a record can end, found by statistics and shown without its bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prooflab import TOPIC_ID, Lab, document, event

from platform_assets.core.errors import AssayError
from platform_assets.reconcile.trace import Trace, trace
from platform_assets.tables.table import LakeTable


def traced(lab: Lab, id: str, **options: Any) -> Trace:
    return trace(lab.settings, lab.contract, id, services=False, **options)


def test_a_document_leads_to_silver_bronze_and_offset(lab: Lab) -> None:
    found = traced(lab, document(0, 3))
    assert (found.verdict, found.table, found.topic, found.at.source) == ("silver", "events", "logs.events", TOPIC_ID)
    assert (found.at.shard, found.at.position) == (0, 3)
    assert found.silver is not None and found.bronze is not None
    assert found.silver["event_id"] == "e3"
    assert found.silver["hash_agrees"] is True
    assert found.silver["file"].endswith(".parquet") and "event_partition=" in found.silver["file"]
    assert found.bronze["seq"] == found.silver["_seq"] == 1
    assert json.loads(json.dumps(found.to_dict()))["verdict"] == "silver"


def test_what_arrived_is_shown_only_on_request(lab: Lab) -> None:
    hidden = json.dumps(traced(lab, document(0, 3)).to_dict())
    assert "u3" not in hidden, "the user id in clear"
    bronze = traced(lab, document(0, 3)).bronze
    assert bronze is not None and bronze["value_bytes"] > 100 and len(bronze["value_sha256"]) == 64
    shown = traced(lab, document(0, 3), reveal=True).bronze
    assert shown is not None and json.loads(shown["value"])["user_id"] == "u3"


def test_a_reject_is_found_with_its_reason(lab: Lab) -> None:
    found = traced(lab, f"{TOPIC_ID}:1:10")
    assert found.verdict == "quarantine"
    assert found.id == document(1, 10)
    assert [q["reason"] for q in found.quarantine] == ["malformed_json"]
    assert found.bronze is not None and found.silver is None


def test_a_duplicate_with_other_values_says_so(lab: Lab) -> None:
    lab.run([event(1, message="other"), event(1)], partition=1)
    other, same = (traced(lab, document(1, lab.next[1] - n)) for n in (2, 1))
    assert (other.verdict, other.conflict, same.verdict, same.conflict) == ("duplicate", True, "duplicate", False)
    assert other.survivor == same.survivor


def test_a_duplicate_names_its_survivor(lab: Lab) -> None:
    assert (traced(lab, document(1, 0)).verdict, traced(lab, document(1, 0)).survivor) == ("duplicate", document(0, 15))
    assert traced(lab, document(0, 33)).survivor == document(0, 23)


def test_markers_waiting_and_lost_records_are_told_apart(lab: Lab) -> None:
    assert traced(lab, document(0, 21)).verdict == "no_record"  # inside of a marker of three offsets
    lab.rewrite("silver", "FROM rows WHERE event_id <> 'e3'")
    assert traced(lab, document(0, 3)).verdict == "lost"
    lab.land([event(500)])
    assert traced(lab, document(0, 34)).verdict == "waiting"


def test_an_altered_row_and_a_missing_record_are_noted(lab: Lab) -> None:
    lab.rewrite("silver", "SELECT * REPLACE ('FATAL' AS level) FROM rows")
    lab.rewrite("bronze", "FROM rows WHERE seq <> 1")
    found = traced(lab, document(0, 3))
    assert found.silver is not None and found.silver["hash_agrees"] is False
    assert found.notes == ["bronze no longer has the record"]


@pytest.mark.parametrize(
    ("id", "message"),
    [
        ("nonsense", "is no document id"),
        ("'; DROP--.0.1", "is no document id"),
        (document(0, 999), "logs knows no"),
        ("ffffffff.0.3", "logs knows no"),
    ],
)
def test_unknown_ids_are_one_clear_line(lab: Lab, id: str, message: str) -> None:
    with pytest.raises(AssayError, match=message):
        traced(lab, id)


def test_only_files_that_may_hold_it_are_read(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(5):
        lab.run([event(1000 + 10 * n + i) for i in range(10)])
    read: list[str] = []
    original = LakeTable.relation

    def relation(self: LakeTable, con: Any, files: Any = None) -> Any:
        read.extend(f.path for f in (self.files() if files is None else files))
        return original(self, con, files)

    monkeypatch.setattr(LakeTable, "relation", relation)
    assert traced(lab, document(0, 55)).verdict == "silver"
    assert len(set(read)) == 2, "one silver file and one bronze file"
