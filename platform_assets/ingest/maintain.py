"""A table's daily care: what the contract's retention says is forgotten, in lake and index, and the disk is freed.

Rows count from their landing: history that was sent yesterday is kept as long as yesterday's events. Kafka has its own retention.
Time is what the landings say, and the days of care: one night with a wrong clock must not forget everything.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from platform_assets.contracts.model import Table
from platform_assets.core.errors import AssayError
from platform_assets.core.settings import Settings
from platform_assets.core.transactions import RETENTION, SEQ, dropped_mark, expired_mark
from platform_assets.index.connect import connect_indices
from platform_assets.ingest.forget import Forgotten, forget
from platform_assets.tables.clocks import retention_clock
from platform_assets.tables.layout import Lake, TableSet
from platform_assets.tables.maintain import drop, expire, vacuum
from platform_assets.tables.table import Conflict, LakeTable

_TRIES = 20


@dataclass
class MaintenanceReport:
    """Rows forgotten and files deleted, by layer; what left the index."""

    table: str
    rows: dict[str, int] = field(default_factory=dict)
    clock: str = ""  # the moment that retention counts from (ISO)
    held_back: int = 0  # rows of bronze past their retention that silver has not consumed
    files: dict[str, int] = field(default_factory=dict)
    index: Forgotten = field(default_factory=Forgotten)


def maintain(
    settings: Settings, contract: Table, *, now: datetime | None = None, index: bool = True
) -> MaintenanceReport:
    """Apply retention as of `now` (by default the retention clock) and free the disk. Safe beside a running worker."""
    tables = Lake(settings.lake_path).tables(contract)
    counted = now is None
    now = now or retention_clock(tables)
    report = MaintenanceReport(contract.name, clock=now.isoformat(timespec="minutes"))
    bronze_until = (now - contract.bronze_retention).date().isoformat()
    silver_until = now - contract.retention
    report.rows["bronze"], report.held_back = _expire_consumed(tables, bronze_until)
    report.rows["silver"] = _expire_landed(tables.silver, silver_until)
    report.rows["quarantine"] = expire(
        tables.quarantine, min(bronze_until, _oldest_landing(tables.silver, silver_until))
    )
    report.rows["feed"] = _expire_feed(tables)
    if counted:
        _count(tables.silver, now)
    for layer in ("bronze", "silver", "quarantine", "feed"):
        report.files[layer] = vacuum(getattr(tables, layer))
    if index:
        indices = connect_indices(settings)
        try:
            report.index = forget(settings, contract, tables, indices)
        finally:
            indices.client.close()
    return report


def _count(silver: LakeTable, now: datetime) -> None:
    """Remember the moment that retention has counted from."""
    moment = round(now.timestamp() * 1_000_000)
    silver.refresh()
    if moment > (silver.transaction(RETENTION) or 0):
        silver.commit([], advance={RETENTION: moment})


def _expire_consumed(tables: TableSet, before: str) -> tuple[int, int]:
    """Drop bronze that landed before a date, save what silver has not consumed: rows removed, rows held back."""
    tables.silver.refresh()
    tables.bronze.refresh()
    consumed = tables.silver.transaction(SEQ) or 0
    old = [f for f in tables.bronze.files() if f.partition is not None and f.partition < before]
    done = [f for f in old if f.high.get("seq", consumed + 1) <= consumed]
    return drop(tables.bronze, done), sum(f.rows for f in old) - sum(f.rows for f in done)


def _expire_landed(silver: LakeTable, until: datetime) -> int:
    """Drop the event partitions whose rows have all landed before `until`, and mark them and their days; rows removed."""
    for _ in range(_TRIES):
        version = silver.refresh()
        files = silver.files()
        young = {f.partition for f in files if "_landed_at" not in f.high or f.high["_landed_at"] >= until}
        old = [f for f in files if f.partition not in young]
        gone = {str(f.partition) for f in old}
        marks = dict.fromkeys((expired_mark(partition[:10]) for partition in gone), silver.transaction(SEQ) or 0)
        marks |= dict.fromkeys(map(dropped_mark, gone), version + 1)
        with suppress(Conflict):
            return drop(silver, old, marks, check=partial(_still, silver, version))
    raise AssayError(f"{silver.path.name} never stood still", "the next maintenance forgets what this one could not")


def _still(silver: LakeTable, version: int) -> None:
    """A row that came since `version` keeps its partition, and the commit's own version is in its marks."""
    if silver.version != version:
        raise Conflict(silver.path, {})


def _oldest_landing(silver: LakeTable, until: datetime) -> str:
    """The date of the oldest silver row: quarantine tells why some of them have no document, so it lives as long."""
    silver.refresh()
    landed: list[datetime] = [f.low["_landed_at"] for f in silver.files() if "_landed_at" in f.low]
    return min([*landed, until]).date().isoformat()


def _expire_feed(tables: TableSet) -> int:
    """Drop feed files whose bronze commits are all gone; rows removed."""
    tables.bronze.refresh()
    tables.feed.refresh()
    oldest = min((f.low["seq"] for f in tables.bronze.files() if "seq" in f.low), default=0)
    return drop(tables.feed, [f for f in tables.feed.files() if f.high.get("seq_max", oldest) < oldest])
