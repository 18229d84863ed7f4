"""`keys_unique` on a real Delta table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from dagster import AssetCheckSeverity, DagsterInstance
from shop_system import ORDERS, SHOP

from platform_assets.contracts.arrow import silver_schema
from platform_assets.core.settings import Settings
from platform_assets.defs.build import build_definitions
from platform_assets.defs.keys import NAME, count_surplus
from platform_assets.defs.partitions import day_of
from platform_assets.defs.specs import Layer, key
from platform_assets.tables.layout import Lake

DEFS = build_definitions({"shop": SHOP})
DAY = "2026-03-21"  # long past: never the yesterday of a test


def order(order_id: str, partition: str, offset: int) -> dict[str, object]:
    """A silver row."""
    now = datetime(2026, 3, 21, 8, tzinfo=UTC)
    return {
        "order_id": order_id, "placed_at": now, "_source": "t", "_shard": 0, "_position": offset, "_seq": 1,
        "_landed_at": now, "_contract_version": "1.2.0", "_history": False, "_hash": 0, "event_partition": partition,
    }  # fmt: skip


@pytest.fixture
def silver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hours of a day: `a` in both (allowed), `b` twice in one (not)."""
    monkeypatch.setenv("ASSAY_HOME", str(tmp_path))
    table = Lake(Settings.load().lake_path).tables(ORDERS).silver
    rows = [("a", "T08"), ("b", "T08"), ("b", "T08"), ("a", "T09")]
    data = [order(name, DAY + hour, offset) for offset, (name, hour) in enumerate(rows)]
    table.commit(table.write(pa.Table.from_pylist(data, schema=silver_schema(ORDERS))))


@pytest.mark.usefixtures("silver")
def test_a_key_may_come_again_in_another_partition_only() -> None:
    assert count_surplus(ORDERS, DAY) == (4, 1)
    assert count_surplus(ORDERS, "2026-03-20") == (0, 0)


@pytest.mark.usefixtures("silver")
def test_the_check_asks_for_yesterday(instance: DagsterInstance) -> None:
    before = day_of(datetime.now(UTC) - timedelta(days=1))
    [check] = DEFS.resolve_job_def("keys_unique").execute_in_process(instance=instance).get_asset_check_evaluations()
    after = day_of(datetime.now(UTC) - timedelta(days=1))
    assert check.metadata["day"].value in (before, after)
    assert check.passed
    assert key(Layer.SILVER, ORDERS) == check.asset_key


@pytest.mark.usefixtures("silver", "alert_services")
def test_beside_a_rebuild_the_check_asks_for_the_rebuilt_day(instance: DagsterInstance) -> None:
    result = DEFS.resolve_job_def("shop_rebuild").execute_in_process(instance=instance, partition_key=DAY)
    [check] = [found for found in result.get_asset_check_evaluations() if found.check_name == NAME]
    assert (check.metadata["day"].value, check.metadata["rows"].value) == (DAY, 4)
    assert not check.passed
    assert check.severity is AssetCheckSeverity.ERROR
