"""`assay prove`: whether every record is exactly where it should be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from platform_assets.cli.session import Command, Session, json_option, pass_session

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from platform_assets.contracts.model import Contract
    from platform_assets.settings import Settings
    from platform_assets.trust.proof import Failure, Proof, TableProof

_PARTS = {
    "silver": "silver",
    "quarantined": "quarantine",
    "duplicates": "duplicates",
    "expired": "expired",
    "undecided": "waiting",
}
_ELSE = {
    "conflicts": "duplicates with other values than the row that stays",
    "lag": "not landed yet",
    "index_behind": "commits not indexed yet",
    "refused": "refused by the index",
    "skipped": "offsets without a record",
    "gaps": "offsets lost and accepted",
    "beyond_bronze_retention": "rows older than bronze",
    "not_rederivable": "rows of another contract version or key",
}
EXAMPLES = 3


@click.command(
    cls=Command, examples=("assay prove", "assay prove logs --table access", "assay prove --json | jq .holds")
)
@click.argument("system", required=False)
@click.option("--table", "tables", multiple=True, help="Only this table (may be repeated).")
@click.option("--quick", is_flag=True, help="Do not refine bronze again; everything else is compared.")
@json_option
@pass_session
@click.pass_context
def prove(
    ctx: click.Context, session: Session, system: str | None, tables: tuple[str, ...], quick: bool, as_json: bool
) -> None:
    """Prove that every record is exactly where it should be.

    Offsets = bronze = silver + quarantine + duplicates = index, by ids and content hashes at fixed offsets; the lane may go
    on meanwhile. Exits with 1 when it does not hold.
    """
    from platform_assets.cli import render

    if tables and not system:
        raise click.UsageError("--table needs a SYSTEM", ctx)
    proofs = []
    for contract in session.chosen(system):
        names = [session.table_of(contract, name).name for name in tables] or None
        proofs.append(run(session.settings, contract, names, deep=not quick))
        if not as_json:
            show(render.console(), proofs[-1])
    holds = all(proof.holds for proof in proofs)
    if as_json:
        render.emit({"holds": holds, "systems": [proof.to_dict() for proof in proofs]})
    ctx.exit(0 if holds else 1)


def run(settings: Settings, contract: Contract, tables: list[str] | None = None, *, deep: bool = True) -> Proof:
    """Prove one system, with progress on standard error."""
    from platform_assets.cli import render
    from platform_assets.trust.prove import prove

    with render.step_progress() as progress:
        return prove(settings, contract, tables, _Teller(progress), deep=deep)


class _Teller:
    """One line of progress a table; a new phase starts its bar anew."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[tuple[str, str], int] = {}

    def __call__(self, table: str, phase: str, done: int, total: int) -> None:
        if (table, phase) not in self._tasks:
            for task in self._tasks.values():
                self._progress.update(task, visible=False)  # type: ignore[arg-type]
            self._tasks[table, phase] = self._progress.add_task(f"{table}: {phase}", total=total or None)
        self._progress.update(self._tasks[table, phase], completed=done, total=total or None)  # type: ignore[arg-type]


def show(out: Console, proof: Proof) -> None:
    """The report: what equals what, and each claim with its verdict."""
    from platform_assets.cli import render

    for table in proof.tables.values():
        _show_table(out, proof.system, table)
    verdict = render.mark(proof.holds, "it holds", "IT DOES NOT HOLD")
    verdict.append(f" ({proof.system}, {proof.seconds:.1f} s)", "default")
    out.print(verdict)


def _show_table(out: Console, system: str, table: TableProof) -> None:
    from rich.text import Text

    counts = table.counts
    parts = [f"{counts.get(name, 0):,} {word}" for name, word in _PARTS.items() if counts.get(name) or name == "silver"]
    equation = f"{counts.get('records', 0):,} records = {' + '.join(parts)}"
    if "documents" in counts:
        equation += f"; {counts['documents']:,} documents"
    out.print(Text.assemble((f"{system}.{table.table}  ", "bold"), equation), soft_wrap=True)
    besides = [f"{counts[name]:,} {word}" for name, word in _ELSE.items() if counts.get(name)]
    if besides:
        out.print(f"  besides: {', '.join(besides)}", soft_wrap=True)
    for check in table.checks.values():
        sign = {True: ("ok  ", "green"), False: ("FAIL", "bold red"), None: ("-   ", "dim")}[check.holds]
        said = f"not looked at: {check.skipped}" if check.skipped else check.claim
        out.print(Text.assemble("  ", sign, f" {check.name:<14}", said), soft_wrap=True)
        for failure in check.failures:
            out.print(Text(f"       {failure.code}: {failure.message} ({failure.count:,})", "red"), soft_wrap=True)
            _show_examples(out, failure)
        for warning in check.warnings:
            out.print(Text(f"       {warning.code}: {warning.message} ({warning.count:,})", "yellow"), soft_wrap=True)
            _show_examples(out, warning)
    out.print()


def _show_examples(out: Console, found: Failure) -> None:
    from platform_assets.cli import render

    for example in found.examples[:EXAMPLES]:
        out.print(f"         {render.one_line(example, 160)}", soft_wrap=True)
