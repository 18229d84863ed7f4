"""`assay backup`, `assay restore` and `assay reindex`: a copy of the lake, its way back, and an index that follows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from platform_assets.cli.session import Command, Session, json_option, pass_session

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from platform_assets.backup.backup import Progress
    from platform_assets.lane.reindex import ReindexReport


@click.command(
    cls=Command, examples=("assay backup /mnt/backup/2026-01-15", "assay backup /mnt/backup/today --secrets --json")
)
@click.argument("dest", type=click.Path(path_type=Path))
@click.option("--link", is_flag=True, help="Hard-link the tables' files: quick, but of no help when this disk is lost.")
@click.option(
    "--secrets", is_flag=True, help="Take secrets.env too. Without it masking keys and passwords are yours to keep."
)
@json_option
@pass_session
def backup(session: Session, dest: Path, link: bool, secrets: bool, as_json: bool) -> None:
    """Copy the lake and what lies beside it into the new folder DEST.

    Tables, accepted contracts, Dagster's database, audit. Lanes may go on meanwhile. Every file is read again and checked.
    Kafka and OpenSearch are not copied.
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
@click.option("--secrets", is_flag=True, help="Put the backup's secrets.env in place too.")
@click.option("--reindex", "index", is_flag=True, help="Then build every index anew, as `assay reindex` does.")
@json_option
@pass_session
def restore(session: Session, source: Path, secrets: bool, index: bool, as_json: bool) -> None:
    """Put a backup in place: into a home without a lake.

    Nothing is overwritten. Afterwards the lane goes on where the backup ends, as far as Kafka still has the records. An index
    that was filled before has to be built anew.
    """
    from platform_assets.backup.restore import restore as run
    from platform_assets.cli import render

    with _bytes() as progress:
        report = run(session.settings, source, secrets=secrets, progress=progress)
    session.reload()
    reports = (
        [made for contract in session.chosen(None) for made in _reindex(session, contract.system, None)]
        if index
        else []
    )
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
            "lane runs, or restore with --secrets"
        )
    _tell(reports)
    if not index:
        click.echo("next: `assay reindex SYSTEM` if the index was filled before, then the lane; `assay prove` tells")


@click.command(cls=Command, examples=("assay reindex logs", "assay reindex logs events"))
@click.argument("system")
@click.argument("table", required=False)
@json_option
@pass_session
def reindex(session: Session, system: str, table: str | None, as_json: bool) -> None:
    """Build a system's index anew from silver.

    For an index that was filled from another lake, or before a restore. The old one serves until the new one is complete, day
    by day; lanes may go on meanwhile.
    """
    from platform_assets.cli import render

    reports = _reindex(session, system, table)
    if as_json:
        render.emit(reports)
    else:
        _tell(reports)


def _reindex(session: Session, system: str, table: str | None) -> list[ReindexReport]:
    from platform_assets.cli import render
    from platform_assets.lane.reindex import reindex as run

    contract = session.contract(system)
    chosen = [session.table_of(contract, table)] if table else list(contract.tables)
    with render.counter() as counter:
        reports = []
        for target in chosen:
            bar = counter.add_task(target.qualified_name, total=None)
            reports.append(run(session.settings, target, partial(_count, counter, bar)))
    return reports


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
