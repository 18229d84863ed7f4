"""Trace of a figure: from rows of a mart to the refresh that wrote them, and to silver, bronze, topics, partitions and offsets.

Belongs here: the answer, and where its parts come from. Does not: which silver rows a mart counts (`lineage.py`), the way on from
one of them, by the id of its document (`reconcile/trace.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from platform_assets.contracts.model import Contract, Table
from platform_assets.core.coordinates import Coordinates
from platform_assets.core.errors import AssayError
from platform_assets.core.serialization import plain
from platform_assets.core.settings import Settings
from platform_assets.core.transactions import REFRESH, marks_of, rewrite_mark
from platform_assets.marts.build import compiled
from platform_assets.marts.figure import Figure
from platform_assets.marts.found import Found
from platform_assets.marts.graph import Graph, read_graph
from platform_assets.marts.lineage import SILVER, Lineage, Model, numbers_of
from platform_assets.marts.marts import Mart, Slot, refresh_log_table
from platform_assets.marts.plan import Plan, reading
from platform_assets.marts.prepare import connect, prepare
from platform_assets.marts.project import project_folder
from platform_assets.marts.spans import minute_of, moment, spans_of
from platform_assets.tables.layout import Lake
from platform_assets.tables.runs import run_folder
from platform_assets.tables.session import session

SAMPLE = 5
"""Documents that are named, of all that count."""
_SOME = 10


class NoLongerTraceable(AssayError):
    """Silver does not hold the rows of that time, or not all of them."""


@dataclass
class FigureTrace:
    """What is known of rows of a mart. `verdict` is what the silver rows found amount to:

    `proved` (the mart's models make the published rows of exactly these), `slot` (the models make them of all rows of the slot;
    which of them count for these keys cannot be told), `differs` (the columns `differs` come out otherwise, as `again` shows).

    `silver` has for each table that counts: its topic, rows, shards (with positions [first, last], bounds
    included), bronze commits and days of landing, and `late`: rows of the same keys that came after the refresh. With `column`
    only rows that add to that number are in it. `adds` says for each number how many rows add to it.
    """

    system: str
    mart: str
    slot: datetime
    end: datetime
    rows: list[dict[str, Any]]
    refresh: int | None  # that wrote the slot last; None when the refresh_log no longer says
    consumed: dict[str, dict[str, int]]  # by silver table: commits and rewrites that the mart has taken in
    verdict: str = ""
    counted: int = 0
    column: str | None = None
    adds: dict[str, int] = field(default_factory=dict)
    silver: dict[str, dict[str, Any]] = field(default_factory=dict)
    sample: list[str] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)
    again: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form with stable names; times as ISO 8601."""
        found: dict[str, Any] = plain(asdict(self))
        return found


def trace_figure(
    settings: Settings,
    contract: Contract,
    figure: Figure,
    *,
    column: str | None = None,
    sample: int = SAMPLE,
    progress: Callable[[int, int], None] | None = None,
) -> FigureTrace:
    """Follow published rows of a mart to the silver rows that they count.

    `column` is a number of the mart: only rows that add to it are listed. `progress` is told how many rows the slot has, and how
    many of them are done. Raises NoLongerTraceable when retention has taken rows of that time, AssayError for another column.
    """
    lake, mart = settings.lake_path, figure.mart
    _check_column(mart, column)
    graph = read_graph(project_folder(), contract)
    if mart.name in graph.refused:
        raise AssayError(f"{mart.name} is refused: {graph.refused[mart.name]}", "see docs/gold.md")
    minutes = np.arange(minute_of(figure.slot), minute_of(figure.end), dtype=np.int64)
    plan = reading(lake, contract, graph, minutes)
    if any(moment(int(day), Slot.DAY).date() == figure.slot.date() for day in plan.closed):
        raise NoLongerTraceable(
            f"retention has dropped rows of {figure.slot:%Y-%m-%d} from silver, which {mart.name} counts",
            "the figure stays as it was published",
        )
    answer = FigureTrace(
        contract.system,
        mart.name,
        figure.slot,
        figure.end,
        _shown(mart, figure.rows),
        _refresh(lake, figure),
        _consumed(figure, contract.tables),
        column=column,
    )
    found = _look(settings, contract, graph, figure, plan, answer, sample, progress)
    answer.counted, answer.adds, answer.differs = found.rows, found.adds, found.differs
    if found.differs and found.again is not None:
        answer.again = _shown(mart, found.again)
    for table in contract.tables:
        _tell(lake, answer, table, found)
    answer.sample = [Coordinates.of(row).document_id for row in found.sample]
    _note_rewrites(plan, figure, answer)
    return answer


