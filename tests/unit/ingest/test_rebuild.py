"""What a rebuild holds in memory: never the whole day, nor all that was ever refused. No services."""

from __future__ import annotations

import base64
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from lakes import SmallLake
from support import event

from platform_assets.contracts.read import load_contracts
from platform_assets.core.settings import Settings
from platform_assets.ingest import rebuild as module
from platform_assets.ingest.rebuild import rebuild
from platform_assets.tables import windows
from platform_assets.tables.table import LakeTable

EVENTS = load_contracts()["logs"].table("events")


def settings_of(lake: SmallLake) -> Settings:
    key = base64.b64encode(b"0123456789abcdef").decode()
    return Settings(lake.root, lake.root, {"ASSAY_HMAC_KEY_ID": "k1", "ASSAY_HMAC_KEY": key})


def only_day(lake: SmallLake) -> date:
    lake.tables.silver.refresh()
    (partition,) = lake.tables.silver.partitions()
    return date.fromisoformat(partition)


def test_files_are_written_as_their_bytes_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = SmallLake(tmp_path)
    for n in range(5):
        lake.land_and_settle(range(10 * n, 10 * n + 10))
    before = lake.silver_ids()
    monkeypatch.setattr(windows, "CATCH_UP_BYTES", 1)
    monkeypatch.setattr(module, "FILE_BYTES", 1)
    rebuild(settings_of(lake), EVENTS, only_day(lake), index=False)
    assert lake.silver_ids() == before
    assert len(lake.tables.silver.files()) == 5


def test_only_rejects_that_were_rows_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A narrower contract takes a row back; the other rejects are in quarantine already, or belong to other days."""
    lake = SmallLake(tmp_path, tolerant=True)
    lake.settle(lake.land([event(1), event(2, latency_ms=-1), *[b"{"] * 50]))
    kept: list[int] = []
    real = module._Rebuild._keep_every_row

    def seen(self: Any, old: Any, base: int, transformed: Any) -> None:
        kept.append(transformed.rejected.num_rows)
        real(self, old, base, transformed)

    monkeypatch.setattr(module._Rebuild, "_keep_every_row", seen)
    report = rebuild(settings_of(lake), EVENTS, only_day(lake), index=False)
    assert (kept, report.rejected, lake.silver_ids()) == ([1], 1, ["e-00000001"])
    assert lake.quarantine_reasons() == ["malformed_json"] * 50 + ["range:latency_ms"]
    report = rebuild(settings_of(lake), EVENTS, only_day(lake), index=False)
    assert (kept, report.rejected, lake.silver_ids()) == ([1, 0], 0, ["e-00000001"])


def test_of_quarantine_only_the_days_own_commits_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = SmallLake(tmp_path)
    lake.settle(lake.land([b"{"] * 500))
    lake.settle(lake.land([event(1), event(2), *[b"{"] * 7]))
    read: list[int] = []
    real = LakeTable.read

    def counted(self: LakeTable, *args: Any, **more: Any) -> pa.Table:
        rows = real(self, *args, **more)
        if "quarantine" in self.path.parts:
            read.append(rows.num_rows)
        return rows

    monkeypatch.setattr(LakeTable, "read", counted)
    rebuild(settings_of(lake), EVENTS, only_day(lake), index=False)
    assert sum(read) == 7
    assert lake.silver_ids() == ["e-00000001", "e-00000002"]


def test_a_rebuild_counts_the_conflicts_of_the_live_path(tmp_path: Path) -> None:
    lake = SmallLake(tmp_path)
    lake.settle(lake.land([event(1), event(1, message="other"), event(2)]))
    lake.settle(lake.land([event(2), event(1, latency_ms=1.5), event(1, service="else")]))
    report = rebuild(settings_of(lake), EVENTS, only_day(lake), index=False)
    assert (report.duplicates, report.conflicts) == (lake.report.duplicates, lake.report.conflicts) == (3, 2)
