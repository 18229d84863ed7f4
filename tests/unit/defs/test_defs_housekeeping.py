"""The daily care of all tables, and the clock by which it runs."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from dagster import DagsterInstance, DefaultScheduleStatus
from shop_system import SHOP

from platform_assets.contracts.model import Table
from platform_assets.core.errors import AssayError
from platform_assets.defs.build import build_definitions

DEFS = build_definitions({"shop": SHOP})


@dataclass
class Care:
    """What `worker.maintain.maintain` reports."""

    table: str
    rows: dict[str, int] = field(default_factory=lambda: {"silver": 3})
    indices: list[str] = field(default_factory=list)
    held_back: int = 0
    clock: str = "2026-01-01T02:30+00:00"


def _maintained(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch, maintain: Callable[[object, Table], Care]
) -> bool:
    """Whether the job succeeds when tables are cared for like this."""
    module = types.ModuleType("platform_assets.ingest.maintain")
    vars(module)["maintain"] = maintain
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return DEFS.resolve_job_def("maintenance").execute_in_process(instance=instance, raise_on_error=False).success


def test_one_tables_trouble_is_not_the_others(instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    cared: list[str] = []

    def maintain(settings: object, table: Table) -> Care:
        if table.name == "orders":
            raise AssayError("OpenSearch does not answer")
        cared.append(table.name)
        return Care(table.name)

    assert not _maintained(instance, monkeypatch, maintain)
    assert cared == ["visits"]


def test_bronze_that_is_held_back_is_told_to_people(instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _maintained(instance, monkeypatch, lambda _, table: Care(table.name))
    assert not _maintained(instance, monkeypatch, lambda _, table: Care(table.name, held_back=table.name == "visits"))


def test_everything_by_the_clock_is_on_by_default() -> None:
    schedules = {schedule.job_name: schedule for schedule in DEFS.get_repository_def().schedule_defs}
    assert {name: schedule.cron_schedule for name, schedule in schedules.items()} == {
        "maintenance": "30 2 * * *",
        "purge": "17 * * * *",
        "keys_unique": "30 1 * * *",
    }
    assert all(schedule.default_status is DefaultScheduleStatus.RUNNING for schedule in schedules.values())
