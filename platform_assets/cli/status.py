"""`assay status`: what runs, how far each table is, and what needs a person."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click

from platform_assets.cli.overview import Facts, overview
from platform_assets.cli.session import Command, Session, json_option, pass_session, stopping

if TYPE_CHECKING:
    from rich.console import RenderableType

_STYLES = {"healthy": "green", "starting": "yellow", "down": "red", "failed": "bold red"}


@click.command(
    cls=Command, examples=("assay status", "assay status --watch 5", "assay status --json | jq .systems[].tables")
)
@click.argument("system", required=False)
@click.option(
    "--watch", type=click.FloatRange(min=0.5), metavar="SECONDS", help="Repeat at this interval until Ctrl-C."
)
@json_option
@pass_session
@click.pass_context
def status(ctx: click.Context, session: Session, system: str | None, watch: float | None, as_json: bool) -> None:
    """Show the services and the state of each table.

    For each table: lag, watermark, rows in silver, rejects (today and yesterday, and in total), documents that the
    index rejected (not indexed), dropped duplicates whose values differed from those of the stored row (conflicts),
    and how far the index is behind.

    Below the tables: mistakes in contracts, rules, reports and marts. What has a mistake is disabled; everything else
    runs.

    Exits with 1 when the local services are not all healthy.
    """
    from platform_assets.cli import render

    facts = _facts(session, system)
    if as_json:
        render.emit(facts)
    elif watch is None:
        render.console().print(view(facts))
    else:
        from rich.live import Live

        with stopping(quietly=True) as stop, Live(view(facts), console=render.console(), auto_refresh=False) as live:
            while not stop.wait(watch):
                session.reload()
                facts = _facts(session, system)
                live.update(view(facts), refresh=True)
    ctx.exit(0 if facts["healthy"] else 1)


def _facts(session: Session, system: str | None) -> Facts:
    """As they are now. Raises AssayError when there is no such system, ContractError when the one asked for does not work."""
    from platform_assets.declarations import read_systems

    found = read_systems(session.settings)
    if system is not None and system not in found.contracts:
        from platform_assets.contracts.errors import ContractError

        if system in found.broken:
            raise ContractError.of(found.broken[system])
        session.contract(system)
    contracts = [contract for name, contract in found.contracts.items() if system in (None, name)]
    return overview(session.settings, contracts, [p for p in found.problems if system in (None, p.system)])


def view(facts: Facts) -> RenderableType:
    """Services and tables, for a terminal."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [_services(facts), Text(), *_shards(facts["shards"])]
    for system in facts["systems"]:
        parts += [tables(system), *_attention(system)]
    return Group(*parts, *_mistakes(facts.get("mistakes", ())))


def _mistakes(mistakes: Sequence[Facts]) -> list[RenderableType]:
    """A line for each mistake, and what it stops."""
    from rich.text import Text

    from platform_assets.cli import render

    lines: list[RenderableType] = []
    for mistake in mistakes:
        line = f":{mistake['line']}" if mistake["line"] else ""
        stops = "the system stands still" if mistake["part"] == "contract" else f"a {mistake['part']} stands still"
        said = f"{mistake['system']}: {stops}: {mistake['file']}{line}: {mistake['message']}"
        lines.append(Text(render.one_line(said, 400), "bold red"))
    return lines


def _services(facts: Facts) -> RenderableType:
    from rich.text import Text

    from platform_assets.cli import render

    if not facts["services"]:
        return Text(f"no services run in {facts['home']} ({facts['phase']}); `assay up` starts them")
    rows = [
        (
            service["name"],
            Text(service["state"], _STYLES.get(service["state"], "")),
            service["address"],
            service["pid"] or "-",
            service["restarts"],
            render.one_line(service["detail"], 90),
        )
        for service in facts["services"]
    ]
    return render.grid(("service", "state", "address", "pid", "restarts", "detail"), rows, right=("pid", "restarts"))


def _shards(shards: Facts) -> list[RenderableType]:
    """How near the index is to its limit; nothing where it does not answer, which the tables say."""
    from rich.text import Text

    if shards["open"] is None:
        return []
    said = f"index: {shards['open']:,} of {shards['limit']:,} shards"
    if shards["exceeded"]:
        more = f", above the share of {shards['share']:.0%}: at the limit nothing gets a new index; see the runbook index_shards"
        return [Text(said + more, "bold red"), Text()]
    return [Text(said), Text()]


def tables(system: Facts) -> RenderableType:
    """One system's tables."""
    from rich.text import Text

    from platform_assets.cli import render

    rows = []
    for table in system["tables"]:
        name = f"{system['system']}.{table['table']}"
        if table.get("error"):
            rows.append((name, Text(render.one_line(table["error"], 60), "red"), *[""] * 8))
            continue
        rejected = render.count(table["quarantined_recent"])
        rows.append(
            (
                name,
                render.count(table["lag"]),
                _age(table["watermark"]),
                render.count(table["rows"]),
                Text(rejected, "yellow") if table["quarantined_recent"] else rejected,
                render.count(table["quarantined"]),
                Text(render.count(table["index_refused"]), "yellow" if table["index_refused"] else ""),
                Text(render.count(table["conflicts"]), "yellow" if table["conflicts"] else ""),
                render.count(table["index_behind"]),
                _age(table["last_commit"]),
            )
        )
    headers = (
        "table",
        "lag",
        "watermark",
        "rows",
        "rejected 2 d",
        "all",
        "not indexed",
        "conflicts",
        "index behind",
        "last commit",
    )
    return render.grid(
        headers, rows, right=("lag", "rows", "rejected 2 d", "all", "not indexed", "conflicts", "index behind")
    )


def _age(moment: str | None) -> str:
    from platform_assets.cli import render

    return render.ago(None if moment is None else datetime.fromisoformat(moment))


def _attention(system: Facts) -> list[RenderableType]:
    """What stands still until somebody does something, and what could not be asked."""
    from rich.text import Text

    from platform_assets.cli import render

    unanswered = {said: None for table in system["tables"] for said in table.get("unanswered") or ()}
    return [
        *(Text(render.one_line(said), "yellow") for said in unanswered),
        *(
            Text(
                f"{system['system']}.{gap['table']}: the broker lost offsets {gap['expected']}..{gap['earliest'] - 1} of "
                f"partition {gap['partition']}; see `assay accept-gap --help`",
                "bold red",
            )
            for gap in system["gaps"] or []
        ),
    ]
