"""Gold's daily care: marts live as long as silver, those that are kept for good excepted; the disk is freed.

Belongs here: retention of gold's tables and indices. Does not: silver's (`ingest/maintain.py`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from platform_assets.contracts.model import Contract
from platform_assets.core.settings import Settings
from platform_assets.marts.index import forget_index
from platform_assets.marts.marts import Mart, refresh_log_table
from platform_assets.tables.clocks import retention_clock
from platform_assets.tables.layout import Lake
from platform_assets.tables.maintain import drop, expire, vacuum

REFRESH_LOG_KEPT = timedelta(days=7)
"""An index that is further behind is filled from whole tables."""


@dataclass
class GoldMaintenance:
    """Rows forgotten and files deleted, by mart; documents deleted, and mart and period of indices deleted."""

    system: str
    rows: dict[str, int] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    documents: int = 0
    indices: list[str] = field(default_factory=list)


def maintain_gold(
    settings: Settings,
    contract: Contract,
    marts: tuple[Mart, ...],
    spared: Collection[str],
    *,
    now: datetime | None = None,
    index: bool = True,
) -> GoldMaintenance:
    """Apply retention as of `now` (by default silver's retention clock) and free the disk; the tables of marts that are `spared`
    (`Graph.kept`) lose nothing. Safe beside a refresh."""
    lake = Lake(settings.lake_path)
    now = now or max(retention_clock(lake.tables(table)) for table in contract.tables)
    until = (now - max(table.retention for table in contract.tables)).date().isoformat()
    kept = _days_of_silver(settings, contract)
    report = GoldMaintenance(contract.system)
    for mart in marts:
        table = mart.table(settings.lake_path)
        if table.exists():
            old = [f for f in table.files() if (day := str(f.partition)[:10]) < until and day not in kept]
            report.rows[mart.name] = 0 if mart.name in spared else drop(table, old)
            report.files[mart.name] = vacuum(table)
    refresh_log = refresh_log_table(settings.lake_path, contract.system)
    if refresh_log.exists():
        report.rows["refresh_log"] = expire(refresh_log, (now - REFRESH_LOG_KEPT).date().isoformat())
        report.files["refresh_log"] = vacuum(refresh_log)
    if index:
        report.documents, report.indices = forget_index(settings, contract, marts)
    return report


def _days_of_silver(settings: Settings, contract: Contract) -> set[str]:
    """Days that silver still has: its retention counts from landing, and gold lives as long."""
    tables = [Lake(settings.lake_path).tables(table).silver for table in contract.tables]
    return {partition[:10] for silver in tables if silver.exists() for partition in silver.partitions()}
