"""`assay up`, `assay down` and `assay prepare`: services, and what the contracts need from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from platform_assets.cli.session import Command, Session, json_option, pass_session

if TYPE_CHECKING:
    from rich.console import Console

    from platform_assets.local.topics import TopicReport


@click.command(cls=Command, examples=("assay up", "assay up --json | jq -r .services[].address"))
@json_option
@pass_session
def up(session: Session, as_json: bool) -> None:
    """Start Kafka and OpenSearch, and create topics and templates.

    Waits until both are healthy. They run until `assay down`; a second call changes nothing. The first start downloads
    them (172 MB).
    """
    from platform_assets.cli import render
    from platform_assets.local import lifecycle
    from platform_assets.local.prepare import prepare

    contracts = session.chosen(None)  # A wrong contract is told before anything is started.
    status = lifecycle.up(session.settings.home, console=render.console(stderr=True))
    session.reload()
    prepared = prepare(session.settings, contracts)
    if as_json:
        render.emit({"home": status.home, "healthy": status.healthy, "services": status.services, "topics": prepared})
        return
    out = render.console()
    for service in status.services:
        out.print(f"{service.name:<12}{service.state:<10}{service.address}", soft_wrap=True)
    _show_topics(out, prepared)
    out.print(f"{'passwords':<12}{session.settings.home / 'secrets.env'}", soft_wrap=True)


@click.command(cls=Command, examples=("assay prepare", "assay prepare --security /run/security --json"))
@click.option(
    "--security",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Send users and roles to OpenSearch from this folder of security files and administrator's certificate.",
)
@json_option
@pass_session
def prepare(session: Session, security: Path | None, as_json: bool) -> None:
    """Create topics and index templates on external services.

    If ASSAY_KAFKA_INTERNAL_BOOTSTRAP and ASSAY_KAFKA_INTERNAL_PASSWORD give access to the broker's internal listener,
    it creates Kafka's users and permissions too. A second call changes nothing. `assay up` does all of this for local
    services.
    """
    from platform_assets.cli import render
    from platform_assets.local.prepare import prepare, prepare_users

    contracts = session.chosen(None)
    prepare_users(session.settings, security)
    prepared = prepare(session.settings, contracts)
    if as_json:
        render.emit(prepared)
    else:
        _show_topics(render.console(), prepared)


def _show_topics(out: Console, prepared: TopicReport) -> None:
    made = f"{len(prepared.created)} created, " if prepared.created else ""
    out.print(f"{'topics':<12}{made}{len(prepared.created) + len(prepared.present)} ready", soft_wrap=True)
    for topic, settings in prepared.differs.items():
        for name, (wanted, actual) in settings.items():
            out.print(f"{'':<12}{topic} has {name}={actual}, its contract says {wanted}", soft_wrap=True)


@click.command(cls=Command, any_lake=True, examples=("assay down",))
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
