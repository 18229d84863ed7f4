"""Replay without an index: rejects that a newer contract accepts become silver once, wherever a replay is cut off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from prooflab import BEGAN, Lab, event

from platform_assets.contracts.model import Field, FieldType, IndexType, Rule
from platform_assets.core.errors import AssayError
from platform_assets.ingest.keys import KeyIndex
from platform_assets.ingest.rebuild import rebuild
from platform_assets.reconcile import replay as module
from platform_assets.reconcile.prove import prove
from platform_assets.reconcile.replay import replay
from platform_assets.reconcile.replay_report import TableReplay


def relaxed(lab: Lab) -> Lab:
    """A contract that knows the level LOUD."""
    fields = tuple(replace(f, enum=(*f.enum, "LOUD")) if f.name == "level" else f for f in lab.table.fields)
    return lab.with_contract(fields=fields)


def run(lab: Lab, **options: Any) -> TableReplay:
    return replay(lab.settings, lab.contract, [lab.table.name], index=False, **options).tables[lab.table.name]


def holds(lab: Lab) -> bool:
    proof = prove(lab.settings, lab.contract, [lab.table.name], broker=False, index=False)
    assert proof.holds, proof.to_dict()
    return proof.holds


@pytest.fixture
def loud(lab: Lab) -> Lab:
    """Rejects: two that become rows, one whose key has a row, one repeated among themselves, two hopeless."""
    lab.run(
        [event(100, level="LOUD"), event(101, level="LOUD"), event(102, level="LOUD"), event(101, level="LOUD"), b"{"]
    )
    lab.run([event(102)])
    return relaxed(lab)


def test_what_is_accepted_now_becomes_silver_once(loud: Lab) -> None:
    first = run(loud)
    assert (first.looked_at, first.accepted, first.duplicates, first.finished) == (8, 3, 2, 0)
    assert dict(first.still_rejected) == {"malformed_json": 2, "tombstone": 1}
    rows = loud.rows("silver", "level = 'LOUD'")
    assert sorted(r["event_id"] for r in rows) == ["e100", "e101", "e25"]
    assert {r["_contract_version"] for r in rows} == {loud.table.version}
    assert sorted(r["reason"] for r in loud.rows("quarantine")) == ["malformed_json", "malformed_json", "tombstone"]
    assert holds(loud)


def test_a_second_replay_changes_nothing(loud: Lab) -> None:
    run(loud)
    versions = [getattr(loud.tables, layer).refresh() for layer in ("silver", "quarantine", "feed")]
    assert run(loud).changed == 0
    assert [getattr(loud.tables, layer).refresh() for layer in ("silver", "quarantine", "feed")] == versions


def test_a_dry_run_tells_and_changes_nothing(loud: Lab) -> None:
    versions = [getattr(loud.tables, layer).refresh() for layer in ("silver", "quarantine", "feed")]
    dry = run(loud, dry_run=True)
    assert (dry.accepted, dry.duplicates) == (3, 2)
    assert [getattr(loud.tables, layer).refresh() for layer in ("silver", "quarantine", "feed")] == versions
    assert (run(loud).accepted, run(loud).changed) == (3, 0)


def test_the_same_contract_changes_nothing(lab: Lab) -> None:
    assert run(lab).changed == 0
    assert holds(lab)


class Killed(Exception):
    """Stands for a kill: nothing after it runs, and what was committed stays."""


@pytest.mark.parametrize("step", ["feed", "silver", "documents", "quarantine"])
def test_a_replay_cut_off_anywhere_is_finished_by_the_next(
    loud: Lab, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """`step` is the first thing that no longer happens."""
    with monkeypatch.context() as patch:

        def die(*_args: Any, **_more: Any) -> None:
            raise Killed

        target: dict[str, tuple[Any, str]] = {
            "feed": (module, "feed_rows"),
            "silver": (module._Replay, "_deduplicate"),
            "documents": (module.Documents, "send"),
            "quarantine": (module._Replay, "_remove"),
        }
        patch.setattr(*target[step], die)
        with pytest.raises(Killed):
            run(loud)
    second = run(loud)
    assert second.accepted + second.finished == 3
    assert second.finished == (3 if step in ("documents", "quarantine") else 0)
    assert len(loud.rows("silver", "level = 'LOUD'")) == 3
    assert run(loud).changed == 0
    assert holds(loud)


def between_dedupe_and_commit(patch: pytest.MonkeyPatch, work: Callable[[], object]) -> list[int]:
    """Have somebody else do `work` at the worst moment, once; counts how often keys were compared."""
    calls: list[int] = []
    original = KeyIndex.evaluate

    def evaluate(self: KeyIndex, accepted: Any) -> Any:
        keep = original(self, accepted)
        calls.append(1)
        if len(calls) == 1:
            work()
        return keep

    patch.setattr(KeyIndex, "evaluate", evaluate)
    return calls


def test_a_worker_that_takes_in_the_same_key_meanwhile_wins(loud: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without looking again, the key would be in silver twice."""
    calls: list[int] = []

    def worker() -> None:
        calls.append(1)
        if len(calls) == 1:
            loud.run([event(100)])

    between_dedupe_and_commit(monkeypatch, worker)
    report = run(loud)
    assert (report.accepted, report.duplicates) == (2, 3)
    assert len(loud.rows("silver", "event_id = 'e100'")) == 1
    assert holds(loud)


