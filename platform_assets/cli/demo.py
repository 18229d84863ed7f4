"""`assay demo`: the whole platform on simulated logs, and what it sees."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from platform_assets.cli.session import Command, Session, Stop, pass_session, stopping

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType

    from platform_assets.contracts.model import Contract
    from platform_assets.local.demo import Demo

REFRESH_S = 2.0
LINE_S = 15.0
"""Between two lines of text where there is no terminal to redraw."""


@click.command(cls=Command, examples=("assay demo", "assay demo --once", "assay demo --rate 5000 --port 3333"))
@click.option("--once", is_flag=True, help="End when everything that was sent is proved; exit 1 if it does not hold.")
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), default=500.0, show_default=True, help="Events a second."
)
@click.option("--port", type=click.IntRange(1, 65535), help="Port of Dagster's page.  [default: 3000, or a free one]")
@pass_session
@click.pass_context
def demo(ctx: click.Context, session: Session, once: bool, rate: float, port: int | None) -> None:
    """Run the whole platform on simulated logs.

    Starts Kafka, OpenSearch and Dagster, lets three invented services write logs, sends real ones where there are some, and
    shows what arrives, until Ctrl-C; then everything that it started ends. With --once it also sends bad input, waits for two
    runs of the lane and for an alert to open and resolve, and proves the result.
    """
    from platform_assets.local.demo import (
        SYSTEM,
        Stopped,
        demonstration,
        run_through,
        sampled_day,
        send_samples,
        shared_data,
    )

    contracts = session.contracts
    holds = True
    with demonstration(session.settings, contracts, rate=rate, port=port, say=_say) as running:
        session.reload()
        sent = send_samples(running, shared_data())
        for name, count in sent.items():
            _say(f"Sent {count:,} records of real logs to {name}")
        _introduce(running, session, questions(datetime.now(UTC), sampled_day(running, sent)))
        with stopping(quietly=not once) as stop:
            if not once:
                _watch(running, stop)
            else:
                try:
                    run_through(running, stop, _say)
                    holds = _prove(session, contracts[SYSTEM])
                except Stopped:
                    _say("Stopped before the end")
    ctx.exit(0 if holds else 1)


def _say(text: str) -> None:
    click.echo(f"{datetime.now(UTC):%H:%M:%S} {text}", err=True)


def questions(now: datetime, sampled: str | None) -> dict[str, str]:
    """What people ask first, and where the page answers; `sampled` is a day of real web requests, if there are any."""
    found = {
        "500 errors": "logs/search?q=status:500+level:ERROR&last=24h",
        "payment errors today": f"logs/search?q=service:payments+level:ERROR,FATAL&last=24h&as_of={now:%Y-%m-%d}",
        "errors per hour": "logs/figures?mart=errors_hour",
        "why payments fail": "logs/figures?mart=failures_hour&is.service=payments",
        "alerts": "logs/alerts",
    }
    if sampled:
        found[f"web, {sampled}"] = f"logs/search?table=access&last=24h&as_of={sampled}"
    return found


def _introduce(running: Demo, session: Session, asked: Mapping[str, str]) -> None:
    """Where things are. Passwords stay in their file."""
    settings = session.settings
    click.echo(f"Page        {running.page.url}")
    click.echo(f"  its key   {running.page.key} (until the demonstration ends)")
    for question, place in asked.items():
        click.echo(f"  {question:<22}{running.page.url}/#/{place}")
    click.echo(
        f"  {'all logs of a user':<22}Person… beside the query, such as user_id u-0: this key may ask for personal data"
    )
    click.echo(f"API         {running.page.url}/docs")
    click.echo(f"Dagster     {running.dagster.url}")
    click.echo(f"OpenSearch  {settings.opensearch_url}")
    click.echo(f"Kafka       {settings.kafka_bootstrap}")
    click.echo(f"Passwords   {settings.home / 'secrets.env'}")
    click.echo(f"Lake        {settings.lake_path}")


def _prove(session: Session, contract: Contract) -> bool:
    from platform_assets.cli import render
    from platform_assets.cli.prove import run, show

    _say("Proving")
    proof = run(session.settings, contract)
    show(render.console(), proof)
    return proof.holds


def _watch(running: Demo, stop: Stop) -> None:
    """Until Ctrl-C: a live view on a terminal, a line now and then elsewhere."""
    from rich.live import Live

    from platform_assets.cli import render
    from platform_assets.trust.overview import system_facts

    out = render.console()
    if not out.is_terminal:
        while not stop.wait(LINE_S):
            for line in running.news():
                _say(line)
            for table in system_facts(running.settings, running.contract)["tables"]:
                if table.get("rows"):
                    _say(_line(table))
            _say(_flow(running))
        return
    with Live(console=out, auto_refresh=False, transient=True) as live:
        while not stop.is_set():
            for line in running.news():
                live.console.print(render.one_line(f"{datetime.now(UTC):%H:%M:%S} {line}", 200))
            live.update(_view(running), refresh=True)
            stop.wait(REFRESH_S)


def _line(table: dict[str, object]) -> str:
    return f"{table['topic']}: {table['rows']:,} rows, {table['quarantined']:,} rejected, lag {table['lag']}"


def _view(running: Demo) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from platform_assets.cli.status import tables
    from platform_assets.trust.overview import system_facts

    return Group(
        Text(),
        tables(system_facts(running.settings, running.contract)),
        Text(),
        Text(_flow(running)),
        Text("Ctrl-C ends"),
    )


def _flow(running: Demo) -> str:
    """What was sent, how late search is, and the lane's last runs."""
    from platform_assets.cli.overview import searchable_age
    from platform_assets.cli.render import duration
    from platform_assets.errors import AssayError

    seconds = time.time() - running.began
    parts = [f"{running.feed.delivered:,} events sent, {running.feed.delivered / seconds:,.0f}/s"]
    try:
        age = searchable_age(running.settings, running.simulator.table)
        parts.append("nothing searchable yet" if age is None else f"newest searchable event {duration(age)} old")
        runs = running.lane_runs()
    except AssayError as error:
        return "; ".join([*parts, error.message])
    if not runs:
        parts.append("the lane's first run starts within a minute")
    else:
        last = runs[0]
        since = f" {duration(time.time() - last.started)} ago" if last.started else ""
        where = f", see {running.page_of(last)}" if last.failed else ""
        parts.append(f"{len(runs)} lane runs, the last {last.status.lower()}{since}{where}")
    return "; ".join(parts)
