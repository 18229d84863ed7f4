"""`assay accept-gap`: going on where the broker lost records before they were landed."""

from __future__ import annotations

import getpass

import click

from platform_assets.cli.session import Command, Session, json_option, pass_session
from platform_assets.core.errors import AssayError


@click.command(
    cls=Command, name="accept-gap", examples=('assay accept-gap logs events 2 --reason "retention too short, INC-42"',)
)
@click.argument("system")
@click.argument("table")
@click.argument("partition", type=click.IntRange(min=0))
@click.option("--reason", required=True, help="Why it is accepted; kept in bronze with your name and the time.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option
@pass_session
def accept_gap(
    session: Session, system: str, table: str, partition: int, reason: str, yes: bool, as_json: bool
) -> None:
    """Accept lost offsets so that the worker continues.

    A worker stops a partition when the broker no longer has the next offset. The loss is recorded in bronze and shows in every
    proof.
    """
    if not reason.strip():
        raise click.BadParameter("is empty", param_hint="--reason")
    from platform_assets.cli import render
    from platform_assets.reconcile.gap import accept_gap as accept
    from platform_assets.reconcile.gap import find_gaps

    contract = session.contract(system)
    name = session.table_of(contract, table).name
    if not yes:
        gaps = [
            gap for gap in find_gaps(session.settings, contract) if (gap.table.name, gap.shard) == (name, partition)
        ]
        if not gaps:
            raise AssayError(
                f"{system}.{name} has no gap in partition {partition}", "`assay status` shows those there are"
            )
        gap = gaps[0]
        question = (
            f"{gap.missing:,} offsets from {gap.expected} to {gap.earliest - 1} are lost for good. Go on without them?"
        )
        if not click.confirm(question, err=True):
            raise AssayError("nothing was accepted")
    report = accept(session.settings, contract, name, partition, reason.strip(), getpass.getuser())
    if as_json:
        render.emit(report.to_dict())
        return
    click.echo(
        f"{system}.{name}[{partition}]: {report.missing:,} offsets accepted as lost; the worker goes on at {report.earliest}"
    )
