"""`assay send`: files into a topic, one record a message."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

import click

from platform_assets.cli.session import Command, Session, Stop, json_option, pass_session, stopping
from platform_assets.core.errors import AssayError

if TYPE_CHECKING:
    from platform_assets.contracts.model import Table
    from platform_assets.sources.kafka.produce import Record
    from platform_assets.sources.kafka.ranges import RangeProducer

CHUNK = 256 * 1024
BYTES_IN_FLIGHT = 64 * 1024 * 1024
"""The producer's memory is bounded in records; large records must be bounded in bytes."""


@dataclass
class Sent:
    """What was sent: acknowledged records, bytes of their text, and `[first, last]` offsets by partition."""

    topic: str
    records: int = 0
    bytes: int = 0
    cut: int = 0
    offsets: dict[int, tuple[int, int]] = field(default_factory=dict)
    grown: list[str] = field(default_factory=list)


@click.command(
    cls=Command,
    examples=(
        "assay send logs.access access.log",
        "assay send logs.broker server.log.* --rate 5000",
        "assay send logs.access access.log.*.gz",
        "kubectl logs -f web | assay send logs.access -",
    ),
)
@click.argument("table")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), metavar="N", help="Maximum number of records per second."
)
@json_option
@pass_session
def send(session: Session, table: str, files: tuple[str, ...], rate: float | None, as_json: bool) -> None:
    """Publish the records of files to a table's topic.

    TABLE is `system.table` or the topic's name. A FILE holds lines, JSON lines or multi-line records, as the table's
    contract says. `-` is standard input, whose records are sent as they arrive (a multi-line record when the next one
    begins, or at the end). Files compressed with gzip, zstd, bzip2 or xz are decompressed, whatever their names;
    other binary files are rejected before anything is sent. Records are sent unchanged; the worker validates them and
    quarantines invalid ones.
    """
    from platform_assets.cli import render
    from platform_assets.sources.base import SourceError
    from platform_assets.sources.files.opened import Stopped
    from platform_assets.sources.kafka.produce import send_paced
    from platform_assets.sources.kafka.ranges import producer_for

    target = session.table(table)
    _check_files(files)
    sent = Sent(target.topic)
    sizes = [Path(name).stat().st_size for name in files if _is_regular(name)]
    producer = producer_for(session.settings, target)
    failed: SourceError | None = None
    with stopping() as stop, render.byte_progress() as progress:
        task = progress.add_task(target.topic, total=sum(sizes) if len(sizes) == len(files) else None, records=0)

        def advance(count: int) -> None:
            progress.update(task, records=producer.delivered)
            if stop.is_set():
                raise Stopped
            del count

        def pause(seconds: float) -> None:
            if stop.wait(seconds):
                raise Stopped

        def batches() -> Iterator[list[Record]]:
            waiting = 0
            for name in files:
                for records in _records(name, target, sent, stop, lambda size: progress.update(task, advance=size)):
                    yield [(None, record) for record in records]
                    waiting += sum(map(len, records))
                    if waiting > BYTES_IN_FLIGHT:
                        producer.flush()
                        waiting = 0

        try:
            send_paced(producer, batches(), rate, advance, pause)
        except Stopped:
            producer.flush()
        except SourceError as error:
            failed = error
            _flush_rest(producer)
        sent.records, sent.offsets = producer.delivered, producer.ranges()
        _tell(sent, as_json)
        if failed is not None:
            raise AssayError(failed.message, f"{sent.records:,} records before it were sent; {failed.hint}") from failed


def _flush_rest(producer: RangeProducer) -> None:
    """Wait for what was handed over before something else failed, which is the error that is told."""
    from platform_assets.sources.base import SourceError

    with suppress(SourceError):
        producer.flush()


def _is_regular(name: str) -> bool:
    return name != "-" and Path(name).is_file()


def _check_files(files: tuple[str, ...]) -> None:
    """Before anything is sent: a wrong third file must not leave two files in the topic.

    What a pipe holds is known only when it is read.
    """
    from platform_assets.sources.files.content import Content, UnreadableFile

    for name in files:
        if name == "-":
            continue
        path = Path(name)
        if not path.exists():
            raise AssayError(f"there is no file {name}", "nothing was sent")
        if path.is_dir():
            raise AssayError(f"{name} is a folder", "name the files in it; nothing was sent")
        if not os.access(path, os.R_OK):
            raise AssayError(f"we may not read {name}", "nothing was sent")
        if path.is_socket() or path.is_block_device():
            raise AssayError(f"{name} is neither a file nor a pipe", "nothing was sent")
        if path.is_file():
            with path.open("rb", buffering=0) as file:
                try:
                    Content(file, name)
                except UnreadableFile as error:
                    raise AssayError(error.message, f"{error.hint}; nothing was sent") from error


def _records(
    name: str, table: Table, sent: Sent, stop: Stop, advance: Callable[[int], object]
) -> Iterator[list[bytes]]:
    """The records of one file; `advance` is told the bytes of the file that were read."""
    from platform_assets.sources.files.content import Content
    from platform_assets.sources.files.framing import framer_of
    from platform_assets.sources.files.opened import Opened

    framer = framer_of(table)
    counted = taken = 0
    with _open(name) as file:
        source = Opened(file.fileno(), name, stop.is_set)
        content = Content(source, name)
        while chunk := content.read(CHUNK):
            records = framer.feed(chunk)
            advance(content.taken - taken)
            taken = content.taken
            if records:
                sent.bytes += framer.consumed - counted
                counted = framer.consumed
                yield records
        # A line that was being written is sent whole.
        records = framer.feed(source.rest_of_line()) if framer.in_line and not content.codec else []
        records += framer.finish()
        sent.bytes += framer.consumed - counted
        yield records
        if source.has_more():
            sent.grown.append(name)
    sent.cut += framer.cut


def _open(name: str) -> FileIO:
    """Without a buffer, and without waiting for whoever writes to a pipe of that name."""
    if name == "-":
        return os.fdopen(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
    return FileIO(os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb")


def _tell(sent: Sent, as_json: bool) -> None:
    from platform_assets.cli import render

    if as_json:
        render.emit(sent)
        return
    out = render.console()
    out.print(f"{sent.topic}: {render.counted(sent.records, 'record')}, {render.size(sent.bytes)}", soft_wrap=True)
    if sent.cut:
        out.print(
            f"too long and cut, so that they will be refused as too large: {render.counted(sent.cut, 'record')}",
            soft_wrap=True,
        )
    for name in sent.grown:
        out.print(f"{name} has grown since: its new lines were not sent (`assay tail` follows files)", soft_wrap=True)
    if sent.offsets:
        rows = [(number, f"{first}..{last}") for number, (first, last) in sorted(sent.offsets.items())]
        out.print(render.grid(("partition", "offsets"), rows, right=("partition",)))
