"""`assay tail`: growing files into a topic, for as long as it runs."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from platform_assets.cli.session import Command, Session, Stop, pass_session, stopping
from platform_assets.core.errors import AssayError

if TYPE_CHECKING:
    from platform_assets.contracts.model import Table
    from platform_assets.sources.files.tail import FileTail
    from platform_assets.sources.kafka.ranges import RangeProducer

IDLE_S = 0.2
SETTLED_S = 90.0
"""A tail that has run for so long is well: the alert of an earlier end is over."""


@click.command(cls=Command, examples=("assay tail logs.access /var/log/nginx/access.log",))
@click.argument("table")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--quiet-after",
    type=click.FloatRange(min=0.1),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="The last multi-line record is complete after this time without a new line.",
)
@click.option("--accept-loss", is_flag=True, help="Continue with what exists if the rest of a file cannot be found.")
@pass_session
def tail(session: Session, table: str, files: tuple[Path, ...], quiet_after: float, accept_loss: bool) -> None:
    """Follow growing files into a table's topic until Ctrl-C.

    Handles rotation (also to compressed files), truncation and restarts; its position in each file is stored in the
    home folder. A file is read from its beginning the first time. If the rest of a file cannot be found, or a file
    cannot be read, the command raises the alert `tail_stopped`, follows the other files, and exits with 1. After a
    crash between the broker's acknowledgement and the saved position, the last records are sent again; tables with a
    key drop them.
    """
    from platform_assets.cli import render
    from platform_assets.sources.kafka.ranges import producer_for

    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    target = session.table(table)
    followed: list[tuple[FileTail, ExitStack]] = []
    failed: list[AssayError] = []
    with ExitStack() as held:
        for path in files:
            one = held.enter_context(ExitStack())
            with _going_on(failed, others=len(files) > 1), _alerting(session, target, path):
                followed.append((one.enter_context(_Held(session, target, path, quiet_after, accept_loss)), one))
        producer = producer_for(session.settings, target)
        with stopping() as stop:
            if followed:
                click.echo(
                    f"following {render.counted(len(followed), 'file')} into {target.topic}; Ctrl-C ends", err=True
                )
            try:
                _follow(session, target, followed, failed, producer, stop)
            finally:
                click.echo(f"{target.topic}: {render.counted(producer.delivered, 'record')}", err=True)
            if failed:  # says more than how the command was ended
                raise AssayError(
                    f"{len(failed)} of {len(files)} files could not be followed to the end", "see what was said of them"
                )


class _Held:
    """A tail with its position, held by one process only."""

    def __init__(self, session: Session, table: Table, path: Path, quiet_s: float, accept_loss: bool) -> None:
        self._folder = session.settings.home / "tail" / table.topic
        self._table, self._path, self._quiet_s = table, path.absolute(), quiet_s
        self._accept_loss = accept_loss
        self._stack = ExitStack()

    def __enter__(self) -> FileTail:
        from platform_assets.core.files import locked
        from platform_assets.sources.files.tail import FileTail, PositionFile

        if not self._path.parent.is_dir():
            raise AssayError(f"there is no folder {self._path.parent}", "the file may be absent, its folder may not")
        name = hashlib.sha256(str(self._path).encode()).hexdigest()[:16]
        with self._stack as stack:
            if not stack.enter_context(locked(self._folder / f"{name}.lock", wait=False)):
                raise AssayError(
                    f"{self._path} is being followed into {self._table.topic} already", "end the other one first"
                )
            positions = PositionFile(self._folder / f"{name}.json")
            try:
                tail = FileTail(
                    self._path,
                    self._table,
                    positions,
                    quiet_s=self._quiet_s,
                    scratch=self._folder,
                    accept_loss=self._accept_loss,
                )
            except (json.JSONDecodeError, TypeError) as error:
                raise AssayError(
                    f"{positions.path} is damaged", "delete it to read the file from its beginning again"
                ) from error
            stack.callback(tail.close)
            self._stack = stack.pop_all()
        return tail

    def __exit__(self, *_: object) -> None:
        self._stack.close()


class _Troubled(Exception):
    """This file cannot be followed; that was told as an alert."""

    def __init__(self, told: AssayError) -> None:
        super().__init__(str(told))
        self.told = told


@contextmanager
def _alerting(session: Session, table: Table, path: Path) -> Iterator[None]:
    """What ends the following of this file is an alert besides an error."""
    from platform_assets.sources.files.content import UnreadableFile
    from platform_assets.sources.files.tail import Lost

    try:
        yield
    except (Lost, UnreadableFile, OSError) as error:
        told: AssayError
        if isinstance(error, OSError):
            told = AssayError(
                f"{path} cannot be followed ({error.strerror or error})", "put that right, and start again"
            )
        else:
            told = error
        _see(session, table, path, str(told))
        raise _Troubled(told) from error


def _see(session: Session, table: Table, path: Path, trouble: str) -> None:
    """Raise or end the alert of a file. Its store may be what is wrong: the command's own error matters more."""
    from platform_assets.alerts.platform import TAIL, sighting
    from platform_assets.alerts.service import AlertService
    from platform_assets.alerts.text import DETAIL_LENGTH, neutral

    now = datetime.now(UTC)
    subject = neutral(f"{table.qualified_name} from {path.absolute()}", DETAIL_LENGTH)
    seen = sighting(TAIL, subject, now, breach=bool(trouble), detail=neutral(trouble, DETAIL_LENGTH))
    try:
        alert_service = AlertService(session.settings, table.system, index=False)
        try:
            alert_service.see([seen])
        finally:
            alert_service.close()
    except Exception:
        logging.getLogger(__name__).warning("the alert of %s could not be stored", path, exc_info=session.debug)


@contextmanager
def _going_on(failed: list[AssayError], *, others: bool) -> Iterator[None]:
    """One file's trouble must not keep the others from being followed; without others it is the command's own error."""
    try:
        yield
    except _Troubled as error:
        if not others:
            raise error.told from error.__cause__
        failed.append(error.told)
        click.echo(f"{error.told}; the other files are followed all the same", err=True)


def _follow(
    session: Session,
    table: Table,
    followed: list[tuple[FileTail, ExitStack]],
    failed: list[AssayError],
    producer: RangeProducer,
    stop: Stop,
) -> None:
    several = len(followed) + len(failed) > 1
    # Until then the alert of an earlier end counts as going on, even if all is well again.
    settled = time.monotonic() + SETTLED_S
    while followed and not stop.is_set():
        moved = False
        for tail, held in list(followed):
            records: list[bytes] | None = None
            with _going_on(failed, others=several), _alerting(session, table, tail.path):
                records = tail.poll()
            if records is None:
                followed.remove((tail, held))
                held.close()
                continue
            if records:
                producer.send([(None, record) for record in records])
                producer.flush()
                moved = True
            tail.commit()
        if settled and time.monotonic() >= settled:
            settled = 0.0
            for tail, _ in followed:
                _see(session, table, tail.path, "")
        if not moved:
            stop.wait(IDLE_S)
