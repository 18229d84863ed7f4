"""Prove on a lake that the worker's pieces made: untouched it holds, and each way of damaging it is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prooflab import TOPIC_ID, Lab, document, event

from platform_assets.contracts.model import Contract, Field, FieldType, Mask
from platform_assets.core.errors import AssayError
from platform_assets.ingest.land import Landing
from platform_assets.ingest.pipeline import LAYER_ORDER
from platform_assets.reconcile import prove as prove_module
from platform_assets.reconcile import rows as rows_module
from platform_assets.reconcile.proof import Proof
from platform_assets.reconcile.prove import prove
from platform_assets.reconcile.snapshot import Snapshot
from platform_assets.sources.base import Marks
from platform_assets.tables.maintain import MERGE_AT, compact


def proof_of(lab: Lab, *, deep: bool = True, **options: Any) -> Proof:
    return prove(lab.settings, lab.contract, [lab.table.name], deep=deep, broker=False, index=False, **options)


def failures(proof: Proof) -> dict[str, int]:
    """`check.code` -> how many."""
    return {
        f"{check.name}.{failure.code}": failure.count
        for table in proof.tables.values()
        for check in table.checks.values()
        for failure in check.failures
    }


def examples(proof: Proof) -> list[str]:
    return [e for t in proof.tables.values() for c in t.checks.values() for f in c.failures for e in f.examples]


@pytest.mark.parametrize("deep", [True, False])
def test_what_nobody_touched_holds(lab: Lab, deep: bool) -> None:
    proof = proof_of(lab, deep=deep)
    assert failures(proof) == {}
    assert proof.holds
    table = proof.tables["events"]
    wanted = {
        "records": 44,
        "silver": 35,
        "quarantined": 3,
        "duplicates": 6,
        "skipped": 3,
        "not_rederivable": 0,
        "expired": 0,
    }
    assert {name: table.counts[name] for name in wanted} == wanted
    assert table.checks["broker"].holds is None
    assert table.checks["derivation"].holds is (True if deep else None)
    assert proof.to_dict()["tables"]["events"]["holds"] is True


def test_compaction_changes_nothing(lab: Lab) -> None:
    for n in range(MERGE_AT[0]):
        lab.run([event(100 + n)])
    merged = {layer: compact(getattr(lab.tables, layer), lab.con, order) for layer, order in LAYER_ORDER.items()}
    assert merged["bronze"] and merged["silver"]
    assert failures(proof_of(lab)) == {}


def test_what_silver_has_not_consumed_yet_is_no_loss(lab: Lab) -> None:
    lab.land([event(900), event(901)])
    proof = proof_of(lab)
    assert proof.holds
    assert proof.tables["events"].counts["undecided"] == 2


def test_a_worker_that_died_between_quarantine_and_silver_is_no_failure(lab: Lab) -> None:
    lab.land([b"{broken"])
    before = lab.tables.silver
    before.refresh()
    kept = [f.path for f in before.files()]
    lab.settle()
    lab.drop_files("silver", kept)  # as if silver's commit had not happened, but for its transactions
    assert proof_of(lab).holds


def silver_where(change: str, event: str = "e3") -> str:
    """SELECT that changes one column of one event's row; `change` is `value AS column`."""
    value, column = change.rsplit(" AS ", 1)
    return f"SELECT * REPLACE (CASE WHEN event_id = '{event}' THEN {value} ELSE {column} END AS {column}) FROM rows"  # noqa: S608


def one_more(changes: str, like: str) -> str:
    """SELECT that adds a copy of the row `like`, changed."""
    return f"FROM rows UNION ALL SELECT * REPLACE ({changes}) FROM rows WHERE {like}"  # noqa: S608


SWAPPED = """
    SELECT * REPLACE (CASE event_id WHEN 'e3' THEN 4 WHEN 'e4' THEN 3 ELSE _position END AS _position) FROM rows
"""

