"""`assay dev`: the whole platform for the systems that are there, and what it sees; `assay demo` is built on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from platform_assets.cli.session import Command, Session, Stop, pass_session, stopping

if TYPE_CHECKING:
    from rich.console import RenderableType

    from platform_assets.local.dev import Platform

REFRESH_S = 2.0
LINE_S = 15.0
"""Between two lines of text where there is no terminal to redraw."""
PORT = click.option(
    "--port", type=click.IntRange(1, 65535), help="Port of Dagster's page.  [default: 3000, or a free one]"
)

More = Callable[[], list[str]]
"""What a caller of `watch` adds to the line about the workers."""


@click.command(cls=Command, examples=("assay dev", "ASSAY_SYSTEMS=~/systems assay dev --port 3333"))
@PORT
@pass_session
def dev(session: Session, port: int | None) -> None:
    """Run the whole platform for the available systems.

    Starts Kafka, OpenSearch, Dagster with its UI, and the web page, and shows what arrives. Ctrl-C stops everything
    that it started; the exit code is then 0. The systems are those in the folder that ASSAY_SYSTEMS names, or else
    those that come with the platform.
    """
    from platform_assets.local.dev import platform

    session.warn()
    with platform(session.settings, session.contracts, port=port, say=say) as running:
        introduce(running, {})
        with stopping(quietly=True) as stop:
            watch(running, stop)


def say(text: str) -> None:
    """Tell what goes on, with the time (UTC), on standard error."""
    click.echo(f"{datetime.now(UTC):%H:%M:%S} {text}", err=True)


def introduce(running: Platform, questions: Mapping[str, str]) -> None:
    """Where things are, and for each question the page's place that answers it. Passwords stay in their file."""
    settings = running.settings
    click.echo(f"Page        {running.page.url}")
    click.echo(f"  its key   {running.page.key} (until this command ends)")
    for question, place in questions.items():
        click.echo(f"  {question:<22}{running.page.url}/#/{place}")
    click.echo(f"API         {running.page.url}/docs")
    click.echo(f"Dagster     {running.dagster.url}")
    click.echo(f"OpenSearch  {settings.opensearch_url}")
    click.echo(f"Kafka       {settings.kafka_bootstrap}")
    click.echo(f"Passwords   {settings.home / 'secrets.env'}")
    click.echo(f"Lake        {settings.lake_path}")
    click.echo(f"Systems     {', '.join(running.contracts) or 'none'}")


def watch(running: Platform, stop: Stop, more: More = list) -> None:
    """Until `stop`: a live view on a terminal, a line now and then elsewhere."""
    from rich.live import Live

    from platform_assets.cli import render
    from platform_assets.reconcile.overview import system_facts

    out = render.console()
    if not out.is_terminal:
        while not stop.wait(LINE_S):
            for line in running.news():
                say(line)
            for contract in running.contracts.values():
                for table in system_facts(running.settings, contract)["tables"]:
                    if table.get("rows"):
                        say(_line(table))
            say(_progress(running, more))
        return
    with Live(console=out, auto_refresh=False, transient=True) as live:
        while not stop.is_set():
            for line in running.news():
                live.console.print(render.one_line(f"{datetime.now(UTC):%H:%M:%S} {line}", 200))
            live.update(_view(running, more), refresh=True)
            stop.wait(REFRESH_S)


def _line(table: dict[str, object]) -> str:
    return f"{table['topic']}: {table['rows']:,} rows, {table['quarantined']:,} rejected, lag {table['lag']}"


def _view(running: Platform, more: More) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from platform_assets.cli.status import tables
    from platform_assets.reconcile.overview import system_facts

    return Group(
        Text(),
        *(tables(system_facts(running.settings, contract)) for contract in running.contracts.values()),
        Text(),
        Text(_progress(running, more)),
        Text("Ctrl-C ends"),
    )


def _progress(running: Platform, more: More) -> str:
    """What the caller adds, and each worker's last runs."""
    from platform_assets.core.errors import AssayError

    parts = more()
    for system in running.contracts:
        try:
            parts.append(_runs(running, system))
        except AssayError as error:
            return "; ".join([*parts, error.message])
    return "; ".join(parts) or "there is no system yet"


def _runs(running: Platform, system: str) -> str:
    from platform_assets.cli.render import duration

    runs = running.ingest_runs(system)
    if not runs:
        return f"the first ingest run of {system} starts within a minute"
    last = runs[0]
    since = f" {duration(time.time() - last.started)} ago" if last.started else ""
    where = f", see {running.page_of(last)}" if last.failed else ""
    return f"{len(runs)} ingest runs of {system}, the last {last.status.lower()}{since}{where}"
