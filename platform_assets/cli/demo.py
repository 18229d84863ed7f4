"""`assay demo`: `assay dev` with simulated logs, the questions that people ask of them, and the proof."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from platform_assets.cli.dev import PORT, introduce, say, watch
from platform_assets.cli.session import Command, Session, pass_session, stopping

if TYPE_CHECKING:
    from platform_assets.contracts.model import Contract
    from platform_assets.local.demo import Demo


@click.command(cls=Command, examples=("assay demo", "assay demo --once", "assay demo --rate 5000 --port 3333"))
@click.option(
    "--once", is_flag=True, help="Stop when all records that were sent are proved; exit 1 if the proof fails."
)
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), default=500.0, show_default=True, help="Events a second."
)
@PORT
@pass_session
@click.pass_context
def demo(ctx: click.Context, session: Session, once: bool, rate: float, port: int | None) -> None:
    """Run the whole platform on simulated logs.

    Starts Kafka, OpenSearch and Dagster, simulates three services that write logs, sends recorded logs if there are
    any, and shows what arrives. Ctrl-C stops everything that it started. With --once it also sends invalid input,
    waits for two worker runs and for an alert to open and resolve, and proves the result. `assay dev` does the same
    without simulated logs.
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

    session.warn()
    if SYSTEM in session.systems.broken:
        session.contract(SYSTEM)  # tells what is wrong with it
    contracts = session.contracts
    holds = True
    with demonstration(session.settings, contracts, rate=rate, port=port, say=say) as running:
        session.reload()
        sent = send_samples(running, shared_data())
        for name, count in sent.items():
            say(f"Sent {count:,} records of real logs to {name}")
        introduce(running.platform, questions(datetime.now(UTC), sampled_day(running, sent)))
        click.echo(
            "All logs of a user: Person… beside the query, such as user_id u-0; this key may ask for personal data"
        )
        with stopping(quietly=not once) as stop:
            if not once:
                watch(running.platform, stop, lambda: flow(running))
            else:
                try:
                    run_through(running, stop, say)
                    holds = _prove(session, contracts[SYSTEM])
                except Stopped:
                    say("Stopped before the end")
    ctx.exit(0 if holds else 1)


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


def _prove(session: Session, contract: Contract) -> bool:
    from platform_assets.cli import render
    from platform_assets.cli.prove import run, show

    say("Proving")
    proof = run(session.settings, contract)
    show(render.console(), proof)
    return proof.holds


def flow(running: Demo) -> list[str]:
    """What was sent, and how late search is."""
    from platform_assets.cli.overview import searchable_age
    from platform_assets.cli.render import duration
    from platform_assets.core.errors import AssayError

    seconds = time.time() - running.platform.began
    sent = f"{running.feed.delivered:,} events sent, {running.feed.delivered / seconds:,.0f}/s"
    try:
        age = searchable_age(running.settings, running.simulator.table)
    except AssayError as error:
        return [sent, error.message]
    return [sent, "nothing searchable yet" if age is None else f"newest searchable event {duration(age)} old"]
