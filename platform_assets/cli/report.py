"""`assay report`: a system's reports, from the gold marts in the lake."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import click

from platform_assets.cli.session import Command, Session, pass_session
from platform_assets.core.errors import AssayError

FORMATS = ("html", "csv", "json")


@click.command(
    cls=Command,
    examples=(
        "assay report logs errors",
        "assay report logs errors --date 2015-05-20 -o errors.html",
        "assay report logs",
    ),
)
@click.argument("system")
@click.argument("name", required=False)
@click.option("--date", "day", metavar="YYYY-MM-DD", help="The day (UTC).  [default: yesterday]")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="What is written.  [default: as the suffix of --output says, else json]",
)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file instead of the terminal."
)
@pass_session
def report(
    session: Session, system: str, name: str | None, day: str | None, form: str | None, output: Path | None
) -> None:
    """Create a daily report, or list a system's reports."""
    from platform_assets.cli import render
    from platform_assets.marts.graph import marts_of
    from platform_assets.marts.project import project_folder
    from platform_assets.marts.rows import LakeMarts
    from platform_assets.reports.build import build
    from platform_assets.reports.declare import load_reports
    from platform_assets.reports.render import RENDERERS

    contract = session.contract(system)
    known = load_reports(system, session.settings.systems)
    if name is None:
        rows = [(one.name, one.title, one.about) for one in known.values()]
        render.console().print(render.grid(("report", "title", "about"), rows))
        return
    if name not in known:
        raise AssayError(f"{system} has no report {name}", f"it has {', '.join(known) or 'none'}")
    marts = LakeMarts(session.settings.lake_path, marts_of(project_folder(), contract))
    built = build(system, known[name], _day(day), marts)
    suffix = output.suffix.lstrip(".") if output else ""
    made = RENDERERS[form or (suffix if suffix in FORMATS else "json")][1](built)
    text = made if isinstance(made, str) else render.json_text(made)
    if output is None:
        click.echo(text)
        return
    output.write_text(text, encoding="utf-8")
    render.console(stderr=True).print(f"{output}: {'nothing on this day' if built.empty else 'written'}")


def _day(text: str | None) -> date:
    if text is None:
        return (datetime.now(UTC) - timedelta(days=1)).date()
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise AssayError(f"{text!r} is not a day", "YYYY-MM-DD") from error
