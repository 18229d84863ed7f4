"""`assay prove`: whether every record is exactly where it should be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from platform_assets.cli.session import Command, Session, json_option, pass_session

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from platform_assets.contracts.model import Contract
    from platform_assets.core.settings import Settings
    from platform_assets.marts.audit import GoldAudit
    from platform_assets.reconcile.proof import Failure, Proof, TableProof

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
    cls=Command,
    examples=(
        "assay prove",
        "assay prove logs --table access",
        "assay prove --json | jq .holds",
        "assay prove logs --gold --sample 20",
    ),
)
@click.argument("system", required=False)
@click.option("--table", "tables", multiple=True, help="Only this table (may be repeated).")
@click.option(
    "--quick",
    is_flag=True,
    help="Do not transform bronze again; only the index then shows rows that changed places.",
)
@click.option("--gold", is_flag=True, help="Audit marts instead: recompute slots from silver and compare them.")
@click.option("--mart", "marts", multiple=True, help="With --gold: only this mart (may be repeated).")
@click.option(
    "--sample",
    type=click.IntRange(1, 100_000),
    default=5,
    show_default=True,
    help="With --gold: number of slots per mart.",
)
@json_option
@pass_session
@click.pass_context
def prove(
    ctx: click.Context,
    session: Session,
    system: str | None,
    tables: tuple[str, ...],
    quick: bool,
    gold: bool,
    marts: tuple[str, ...],
    sample: int,
    as_json: bool,
) -> None:
    """Prove that every record is exactly where it should be.

    Offsets = bronze = silver + quarantine + duplicates = index, by ids and content hashes at fixed offsets; the worker may go
    on meanwhile. Exits with 1 when it does not hold.

    With --gold it audits marts: the newest slot of each mart and some random slots are recomputed in full from the
    silver rows that the mart has consumed, and compared with the published values.
    """
    from platform_assets.cli import render

    if gold:
        if tables or quick:
            raise click.UsageError("--gold is of marts: --table and --quick do not go with it", ctx)
        ctx.exit(0 if _audit(session, system, marts, sample, as_json) else 1)
    if marts:
        raise click.UsageError("--mart goes with --gold", ctx)
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
    from platform_assets.reconcile.prove import prove

    with render.step_progress() as progress:
        return prove(settings, contract, tables, _Teller(progress), deep=deep)


def _audit(session: Session, system: str | None, marts: tuple[str, ...], sample: int, as_json: bool) -> bool:
    """Audit the marts of the chosen systems, and show what differs; whether nothing does."""
    from platform_assets.cli import render
    from platform_assets.marts.audit import audit
    from platform_assets.marts.figure import find_mart
    from platform_assets.marts.graph import marts_of
    from platform_assets.marts.project import has_models, project_folder

    project = project_folder()
    found = []
    for contract in session.chosen(system):
        if system is None and not has_models(project, contract.system):
            continue
        known = marts_of(project, contract)
        only = {find_mart(known, contract.system, name).name for name in marts} or None
        with render.step_progress() as bar:
            task = bar.add_task(f"gold of {contract.system}", total=None)

            def told(what: str, done: int, total: int, bar: Progress = bar, task: Any = task) -> None:
                bar.update(task, description=what, completed=done, total=total or None)

            found.append(audit(session.settings, contract, only=only, sample=sample, progress=told))
        if not as_json:
            _show_audit(render.console(), found[-1])
    holds = all(one.holds for one in found)
    if as_json:
        render.emit({"holds": holds, "systems": [one.to_dict() for one in found]})
    return holds


def _show_audit(out: Console, found: GoldAudit) -> None:
    from rich.text import Text

    from platform_assets.cli import render

    for name, mart in found.marts.items():
        sign = ("ok  ", "green") if mart.holds else ("FAIL", "bold red")
        left = "".join(f", {count:,} left out ({why})" for why, count in mart.left_out.items())
        said = (
            "never refreshed"
            if mart.refresh is None
            else f"{render.counted(mart.slots, 'slot')} with {render.counted(mart.rows, 'row')} compared{left}"
        )
        out.print(Text.assemble(sign, f" {found.system}.{name}: {said}"), soft_wrap=True)
        for one in mart.differences:
            key = ", ".join(f"{column}={value}" for column, value in one.key.items())
            line = f"     {one.slot} {one.column}: published {one.published}, recomputed {one.recomputed} ({key})"
            out.print(Text(line, "red"), soft_wrap=True)
        if (more := mart.differing - len(mart.differences)) > 0:
            out.print(Text(f"     and {more:,} more", "red"))
    for name, why in found.refused.items():
        out.print(Text.assemble(("FAIL", "bold red"), f" {found.system}.{name} is refused: {why}"), soft_wrap=True)
    verdict = render.mark(found.holds, "it holds", "IT DOES NOT HOLD")
    verdict.append(f" (gold of {found.system}, {found.seconds:.1f} s)", "default")
    out.print(verdict)


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

    from platform_assets.cli import render

    counts = table.counts
    parts = [f"{counts.get(name, 0):,} {word}" for name, word in _PARTS.items() if counts.get(name) or name == "silver"]
    equation = f"{render.counted(counts.get('records', 0), 'record')} = {' + '.join(parts)}"
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
