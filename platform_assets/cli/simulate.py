"""`assay simulate`: invented events of a system, paced like real ones."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

import click

from platform_assets.cli.session import Command, Session, Stop, pass_session, stopping

if TYPE_CHECKING:
    from platform_assets.sources.kafka.produce import Record


@click.command(
    cls=Command,
    examples=(
        "assay simulate logs --rate 1000",
        "assay simulate logs --rate 20000 --seconds 60 --bad 0.01 --burst payments:60",
    ),
)
@click.argument("system")
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), default=1000.0, show_default=True, help="Events a second."
)
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="How long.  [default: until Ctrl-C]")
@click.option(
    "--bad",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="SHARE",
    help="Share of events that are made invalid on purpose.",
)
@click.option(
    "--duplicates", type=click.FloatRange(0, 1), default=0.0, metavar="SHARE", help="Share of events sent twice."
)
@click.option(
    "--burst",
    is_flag=False,
    flag_value="always",
    default="",
    metavar="[SERVICE:SECONDS]",
    help="That service has trouble for so long from now on; without a value one of them always has.",
)
@click.option("--seed", type=int, help="The same seed gives the same events.")
@pass_session
def simulate(
    session: Session,
    system: str,
    rate: float,
    seconds: float | None,
    bad: float,
    duplicates: float,
    burst: str,
    seed: int | None,
) -> None:
    """Publish simulated events of a system at a constant rate."""
    from platform_assets.cli import render
    from platform_assets.local.simulation import load_simulator
    from platform_assets.sources.kafka.produce import send_paced
    from platform_assets.sources.kafka.ranges import producer_for

    contract = session.contract(system)
    simulator = load_simulator(contract, session.settings.systems)
    producer = producer_for(session.settings, simulator.table)
    events = simulator.simulate(rate, seconds, seed=seed, bad=bad, duplicates=duplicates, burst=burst)
    try:
        first = next(events)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--burst") from error
    started = time.monotonic()
    with stopping() as stop, render.counter() as counter:
        task = counter.add_task(simulator.table.topic, total=round(rate * seconds) if seconds else None)
        send_paced(
            producer,
            _until(chain([first], events), stop),
            rate,
            lambda _: counter.update(task, completed=producer.delivered),
        )
        counter.stop()
        took = time.monotonic() - started
        click.echo(
            f"{simulator.table.topic}: {producer.delivered:,} events in {took:.1f} s, {producer.delivered / took:,.0f}/s"
        )


def _until(events: Iterator[list[Record]], stop: Stop) -> Iterator[list[Record]]:
    for batch in events:
        if stop.is_set():
            return
        yield batch
