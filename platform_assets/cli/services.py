"""`assay up` and `assay down`: the local services and what the contracts need from them."""

from __future__ import annotations

import click

from platform_assets.cli.session import Command, Session, json_option, pass_session


@click.command(cls=Command, examples=("assay up", "assay up --json | jq -r .services[].address"))
@json_option
@pass_session
def up(session: Session, as_json: bool) -> None:
    """Start Kafka and OpenSearch, and create topics and templates.

    Waits until both are healthy. They go on until `assay down`; a second call changes nothing. The first start downloads
    them (about 200 MB).
    """
    from platform_assets.cli import render
    from platform_assets.local import lifecycle
    from platform_assets.local.prepare import prepare

    contracts = session.contracts  # A wrong contract is told before anything is started.
    status = lifecycle.up(session.settings.home, console=render.console(stderr=True))
    session.reload()
    prepared = prepare(session.settings, contracts.values())
    if as_json:
        render.emit({"home": status.home, "healthy": status.healthy, "services": status.services, "topics": prepared})
        return
    out = render.console()
    for service in status.services:
        out.print(f"{service.name:<12}{service.state:<10}{service.address}", soft_wrap=True)
    made = f"{len(prepared.created)} created, " if prepared.created else ""
    out.print(f"{'topics':<12}{made}{len(prepared.created) + len(prepared.present)} ready", soft_wrap=True)
    for topic, settings in prepared.differs.items():
        for name, (wanted, actual) in settings.items():
            out.print(f"{'':<12}{topic} has {name}={actual}, its contract says {wanted}", soft_wrap=True)
    out.print(f"{'passwords':<12}{session.settings.home / 'secrets.env'}", soft_wrap=True)


@click.command(cls=Command, examples=("assay down",))
@json_option
@pass_session
def down(session: Session, as_json: bool) -> None:
    """Stop Kafka and OpenSearch. Their data stays."""
    from platform_assets.cli import render
    from platform_assets.local import lifecycle

    ran = lifecycle.down(session.settings.home)
    if as_json:
        render.emit({"home": str(session.settings.home), "stopped": ran})
    else:
        click.echo("stopped" if ran else f"nothing was running in {session.settings.home}")
