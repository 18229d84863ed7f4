"""`assay backup`, `assay restore` and `assay reindex`: a copy of the lake, its way back, and an index that follows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from platform_assets.cli.session import Command, Session, json_option, pass_session
from platform_assets.core.errors import AssayError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from platform_assets.backup.backup import Progress
    from platform_assets.index.rebuild import ReindexReport

    _Work = Callable[[Callable[[int], None]], ReindexReport]


@click.command(
    cls=Command, examples=("assay backup /mnt/backup/2026-01-15", "assay backup /mnt/backup/today --secrets --json")
)
@click.argument("dest", type=click.Path(path_type=Path))
@click.option(
    "--link", is_flag=True, help="Hard-link the tables' files: fast, but no protection against the loss of this disk."
)
@click.option(
    "--secrets", is_flag=True, help="Include secrets.env. Otherwise keep masking keys and passwords yourself."
)
@json_option
@pass_session
def backup(session: Session, dest: Path, link: bool, secrets: bool, as_json: bool) -> None:
    """Back up the lake and its metadata into the new folder DEST.

    It contains the tables, the accepted contracts, Dagster's database and the audit trail. Workers may keep running.
    Every copied file is read back and verified. Kafka and OpenSearch are not backed up.
    """
    from platform_assets.backup.backup import backup as run
    from platform_assets.cli import render

    with _bytes() as progress:
        report = run(session.settings, dest, link=link, secrets=secrets, progress=progress)
    if as_json:
        render.emit(report)
        return
    click.echo(
        f"{report.path}: {len(report.tables)} tables, {report.files:,} files, {render.size(report.bytes)}, "
        f"checked, {render.duration(report.seconds)}"
    )
    if not secrets:
        click.echo("without secrets.env: masked values cannot be made again without its keys, keep them elsewhere")


@click.command(
    cls=Command,
    examples=(
        "assay restore /mnt/backup/2026-01-15 --home /srv/assay --secrets",
        "assay restore /mnt/backup/today --reindex",
    ),
)
@click.argument("source", metavar="SRC", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--secrets", is_flag=True, help="Restore the backup's secrets.env too.")
@click.option("--reindex", "index", is_flag=True, help="Then rebuild every index, as `assay reindex` does.")
@json_option
@pass_session
def restore(session: Session, source: Path, secrets: bool, index: bool, as_json: bool) -> None:
    """Restore a backup into a home without a lake.

    Nothing is overwritten. Afterwards the worker continues where the backup ends, provided that Kafka still has the
    records. An index that was filled before must be rebuilt.
    """
    from platform_assets.alerts.platform import PLATFORM_SYSTEM
    from platform_assets.backup.restore import restore as run
    from platform_assets.cli import render

    with _bytes() as progress:
        report = run(session.settings, source, secrets=secrets, progress=progress)
    session.reload()
    systems = [*(contract.system for contract in session.chosen(None)), PLATFORM_SYSTEM] if index else []
    reports = [made for system in systems for made in _reindex(session, system, None)]
    if as_json:
        render.emit({"restore": report, "reindex": reports})
        return
    click.echo(
        f"{report.path}: {len(report.tables)} tables, {report.files:,} files, {render.size(report.bytes)}, "
        f"as of {report.created}, {render.duration(report.seconds)}"
    )
    if report.missing_key:
        click.echo(
            f"the masking key {report.missing_key} is not known here: set ASSAY_HMAC_KEY_ID and ASSAY_HMAC_KEY to it before a "
            "ingest runs, or restore with --secrets"
        )
    _tell(reports)
    if not index:
        click.echo("next: `assay reindex SYSTEM` if the index was filled before, then the worker; `assay prove` tells")


@click.command(
    cls=Command, examples=("assay reindex logs", "assay reindex logs events", "assay reindex logs errors_hour")
)
@click.argument("system")
@click.argument("table", required=False)
@json_option
@pass_session
def reindex(session: Session, system: str, table: str | None, as_json: bool) -> None:
    """Rebuild a system's indices from the lake.

    Needed for an index of events, gold or alerts that was filled from another lake or before a restore, or whose
    periods the contract has changed. The old index serves searches until the new one is complete, and workers may
    keep running. TABLE is a table of events, a mart, or `alerts`; the system `assay` has only alerts.
    """
    from platform_assets.cli import render

    reports = _reindex(session, system, table)
    if as_json:
        render.emit(reports)
    else:
        _tell(reports)


def _reindex(session: Session, system: str, table: str | None) -> list[ReindexReport]:
    from platform_assets.cli import render

    works = _works(session, system)
    chosen = [table.removeprefix(f"{system}.")] if table else list(works)
    if unknown := set(chosen) - set(works):
        raise AssayError(f"{system} has no index of {unknown.pop()!r}", f"known: {', '.join(works)}")
    with render.counter() as counter:
        reports = []
        for name in chosen:
            bar = counter.add_task(f"{system}.{name}", total=None)
            reports.append(works[name](partial(_count, counter, bar)))
    return reports


def _works(session: Session, system: str) -> dict[str, _Work]:
    """How each index of a system is built anew, by the name of its table."""
    from platform_assets.alerts.index import NAME
    from platform_assets.alerts.maintain import reindex_alerts
    from platform_assets.alerts.platform import PLATFORM_SYSTEM
    from platform_assets.ingest.reindex import reindex as reindex_table
    from platform_assets.marts.graph import marts_of
    from platform_assets.marts.project import has_models, project_folder
    from platform_assets.marts.reindex import reindex_mart

    settings, project = session.settings, project_folder()
    works: dict[str, _Work] = {}
    if system != PLATFORM_SYSTEM:
        contract = session.contract(system)
        works |= {t.name: partial(reindex_table, settings, t) for t in contract.tables}
        marts = marts_of(project, contract) if has_models(project, system) else ()
        works |= {mart.name: partial(reindex_mart, settings, contract, mart) for mart in marts if mart.index}
    return {**works, NAME: lambda _tell: reindex_alerts(settings, system)}


def _count(counter: Bar, task: TaskID, done: int) -> None:
    counter.update(task, completed=done)


def _tell(reports: list[ReindexReport]) -> None:
    from platform_assets.cli import render

    for report in reports:
        gone = f", {len(report.deleted)} indices deleted that the lake knows nothing of" if report.deleted else ""
        click.echo(
            f"{report.table}: {sum(report.documents.values()):,} documents in {len(report.documents)} indices{gone}, "
            f"{render.duration(report.seconds)}"
        )


@contextmanager
def _bytes() -> Iterator[Progress]:
    """A bar over bytes, by phase."""
    from platform_assets.cli import render

    with render.size_progress() as bar:
        tasks: dict[str, TaskID] = {}

        def tell(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = bar.add_task(phase, total=total)
            bar.update(tasks[phase], completed=done, total=total)

        yield tell
