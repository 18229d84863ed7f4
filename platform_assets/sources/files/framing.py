"""Files cut into records, byte for byte, on their way into a topic.

Belongs here: reading whole files and handing out their records in batches. Does not belong here: following a growing file
(`tail.py`), sending (`produce.py`), where a record ends (`formats/`). Files are read as bytes: what is no UTF-8 arrives as it
was written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

from platform_assets.contracts.formats import Framer, format_of
from platform_assets.contracts.model import Table

SEND_LIMIT = 12 * 1024 * 1024
"""Bytes of a record that are sent at most; a topic refuses larger messages. The rest of a longer record is counted."""

_CHUNK = 1024 * 1024


def framer_of(table: Table, limit: int = SEND_LIMIT, *, at_start: bool = True) -> Framer:
    """Cuts bytes into records as the table's format does. A record over `limit` bytes keeps its first `limit`.

    `at_start`: the first byte is the first of a file, where some formats have names of columns.

    The limit is at least one more than the contract accepts, so that a longer record ends in quarantine as too large, not as half
    a record.
    """
    return format_of(table).framer(table, max(limit, table.max_bytes + 1), at_start=at_start)


def frames(
    source: Path | BinaryIO, table: Table, batch: int = 10_000, limit: int = SEND_LIMIT
) -> Iterator[tuple[list[bytes], int]]:
    """The records of a file or of a binary stream in batches of about `batch`, each with the bytes it stands for.

    The bytes add up to the file's size. Raises OSError when the file cannot be read.
    """
    framer = framer_of(table, limit)
    records: list[bytes] = []
    told = 0
    with source.open("rb") if isinstance(source, Path) else nullcontext(source) as file:
        while chunk := file.read(_CHUNK):
            records += framer.feed(chunk)
            if len(records) >= batch:
                for at in range(0, len(records) - batch, batch):
                    yield records[at : at + batch], 0
                last = records[(len(records) - 1) // batch * batch :]
                yield last, framer.consumed - told
                records, told = [], framer.consumed
        records += framer.finish()
    if records:
        yield records, framer.consumed - told