VANDAL: dict[str, tuple[Callable[[Lab], object], dict[str, int], str]] = {
    "a silver row is deleted": (
        lambda lab: lab.rewrite("silver", "FROM rows WHERE event_id <> 'e3'"),
        {"exactly_once.lost": 1},
        document(0, 3),
    ),
    "a silver row whose duplicate came later is deleted": (
        lambda lab: lab.rewrite("silver", "FROM rows WHERE event_id <> 'e15'"),
        {"exactly_once.lost": 2},
        document(1, 0),
    ),
    "a silver row is doubled": (
        lambda lab: lab.rewrite("silver", "FROM rows UNION ALL FROM rows WHERE event_id = 'e3'"),
        {"exactly_once.silver_twice": 1, "keys.key_twice": 1},
        document(0, 3),
    ),
    "a silver row is doubled under another commit": (
        lambda lab: lab.rewrite("silver", one_more("4 AS _seq", "event_id = 'e3'")),
        {"exactly_once.silver_without_record": 1, "keys.key_twice": 1},
        document(0, 3),
    ),
    "a value is altered": (
        lambda lab: lab.rewrite("silver", silver_where("'FATAL' AS level")),
        {"content.hash_differs": 1},
        document(0, 3),
    ),
    "a value is emptied": (
        lambda lab: lab.rewrite("silver", silver_where("NULL AS attributes")),
        {"content.hash_differs": 1},
        document(0, 3),
    ),
    "a hash is altered": (
        lambda lab: lab.rewrite("silver", silver_where("_hash + 1 AS _hash")),
        {"content.hash_differs": 1, "derivation.altered": 1},
        document(0, 3),
    ),
    "a row is moved to another event partition": (
        lambda lab: lab.rewrite("silver", silver_where("'2020-01-01' AS event_partition")),
        {"derivation.altered": 1},
        f"{document(0, 3)} event partition",
    ),
    "a row is called history": (
        lambda lab: lab.rewrite("silver", "SELECT * REPLACE (event_id = 'e3' AS _history) FROM rows"),
        {"derivation.altered": 1},
        f"{document(0, 3)} history",
    ),
    "a foreign row is put into silver": (
        lambda lab: lab.rewrite("silver", one_more("777 AS _position, 'e777' AS event_id", "event_id = 'e3'")),
        {"exactly_once.silver_without_record": 1, "content.hash_differs": 1},
        document(0, 777),
    ),
    "a foreign row of a commit to come is put into silver": (
        lambda lab: lab.rewrite("silver", one_more("777 AS _position, 99 AS _seq", "event_id = 'e3'")),
        {"exactly_once.silver_without_record": 1, "keys.key_twice": 1},
        f"{document(0, 777)} commit 99",
    ),
    "a silver row sits on a marker": (
        lambda lab: lab.rewrite("silver", one_more("20 AS _position, 3 AS _seq, 'new' AS event_id", "event_id = 'e3'")),
        {"exactly_once.silver_without_record": 1, "content.hash_differs": 1},
        f"{document(0, 20)} a marker",
    ),
    "two silver rows have changed places": (
        lambda lab: lab.rewrite("silver", SWAPPED),
        {"derivation.altered": 2},
        f"{document(0, 3)} content",
    ),
    "a silver row is at another position": (
        lambda lab: lab.rewrite("silver", silver_where("777 AS _position")),
        {"exactly_once.silver_without_record": 1},
        document(0, 777),
    ),
    "a silver row is of another shard": (
        lambda lab: lab.rewrite("silver", silver_where("7 AS _shard")),
        {"exactly_once.silver_without_record": 1},
        document(7, 3),
    ),
    "a silver row is of another source": (
        lambda lab: lab.rewrite("silver", silver_where("'another' AS _source")),
        {"exactly_once.silver_without_record": 1},
        "another.0.3",
    ),
    "a silver row is doubled at another position": (
        lambda lab: lab.rewrite("silver", one_more("777 AS _position", "event_id = 'e3'")),
        {"exactly_once.silver_without_record": 1, "keys.key_twice": 1},
        document(0, 777),
    ),
    "a quarantine row is dropped": (
        lambda lab: lab.rewrite("quarantine", "FROM rows WHERE reason <> 'malformed_json'"),
        {"exactly_once.lost": 1},
        f"{document(1, 10)} rejected now: malformed_json",
    ),
    "a quarantine row is doubled": (
        lambda lab: lab.rewrite("quarantine", "FROM rows UNION ALL FROM rows WHERE reason = 'tombstone'"),
        {"exactly_once.quarantine_twice": 1},
        document(1, 11),
    ),
    "a reason is altered": (
        lambda lab: lab.rewrite("quarantine", "SELECT * REPLACE (replace(reason, 'tombstone', 'empty') AS reason) FROM rows"),
        {"derivation.reason_differs": 1},
        f"{document(1, 11)} empty, not tombstone",
    ),
    "an accepted record is called rejected": (
        lambda lab: lab.rewrite("quarantine", one_more("0 AS _shard, 3 AS _position, 1 AS _seq", "reason = 'tombstone'")),
        {"exactly_once.both": 1, "derivation.should_be_accepted": 1},
        document(0, 3),
    ),
    "a foreign row is put into quarantine": (
        lambda lab: lab.rewrite("quarantine", one_more("777 AS _position", "reason = 'tombstone'")),
        {"exactly_once.quarantine_without_record": 1},
        document(1, 777),
    ),
    "a bronze record is deleted": (
        lambda lab: lab.rewrite("bronze", 'FROM rows WHERE NOT (_shard = 0 AND _position = 3)'),
        {"bronze.hole": 1, "exactly_once.silver_without_record": 1},
        document(0, 3),
    ),
    "bronze's last record is deleted": (
        lambda lab: lab.rewrite("bronze", 'FROM rows WHERE NOT (_shard = 1 AND _position = 12)'),
        {"bronze.end_differs": 1, "exactly_once.offset_differs": 1, "exactly_once.quarantine_without_record": 1},
        document(1, 12),
    ),
    "a bronze record is doubled": (
        lambda lab: lab.rewrite("bronze", 'FROM rows UNION ALL FROM rows WHERE _shard = 0 AND _position = 3'),
        {"bronze.bronze_twice": 1, "bronze.overlap": 1, "derivation.altered": 0},
        document(0, 3),
    ),
    "a marker is shortened": (
        lambda lab: lab.rewrite("bronze", "SELECT * REPLACE (if(kind = 'skipped', 2, _span) AS _span) FROM rows"),
        {"bronze.hole": 1},
        f"{TOPIC_ID[:8]}.0 [22, 23)",
    ),
    "a bronze value is altered": (
        lambda lab: lab.rewrite(
            "bronze", "SELECT * REPLACE (encode(replace(decode(value), 'number 3\"', 'number 4\"')) AS value) FROM rows"
        ),
        {"derivation.altered": 1},
        f"{document(0, 3)} content",
    ),
    "a whole bronze commit is gone": (
        lambda lab: lab.rewrite("bronze", "FROM rows WHERE seq <> 2"),
        {"bronze.commit_missing": 1, "exactly_once.silver_without_record": 5, "exactly_once.quarantine_without_record": 3},
        "commit 2",
    ),
    "the first bronze commit is gone": (
        lambda lab: lab.rewrite("bronze", "FROM rows WHERE seq <> 1"),
        {"bronze.commit_missing": 1, "exactly_once.silver_without_record": 20},
        "commits 1 to 1, younger than 30 days",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VANDAL)
def test_damage_is_named(lab: Lab, name: str) -> None:
    damage, wanted, example = VANDAL[name]
    damage(lab)
    proof = proof_of(lab)
    assert not proof.holds
    assert failures(proof) == {code: count for code, count in wanted.items() if count}
    assert any(e.startswith(example) for e in examples(proof)), examples(proof)
    without_transforming = {c: n for c, n in wanted.items() if n and not c.startswith("derivation")}
    assert failures(proof_of(lab, deep=False)) == without_transforming


@pytest.mark.parametrize("change", ["bumped", "rotated"])
def test_rows_that_changed_places_before_a_change_are_named(lab: Lab, change: str) -> None:
    """What an older version or masking key made is not compared by its values: time and key must be the record's."""
    later = {"bumped": bumped, "rotated": rotated}[change](lab)
    later.run([event(100)])
    later.rewrite("silver", SWAPPED)
    assert failures(proof_of(later)) == {"derivation.moved": 2}


def test_a_bronze_file_that_is_gone(lab: Lab) -> None:
    table = lab.tables.bronze
    table.refresh()
    lab.drop_files("bronze", [f.path for f in table.files() if f.low["seq"] != 4])
    found = failures(proof_of(lab))
    assert found["bronze.commit_missing"] == 1
    assert found["exactly_once.silver_without_record"] == 10


def test_a_table_without_a_key_has_no_duplicates(tmp_path: Path, logs: Contract) -> None:
    lab = Lab(tmp_path, logs, "access")
    line = b'83.149.9.216 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 203023 "-" "curl"'
    lab.run([line, line, b"nonsense"])
    proof = proof_of(lab)
    assert proof.holds
    assert proof.tables["access"].counts["silver"] == 2
    assert proof.tables["access"].checks["keys"].holds is None
    lab.rewrite("silver", "FROM rows WHERE _position <> 1")
    assert failures(proof_of(lab)) == {"exactly_once.lost": 1}


def test_rows_of_another_contract_version_are_not_rederived(lab: Lab) -> None:
    newer = lab.with_contract(max_depth=3)
    newer.run([event(100)])
    proof = proof_of(newer)
    assert proof.holds
    assert proof.tables["events"].counts["not_rederivable"] == 38
    assert proof.tables["events"].checks["derivation"].facts["rows"] == 1


def test_addresses_of_people_reach_neither_silver_nor_quarantine_and_a_stronger_mask_leaves_older_rows(
    tmp_path: Path, logs: Contract
) -> None:
    """Through the worker's own pieces: written by the weaker mask of a former version, then by the contract's."""
    known = logs.table("events")
    fields = tuple(replace(f, mask=Mask.SCRUB) if f.mask is Mask.SCRUB_ADDRESSES else f for f in known.fields)
    weaker = Lab(tmp_path, logs, "events").with_contract(version="1.0.0", fields=fields, attributes_mask=Mask.SCRUB)
    texts = {
        "message": "login accepted from 203.0.113.7",
        "client": "\n2001:db8::7",
        "203.0.113.8": {"seen": ["[fe80::7]:80"]},
    }
    weaker.run([event(1, **texts)])
    assert proof_of(weaker).holds
    stronger = weaker.with_contract(version=known.version, fields=known.fields, attributes_mask=known.attributes_mask)
    stronger.run(
        [event(n, **texts) for n in range(2, 5)] + [event(5, level="LOUD", **texts), event(4, **texts)], partition=1
    )
    proof = proof_of(stronger)
    assert proof.holds, failures(proof)
    old, *new = sorted(stronger.rows("silver"), key=lambda row: row["event_id"])
    assert old["message"] == texts["message"]
    assert len(new) == 3
    for row in new:
        assert row["message"] == "login accepted from [ip]"
        assert json.loads(row["attributes"]) | {"attempt": 0} == {
            "attempt": 0,
            "client": "\n[ip]",
            "[ip]": {"seen": ["[[ip]]:80"]},
        }
    (refused,) = stronger.rows("quarantine")
    assert not any(address in refused["excerpt"] for address in ("203.0.113", "2001:db8", "fe80"))


def rotate(lab: Lab) -> None:
    """Mask by another key from now on."""
    values = dict(lab.settings.values)
    values |= {
        "ASSAY_HMAC_OLD_KEYS": f"k1={values['ASSAY_HMAC_KEY']}",
        "ASSAY_HMAC_KEY_ID": "k2",
        "ASSAY_HMAC_KEY": "eHh4eHh4eHh4eHh4eHh4eA==",
    }
    object.__setattr__(lab.settings, "values", values)


def bumped(lab: Lab) -> Lab:
    return lab.with_contract()


def rotated(lab: Lab) -> Lab:
    rotate(lab)
    return lab


def test_a_masking_key_that_rotated_leaves_older_rows_alone(lab: Lab) -> None:
    rotate(lab)
    lab.run([event(100)])
    proof = proof_of(lab)
    assert proof.holds
    assert proof.tables["events"].counts["not_rederivable"] == 35
    assert proof.tables["events"].counts["duplicates"] == 6


@pytest.mark.parametrize("deep", [True, False])
def test_duplicates_with_other_values_are_counted_and_named(lab: Lab, deep: bool) -> None:
    """The count is the worker's, and the proof holds: bronze has them, and only the producer knows which is right."""
    report = lab.run([event(1), event(1, message="other"), event(2, latency_ms=None), event(2, service="else")])
    assert (report.duplicates, report.conflicts) == (3, 2)
    proof = proof_of(lab, deep=deep)
    table = proof.tables["events"]
    assert proof.holds
    assert (table.counts["duplicates"], table.counts["conflicts"]) == (9, 2)
    (warning,) = table.checks["keys"].warnings
    assert (warning.code, warning.count, len(warning.examples)) == ("conflict", 2, 2)
    assert proof.to_dict()["tables"]["events"]["checks"][5]["warnings"][0]["count"] == 2


def test_rows_that_cannot_be_compared_do_not_conflict(lab: Lab) -> None:
    """After a rotation the same record has another pseudonym, and the row that stays has the old one."""
    rotate(lab)
    assert lab.run([event(1)]).conflicts == 0
    assert proof_of(lab).tables["events"].counts["conflicts"] == 0


@pytest.mark.parametrize("deep", [True, False])
@pytest.mark.parametrize("change", [bumped, rotated])
def test_rows_lost_before_a_change_are_missed_after_it(lab: Lab, change: Callable[[Lab], Lab], deep: bool) -> None:
    """Another version or masking key leaves keys as they were: what is in neither layer needs its survivor all the same."""
    later = change(lab)
    later.run([event(100)])
    assert proof_of(later, deep=deep).holds
    later.rewrite("silver", "FROM rows WHERE NOT (_seq = 1 AND _position < 10)")
    assert failures(proof_of(later, deep=deep)) == {"exactly_once.lost": 10}
    later.rewrite("quarantine", "FROM rows WHERE reason <> 'malformed_json'")
    assert failures(proof_of(later, deep=deep)) == {"exactly_once.lost": 11}


@pytest.mark.parametrize("deep", [True, False])
@pytest.mark.parametrize("change", [bumped, rotated])
def test_rows_lost_before_a_change_of_a_table_without_a_key(
    tmp_path: Path, logs: Contract, change: Callable[[Lab], Lab], deep: bool
) -> None:
    line = b'83.149.9.%d - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 203023 "-" "curl"'
    lab = Lab(tmp_path, logs, "access")
    lab.run([*(line % n for n in range(20)), b"nonsense"])
    later = change(lab)
    later.run([line % 99])
    assert proof_of(later, deep=deep).holds
    later.rewrite("silver", "FROM rows WHERE _position >= 10")
    assert failures(proof_of(later, deep=deep)) == {"exactly_once.lost": 10}
    later.rewrite("quarantine", "FROM rows WHERE false")
    assert failures(proof_of(later, deep=deep)) == {"exactly_once.lost": 11}


@pytest.mark.parametrize("deep", [True, False])
def test_a_key_that_is_masked_by_another_key_than_it_was_excuses_its_duplicates_only(
    tmp_path: Path, logs: Contract, deep: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each commit a window of its own: what a commit of nothing but duplicates goes by is in the one before."""
    monkeypatch.setattr(rows_module, "WINDOW_ROWS", 1)
    lab = Lab(tmp_path, logs, "events").with_contract(version="1.0.0", key=("user_id",))
    lab.run([event(n) for n in range(7)])
    lab.run([event(n) for n in range(7, 9)])
    rotate(lab)
    lab.run([event(n) for n in range(9, 14)])
    lab.run([event(n) for n in range(16, 18)])
    proof = proof_of(lab, deep=deep)
    assert proof.holds, failures(proof)
    assert proof.tables["events"].counts["duplicates"] == 2
    lab.rewrite("silver", "FROM rows WHERE NOT (_seq = 3 AND _position = 11)")
    assert failures(proof_of(lab, deep=deep)) == {"exactly_once.lost": 1}


@pytest.mark.parametrize("deep", [True, False])
def test_what_only_a_new_field_rejects_may_be_a_duplicate(lab: Lab, deep: bool) -> None:
    lab.run([event(0, shard="x")])  # a duplicate, and under the newer contract a reject
    shard = Field("shard", FieldType.INTEGER, source="shard")
    newer = lab.with_contract(fields=(*lab.table.fields, shard))
    newer.run([event(100, shard=1)])
    proof = proof_of(newer, deep=deep)
    assert proof.holds, failures(proof)
    assert proof.tables["events"].counts["duplicates"] == 7
    newer.rewrite("quarantine", "FROM rows WHERE reason <> 'enum:level'")
    assert failures(proof_of(newer, deep=deep)) == {"exactly_once.lost": 1}
    newer.rewrite("silver", "FROM rows WHERE event_id <> 'e0'")
    assert failures(proof_of(newer, deep=deep)) == {"exactly_once.lost": 3}, "the record, its duplicate, the reject"


@pytest.mark.parametrize("promised", [True, False])
def test_what_the_broker_lost_of_partitions_that_bronze_never_began(
    tmp_path: Path, logs: Contract, monkeypatch: pytest.MonkeyPatch, promised: bool
) -> None:
    """One that was empty while it was followed, and one that was added since."""
    lab = Lab(tmp_path, logs, "events")
    if promised:
        Landing(lab.tables.bronze, lab.topic, "logs.events").begin(lambda: {0: (0, 0), 1: (0, 0)})
    lab.run([event(1)])
    topic = replace(lab.topic, shards=(0, 1, 2))
    marks = {topic.name: Marks(topic, {0: (0, 1), 1: (500, 500), 2: (3, 4)})}
    monkeypatch.setattr(prove_module, "ask_source", lambda *_: marks)
    proof = prove(lab.settings, lab.contract, ["events"], index=False)
    assert failures(proof) == ({"broker.gap": 503} if promised else {})
    assert examples(proof) == ([f"{TOPIC_ID[:8]}.1 [0, 500)", f"{TOPIC_ID[:8]}.2 [0, 3)"] if promised else [])


def test_a_partition_that_begins_behind_what_was_promised(tmp_path: Path, logs: Contract) -> None:
    """The first records of a partition are gone from every layer: nothing but the promise tells."""
    lab = Lab(tmp_path, logs, "events")
    Landing(lab.tables.bronze, lab.topic, "logs.events").begin(lambda: {0: (0, 0), 1: (0, 0)})
    lab.run([event(n) for n in range(3)])
    lab.run([event(n) for n in range(10, 13)], partition=1)
    assert proof_of(lab).holds
    lab.rewrite("bronze", "FROM rows WHERE NOT (_shard = 1 AND _position < 2)")
    lab.rewrite("silver", "FROM rows WHERE NOT (_shard = 1 AND _position < 2)")
    proof = proof_of(lab)
    assert failures(proof) == {"bronze.hole": 2}
    assert examples(proof) == [f"{TOPIC_ID[:8]}.1 [0, 2)"]


def test_a_proof_that_takes_longer_than_the_log_is_kept(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old versions cannot be opened any more once the walk is over."""
    walk = rows_module.RowProof._window

    def slow(self: Any, after: int, upto: int) -> None:
        walk(self, after, upto)
        monkeypatch.setattr(Snapshot, "look_up", lambda *_: pytest.fail("the version's log is gone by now"))

    monkeypatch.setattr(rows_module.RowProof, "_window", slow)
    assert proof_of(lab).holds


def test_what_retention_took_is_not_a_loss(lab: Lab) -> None:
    """Bronze days and silver partitions past their retention are gone; nothing else may be."""
    short = lab.with_contract(
        version=lab.table.version, bronze_retention=timedelta(days=-1), retention=timedelta(days=-1)
    )
    short.rewrite("bronze", "FROM rows WHERE seq > 2")
    proof = proof_of(short)
    assert failures(proof) == {}
    assert proof.tables["events"].counts["beyond_bronze_retention"] == 28
    short.drop_files("silver")
    proof = proof_of(short)
    assert failures(proof) == {}
    assert proof.tables["events"].counts["expired"] == 11


def test_an_empty_lake_holds(tmp_path: Path, logs: Contract) -> None:
    lab = Lab(tmp_path, logs, "events")
    lab.settings.lake_path.mkdir()
    proof = proof_of(lab)
    assert proof.holds
    assert not any((lab.settings.lake_path / "silver").rglob("*.json")), "looking must not create tables"


def test_an_unknown_table_is_refused(lab: Lab) -> None:
    with pytest.raises(AssayError, match="logs has no table nope"):
        prove(lab.settings, lab.contract, ["nope"])


def test_a_rewrite_meanwhile_is_looked_at_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay between the snapshots would look like a loss."""
    from platform_assets.reconcile import prove as module

    seen: list[int] = []
    original = module._Prover._rewrite

    def moved(self: Any) -> int:
        seen.append(1)
        return original(self) + (1 if len(seen) == 1 else 0)

    monkeypatch.setattr(module._Prover, "_rewrite", moved)
    assert proof_of(lab).holds
    assert len(seen) == 2
