"""What retention may forget, and by which clock it counts. No services."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lakes import SmallLake
from support import event

from platform_assets.lane.maintain import maintain
from platform_assets.settings import Settings


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
