"""`assay ingest` and `assay rebuild`: the platform's work without Dagster, for operators and tests."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from platform_assets.cli.session import Command, Session, json_option, pass_session, stopping
from platform_assets.core.errors import AssayError

if TYPE_CHECKING:
    from rich.console import Console

    from platform_assets.ingest.report import IngestReport, TableReport

FOREVER = 1e9


@click.command(cls=Command, examples=("assay ingest logs --once", "assay ingest logs --seconds 60"))
@click.argument("system")
@click.option("--once", is_flag=True, help="Ingest what the topics hold now, then stop.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    help="How long to follow the topics.  [default: until Ctrl-C]",
)
@json_option
@pass_session
def ingest(session: Session, system: str, once: bool, seconds: float | None, as_json: bool) -> None:
    """Run a system's worker in this process, without Dagster.

    A worker that is already running hands over to this one, and this one hands over to the next. With --once, the
    command waits for an unavailable index until Ctrl-C; if the index rejects documents permanently, the exit code is
    1, and the tables are complete all the same.
    """
    if once and seconds is not None:
        raise click.UsageError("--once ends by itself: leave out --seconds")
    from platform_assets.cli import render
    from platform_assets.contracts.errors import ContractError
    from platform_assets.contracts.registry import accept_contract
    from platform_assets.declarations.read import uncompiled
    from platform_assets.ingest.worker import INDEX_FAILED, Worker

    contract = session.contract(system)
    if mistakes := list(uncompiled(session.settings, contract)):
        raise ContractError.of(mistakes)
    accept_contract(session.settings, contract)
    with stopping() as stop, render.counter() as counter:
        bars = {table.name: counter.add_task(f"{system}.{table.name}", total=None) for table in contract.tables}

        def tell(report: TableReport) -> None:
            counter.update(bars[report.table], completed=report.records)

        work = Worker(session.settings, contract)
        if once:
            report = work.drain(stop=stop, on_commit=tell)
        else:
            report = work.follow(max_seconds=seconds or FOREVER, stop=stop, on_commit=tell)
        counter.stop()
        if as_json:
            render.emit(report)
        else:
            _show(render.console(), report)
    if report.reason == INDEX_FAILED:
        raise AssayError(
            f"{system}: the lake has everything, the index has not", "put the index right as said, then run it again"
        )


def _show(out: Console, report: IngestReport) -> None:
    from platform_assets.cli import render

    rows = [
        (
            f"{report.system}.{table.table}",
            f"{table.records:,}",
            f"{sum(table.silver.values()):,}",
            f"{sum(table.rejected.values()):,}",
            f"{table.duplicates:,}",
            f"{table.conflicts:,}",
            f"{sum(table.indexed.values()):,}",
            f"{sum(table.lag.values()):,}",
            render.one_line(", ".join(f"{reason} {n:,}" for reason, n in table.rejected.most_common(3)), 60),
        )
        for table in report.tables.values()
    ]
    headers = ("table", "landed", "silver", "rejected", "duplicates", "conflicts", "documents", "lag", "why rejected")
    out.print(render.grid(headers, rows, right=headers[1:-1]))
    for table in report.tables.values():
        if table.index_refused:
            said = f"{report.system}.{table.table}: the index refused {table.index_refused:,} documents; see quarantine"
            out.print(render.clean(said), style="yellow", soft_wrap=True)
        if table.index_error:
            behind = render.count(table.index_behind)
            said = f"{report.system}.{table.table}: the index is {behind} commits behind: {table.index_error}"
            out.print(render.clean(said), soft_wrap=True)
        for said in table.trouble.values():
            out.print(render.clean(f"{report.system}.{table.table}: {said}"), soft_wrap=True)
        for gap in table.gaps:
            out.print(
                f"{gap.stream}[{gap.shard}] stands still: the broker lost offsets {gap.expected}..{gap.earliest - 1}; "
                "see `assay accept-gap --help`",
                soft_wrap=True,
            )
    if report.alert_error:
        out.print(render.clean(f"alerts: {report.alert_error}"), soft_wrap=True)
    took = (report.ended - report.started).total_seconds() if report.ended else 0.0
    out.print(f"{report.reason.replace('_', ' ')} after {render.duration(took)}")


@click.command(cls=Command, examples=("assay rebuild logs events 2026-01-15",))
@click.argument("system")
@click.argument("table")
@click.argument("day", metavar="DAY", type=click.DateTime(["%Y-%m-%d"]))
@json_option
@pass_session
def rebuild(session: Session, system: str, table: str, day: datetime, as_json: bool) -> None:
    """Rebuild a day of silver and index from bronze.

    The worker may keep running. The rebuilt rows equal those that it wrote, unless the contract has changed since.
    """
    from platform_assets.cli import render
    from platform_assets.ingest.rebuild import rebuild as run

    target = session.table_of(session.contract(system), table)
    with render.counter() as counter:
        bars: dict[str, int] = {}

        def tell(phase: str, more: int) -> None:
            if phase not in bars:
                bars[phase] = counter.add_task(phase, total=None)
            counter.advance(bars[phase], more)  # type: ignore[arg-type]

        report = run(session.settings, target, day.date(), tell)
    if as_json:
        render.emit(report)
        return
    rows = sum(report.partitions.values())
    took = sum(report.seconds.values())
    if not report.partitions:
        click.echo(f"{target.qualified_name} {day:%Y-%m-%d}: nothing was ever recorded for that day")
        return
    click.echo(
        f"{target.qualified_name} {day:%Y-%m-%d}: {rows:,} rows from {report.bronze_rows:,} of bronze, "
        f"{report.duplicates:,} duplicates ({report.conflicts:,} with other values), {report.rejected:,} newly rejected, "
        f"{report.documents:,} documents ({report.index_refused:,} refused by the index), {took:.1f} s"
    )
