"""`assay keys`: who may call the HTTP API. Every change is in the audit trail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from platform_assets.cli.session import Command, Session, json_option, pass_session

if TYPE_CHECKING:
    from platform_assets.serve.keys import Key

_SHELL = "cli"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def keys() -> None:
    """Add, list and revoke keys of the HTTP API."""


@keys.command(
    cls=Command,
    examples=(
        "assay keys add dashboard --role reader --system logs",
        "assay keys add payments-team --role reader --system logs --only payments,billing --expires 90d",
        "assay keys add checkout --role writer --system logs --only checkout",
    ),
)
@click.argument("name")
@click.option("--role", type=click.Choice(["reader", "writer", "admin"]), required=True, help="The role of the key.")
@click.option("--system", help="Only this system.  [default: every system]")
@click.option(
    "--only",
    metavar="VALUE[,VALUE]",
    help="Limit it to rows in which the table's row policy field has one of these values.  [default: no limit]",
)
@click.option("--unlimited", is_flag=True, help="Let a writer write any row; without it, a writer needs --only.")
@click.option(
    "--personal-data", is_flag=True, help="May search for clear values of personal data; each such search is audited."
)
@click.option("--expires", metavar="TIME", help="Lifetime, such as 24h, 90d or 52w.  [default: never]")
@json_option
@pass_session
def add(
    session: Session,
    name: str,
    role: str,
    system: str | None,
    only: str | None,
    unlimited: bool,
    personal_data: bool,
    expires: str | None,
    as_json: bool,
) -> None:
    """Create a key and show it once."""
    from platform_assets.cli import render
    from platform_assets.index.times import parse_duration
    from platform_assets.serve.audit import Audit
    from platform_assets.serve.keys import KeyStore, Role

    if system is not None:
        session.contract(system)
    values = tuple(one.strip() for one in only.split(",") if one.strip()) if only is not None else None
    lifetime = parse_duration(expires) if expires else None
    home = session.settings.home
    what = {"name": name, "role": role, "system": system, "only": values, "personal_data": personal_data}
    with Audit(home).action(_SHELL, "key_added", what) as audited:
        made, text = KeyStore(home).add(
            name,
            Role(role),
            system=system,
            only=values,
            unlimited=unlimited,
            personal_data=personal_data,
            lifetime=lifetime,
        )
        audited.found["id"] = made.id
    if as_json:
        render.emit({"key": text, **made.public()})
        return
    click.echo(text)
    click.echo("It is not shown again. Send it as `Authorization: Bearer …`.", err=True)


@keys.command("list", cls=Command, examples=("assay keys list",))
@json_option
@pass_session
def list_(session: Session, as_json: bool) -> None:
    """List the keys, without their secrets."""
    from platform_assets.cli import render
    from platform_assets.serve.keys import KeyStore

    found = KeyStore(session.settings.home).all()
    if as_json:
        render.emit([key.public() for key in found])
        return
    headers = ("id", "name", "role", "system", "only", "personal data", "expires")
    render.console().print(render.grid(headers, [_row(key) for key in found]))


def _row(key: Key) -> tuple[str, ...]:
    return (
        key.id,
        key.name,
        key.role.value,
        key.system or "all",
        ", ".join(key.only) if key.only is not None else "no limit",
        "yes" if key.personal_data else "",
        f"{key.expires_at:%Y-%m-%d %H:%M}" if key.expires_at else "never",
    )


@keys.command(cls=Command, examples=("assay keys revoke 3f0c2a9be514",))
@click.argument("key_id", metavar="ID")
@json_option
@pass_session
def revoke(session: Session, key_id: str, as_json: bool) -> None:
    """Revoke a key, with immediate effect."""
    from platform_assets.cli import render
    from platform_assets.serve.audit import Audit
    from platform_assets.serve.keys import KeyStore

    home = session.settings.home
    with Audit(home).action(_SHELL, "key_revoked", {"id": key_id}):
        gone = KeyStore(home).revoke(key_id)
    if as_json:
        render.emit({"revoked": gone.id, "name": gone.name})
    else:
        click.echo(f"revoked {gone.id} ({gone.name})")
