"""What retention may forget, and by which clock it counts. No services."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lakes import SmallLake
from support import event

from platform_assets.core.settings import Settings
from platform_assets.ingest import maintain as maintenance
from platform_assets.ingest.maintain import MaintenanceReport, maintain
from platform_assets.tables.files import DataFile
from platform_assets.tables.table import LakeTable


@pytest.fixture
def lake(tmp_path: Path) -> SmallLake:
    return SmallLake(tmp_path)


def test_bronze_stays_until_silver_has_consumed_it(lake: SmallLake) -> None:
    settings = Settings(lake.root, lake.root, {})
    lake.land_and_settle([1])
    lake.land([event(2), event(3)])
    later = datetime.now(UTC) + lake.contract.bronze_retention + timedelta(days=2)
    report = maintain(settings, lake.contract, now=later, index=False)
    assert (report.rows["bronze"], report.held_back) == (1, 2)
    list(lake.settler.catch_up(lake.report))
    assert lake.silver_ids() == ["e-00000002", "e-00000003"]
    report = maintain(settings, lake.contract, now=later, index=False)
    assert (report.rows["bronze"], report.held_back) == (2, 0)


def _set_clock(monkeypatch: pytest.MonkeyPatch, now: datetime) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return now.astimezone(tz)

    monkeypatch.setattr("platform_assets.tables.clocks.datetime", Clock)


def test_a_night_with_a_wrong_clock_forgets_nothing(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(lake.root, lake.root, {})
    lake.land_and_settle([1])
    _set_clock(monkeypatch, datetime.now(UTC) + timedelta(days=4000))
    report = maintain(settings, lake.contract, index=False)
    assert not any(report.rows.values())
    assert datetime.fromisoformat(report.clock) < datetime.now(UTC) + timedelta(days=3)


def test_a_quiet_table_forgets_day_by_day(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(lake.root, lake.root, {})
    lake.land_and_settle([1])
    began = datetime.now(UTC)
    forgotten = {}
    for day in range(1, 34):
        _set_clock(monkeypatch, began + timedelta(days=day))
        forgotten[day] = maintain(settings, lake.contract, index=False).rows["silver"]
    assert [day for day, rows in forgotten.items() if rows] == [lake.contract.retention.days]


OLD = datetime.now(UTC) - timedelta(days=5)
DAY = f"{OLD:%Y-%m-%d}"


def _settle(lake: SmallLake, *numbers: int) -> None:
    """History of one day lands."""
    lake.settle(lake.land([event(n, event_time=OLD.isoformat()) for n in numbers]))


def _forget_before_now(lake: SmallLake) -> Callable[..., MaintenanceReport]:
    """A maintenance for which what has landed until now is too old, whenever it runs."""
    time.sleep(0.01)
    moment = datetime.now(UTC) + lake.contract.retention
    time.sleep(0.01)
    return partial(maintain, Settings(lake.root, lake.root, {}), lake.contract, now=moment)


def test_a_row_that_comes_while_retention_decides_keeps_its_day(
    lake: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    _settle(lake, 1)
    forget = _forget_before_now(lake)
    drop, coming = maintenance.drop, [2]

    def late(table: LakeTable, files: list[DataFile], *more: Any, **marks: Any) -> int:
        if table.path == lake.tables.silver.path and coming:
            _settle(lake, coming.pop())
        return drop(table, files, *more, **marks)

    monkeypatch.setattr(maintenance, "drop", late)
    assert forget(index=False).rows["silver"] == 0
    assert lake.silver_ids() == ["e-00000001", "e-00000002"]
