"""The files around a followed one: rotated ones by their names, any file by what is in it.

Belongs here: which files belong together and in which order, opening them (unpacked where they are compressed), telling a file
from another. Does not belong here: how far one was read (`tail.py`).
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from platform_assets.sources.files.content import Content, codec_of

_MARK = r"\d[\d.T_-]*"
_DATE_DIGITS = 6
_COMPRESSED = r"(?:\.(?:gz|zst|bz2|xz))?"
_NUMBER = re.compile(r"\d{1,4}")
"""A mark of up to so many digits counts rotations; a longer one is a date."""
WINDOW = 1024
"""Bytes at the file's head, and again before the position, that make the fingerprint."""

Identity = tuple[int, int]
"""Device and inode."""


@dataclass(frozen=True, slots=True)
class Named:
    """A file as its name led to it; `modified` in ns, `size` in bytes."""

    path: Path
    identity: Identity
    modified: int
    size: int


def identity(status: os.stat_result) -> Identity:
    """Device and inode."""
    return status.st_dev, status.st_ino


def fingerprint(descriptor: int | None, seen: int) -> str:
    """Of the first and the last bytes before `seen`; equal for a file and its copy."""
    digest = hashlib.sha256(str(seen).encode())
    if descriptor is not None and seen:
        window = min(WINDOW, seen)
        digest.update(os.pread(descriptor, window, 0))
        digest.update(os.pread(descriptor, window, seen - window))
    return digest.hexdigest()[:32]


def real_path(path: Path) -> Path:
    """The path with symbolic links followed as far as that is possible: a loop is an error only when it is opened."""
    return Path(os.path.realpath(path))


def rotated(path: Path, like: Path | None = None) -> list[Named]:
    """Rotated files of `path`, oldest first: `<name>.1`, `<name>-20260115`, `<stem>-2026-01-15<suffix>`, also compressed.

    Where `path` is a symbolic link, the files beside its target whose names have another date, too. Files named like
    `<stem>-1<suffix>` may be other logs: they count when `like` is one, a file that is known to be rotated. A file that is
    being compressed is there twice and counts once, as it was.
    """
    real = real_path(path)
    numbered = like is not None and _numbered(like, path) is not None
    found: dict[tuple[int, tuple[int, ...]], Named] = {}
    for named in _files({path.parent, real.parent}):
        if named.path in (path, real):
            continue
        order = _order(named.path, path) or (_dated_alike(named.path, real) if path.is_symlink() else None)
        if order is None and numbered and _numbered(named.path, path):
            order = 1, (named.modified,)  # some writers count up there, others down: time tells
        if order is not None and (order not in found or len(named.path.name) < len(found[order].path.name)):
            found[order] = named
    return [found[order] for order in sorted(found)]


def with_identity(wanted: Identity, folders: set[Path]) -> list[Path]:
    """Files in these folders that have this device and inode, whatever their names."""
    return [named.path for named in _files(folders) if named.identity == wanted]


def open_file(path: Path) -> int:
    """A descriptor for reading. Raises OSError when the path names no regular file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must not block
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is no regular file")
    return descriptor


def unpacked(descriptor: int, path: Path, scratch: Path | None) -> int:
    """A descriptor of the text: the same one, or that of a nameless file in `scratch` when the file is compressed.

    The first is closed then. Raises UnreadableFile when it cannot be unpacked.
    """
    if not codec_of(os.pread(descriptor, 16, 0)):
        return descriptor
    with os.fdopen(descriptor, "rb", buffering=0) as raw, tempfile.TemporaryFile(dir=scratch) as text:
        content = Content(raw, str(path), keep_mark=True)  # the same bytes as before
        while chunk := content.read(1 << 20):
            text.write(chunk)
        text.flush()
        return os.dup(text.fileno())


def _files(folders: set[Path]) -> Iterator[Named]:
    for folder in folders:
        for entry in folder.iterdir() if folder.is_dir() else ():
            try:
                status = entry.stat()
            except FileNotFoundError:  # renamed since it was listed
                continue
            if stat.S_ISREG(status.st_mode) and not entry.is_symlink():
                yield Named(entry, identity(status), status.st_mtime_ns, status.st_size)


def _order(name: Path, path: Path) -> tuple[int, tuple[int, ...]] | None:
    """Where a file stands among the rotated ones of `path`; None if it is none: dates rise, numbers at the end fall."""
    behind = re.fullmatch(rf"{re.escape(path.name)}[.-]({_MARK}){_COMPRESSED}", name.name)
    if behind and _NUMBER.fullmatch(behind[1]):
        return 2, (-int(behind[1]),)
    found = behind or _within(name, path)
    if found and not _NUMBER.fullmatch(found[1]):
        return 0, _numbers(found[1])
    return None


def _dated_alike(name: Path, target: Path) -> tuple[int, tuple[int, ...]] | None:
    """The order of a file whose name is the target's but for the date in it."""
    pattern = re.sub(r"\d+", r"\\d+", re.escape(target.name)) + _COMPRESSED
    dated = len(re.findall(r"\d", target.name)) >= _DATE_DIGITS
    return (0, _numbers(name.name)) if dated and re.fullmatch(pattern, name.name) else None


def _numbered(name: Path, path: Path) -> re.Match[str] | None:
    found = _within(name, path)
    return found if found and _NUMBER.fullmatch(found[1]) else None


def _within(name: Path, path: Path) -> re.Match[str] | None:
    stem, suffix = re.escape(path.stem), re.escape(path.suffix)
    return re.fullmatch(rf"{stem}[._-]({_MARK}){suffix}{_COMPRESSED}", name.name)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)))
