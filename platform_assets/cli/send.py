"""`assay send`: files into a topic, one record a message."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

import click

from platform_assets.cli.session import Command, Session, Stop, json_option, pass_session, stopping
from platform_assets.errors import AssayError

if TYPE_CHECKING:
    from platform_assets.contracts.model import Table
    from platform_assets.stream.produce import Record

CHUNK = 256 * 1024
LOOK_S = 0.2
"""How often a source that gives nothing is left to see whether to stop."""
BYTES_IN_FLIGHT = 64 * 1024 * 1024
"""The producer's memory is bounded in records; large records must be bounded in bytes."""


@dataclass
class Sent:
    """What was sent: acknowledged records, bytes of the files, and `[first, last]` offsets by partition."""

    topic: str
    records: int = 0
    bytes: int = 0
    cut: int = 0
    offsets: dict[int, tuple[int, int]] = field(default_factory=dict)


@click.command(
    cls=Command,
    examples=(
        "assay send logs.access access.log",
        "assay send logs.broker server.log.* --rate 5000",
        "zcat access.log.gz | assay send logs.access -",
        "kubectl logs -f web | assay send logs.access -",
    ),
)
@click.argument("table")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), metavar="N", help="Records a second at most.")
@json_option
@pass_session
def send(session: Session, table: str, files: tuple[str, ...], rate: float | None, as_json: bool) -> None:
    """Publish the records of files to a table's topic.

    TABLE is `system.table` or the topic's name. A FILE holds lines, JSON lines, or records of several lines as the table's
    contract says; `-` is standard input, whose records are sent as they come (one of several lines when the next begins, or
    at the end). Bytes are sent as they are: what is wrong with them is found out, and kept, by the lane.
    """
    from platform_assets.cli import render
    from platform_assets.cli.publish import producer_for
    from platform_assets.stream.produce import send_paced

    target = session.table(table)
    _check_files(files)
    sent = Sent(target.topic)
    total = None if "-" in files else sum(Path(name).stat().st_size for name in files)
    producer = producer_for(session.settings, target)
    with stopping() as stop, render.byte_progress() as progress:
        task = progress.add_task(target.topic, total=total, records=0)

        def advance(count: int) -> None:
            progress.update(task, records=producer.delivered)
            if stop.is_set():
                raise _Stopped
            del count

        def pause(seconds: float) -> None:
            if stop.wait(seconds):
                raise _Stopped

        def batches() -> Iterator[list[Record]]:
            waiting = 0
            for name in files:
                for records, size in _records(name, target, sent, stop):
                    yield [(None, record) for record in records]
                    sent.bytes += size
                    progress.update(task, advance=size)
                    waiting += sum(map(len, records))
                    if waiting > BYTES_IN_FLIGHT:
                        producer.flush()
                        waiting = 0

        try:
            send_paced(producer, batches(), rate, advance, pause)
        except _Stopped:
            producer.flush()
        sent.records, sent.offsets = producer.delivered, producer.ranges()
        _tell(sent, as_json)


class _Stopped(Exception):
    """Ctrl-C between two batches: what was handed over is still acknowledged and told."""


def _check_files(files: tuple[str, ...]) -> None:
    """Before anything is sent: a wrong third file must not leave two files in the topic."""
    for name in files:
        path = Path(name)
        if name != "-" and not path.exists():
            raise AssayError(f"there is no file {name}", "nothing was sent")
        if name != "-" and path.is_dir():
            raise AssayError(f"{name} is a folder", "name the files in it; nothing was sent")
        if name != "-" and not os.access(path, os.R_OK):
            raise AssayError(f"we may not read {name}", "nothing was sent")


def _records(name: str, table: Table, sent: Sent, stop: Stop) -> Iterator[tuple[list[bytes], int]]:
    """The records of one file, with the bytes of the file that they stand for."""
    from platform_assets.stream.files import Framer

    framer = Framer(table)
    told = 0
    with _open(name) as source:
        while _ready(source, stop) and (chunk := source.read(CHUNK)):
            if records := framer.feed(chunk):
                yield records, framer.consumed - told
                told = framer.consumed
        if not stop.is_set() and (records := framer.finish()):
            yield records, framer.consumed - told
    sent.cut += framer.cut


def _open(name: str) -> FileIO:
    """Without a buffer: a read gives what there is, and does not wait until somebody slow has written all that it asks for."""
    if name == "-":
        return os.fdopen(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
    return Path(name).open("rb", buffering=0)


def _ready(source: FileIO, stop: Stop) -> bool:
    """Wait until there is something to read, or the end; False when told to stop. (A read goes on after a signal.)"""
    while not stop.is_set():
        if select.select([source], [], [], LOOK_S)[0]:
            return True
    return False


def _tell(sent: Sent, as_json: bool) -> None:
    from platform_assets.cli import render

    if as_json:
        render.emit(sent)
        return
    out = render.console()
    out.print(f"{sent.topic}: {sent.records:,} records, {render.size(sent.bytes)}", soft_wrap=True)
    if sent.cut:
        out.print(f"{sent.cut:,} records were too long and cut; they will be refused as too large", soft_wrap=True)
    if sent.offsets:
        rows = [(number, f"{first}..{last}") for number, (first, last) in sorted(sent.offsets.items())]
        out.print(render.grid(("partition", "offsets"), rows, right=("partition",)))
