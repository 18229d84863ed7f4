"""One refresh of a system's marts, from touched minutes to published tables: write, audit, publish.

Belongs here: the order of the steps, and the folder of a run. Does not: any step itself.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import duckdb

from platform_assets.contracts.model import Contract
from platform_assets.errors import AssayError
from platform_assets.gold.build import build
from platform_assets.gold.index import publish_index
from platform_assets.gold.marts import Mart, Slot, load_marts
from platform_assets.gold.plan import WINDOW_ROWS, Plan, moment, plan
from platform_assets.gold.prepare import prepare
from platform_assets.gold.project import project_folder
from platform_assets.gold.publish import publish
from platform_assets.lane.sessions import session
from platform_assets.settings import Settings

RUNS = "_runs"
"""The folder beside the tables that holds the databases of runs."""
_FORGOTTEN_S = 86_400


@dataclass
class RefreshReport:
    """What a refresh did: rows it wrote and slots it replaced, by mart; the days it touched; seconds by step."""

    system: str
    number: int
    minutes: int
    days: tuple[str, ...] = ()
    rows: dict[str, int] = field(default_factory=dict)
    slots: dict[str, int] = field(default_factory=dict)
    documents: dict[str, int] = field(default_factory=dict)
    index_error: str | None = None
    more: bool = False
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A prepared refresh: its plan, its marts and its database."""

    plan: Plan
    marts: tuple[Mart, ...]
    folder: Path
    database: Path
    report: RefreshReport


def refresh(
    settings: Settings,
    contract: Contract,
    day: date | None = None,
    *,
    index: bool = True,
    window_rows: int = WINDOW_ROWS,
) -> RefreshReport:
    """Take in what silver has gained since the last refresh, or recompute one `day` (UTC); then bring the index up to date.

    Takes about `window_rows` of each silver table; `report.more` says that another refresh has work to do. Raises
    BuildFailed when a model or a test failed (nothing is published), Overtaken when another refresh came first. An index that
    does not answer is in the report, and the next refresh puts it right.
    """
    project = project_folder()
    marts = marts_of(project, contract)
    with prepared(settings, contract, marts, day, window_rows=window_rows) as run:
        if len(run.plan.minutes):
            started = time.perf_counter()
            build(project, run.database, run.folder / "target", contract.system)
            run.report.seconds["build"] = time.perf_counter() - started
            publish_run(settings, run)
    if index:
        index_run(settings, contract, marts, run.report)
    return run.report


def marts_of(project: Path, contract: Contract) -> tuple[Mart, ...]:
    """The system's marts. Raises AssayError when it has none, or one that is named as a table (both have an alias)."""
    system = contract.system
    marts = load_marts(project, system)
    if not marts:
        raise AssayError(f"{system} has no marts", f"add models to dbt_project/models/{system}, see docs/gold.md")
    if both := {mart.name for mart in marts} & {table.name for table in contract.tables}:
        raise AssayError(f"{system}: {', '.join(sorted(both))} is a table and a mart", "rename the model")
    return marts


@contextmanager
def prepared(
    settings: Settings,
    contract: Contract,
    marts: Sequence[Mart],
    day: date | None = None,
    *,
    window_rows: int = WINDOW_ROWS,
) -> Iterator[Run]:
    """A refresh up to where dbt begins; its folder goes away with the context."""
    runs = settings.lake_path / RUNS
    runs.mkdir(parents=True, exist_ok=True, mode=0o700)
    _forget_dead_runs(runs)
    folder = Path(tempfile.mkdtemp(prefix=f"{contract.system}-", dir=runs))  # open to its owner only
    try:
        started = time.perf_counter()
        with session() as con:
            found = plan(settings.lake_path, contract, marts, con, day, window_rows)
        report = RefreshReport(contract.system, found.number, len(found.minutes), days_of(found), more=found.more)
        report.seconds["plan"] = time.perf_counter() - started
        started = time.perf_counter()
        database = prepare(folder, settings.lake_path, found, marts)
        report.seconds["prepare"] = time.perf_counter() - started
        yield Run(found, tuple(marts), folder, database, report)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish_run(settings: Settings, run: Run) -> None:
    """Publish what dbt built for a prepared run; the report tells."""
    started = time.perf_counter()
    try:
        for done in publish(run.database, settings.lake_path, run.plan, run.marts):
            run.report.rows[done.mart] = sum(done.rows.values())
            run.report.slots[done.mart] = done.slots
    except duckdb.Error as error:
        raise AssayError(f"gold of {run.plan.system} cannot be published: {error}", "see the models") from error
    run.report.seconds["publish"] = time.perf_counter() - started


def index_run(settings: Settings, contract: Contract, marts: Sequence[Mart], report: RefreshReport) -> None:
    """Bring the index of the marts up to date; the report tells what it said when that did not work."""
    started = time.perf_counter()
    try:
        for name, sent in publish_index(settings, contract, marts):
            report.documents[name] = sent
    except AssayError as error:
        report.index_error = str(error)
    report.seconds["index"] = time.perf_counter() - started


def days_of(found: Plan) -> tuple[str, ...]:
    """The days whose rows may change, by name."""
    return tuple(f"{moment(int(number), Slot.DAY):%Y-%m-%d}" for number in found.days)


def _forget_dead_runs(runs: Path) -> None:
    """Delete what killed runs left."""
    yesterday = time.time() - _FORGOTTEN_S
    for folder in runs.iterdir():
        if folder.stat().st_mtime < yesterday:
            shutil.rmtree(folder, ignore_errors=True)
