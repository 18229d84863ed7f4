"""The part of `assay trace` that follows a figure: a row of a mart back to the offsets that it counts.

Belongs here: what is asked and shown. Does not: the command itself (`trace.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from platform_assets.cli.session import Session
    from platform_assets.contracts.model import Contract
    from platform_assets.core.coordinates import ShownNames
    from platform_assets.marts.marts import Mart
    from platform_assets.marts.trace import FigureTrace

_ROWS = 20
_VERDICTS = {
    "proved": "of exactly these the mart's models make the published figure",
    "slot": "all rows of that time, of which the models make the published figure; which of them count here cannot be told",
    "differs": "OF THESE THE MART'S MODELS MAKE ANOTHER FIGURE",
}


def is_figure(contract: Contract, what: str) -> bool:
    """Whether `assay trace SYSTEM what` is about a mart: all that is no document's id, where the system has marts."""
    from platform_assets.marts.project import has_models, project_folder
    from platform_assets.reconcile.trace import is_document_id

    return not is_document_id(what) and has_models(project_folder(), contract.system)


def wrong_usage(message: str) -> click.UsageError:
    """An error of the command at hand."""
    return click.UsageError(message, click.get_current_context())


def trace_mart(
    session: Session,
    contract: Contract,
    what: str,
    at: str | None,
    where: Sequence[str],
    document: str | None,
    column: str | None,
    sample: int,
    as_json: bool,
) -> None:
    """Trace the rows of a mart that are meant, and show the answer."""
    from platform_assets.cli import render
    from platform_assets.marts.figure import find_document, find_mart, find_rows
    from platform_assets.marts.graph import marts_of
    from platform_assets.marts.project import project_folder
    from platform_assets.marts.trace import trace_figure

    lake, marts = session.settings.lake_path, marts_of(project_folder(), contract)
    mart = find_mart(marts, contract.system, what)
    if document is not None:
        if at or where:
            raise wrong_usage("--id stands for --at and --where")
        figure = find_document(lake, mart, document)
    elif at is None:
        raise wrong_usage(f"which {mart.grain} of {mart.name}? Name it with --at")
    else:
        figure = find_rows(lake, mart, at, dict(map(_condition, where)))
    with _progress() as progress:
        found = trace_figure(session.settings, contract, figure, column=column, sample=sample, progress=progress)
    if as_json:
        render.emit(found.to_dict())
    else:
        _show(render.console(), contract, figure.mart, found)


def _condition(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (equals and name):
        raise wrong_usage(f"--where is COLUMN=VALUE, not {text!r}")
    return name, value


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    from platform_assets.cli import render

    with render.step_progress() as bar:
        task = bar.add_task("rows of silver", total=None)
        yield lambda total, done: bar.update(task, total=total, completed=done)


def _show(out: Console, contract: Contract, mart: Mart, found: FigureTrace) -> None:
    from platform_assets.cli import render
    from platform_assets.cli.render import Lines

    lines = Lines(out)
    line, under = lines.line, lines.under
    line(f"{found.system}.{found.mart}", "")
    line("time", f"{found.slot.isoformat()} to {found.end.isoformat()}")
    for row in found.rows[:_ROWS]:
        line("key", _values(row, [name for name in mart.key if name != mart.grain]))
        line("figure", _values(row, [name for name in row if name not in (mart.grain, *mart.key)]))
    if len(found.rows) > _ROWS:
        under(f"and {len(found.rows) - _ROWS:,} rows more")
    taken = ", ".join(f"{name} to commit {at['commits']:,}" for name, at in found.consumed.items() if at["commits"])
    number = "no longer in the refresh_log" if found.refresh is None else f"{found.refresh:,}"
    line("refresh", f"{number}; the mart has taken in {taken or 'nothing'}")
    line("counted", f"{render.counted(found.counted, 'row')} of silver: {_VERDICTS[found.verdict]}")
    if found.adds:
        under("rows that add to it: " + ", ".join(f"{name} {rows:,}" for name, rows in found.adds.items()))
    for name in found.differs:
        under(f"{name}: published {_first(found.rows, name)}, of these rows {_first(found.again, name)}")
    for name, part in found.silver.items():
        _show_table(line, under, name, part, found.column, contract.table(name).shown)
    for id in found.sample:
        line("document", id)
    if found.sample:
        under(f"each goes on with `assay trace {found.system} {found.sample[0]}`")
    for note in found.notes:
        line("note", note)


def _show_table(line: Any, under: Any, name: str, part: dict[str, Any], column: str | None, shown: ShownNames) -> None:
    from platform_assets.cli import render

    rows = render.counted(part["rows"], "row")
    what = rows if column is None else f"{rows} that add to {column}"
    late = f"; {part['late']:,} came later, the next refresh counts them" if part["late"] else ""
    line("silver", f"{name}: {what}{late}")
    if part["bronze"]:
        first, last = part["bronze"]["commits"]
        days = part["bronze"]["landed"]
        when = f"{days[0]}" if len(days) == 1 else f"{days[0]} to {days[-1]}"
        commits = f"commit {first:,}" if first == last else f"commits {first:,} to {last:,}"
        line("bronze", f"{commits}, landed {when}")
    for one in part[shown.shards]:
        low, high = one[shown.positions]
        rows = render.counted(one["rows"], "row")
        where = f"{part[shown.name]}, {shown.shard} {one[shown.shard]}"
        line(shown.name, f"{where}: {rows} of {shown.positions} {low} to {high}")
        under(f"{shown.source_words} {one[shown.source]}")


def _values(row: dict[str, Any], names: Sequence[str]) -> str:
    from platform_assets.cli import render

    return "  ".join(f"{name}={render.one_line(row[name], 200)}" for name in names)


def _first(rows: Sequence[dict[str, Any]], name: str) -> str:
    """What the row has there, when there is only one."""
    if not rows:
        return "nothing"
    return str(rows[0][name]) if len(rows) == 1 and name in rows[0] else "other values"
