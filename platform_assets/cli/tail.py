"""`assay tail`: growing files into a topic, for as long as it runs."""

from __future__ import annotations

import hashlib
import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from platform_assets.cli.session import Command, Session, Stop, pass_session, stopping
from platform_assets.errors import AssayError

if TYPE_CHECKING:
    from platform_assets.cli.publish import RangeProducer
    from platform_assets.contracts.model import Table
    from platform_assets.stream.tail import FileTail

IDLE_S = 0.2


@click.command(cls=Command, examples=("assay tail logs.access /var/log/nginx/access.log",))
@click.argument("table")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--quiet-after",
    type=click.FloatRange(min=0.1),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="A record of several lines counts as complete after so long without a new line.",
)
@pass_session
def tail(session: Session, table: str, files: tuple[Path, ...], quiet_after: float) -> None:
    """Follow growing files into a table's topic until Ctrl-C.

    Survives rotation, truncation and restarts: where it was is kept under the home. A file is read from its beginning
    the first time. A crash between the broker's acknowledgement and the note of it sends the last records again; tables with
    a key drop them.
    """
    import logging

    from platform_assets.cli.publish import producer_for

    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    target = session.table(table)
    with ExitStack() as held:
        tails = [held.enter_context(_Held(session, target, path, quiet_after)) for path in files]
        producer = producer_for(session.settings, target)
        with stopping() as stop:
            click.echo(f"following {len(tails)} file(s) into {target.topic}; Ctrl-C ends", err=True)
            try:
                _follow(tails, producer, stop)
            finally:
                click.echo(f"{target.topic}: {producer.delivered:,} records", err=True)


class _Held:
    """A tail with its position, held by one process only."""

    def __init__(self, session: Session, table: Table, path: Path, quiet_s: float) -> None:
        self._folder = session.settings.home / "tail" / table.topic
        self._table, self._path, self._quiet_s = table, path.absolute(), quiet_s
        self._stack = ExitStack()

    def __enter__(self) -> FileTail:
        from platform_assets.local.files import locked
        from platform_assets.stream.tail import FileTail, PositionFile

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
                tail = FileTail(self._path, self._table, positions, quiet_s=self._quiet_s)
            except (json.JSONDecodeError, TypeError) as error:
                raise AssayError(
                    f"{positions.path} is damaged", "delete it to read the file from its beginning again"
                ) from error
            stack.callback(tail.close)
            self._stack = stack.pop_all()
        return tail

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _follow(tails: list[FileTail], producer: RangeProducer, stop: Stop) -> None:
    while not stop.is_set():
        moved = False
        for tail in tails:
            if records := tail.poll():
                producer.send([(None, record) for record in records])
                producer.flush()
                moved = True
            tail.commit()
        if not moved:
            stop.wait(IDLE_S)