def _look(
    settings: Settings,
    contract: Contract,
    graph: Graph,
    figure: Figure,
    plan: Plan,
    answer: FigureTrace,
    sample: int,
    progress: Callable[[int, int], None] | None,
) -> Found:
    """The rows that count; sets the verdict."""
    project, lake, mart = project_folder(), settings.lake_path, figure.mart
    with run_folder(lake, contract.system) as folder:
        database = prepare(folder, lake, plan, graph, SILVER)
        texts = compiled(project, database, folder / "target", contract.system, mart.name)
        by_name = {one.name: one for one in graph.marts}
        models = [Model(by_name[name], sql) for name, sql in texts.items() if name in by_name]
        with connect(database) as con:
            lineage = Lineage(con, contract, models, figure.slot, figure.rows)
            total = sum(rows for _, rows in lineage.minutes())
            if not total:
                raise NoLongerTraceable(
                    f"silver no longer holds a row of {figure.slot:%Y-%m-%dT%H:%M}, which {mart.name} counts",
                    "the figure stays as it was published",
                )
            upto: Mapping[str, int | None] = {name: found["commits"] for name, found in answer.consumed.items()}
            everything: Mapping[str, int | None] = dict.fromkeys(upto)

            def look(cuts: Mapping[str, int | None], *, apart: bool) -> Found:
                told = None if progress is None else partial(progress, total)
                return lineage.look(cuts, apart=apart, column=answer.column, sample=sample, progress=told)

            def best(*, apart: bool) -> Found:
                found = look(upto, apart=apart)
                if found.holds or not found.beyond:
                    return found
                # A refresh reads what silver holds of a minute, also beyond the commits whose minutes it took in.
                whole = look(everything, apart=apart)
                if whole.holds:
                    answer.notes.append("the refresh had read silver beyond the commits that it took in")
                return whole if whole.holds else found

            found = best(apart=True)
            if found.rows:
                answer.verdict = "proved" if found.holds else "differs"
                return found
            found = best(apart=False)
            found.adds = {}
            answer.verdict = "slot" if found.holds else "differs"
            answer.notes.append("the models count no row by itself: these are all rows of that time")
            return found


def _tell(lake: Path, answer: FigureTrace, table: Table, found: Found) -> None:
    """What was found of one silver table: where it came from, and whether bronze still has it."""
    parts = [part for part in found.parts if part["table"] == table.name]
    late = found.late.get(table.name, 0)
    if not parts and not late:
        return
    shown = table.shown
    shards: dict[tuple[str, int], dict[str, Any]] = {}
    for part in parts:
        source, shard = key = (part["source"], part["shard"])
        bounds = [part["first"], part["last"]]
        one = shards.setdefault(key, {shown.source: source, shown.shard: shard, "rows": 0, shown.positions: bounds})
        one["rows"] += part["rows"]
        low, high = one[shown.positions]
        one[shown.positions] = [min(low, part["first"]), max(high, part["last"])]
    told: dict[str, Any] = {
        shown.name: table.topic,
        "rows": sum(part["rows"] for part in parts),
        shown.shards: list(shards.values()),
        "bronze": None,
        "late": late,
    }
    if parts:
        landed: list[date] = sorted({part["landed"] for part in parts})
        commits = [min(part["commit_first"] for part in parts), max(part["commit_last"] for part in parts)]
        told["bronze"] = {"commits": commits, "landed": landed}
        bronze = Lake(lake).tables(table).bronze
        held = bronze.partitions() if bronze.exists() else {}
        if gone := [f"{day}" for day in landed if f"{day}" not in held]:
            answer.notes.append(f"bronze no longer has what landed on {_some(gone)}")
    answer.silver[table.name] = told


def _refresh(lake: Path, figure: Figure) -> int | None:
    """The refresh that wrote the slot last, by the refresh_log; None when that no longer remembers."""
    refresh_log = refresh_log_table(lake, figure.mart.system)
    last = figure.table.transaction(REFRESH) or 0
    if not refresh_log.exists():
        return None
    with session() as con:
        # The mart's name is the project's own. What a refresh claimed after the mart's last one was never published.
        mine = refresh_log.relation(con).filter(f"model = '{figure.mart.name}' AND refresh <= {last}")
        numbers = mine.filter(f"slot = TIMESTAMPTZ '{figure.slot.isoformat()}'").project("refresh").fetchall()
    return max((int(number) for (number,) in numbers), default=None)


def _consumed(figure: Figure, tables: Sequence[Table]) -> dict[str, dict[str, int]]:
    found = {}
    for table in tables:
        seq, rewrite = marks_of(table.name)
        found[table.name] = {
            "commits": figure.table.transaction(seq) or 0,
            "rewrites": figure.table.transaction(rewrite) or 0,
        }
    return found


def _note_rewrites(plan: Plan, figure: Figure, answer: FigureTrace) -> None:
    """Rebuilds and replays of these event partitions that the mart has not taken in."""
    for source in plan.sources:
        if not source.silver.exists():
            continue
        name, taken = source.contract.name, answer.consumed[source.contract.name]["rewrites"]
        files = source.holding(spans_of(plan.minutes, Slot.MINUTE))
        near = {str(f.partition) for f in files if str(f.partition)[:10] == f"{figure.slot:%Y-%m-%d}"}
        if gone := sorted(p for p in near if (source.silver.transaction(rewrite_mark(p)) or 0) > taken):
            answer.notes.append(
                f"{_some(gone)} of {name} was rewritten (a rebuild or a replay) since; the next refresh takes that in"
            )


def _check_column(mart: Mart, column: str | None) -> None:
    numbers = numbers_of(mart)
    if column is not None and column not in numbers:
        raise AssayError(f"{mart.name} has no number {column!r}", f"it has {', '.join(numbers) or 'none'}")


def _shown(mart: Mart, rows: pa.Table) -> list[dict[str, Any]]:
    """Rows without columns of nested types."""
    names = [f.name for f in mart.schema if not pa.types.is_nested(f.type)]
    found: list[dict[str, Any]] = rows.select(names).to_pylist()
    return found


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SOME]) + (f" and {len(names) - _SOME} more" if len(names) > _SOME else "")
