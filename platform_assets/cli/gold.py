"""`assay gold`: marts from silver, by hand, and how far they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

import click

from platform_assets.cli.session import Command, Session, json_option, pass_session

if TYPE_CHECKING:
    from platform_assets.contracts.model import Contract
    from platform_assets.marts.refresh import RefreshReport


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def gold() -> None:
    """Refresh marts from silver, or show their state."""


@gold.command(cls=Command, examples=("assay gold refresh", "assay gold refresh logs --day 2026-01-15"))
@click.argument("system", required=False)
@click.option(
    "--day", type=click.DateTime(["%Y-%m-%d"]), metavar="YYYY-MM-DD", help="Recompute this day (UTC) instead."
)
@json_option
@pass_session
@click.pass_context
def refresh(ctx: click.Context, session: Session, system: str | None, day: datetime | None, as_json: bool) -> None:
    """Refresh marts with the silver rows since the last refresh.

    Only slots that new rows affect are recomputed. Nothing is published if a model or a test fails. A mart whose
    model cannot be refreshed exactly is refused and named; the others are refreshed, and the command exits with 1.
    """
    from platform_assets.cli import render
    from platform_assets.marts.refresh import refresh as run

    reports: list[RefreshReport] = []
    for contract in _with_marts(session, system):
        while True:
            with _progress(contract.system) as progress:
                report = run(session.settings, contract, day.date() if day else None, progress=progress)
            reports.append(report)
            if not as_json:
                _show(report)
            if not report.more or day is not None:
                break
        for name, why in report.refused.items():
            click.echo(f"{contract.system}.{name} is refused and stays as it is: {why}", err=True)
    if as_json:
        render.emit(reports)
    ctx.exit(1 if any(report.refused for report in reports) else 0)


@gold.command(cls=Command, examples=("assay gold status", "assay gold status logs --json"))
@click.argument("system", required=False)
@json_option
@pass_session
def status(session: Session, system: str | None, as_json: bool) -> None:
    """Show the marts and how far they are behind silver."""
    from platform_assets.cli import render
    from platform_assets.core.serialization import plain
    from platform_assets.marts.graph import read_graph
    from platform_assets.marts.project import project_folder
    from platform_assets.marts.status import gold_state

    project, lake = project_folder(), session.settings.lake_path
    states = [gold_state(lake, contract, read_graph(project, contract)) for contract in _with_marts(session, system)]
    if as_json:
        render.emit([{**plain(state), "behind": state.behind} for state in states])
        return
    out = render.console()
    for state in states:
        rows = [
            (f"{state.system}.{name}", f"{at.seq:,}", f"{at.silver_seq:,}", f"{at.rewrite:,}", f"{at.silver_rewrite:,}")
            for name, at in state.consumed.items()
        ]
        headers = ("silver table", "taken in", "of commits", "taken in ", "of rewrites")
        out.print(render.grid(headers, rows, right=headers[1:]))
        out.print()
        marts = [(m.name, f"{m.rows:,}", f"{m.partitions:,}", render.count(m.refresh)) for m in state.marts]
        mart_headers = ("mart", "rows", "partitions", "refresh")
        out.print(render.grid(mart_headers, marts, right=mart_headers[1:]))
        for name, why in state.refused.items():
            out.print(f"{state.system}.{name} is refused: {why}", soft_wrap=True)
        out.print(
            f"{state.system}: {'behind silver, `assay gold refresh` takes it in' if state.behind else 'up to date'}"
        )


@contextmanager
def _progress(system: str) -> Iterator[Callable[[str, int, int], None]]:
    """Shows what a refresh is doing, and how many of how many are done."""
    from platform_assets.cli import render

    with render.step_progress() as bar:
        task = bar.add_task(f"gold of {system}", total=None)

        def told(what: str, done: int, total: int) -> None:
            bar.update(task, description=f"gold of {system}: {what}", completed=done, total=total or None)

        yield told


def _with_marts(session: Session, system: str | None) -> list[Contract]:
    """The system that was named, or all that have models."""
    from platform_assets.marts.project import has_models, project_folder

    if system is not None:
        return [session.contract(system)]
    project = project_folder()
    return [contract for contract in session.chosen(None) if has_models(project, contract.system)]


def _show(report: RefreshReport) -> None:
    from platform_assets.cli import render

    if not report.minutes:
        click.echo(f"{report.system}: silver has nothing new")
    else:
        rows = ", ".join(f"{name} {n:,}" for name, n in report.rows.items())
        took = sum(report.seconds.values())
        click.echo(
            f"{report.system}: refresh {report.number}, {render.counted(report.minutes, 'minute')}, {took:.1f} s: {rows}"
        )
    if report.index_error:
        click.echo(f"{report.system}: the index is behind: {report.index_error}", err=True)
