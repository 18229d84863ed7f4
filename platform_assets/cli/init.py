"""`assay init`: a small system to begin with."""

from __future__ import annotations

from pathlib import Path

import click

from platform_assets.cli.session import Command, Session, pass_session
from platform_assets.core.errors import AssayError

_STARTER = Path(__file__).resolve().parents[1] / "starter"
_NAME = "SYSTEM_NAME"
"""What the starter's files and their names say in place of the system's name."""


@click.command(cls=Command, examples=("assay init shop", "assay init shop --folder ~/systems"))
@click.argument("system")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder of systems.  [default: $ASSAY_SYSTEMS, or `systems` here]",
)
@pass_session
def init(session: Session, system: str, folder: Path | None) -> None:
    """Create a small system to start from.

    It has a contract with one table, an alert rule with its runbook, a mart and a report, all valid and with
    comments. Existing files are not overwritten.
    """
    named = folder or Path(session.settings.values.get("ASSAY_SYSTEMS") or "systems")
    target = named / system
    files = _files(system)
    if target.exists() or target.is_symlink():
        raise AssayError(f"{target} is there already", "choose another name, or remove it")
    for name, text in files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        click.echo(path)
    click.echo(f"\nNext:\n  export ASSAY_SYSTEMS={named.absolute()}\n  assay contract check {system}\n  assay dev")


def _files(system: str) -> dict[str, str]:
    """The text of each file by its path within the system's folder, the contract last: without it there is no system yet.

    Raises AssayError when a system cannot have this name.
    """
    from platform_assets.contracts.checks import IDENTIFIER
    from platform_assets.contracts.read import FILE_NAME, parse_contract

    if not IDENTIFIER.fullmatch(system):
        hint = "a lower-case letter, then up to 62 lower-case letters, digits or underscores"
        raise AssayError(f"{system!r} is no name for a system", hint)
    paths = sorted((path for path in _STARTER.rglob("*") if path.is_file()), key=lambda path: path.name == FILE_NAME)
    files = {
        str(path.relative_to(_STARTER)).replace(_NAME, system): path.read_text(encoding="utf-8").replace(_NAME, system)
        for path in paths
    }
    parse_contract(files[FILE_NAME])
    return files
