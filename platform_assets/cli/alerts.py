"""`assay alerts`: incidents as they are, and what a person does to them."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from platform_assets.cli.session import Command, Session, json_option, pass_session
from platform_assets.core.errors import AssayError

if TYPE_CHECKING:
    from platform_assets.alerts.incident import Alert
    from platform_assets.alerts.service import AlertService

_STYLES = {"critical": "bold red", "warning": "yellow", "info": ""}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def alerts() -> None:
    """List, acknowledge and mute alerts, and test rules and targets."""


@alerts.command("list", cls=Command, examples=("assay alerts list", "assay alerts list logs --all --json"))
@click.argument("system", required=False)
@click.option("--all", "everything", is_flag=True, help="Resolved ones too.")
@json_option
@pass_session
def list_(session: Session, system: str | None, everything: bool, as_json: bool) -> None:
    """List alerts, by default the open ones."""
    from platform_assets.alerts.incident import OPEN
    from platform_assets.alerts.index import document
    from platform_assets.alerts.platform import PLATFORM_SYSTEM
    from platform_assets.cli import render

    names = [system] if system else [*session.contracts, *session.systems.broken, PLATFORM_SYSTEM]
    found: list[Alert] = []
    for name in names:
        alert_service = _alert_service(session, name)
        try:
            found += alert_service.alerts(state=None if everything else OPEN)
        finally:
            alert_service.close()
    if as_json:
        render.emit([document(alert) for alert in found])
        return
    render.console().print(render.grid(("alert", "state", "severity", "rule", "since", "what", "note"), _rows(found)))


def _rows(found: list[Alert]) -> list[tuple[object, ...]]:
    from rich.text import Text

    from platform_assets.cli import render

    return [
        (
            alert.alert_id,
            alert.state,
            Text(alert.severity, _STYLES.get(alert.severity, "")),
            f"{alert.system}.{alert.rule}",
            render.ago(alert.opened_at),
            render.one_line(alert.summary, 90),
            _note(alert),
        )
        for alert in found
    ]


def _note(alert: Alert) -> str:
    notes = ["late"] if alert.late else []
    if alert.held_until is not None:
        notes.append(f"not told: not worse than what was told; held until {alert.held_until:%Y-%m-%d %H:%M} UTC")
    notes += [f"acknowledged by {alert.acknowledged_by}"] if alert.acknowledged_by else []
    if alert.muted_until is not None and alert.muted(datetime.now(UTC)):
        notes.append(f"muted until {alert.muted_until:%Y-%m-%d %H:%M} UTC")
    return ", ".join(filter(None, [*notes, alert.notify_error]))


@alerts.command(cls=Command, examples=("assay alerts ack logs 5ee470b2de2fd9063110",))
@click.argument("system")
@click.argument("alert_id")
@json_option
@pass_session
def ack(session: Session, system: str, alert_id: str, as_json: bool) -> None:
    """Acknowledge an alert: it sends no more reminders."""
    alert_service = _alert_service(session, system)
    try:
        _show(alert_service.acknowledge(alert_id, getpass.getuser()), as_json)
    finally:
        alert_service.close()


@alerts.command(cls=Command, examples=("assay alerts mute logs 5ee470b2de2fd9063110 --for 2h",))
@click.argument("system")
@click.argument("alert_id")
@click.option("--for", "length", required=True, metavar="DURATION", help="How long: 30m, 2h, 1d; `off` unmutes.")
@json_option
@pass_session
def mute(session: Session, system: str, alert_id: str, length: str, as_json: bool) -> None:
    """Send no messages about an alert for a while.

    The alert is still stored and shown, and a message follows if it is open when that time ends.
    """
    from platform_assets.alerts.read import duration

    try:
        until = datetime.now(UTC) + (timedelta(0) if length == "off" else duration(length))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--for") from error
    alert_service = _alert_service(session, system)
    try:
        _show(alert_service.mute(alert_id, getpass.getuser(), until), as_json)
    finally:
        alert_service.close()


@alerts.command(cls=Command, examples=("assay alerts test", "assay alerts test logs --send"))
@click.argument("system", required=False)
@click.option("--send", is_flag=True, help="Send a test message to every target of ASSAY_ALERT_URLS.")
@pass_session
def test(session: Session, system: str | None, send: bool) -> None:
    """Check alert rules and the targets of messages.

    Exits with 1 if a rule is invalid or a target does not accept the message.
    """
    from platform_assets.alerts.buckets import session as engine
    from platform_assets.alerts.notify import targets
    from platform_assets.alerts.read import load_rules
    from platform_assets.alerts.sql import check_rules

    for contract in session.chosen(system):
        rules = load_rules(contract, session.settings.systems)
        for table in contract.tables:
            with engine() as con:
                check_rules(con, table, [rule for rule in rules if rule.table == table.name])
        click.echo(f"{contract.system}: {len(rules)} rules of its own are valid")
    failed = []
    for target in targets(session.settings.values).values():
        if send and not target.send("[test] assay", "A test message. Nothing is wrong.", "info"):
            failed.append(target.name)
        click.echo(f"{target.name}: {'failed' if target.name in failed else 'sent' if send else 'known'}")
    if failed:
        raise AssayError(f"not sent to {', '.join(failed)}", "check ASSAY_ALERT_URLS and the way there")


def _alert_service(session: Session, system: str) -> AlertService:
    from platform_assets.alerts.platform import PLATFORM_SYSTEM
    from platform_assets.alerts.service import AlertService

    if system != PLATFORM_SYSTEM and system not in session.systems.broken:  # whose alerts are there all the same
        session.contract(system)
    return AlertService(session.settings, system, index=False)


def _show(alert: Alert, as_json: bool) -> None:
    from platform_assets.alerts.index import document
    from platform_assets.cli import render

    if as_json:
        render.emit(document(alert))
    else:
        click.echo(f"{alert.alert_id} {alert.state}: {render.one_line(alert.summary)} ({_note(alert) or 'as before'})")
