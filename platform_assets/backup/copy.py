"""Copying one file durably and knowing what was copied.

Belongs here: bytes, links, checksums, fsync, SQLite's own way to copy a database in use. Does not: which files (`contents.py`).
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from platform_assets.core.errors import AssayError
from platform_assets.tables.files import sync

CHUNK = 4 * 1024 * 1024
_SQLITE = b"SQLite format 3\x00"

Tell = Callable[[int], None]
"""Called with how many more bytes were read."""


@dataclass(frozen=True)
class Copied:
    """A file's size in bytes, SHA-256 in hex, and permission bits."""

    size: int
    sha256: str
    mode: int


def copy_file(source: Path, target: Path, tell: Tell, *, link: bool = False) -> Copied:
    """Copy a file, or hard-link it, synced; folders are made closed to others. Raises OSError."""
    make_parents(target)
    if link:
        os.link(source, target)
        return describe(target, tell)
    digest, size = hashlib.sha256(), 0
    with source.open("rb") as reader:
        mode = os.fstat(reader.fileno()).st_mode & 0o700
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as writer:
            while chunk := reader.read(CHUNK):
                writer.write(chunk)
                digest.update(chunk)
                size += len(chunk)
                tell(len(chunk))
            writer.flush()
            os.fchmod(writer.fileno(), mode)
            os.fsync(writer.fileno())
    return Copied(size, digest.hexdigest(), mode)


def copy_database(source: Path, target: Path, tell: Tell) -> Copied:
    """Copy an SQLite database that others may be writing to: one state of it, whole. Raises AssayError."""
    make_parents(target)
    try:
        with (
            closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)) as reader,
            closing(sqlite3.connect(target)) as writer,
        ):
            reader.backup(writer, pages=-1)  # in parts it begins again whenever another connection commits
    except sqlite3.Error as error:
        raise AssayError(
            f"cannot copy the database {source}: {error}", "is it damaged, or locked by another program?"
        ) from error
    target.chmod(0o600)
    sync(target)
    return describe(target, tell)


def is_database(path: Path) -> bool:
    """Whether the file is an SQLite database, by its first bytes."""
    with path.open("rb") as reader:
        return reader.read(len(_SQLITE)) == _SQLITE


def describe(path: Path, tell: Tell) -> Copied:
    """Size and checksum of a file as it lies there."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as reader:
        mode = os.fstat(reader.fileno()).st_mode & 0o700
        while chunk := reader.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
            tell(len(chunk))
    return Copied(size, digest.hexdigest(), mode)


def make_parents(target: Path) -> None:
    """The folder of `target`, with every missing one above it, open to the owner only."""
    missing = []
    folder = target.parent
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for parent in reversed(missing):
        parent.mkdir(mode=0o700, exist_ok=True)


def write_durably(path: Path, data: bytes) -> None:
    """A new file for the owner only, synced with its folder."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as writer:
        writer.write(data)
        writer.flush()
        os.fsync(writer.fileno())
    sync(path.parent)


def sync_folders(root: Path) -> None:
    """Wait until the lists of files of `root` and of every folder below it are on the disk."""
    for folder, _, _ in os.walk(root):
        sync(Path(folder))
