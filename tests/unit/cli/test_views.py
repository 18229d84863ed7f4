"""What people read: status, proof and trace from given facts; and the facts when nothing runs."""

from __future__ import annotations

import io
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console, RenderableType

from platform_assets.cli import prove, status
from platform_assets.cli.app import assay
from platform_assets.index.budget import ShardBudget
from platform_assets.reconcile.proof import Proof, TableProof

TABLE: dict[str, Any] = {
    "table": "events",
    "lag": 1234,
    "watermark": "2026-01-01T00:00:00+00:00",
    "rows": 56789,
    "quarantined": 7,
    "quarantined_recent": 7,
    "index_refused": 2,
    "conflicts": 3,
    "index_behind": None,
    "last_commit": None,
    "unanswered": ["OpenSearch does not answer"],
    "error": None,
}


UNKNOWN = {**dict.fromkeys(("open", "limit", "share", "exceeded")), "unanswered": "OpenSearch does not answer"}


def facts(**changes: Any) -> dict[str, Any]:
    system = {"system": "logs", "gaps": [], "tables": [{**TABLE, **changes}]}
    return {"home": "/h", "phase": "stopped", "services": [], "shards": UNKNOWN, "systems": [system]}


def shown(view: RenderableType) -> str:
    out = Console(file=io.StringIO(), width=160)
    out.print(view)
    return out.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_status_shows_counts_and_what_is_not_known() -> None:
    text = shown(status.view(facts()))
    assert "no services run in /h" in text
    assert "1,234" in text
    assert "56,789" in text
    assert "OpenSearch does not answer" in text


def test_status_tells_how_near_the_limit_of_shards_is() -> None:
    assert "shards" not in shown(status.view(facts()))
    found = facts() | {"shards": ShardBudget(35, 1000).to_dict()}
    assert "index: 35 of 1,000 shards" in shown(status.view(found))
    assert "above" not in shown(status.view(found))
    found = facts() | {"shards": ShardBudget(801, 1000).to_dict()}
    assert "index: 801 of 1,000 shards, above the share of 80%" in shown(status.view(found))


def test_status_points_at_a_gap() -> None:
    found = facts()
    found["systems"][0]["gaps"] = [{"table": "events", "partition": 2, "expected": 10, "earliest": 30}]
    text = shown(status.view(found))
    assert "logs.events: the broker lost offsets 10..29 of partition 2; see `assay accept-gap --help`" in text


def test_status_goes_on_when_a_table_cannot_be_read() -> None:
    assert "log is torn" in shown(status.view(facts(error="log is torn")))


def test_status_answers_in_an_empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing runs and nothing was ever landed: facts, no error, and nothing is created by looking."""
    for name in [name for name in os.environ if name.startswith("ASSAY_")]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    result = CliRunner().invoke(assay, ["status", "--json", "--home", str(home)])
    assert result.exit_code == 1, result.output
    found = json.loads(result.stdout)
    assert (found["healthy"], found["phase"], found["services"]) == (False, "stopped", [])
    tables = found["systems"][0]["tables"]
    assert [table["table"] for table in tables] == ["events", "access", "broker"]
    assert all((table["rows"], table["lag"], table["error"]) == (0, None, None) for table in tables)
    assert not list(home.rglob("*.json"))


def proof(table: TableProof) -> Proof:
    return Proof("logs", datetime.now(UTC), deep=True, seconds=1.0, tables={table.table: table})


def test_a_proof_says_what_equals_what() -> None:
    table = TableProof(
        "events", counts={"records": 10, "silver": 7, "quarantined": 2, "duplicates": 1, "documents": 7, "lag": 3}
    )
    table.checks["keys"].skipped = "the table has no key"
    text = told(proof(table))
    assert "10 records = 7 silver + 2 quarantine + 1 duplicates; 7 documents" in text
    assert "besides: 3 not landed yet" in text
    assert "not looked at: the table has no key" in text
    assert "it holds" in text


def test_a_failed_proof_names_what_is_wrong() -> None:
    table = TableProof("events", counts={"records": 10, "silver": 9})
    table.checks["index"].fail("missing", "silver rows without a document", 1, ["1a2B3c4D.0.42 \x1b[2J"])
    text = told(proof(table))
    assert "missing: silver rows without a document (1)" in text
    assert "1a2B3c4D.0.42" in text
    assert "\x1b" not in text
    assert "IT DOES NOT HOLD" in text


def told(made: Proof) -> str:
    out = Console(file=io.StringIO(), width=160, highlight=False, markup=False)
    prove.show(out, made)
    return out.file.getvalue()  # type: ignore[attr-defined, no-any-return]
