"""Backup and restore without services: consistent while workers write, checked, and never over something that is there."""

from __future__ import annotations

import itertools
import json
import shutil
import sqlite3
import stat
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from deltalake import DeltaTable
from lakes import SmallLake
from support import event

from platform_assets.backup.backup import backup
from platform_assets.backup.copy import copy_database
from platform_assets.backup.restore import restore
from platform_assets.core.errors import AssayError
from platform_assets.core.settings import Settings
from platform_assets.core.transactions import RESTORED, REWRITE, SEQ
from platform_assets.index.checkpoints import START
from platform_assets.index.history import foreign
from platform_assets.tables.archive import history


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a filled lake, its secrets, a Dagster database, and an audit file. Not to be changed."""
    home = tmp_path_factory.mktemp("filled")
    lake = SmallLake(home / "lake")
    for start in range(0, 600, 150):
        lake.land_and_settle(range(start, start + 150))
        if start == 150:  # behind it the copied log begins
            DeltaTable(str(lake.tables.silver.path)).create_checkpoint()
    lake.settle(lake.land([b"{", event(3)]))
    (home / "lake" / "contracts").mkdir()
    (home / "lake" / "contracts" / "logs.json").write_text("{}", encoding="utf-8")
    (home / "lake" / "_alerts").mkdir()
    (home / "lake" / "_alerts" / "logs.events.0.arrow").write_bytes(b"a cache")
    (home / "lake" / "_runs" / "logs-1").mkdir(parents=True)
    (home / "lake" / "_runs" / "logs-1" / "gold.duckdb").write_bytes(b"a run's")
    (home / "secrets.env").write_text("ASSAY_HMAC_KEY_ID=k1\n", encoding="utf-8")
    (home / "secrets.env").chmod(0o600)
    (home / "audit").mkdir()
    (home / "audit" / "2026-01-15.jsonl").write_text("{}\n", encoding="utf-8")
    (home / "local").mkdir()
    (home / "local" / "state.json").write_text("{}", encoding="utf-8")
    (home / "dagster" / "history").mkdir(parents=True)
    with closing(sqlite3.connect(home / "dagster" / "history" / "runs.db")) as runs, runs:
        runs.execute("CREATE TABLE runs (id TEXT)")
        runs.execute("INSERT INTO runs VALUES ('r1')")
    return home


@pytest.fixture
def home(filled: Path, tmp_path: Path) -> Settings:
    """A copy of the filled home."""
    home = tmp_path / "home"
    shutil.copytree(filled, home)
    return Settings(home, home / "lake", {"ASSAY_HMAC_KEY_ID": "k1"})


def elsewhere(settings: Settings, folder: Path, **values: str) -> Settings:
    return replace(settings, home=folder, lake_path=folder / "lake", values=values)


def test_what_comes_back_is_what_was_there(home: Settings, tmp_path: Path) -> None:
    with closing(sqlite3.connect(home.home / "dagster" / "history" / "runs.db")) as writer:
        writer.execute("INSERT INTO runs VALUES ('not committed')")  # a transaction is under way
        report = backup(home, tmp_path / "copy", secrets=True)
    there = elsewhere(home, tmp_path / "other")
    restored = restore(there, tmp_path / "copy", secrets=True)
    assert restored.tables == report.tables
    assert set(report.tables) == {f"{layer}/logs/events" for layer in ("bronze", "feed", "quarantine", "silver")}
    log = {path.name for path in (tmp_path / "copy" / "lake" / "silver").rglob("_delta_log/*")}
    assert any("checkpoint" in name for name in log)
    assert f"{0:020d}.json" not in log
    before, after = SmallLake(home.lake_path), SmallLake(there.lake_path)
    assert after.silver_ids() == before.silver_ids()
    assert after.quarantine_reasons() == before.quarantine_reasons() == ["malformed_json"]
    assert (there.lake_path / "contracts" / "logs.json").read_text(encoding="utf-8") == "{}"
    assert (there.home / "audit" / "2026-01-15.jsonl").is_file()
    with closing(sqlite3.connect(there.home / "dagster" / "history" / "runs.db")) as runs:
        assert runs.execute("SELECT id FROM runs").fetchall() == [("r1",)]
    assert not (there.home / "local").exists()  # the services' own
    assert not any((there.lake_path / cache).exists() for cache in ("_alerts", "_keys", "_runs"))
    assert restored.missing_key is None
    for path in (tmp_path / "copy", there.lake_path, there.home / "secrets.env", tmp_path / "copy" / "manifest.json"):
        assert not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO), path


def test_a_database_that_is_written_to_without_pause_is_copied(tmp_path: Path) -> None:
    source, stop = tmp_path / "busy.db", threading.Event()
    with closing(sqlite3.connect(source)) as runs, runs:
        runs.execute("PRAGMA journal_mode = wal")
        runs.execute("CREATE TABLE runs (id TEXT)")
        runs.executemany("INSERT INTO runs VALUES (?)", ((("x" * 4000),) for _ in range(8_000)))

    def write() -> None:
        with closing(sqlite3.connect(source)) as writer:
            writer.execute("PRAGMA synchronous = off")
            for number in itertools.count():
                if stop.is_set():
                    return
                with writer:
                    writer.execute("UPDATE runs SET id = ? WHERE rowid = 1", (str(number),))

    threads = [
        threading.Thread(target=write),
        threading.Thread(target=copy_database, args=(source, tmp_path / "copy.db", lambda _: None)),
    ]
    for thread in threads:
        thread.start()
    threads[1].join(20)
    copied = not threads[1].is_alive()
    stop.set()
    for thread in threads:
        thread.join()
    assert copied
    with closing(sqlite3.connect(tmp_path / "copy.db")) as runs:
        assert runs.execute("SELECT count(*) FROM runs").fetchone() == (8_000,)


def test_a_restored_lake_goes_on_and_is_told_from_what_it_was(home: Settings, tmp_path: Path) -> None:
    before = SmallLake(home.lake_path)
    before.tables.silver.refresh()
    (row,) = before.tables.silver.read(before.con, where="event_id = 'e-00000599'").to_pylist()
    again = event(599, event_time=row["event_time"].isoformat())  # the lake is older than this test
    backup(home, tmp_path / "copy")
    restore(elsewhere(home, tmp_path / "other"), tmp_path / "copy")
    lake = SmallLake(tmp_path / "other" / "lake")
    lake.offset = 602
    assert len(lake.settle(lake.land([again, event(600), event(601)])).rows) == 2  # 599 is known
    silver = lake.tables.silver
    assert silver.transaction(RESTORED) is not None
    assert silver.identity == before.tables.silver.identity
    checkpoint = replace(START, seq=5, token=(0, 1), history=history(before.tables.silver))
    assert foreign(checkpoint, history(before.tables.silver), 5) is None
    assert foreign(checkpoint, history(silver), 70) is not None  # although silver has overtaken the index
    assert foreign(replace(checkpoint, history=""), history(silver), 70) is not None
    assert (
        foreign(replace(checkpoint, history=history(silver)), history(silver), 4) is not None
    )  # a plain copy of an old lake
    assert foreign(START, history(silver), 62) is None  # an empty index is everybody's


def test_a_backup_beside_a_worker_is_consistent(home: Settings, tmp_path: Path) -> None:
    """Each table is at another moment, and yet the next worker settles what bronze has and silver lacks, exactly once."""
    stop = threading.Event()
    written: list[int] = []

    def worker() -> None:
        lake = SmallLake(home.lake_path)
        lake.offset = 602
        number = 1000
        while not stop.is_set():
            lake.settle(lake.land([event(number), event(number + 1), b"{"]))
            number += 2
            written.append(number)

    thread = threading.Thread(target=worker)
    thread.start()
    try:
        while len(written) < 5:
            stop.wait(0.05)
        begun = len(written)
        for copy in ("a", "b"):
            backup(home, tmp_path / copy, link=copy == "b")
    finally:
        stop.set()
        thread.join()
    assert len(written) > begun
    for copy in ("a", "b"):
        restore(elsewhere(home, tmp_path / f"home-{copy}"), tmp_path / copy)
        lake = SmallLake(tmp_path / f"home-{copy}" / "lake")
        bronze, silver = lake.tables.bronze, lake.tables.silver
        bronze.refresh()
        silver.refresh()
        assert (silver.transaction(SEQ) or 0) <= (bronze.transaction(SEQ) or 0)
        list(lake.settler.catch_up(lake.report))
        records = bronze.read(lake.con, columns=["_position"]).num_rows
        ids, rejects = lake.silver_ids(), lake.quarantine_reasons()
        assert len(set(ids)) == len(ids)
        assert len(ids) + len(rejects) + 1 == records  # one duplicate


def test_a_replay_between_silver_and_quarantine_is_noticed(
    home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It moves rows from one to the other: frozen around it, they would be in neither."""
    from platform_assets.backup import contents

    silver = SmallLake(home.lake_path).tables.silver
    real, rewrites = contents.freeze, []

    def freeze(path: Path) -> contents.FrozenTable:
        frozen = real(path)
        if "silver" in path.parts and not rewrites:
            silver.refresh()
            rewrites.append(silver.commit([], advance={REWRITE: (silver.transaction(REWRITE) or 0) + 1}))
        return frozen

    monkeypatch.setattr(contents, "freeze", freeze)
    report = backup(home, tmp_path / "copy")
    assert report.tables["silver/logs/events"] == rewrites[0]


