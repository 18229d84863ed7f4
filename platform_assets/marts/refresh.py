"""One refresh of a system's marts, from touched minutes to published tables: write, audit, publish.

Belongs here: the order of the steps. Does not: any step itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import duckdb

from platform_assets.contracts.model import Contract
from platform_assets.core.errors import AssayError
from platform_assets.core.settings import Settings
from platform_assets.marts.build import NodeResult, build
from platform_assets.marts.graph import Graph, read_graph
from platform_assets.marts.index import publish_index
from platform_assets.marts.marts import Mart
from platform_assets.marts.plan import WINDOW_ROWS, Plan, plan
from platform_assets.marts.prepare import prepare
from platform_assets.marts.project import project_folder
from platform_assets.marts.publish import Overtaken, publish
from platform_assets.tables.runs import run_folder
from platform_assets.tables.session import session

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
    refused: dict[str, str] = field(default_factory=dict)  # marts that are not built, and why
    seconds: dict[str, float] = field(default_factory=dict)


Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is (0: not known)."""


def refresh(
    settings: Settings,
    contract: Contract,
    day: date | None = None,
    *,
    only: Collection[str] | None = None,
    index: bool = True,
    window_rows: int = WINDOW_ROWS,
    progress: Progress = lambda _what, _done, _total: None,
) -> RefreshReport:
    """Take in what silver has gained since the last refresh, or recompute one `day` (UTC); then bring the index up to date.

    Takes about `window_rows` of each silver table; `report.more` says that another refresh has work to do. `only` names the marts
    to replace, if not all; what they are made from is built too, and not published. Marts that are refused are in the report, and
    no other mart waits for them. Raises BuildFailed when a model or a test failed (nothing is published), Overtaken when others
    came first again and again. An index that does not answer is in the report, and the next refresh puts it right.
    """
    project = project_folder()
    progress("reading the models", 0, 0)
    graph = read_graph(project, contract)
    chosen = [mart for mart in graph.marts if only is None or mart.name in only]
    for attempt in range(_TRIES):
        try:
            report = _once(settings.lake_path, contract, project, graph, chosen, day, window_rows, progress)
            break
        except Overtaken:
            if attempt == _TRIES - 1:
                raise
    if index:
        clock = _Clock()
        _index(settings, contract, graph.marts, report, progress)
        report.seconds["index"] = clock.lap()
    return report


def _once(
    lake: Path,
    contract: Contract,
    project: Path,
    graph: Graph,
    chosen: Sequence[Mart],
    day: date | None,
    window_rows: int,
    progress: Progress,
) -> RefreshReport:
    """One attempt, up to the commits."""
    clock = _Clock()
    progress("looking for touched minutes", 0, 0)
    with run_folder(lake, contract.system) as folder, session() as con:
        found = plan(lake, contract, graph, con, day, window_rows)
        report = RefreshReport(contract.system, found.number, len(found.minutes), found.days, more=found.more)
        report.refused = dict(graph.refused)
        report.seconds["plan"] = clock.lap()
        if found.moves and chosen:
            database = prepare(folder, lake, found, graph)
            report.seconds["prepare"] = clock.lap()
            if len(found.minutes):
                report.results = _build(project, database, folder, graph, chosen, progress)
                report.seconds["build"] = clock.lap()
            _publish(database, lake, found, chosen, report, progress)
            report.seconds["publish"] = clock.lap()
    return report


def _build(
    project: Path, database: Path, folder: Path, graph: Graph, chosen: Sequence[Mart], progress: Progress
) -> list[NodeResult]:
    """Build the chosen marts and what they are made from."""
    nodes = graph.ancestors([mart.name for mart in chosen])
    marts = {node.mart.name for node in nodes}
    done: list[str] = []
    progress("starting dbt", 0, len(marts))

    def told(name: str) -> None:
        done.extend({name} & marts)
        progress(f"{'model' if name in marts else 'test'} {name}", len(done), len(marts))

    return build(project, database, folder / "target", graph.system, sorted(marts), told)


def _publish(
    database: Path, lake: Path, found: Plan, marts: Sequence[Mart], report: RefreshReport, progress: Progress
) -> None:
    try:
        for number, done in enumerate(publish(database, lake, found, marts), start=1):
            report.rows[done.mart] = sum(done.rows.values())
            report.slots[done.mart] = done.slots
            progress(f"published {done.mart}, {report.rows[done.mart]:,} rows", number, len(marts))
    except duckdb.Error as error:
        raise AssayError(f"gold of {found.system} cannot be published: {error}", "see the models") from error


def _index(
    settings: Settings, contract: Contract, marts: Sequence[Mart], report: RefreshReport, progress: Progress
) -> None:
    total = sum(mart.index for mart in marts)
    try:
        for number, (name, done) in enumerate(publish_index(settings, contract, marts), start=1):
            if isinstance(done, AssayError):
                report.index_errors[name] = str(done)
            else:
                report.documents[name] = done
                progress(f"indexed {name}, {done:,} documents", number, total)
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