def test_two_replays_at_the_same_time(loud: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    between_dedupe_and_commit(monkeypatch, lambda: run(loud))
    outer = run(loud)
    assert outer.accepted == 0
    assert len(loud.rows("silver", "level = 'LOUD'")) == 3
    assert holds(loud)


def test_a_worker_at_work_reads_its_keys_anew(loud: Lab) -> None:
    """The worker's memory of keys is older than the replay's rows."""
    run(loud)
    assert loud.run([event(100), event(101, level="LOUD"), event(103)]).duplicates == 2
    assert holds(loud)


def test_a_reject_that_silver_has_all_the_same_leaves_quarantine(lab: Lab) -> None:
    """A rebuild under a stricter contract died between its quarantine and silver commits; silver is the decision."""
    stricter = lab.with_contract(
        fields=tuple(replace(f, enum=("FATAL",)) if f.name == "level" else f for f in lab.table.fields)
    )
    lab.rewrite(
        "quarantine",
        "FROM rows UNION ALL SELECT * REPLACE (0 AS _shard, 3 AS _position, 1 AS _seq) FROM rows LIMIT 4",
    )
    report = run(stricter)
    assert (report.finished, report.still_rejected.total()) == (1, 3)
    assert holds(stricter)


def test_undecided_rejects_are_left_alone(loud: Lab) -> None:
    """A worker died between quarantine and silver: those rejects are not yet true."""
    loud.land([event(200, level="LOUD")])
    assert run(loud).looked_at == 8


def test_rejects_whose_record_is_gone_stay(loud: Lab) -> None:
    loud.rewrite("bronze", "FROM rows WHERE seq <> 5")
    report = run(loud)
    assert report.unavailable == 5
    assert report.accepted == 1
    assert len(loud.rows("quarantine")) == 7


def test_a_table_without_a_key(tmp_path: Any, logs: Any) -> None:
    wide = Lab(tmp_path, logs, "access")
    fields = tuple(replace(f, maximum=Decimal(599)) if f.name == "status" else f for f in wide.table.fields)
    lab = wide.with_contract(fields=fields)
    line = b'83.149.9.216 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 203023 "-" "curl"'
    lab.run([line, line.replace(b"200 203023", b"999 203023"), line.replace(b"200 203023", b"999 203023")])
    wider = lab.with_contract(fields=wide.table.fields)
    assert run(wider).accepted == 2
    assert run(wider).changed == 0
    assert holds(wider)


def test_a_contract_that_the_lake_does_not_accept_is_refused(loud: Lab) -> None:
    run(loud)
    with pytest.raises(AssayError):
        run(loud.with_contract(version="1.0.0"))


def test_windows_are_bounded(loud: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOW_ROWS", 1)
    seen: list[tuple[int, int]] = []
    report = run(loud, progress=lambda _table, done, total: seen.append((done, total)))
    assert (report.accepted, report.duplicates) == (3, 2)
    assert seen[0] == (0, 8) and seen[-2:] == [(8, 8), (0, 0)]
    assert holds(loud)


def test_rules_and_computed_columns_are_the_same_after_replay_and_rebuild(lab: Lab) -> None:
    column = Field(name="latency_s", type=FieldType.NUMBER, computed="latency_ms / 1000", index=IndexType.NONE)
    rules = (Rule("quick", "latency_s < 0.3"), Rule("known", "user_id <> 'u0'"))
    evaluated = lab.with_contract(fields=(*lab.table.fields, column), rules=rules)
    duplicate, turned = event(190, latency_ms=30.0), event(191, latency_ms=900.0)
    report = evaluated.run([event(190, latency_ms=30.0), duplicate, event(199, latency_ms=300.0), turned])
    assert (report.duplicates, dict(report.rejected)) == (1, {"rule:quick": 2})
    assert holds(evaluated)
    [row] = evaluated.rows("silver", "event_id = 'e190'")
    assert row["latency_s"] == 0.03
    looser = evaluated.with_contract(rules=rules[1:])
    assert run(looser).accepted == 2
    assert sorted(r["latency_s"] for r in looser.rows("silver", "latency_s IS NOT NULL")) == [0.03, 0.3, 0.9]
    assert holds(looser)
    before = {row["event_id"]: row["_hash"] for row in looser.rows("silver", "latency_s IS NOT NULL")}
    rebuild(looser.settings, looser.table, BEGAN.date(), index=False)
    after = {row["event_id"]: row["_hash"] for row in looser.rows("silver")}
    assert before.items() <= after.items()
    # A stricter contract finds rows that it would reject today, and duplicates whose first it would reject.
    stricter = looser.with_contract(rules=(Rule("none", "latency_s < 0.01"),), version="9.0.0")
    assert holds(stricter)
