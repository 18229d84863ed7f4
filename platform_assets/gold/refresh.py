"""One refresh of a system's marts, from touched minutes to published tables: write, audit, publish.

Belongs here: the order of the steps. Does not: any step itself.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import duckdb

from platform_assets.contracts.model import Contract
from platform_assets.errors import AssayError
from platform_assets.gold.build import NodeResult, build
from platform_assets.gold.index import publish_index
from platform_assets.gold.marts import Mart, Slot, load_marts
from platform_assets.gold.plan import WINDOW_ROWS, Plan, moment, plan
from platform_assets.gold.prepare import prepare
from platform_assets.gold.project import project_folder
from platform_assets.gold.publish import Overtaken, publish
from platform_assets.lake.runs import run_folder
from platform_assets.lane.sessions import session
from platform_assets.settings import Settings

_TRIES = 3
"""Attempts when others publish first: a backfill and the sensor's runs meet."""


@dataclass
class RefreshReport:
    """What a refresh did: rows it wrote and slots it replaced, by mart; the days it touched; seconds by step."""

    system: str
    number: int
    minutes: int
    days: tuple[str, ...] = ()
    rows: dict[str, int] = field(default_factory=dict)
    slots: dict[str, int] = field(default_factory=dict)
    results: list[NodeResult] = field(default_factory=list)
    documents: dict[str, int] = field(default_factory=dict)
    index_error: str | None = None
    index_errors: dict[str, str] = field(
        default_factory=dict
    )  # of single marts; empty too when there is no index at all
    more: bool = False
    seconds: dict[str, float] = field(default_factory=dict)


def refresh(
    settings: Settings,
    contract: Contract,
    day: date | None = None,
    *,
    only: Collection[str] | None = None,
    index: bool = True,
    window_rows: int = WINDOW_ROWS,
) -> RefreshReport:
    """Take in what silver has gained since the last refresh, or recompute one `day` (UTC); then bring the index up to date.

    Takes about `window_rows` of each silver table; `report.more` says that another refresh has work to do. `only` names the marts
    to replace, if not all. Raises BuildFailed when a model or a test failed (nothing is published), Overtaken when others came
    first again and again. An index that does not answer is in the report, and the next refresh puts it right.
    """
    project = project_folder()
    marts = marts_of(project, contract)
    chosen = [mart for mart in marts if only is None or mart.name in only]
    for attempt in range(_TRIES):
        try:
            report = _once(settings.lake_path, contract, project, marts, chosen, day, window_rows)
            break
        except Overtaken:
            if attempt == _TRIES - 1:
                raise
    if index:
        clock = _Clock()
        _index(settings, contract, marts, report)
        report.seconds["index"] = clock.lap()
    return report


def _once(
    lake: Path,
    contract: Contract,
    project: Path,
    marts: Sequence[Mart],
    chosen: Sequence[Mart],
    day: date | None,
    window_rows: int,
) -> RefreshReport:
    """One attempt, up to the commits."""
    clock = _Clock()
    with run_folder(lake, contract.system) as folder, session() as con:
        found = plan(lake, contract, marts, con, day, window_rows)
        report = RefreshReport(contract.system, found.number, len(found.minutes), days_of(found), more=found.more)
        report.seconds["plan"] = clock.lap()
        if found.moves:
            database = prepare(folder, lake, found, marts)
            report.seconds["prepare"] = clock.lap()
            if len(found.minutes):
                names = [mart.name for mart in chosen] if len(chosen) < len(marts) else []
                report.results = build(project, database, folder / "target", contract.system, names)
                report.seconds["build"] = clock.lap()
            _publish(database, lake, found, chosen, report)
            report.seconds["publish"] = clock.lap()
    return report


def marts_of(project: Path, contract: Contract) -> tuple[Mart, ...]:
    """The system's marts. Raises AssayError when it has none, or one that is named as a table (both have an alias)."""
    system = contract.system
    marts = load_marts(project, system)
    if not marts:
        raise AssayError(f"{system} has no marts", f"add models to dbt_project/models/{system}, see docs/gold.md")
    if both := {mart.name for mart in marts} & {table.name for table in contract.tables}:
        raise AssayError(f"{system}: {', '.join(sorted(both))} is a table and a mart", "rename the model")
    return marts


def _publish(database: Path, lake: Path, found: Plan, marts: Sequence[Mart], report: RefreshReport) -> None:
    try:
        for done in publish(database, lake, found, marts):
            report.rows[done.mart] = sum(done.rows.values())
            report.slots[done.mart] = done.slots
    except duckdb.Error as error:
        raise AssayError(f"gold of {found.system} cannot be published: {error}", "see the models") from error


def _index(settings: Settings, contract: Contract, marts: Sequence[Mart], report: RefreshReport) -> None:
    try:
        for name, done in publish_index(settings, contract, marts):
            if isinstance(done, AssayError):
                report.index_errors[name] = str(done)
            else:
                report.documents[name] = done
    except AssayError as error:
        report.index_error = str(error)
    else:
        report.index_error = "; ".join(dict.fromkeys(report.index_errors.values())) or None


class _Clock:
    """Seconds since the last lap."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        now = time.perf_counter()
        took, self._last = now - self._last, now
        return took


def days_of(found: Plan) -> tuple[str, ...]:
    """The touched days, by name."""
    return tuple(f"{moment(int(number), Slot.DAY):%Y-%m-%d}" for number in found.touched_days)
