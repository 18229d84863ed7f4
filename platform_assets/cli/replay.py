"""`assay replay`: rejects through the present contract again."""

from __future__ import annotations

import click

from platform_assets.cli.session import Command, Session, json_option, pass_session


@click.command(cls=Command, examples=("assay replay logs --dry-run", "assay replay logs --table events"))
@click.argument("system")
@click.option("--table", "tables", multiple=True, help="Only this table (may be repeated).")
@click.option("--dry-run", is_flag=True, help="Show what would happen to each reject, and change nothing.")
@json_option
@pass_session
def replay(session: Session, system: str, tables: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Process rejects again with the current contract.

    Records that are now accepted move to silver and the index; the others stay in quarantine. The worker may keep
    running, and a second replay changes nothing.
    """
    from platform_assets.cli import render
    from platform_assets.reconcile.replay import replay as run

    contract = session.contract(system)
    names = [session.table_of(contract, name).name for name in tables] or None
    with render.step_progress() as progress:
        bars: dict[str, int] = {}

        def tell(table: str, done: int, total: int) -> None:
            if table not in bars:
                bars[table] = progress.add_task(table, total=total or None)
            progress.update(bars[table], completed=done, total=total or None)  # type: ignore[arg-type]

        report = run(session.settings, contract, names, dry_run, tell)
    if as_json:
        render.emit(report.to_dict())
        return
    out = render.console()
    rows = [
        (
            f"{system}.{table.table}",
            f"{table.looked_at:,}",
            f"{table.accepted:,}",
            f"{table.duplicates:,}",
            f"{table.conflicts:,}",
            f"{sum(table.still_rejected.values()):,}",
            f"{table.unavailable:,}",
            f"{table.documents:,}",
        )
        for table in report.tables.values()
    ]
    headers = (
        "table",
        "looked at",
        "accepted",
        "duplicates",
        "conflicts",
        "still rejected",
        "gone from bronze",
        "documents",
    )
    out.print(render.grid(headers, rows, right=headers[1:]))
    for table in report.tables.values():
        for reason, number in table.still_rejected.most_common(10):
            out.print(f"  {system}.{table.table}  {number:,} x {render.one_line(reason)}", soft_wrap=True)
    if dry_run:
        out.print("nothing was changed (--dry-run)")
