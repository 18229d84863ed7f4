"""`assay contract check` and `assay docs`: promises before they are in force, and their pages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from platform_assets.cli.checkout import checkout
from platform_assets.cli.session import Command, Session, json_option, pass_session
from platform_assets.core.errors import AssayError

if TYPE_CHECKING:
    from platform_assets.contracts.model import Contract
    from platform_assets.contracts.registry import Verdict

_WORDS = {
    "first": "valid, none was accepted before",
    "unchanged": "valid, the accepted one",
    "newer": "valid, may follow",
    "refused": "REFUSED",
}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def contract() -> None:
    """Check contracts before they take effect."""


@contract.command(cls=Command, examples=("assay contract check", "assay contract check logs --json"))
@click.argument("system", required=False)
@json_option
@pass_session
@click.pass_context
def check(ctx: click.Context, session: Session, system: str | None, as_json: bool) -> None:
    """Check all declarations of systems; list every mistake.

    It checks contracts with the SQL that they compile to, alert rules, reports and marts, and lists each mistake with
    its line number if there is one. It names tables and marts without a row policy, whose rows no limited key sees. It
    also checks each contract against the accepted one: a change that breaks readers needs a new major version, any
    other change a higher version. The worker applies the same rules when it starts. Exits with 1 if there is a mistake.
    """
    from platform_assets.cli import render
    from platform_assets.contracts.registry import compare_contract
    from platform_assets.declarations import Part, Problem, problems_of, read_systems

    settings = session.settings
    if system is None:
        everything = read_systems(settings)
        contracts, problems = list(everything.contracts.values()), everything.problems
    else:
        if system not in session.systems.broken:
            session.contract(system)
        problems = tuple(problems_of(settings, system))
        contracts = [session.contracts[system]] if system in session.contracts else []
    unlimited = {found.system: _without_row_policy(found) for found in contracts}
    verdicts = []
    for found in contracts:
        try:
            verdicts.append(compare_contract(settings, found))
        except AssayError as error:  # the accepted contract of one system cannot be read
            problems = (*problems, *(Problem(found.system, Part.CONTRACT, mistake) for mistake in error.mistakes))
    passes = not problems and all(verdict.passes for verdict in verdicts)
    if as_json:
        facts = [problem.facts() for problem in problems]
        systems = [{**_facts(v), "without_row_policy": unlimited[v.system]} for v in verdicts]
        render.emit({"passes": passes, "systems": systems, "mistakes": facts})
    else:
        for verdict in verdicts:
            _show(verdict)
            if names := unlimited[verdict.system]:
                click.echo(f"  without a row policy, for keys without a limit only: {', '.join(names)}")
        for problem in problems:
            click.echo(str(problem.mistake))
        if problems:
            number = f"{len(problems)} mistakes" if len(problems) > 1 else "1 mistake"
            click.echo(f"{number} in {', '.join(dict.fromkeys(p.system for p in problems))}")
    ctx.exit(0 if passes else 1)


def _without_row_policy(found: Contract) -> list[str]:
    """The tables and the indexed marts whose rows no limited key sees."""
    from platform_assets.marts.marts import load_marts
    from platform_assets.marts.project import project_folder

    marts = load_marts(project_folder(), found.system)
    tables = [table.name for table in found.tables if table.row_policy is None]
    return tables + [mart.name for mart in marts if mart.index and mart.row_policy is None]


def _facts(verdict: Verdict) -> dict[str, object]:
    from platform_assets.core.serialization import plain

    return {**plain(verdict), "passes": verdict.passes}


def _show(verdict: Verdict) -> None:
    after = f" {verdict.accepted}" if verdict.accepted and verdict.state != "unchanged" else ""
    click.echo(f"{verdict.system} {verdict.version}: {_WORDS[verdict.state]}{after if verdict.passes else ''}")
    for change in verdict.breaking:
        click.echo(f"  breaks readers: {change}")
    if not verdict.passes:
        click.echo(f"  {verdict.problem} - {verdict.hint}")


@click.command(cls=Command, examples=("assay docs", "assay docs --check"))
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit with 1 when a page is out of date.")
@click.option(
    "--folder", type=click.Path(file_okay=False, path_type=Path), help="Where the pages go.  [default: docs/systems]"
)
@pass_session
@click.pass_context
def docs(ctx: click.Context, session: Session, only_check: bool, folder: Path | None) -> None:
    """Regenerate the contracts' pages and dbt sources."""
    from platform_assets.contracts.docs import write_pages
    from platform_assets.contracts.export import write_made
    from platform_assets.marts.project import project_folder

    pages = folder or checkout("assay docs") / "docs" / "systems"
    differing = write_pages(pages, session.contracts, check=only_check)
    differing += write_made(project_folder(), session.contracts, check=only_check)
    for path in differing:
        click.echo(f"{path}: {'out of date' if only_check else 'written'}")
    if not differing:
        click.echo("every page is up to date")
    ctx.exit(1 if only_check and differing else 0)