def test_damage_is_found_and_leaves_nothing_behind(home: Settings, tmp_path: Path) -> None:
    backup(home, tmp_path / "copy")
    data = next((tmp_path / "copy" / "lake" / "silver").rglob("part-*.parquet"))
    data.chmod(0o600)
    original = data.read_bytes()
    data.write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
    there = elsewhere(home, tmp_path / "other")
    with pytest.raises(AssayError, match="has changed"):
        restore(there, tmp_path / "copy")
    data.unlink()
    with pytest.raises(AssayError, match="is missing"):
        restore(there, tmp_path / "copy")
    assert [path for path in there.home.rglob("*") if path.is_file()] == []
    data.write_bytes(original)
    restore(there, tmp_path / "copy")


def test_a_manifest_cannot_name_files_elsewhere(home: Settings, tmp_path: Path) -> None:
    backup(home, tmp_path / "copy")
    manifest = tmp_path / "copy" / "manifest.json"
    content = json.loads(manifest.read_text(encoding="utf-8"))
    content["files"]["lake/../../../evil"] = {"size": 0, "sha256": "", "mode": 0o600}
    manifest.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(AssayError, match="outside of the backup"):
        restore(elsewhere(home, tmp_path / "other"), tmp_path / "copy")


def test_nothing_is_overwritten(home: Settings, tmp_path: Path) -> None:
    backup(home, tmp_path / "copy")
    with pytest.raises(AssayError, match="there already"):
        backup(home, tmp_path / "copy")
    with pytest.raises(AssayError, match="is not empty"):
        restore(home, tmp_path / "copy")
    with pytest.raises(AssayError, match="inside of"):
        backup(home, home.lake_path / "copy")
    with pytest.raises(AssayError, match="holds no secrets"):
        restore(elsewhere(home, tmp_path / "other"), tmp_path / "copy", secrets=True)
    with pytest.raises(AssayError, match="is no backup"):
        restore(elsewhere(home, tmp_path / "other"), home.home)
    taken = tmp_path / "taken"
    (taken / "audit").mkdir(parents=True)
    (taken / "audit" / "2026-01-15.jsonl").write_text("mine", encoding="utf-8")
    with pytest.raises(AssayError, match="there already"):
        restore(elsewhere(home, taken), tmp_path / "copy")
    assert (taken / "audit" / "2026-01-15.jsonl").read_text(encoding="utf-8") == "mine"
    assert not (taken / "lake").exists()


def test_a_home_without_the_masking_key_is_told(home: Settings, tmp_path: Path) -> None:
    backup(home, tmp_path / "copy")
    assert not (tmp_path / "copy" / "secrets").exists()
    assert restore(elsewhere(home, tmp_path / "a", ASSAY_HMAC_KEY_ID="k2"), tmp_path / "copy").missing_key == "k1"
    known = elsewhere(home, tmp_path / "b", ASSAY_HMAC_KEY_ID="k2", ASSAY_HMAC_OLD_KEYS="k1=AAAA")
    assert restore(known, tmp_path / "copy").missing_key is None


def test_links_share_the_tables_files(home: Settings, tmp_path: Path) -> None:
    backup(home, tmp_path / "copy", link=True)
    data = next((tmp_path / "copy" / "lake" / "bronze").rglob("part-*.parquet"))
    source = home.lake_path / data.relative_to(tmp_path / "copy" / "lake")
    assert data.samefile(source)
    log = next((tmp_path / "copy" / "lake" / "bronze").rglob("*.json"))
    assert log.stat().st_nlink == 1
