"""The index beside silver, without a node: what was read of it is made up from silver's own rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from prooflab import Lab, event

from platform_assets.contracts.model import IndexPeriod
from platform_assets.core.coordinates import COLUMNS, COORDINATES, Coordinates
from platform_assets.core.transactions import SEQ
from platform_assets.index.checkpoints import START, Checkpoint
from platform_assets.index.documents import period_column
from platform_assets.index.names import index_name, layout
from platform_assets.ingest.maintain import maintain
from platform_assets.reconcile import documents as module
from platform_assets.reconcile import prove as prove_module
from platform_assets.reconcile.proof import Proof
from platform_assets.reconcile.prove import prove
from platform_assets.tables.archive import history


class Index:
    """An index with silver's documents as they are now, and a checkpoint; `first` checkpoints are read before it."""

    def __init__(self, lab: Lab) -> None:
        silver = lab.tables.silver
        silver.refresh()
        names = f"{COORDINATES}, _seq, _hash, _contract_version, _key_id, _history, event_partition"
        content = ", ".join(f'"{f.name}"' for f in lab.table.fields)
        self.rows = silver.relation(lab.con).project(f"{names}, {content}, attributes").to_arrow_table()
        seq = silver.transaction(SEQ) or 0
        self.checkpoint = Checkpoint({}, silver.version, seq, (1, 1), history(silver), layout(lab.table))
        self.first: list[Checkpoint] = []
        self.table = lab.table

    def read_checkpoint(self, *_: Any) -> Checkpoint:
        return self.first.pop(0) if self.first else self.checkpoint

    def scan(self, *_: Any, **__: Any) -> Iterator[pa.Table]:
        ids = [Coordinates.of(row).document_id for row in self.rows.select(COLUMNS).to_pylist()]
        if ids:
            periods = period_column(self.table, self.rows)
            indices = [index_name(self.table, period, 1) for period in periods.to_pylist()]
            found = self.rows.append_column("_id", [ids]).append_column("_index", [indices])
            for name in sorted(set(indices)):
                yield found.filter(pc.equal(found.column("_index"), name))


@pytest.fixture
def index(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Index:
    made = Index(lab)
    nothing = SimpleNamespace(client=SimpleNamespace(close=lambda: None), all=lambda _: [], refresh=lambda _: None)
    monkeypatch.setattr(module, "connect_indices", lambda _: nothing)
    monkeypatch.setattr(module, "read_checkpoint", made.read_checkpoint)
    monkeypatch.setattr(module, "scan", made.scan)
    monkeypatch.setattr(module, "FIRST_SECONDS", 0.6)
    monkeypatch.setattr(prove_module, "PAUSE_SECONDS", 0.0)
    return made


def proved(lab: Lab) -> Proof:
    return prove(lab.settings, lab.contract, [lab.table.name], deep=False, broker=False)


def failures(lab: Lab) -> dict[str, int]:
    return {f.code: f.count for f in proved(lab).tables[lab.table.name].checks["index"].failures}


def test_an_index_that_has_everything_holds(lab: Lab, index: Index) -> None:
    assert failures(lab) == {}


def test_silver_rows_that_changed_places_differ_from_their_documents(lab: Lab, index: Index) -> None:
    """The content hash has no coordinates: without transforming bronze again it is the index that tells."""
    places = "CASE event_id WHEN 'e3' THEN 4 WHEN 'e4' THEN 3 ELSE _position END"
    lab.rewrite("silver", f"SELECT * REPLACE ({places} AS _position) FROM rows")  # noqa: S608
    assert failures(lab) == {"altered": 2}


def test_an_index_that_lost_its_data_with_its_progress_does_not_hold(lab: Lab, index: Index) -> None:
    index.rows, index.checkpoint = index.rows.slice(0, 0), START
    assert failures(lab) == {"empty": 35}
    (failure,) = proved(lab).tables["events"].checks["index"].failures
    assert any("assay reindex logs events" in hint for hint in failure.examples)


def test_the_first_rows_of_a_live_worker_are_on_their_way(lab: Lab, index: Index) -> None:
    index.first = [START]
    assert failures(lab) == {}


def test_an_index_without_progress_of_a_table_without_rows_holds(lab: Lab, index: Index) -> None:
    index.rows, index.checkpoint = index.rows.slice(0, 0), START
    lab.drop_files("silver")
    assert "empty" not in failures(lab)


def test_an_index_that_is_further_behind_than_a_worker_leaves_it(lab: Lab, index: Index) -> None:
    silver = lab.tables.silver
    silver.refresh()
    behind = (silver.transaction(SEQ) or 0) + module.ON_ITS_WAY
    lab.tables.silver.commit([], advance={SEQ: behind})
    assert "behind" not in failures(lab)
    lab.tables.silver.commit([], advance={SEQ: behind + 1})
    assert failures(lab)["behind"] == module.ON_ITS_WAY + 1


def test_documents_of_a_day_that_retention_forgot_go_at_the_next_maintenance(lab: Lab, index: Index) -> None:
    """The feed of those commits may be gone by then: bronze is kept for a shorter time here."""
    short = lab.with_contract(
        version=lab.table.version, bronze_retention=timedelta(days=-1), retention=timedelta(days=-1)
    )
    maintain(short.settings, short.table, index=False)
    assert not short.rows("silver")
    short.drop_files("feed")
    assert failures(short) == {}
    assert proved(short).tables["events"].counts["expired_documents"] == 35
    column = index.rows.schema.get_field_index("_seq")
    later = pa.array([99] * len(index.rows), pa.int64())  # documents of commits that retention has never seen
    index.rows = index.rows.set_column(column, "_seq", later)
    assert failures(short) == {"surplus": 35}


def test_a_replay_between_its_steps_is_looked_at_again(lab: Lab, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row is in silver and still in quarantine; a moment later it is out of there."""
    before = lab.rows("quarantine")
    lab.rewrite(
        "quarantine",
        "FROM rows UNION ALL SELECT * REPLACE (0 AS _shard, 3 AS _position, 1 AS _seq) FROM rows"
        " WHERE reason = 'tombstone'",
    )
    pauses: list[float] = []

    def moment_later(seconds: float) -> None:
        pauses.append(seconds)
        lab.rewrite("quarantine", "FROM rows WHERE _position <> 3")

    monkeypatch.setattr(prove_module.time, "sleep", moment_later)
    assert proved(lab).holds
    assert len(pauses) == 1
    assert len(lab.rows("quarantine")) == len(before)


def test_a_replay_that_died_between_its_steps_does_not_hold(lab: Lab, index: Index) -> None:
    lab.rewrite(
        "quarantine",
        "FROM rows UNION ALL SELECT * REPLACE (0 AS _shard, 3 AS _position, 1 AS _seq) FROM rows"
        " WHERE reason = 'tombstone'",
    )
    codes = {f.code for f in proved(lab).tables["events"].checks["exactly_once"].failures}
    assert codes == {"both"}


def test_a_document_that_is_missing_is_named(lab: Lab, index: Index) -> None:
    index.rows = index.rows.slice(1)
    assert failures(lab) == {"missing": 1}


def test_a_document_in_the_index_of_another_period_is_in_the_wrong_place(lab: Lab, index: Index) -> None:
    index.table = replace(lab.table, index_period=IndexPeriod.YEAR)
    assert failures(lab) == {"surplus": 35, "missing": 35}


def test_an_index_of_other_periods_than_the_contract_says_is_foreign(lab: Lab, index: Index) -> None:
    index.checkpoint = replace(index.checkpoint, layout="hour, history by year")
    assert failures(lab) == {"foreign": 1}


def test_an_event_after_the_checkpoint_is_not_missing(lab: Lab, index: Index) -> None:
    lab.run([event(900)])
    assert failures(lab) == {}
