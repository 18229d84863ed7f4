"""Following a growing file into a topic: rotation, truncation, restart.

Belongs here: which bytes of which file come next, and remembering them. Does not belong here: cutting bytes into
records (`files.py`), sending them (`produce.py`).

A file is known by device, inode and a fingerprint of what was read of it, so that a rotated file is found again under
its new name (rename and create), a truncated one is noticed even when it has grown again, and its copy (copytruncate)
gives the rest. Rotated files are looked for beside the file as `<name>.1`, `<name>-20260115`, `<name>.2026-01-15-09`;
compressed ones are not read. What cannot be found any more is said in the log; whatever changed after it is read. Not
noticed: what a file got and lost again (copytruncate) before its first byte was read.

Delivery is at least once: `commit` is called after the producer's acknowledgement, so a crash between the two sends the
records of one poll again. Tables with a key drop them; in tables without a key they are distinct records. Positions
may be kept anywhere (`Positions`), also in a Kafka transaction together with the records.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import stat
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

from platform_assets.contracts.model import Table
from platform_assets.stream.files import SEND_LIMIT, Framer

_LOG = logging.getLogger(__name__)
_ROTATED = re.compile(r"[.-]\d[\d.T_-]*")
_WINDOW = 1024
"""Bytes at the file's head, and again before the position, that make the fingerprint."""
_NUMBER_DIGITS = 4
"""A rotated file's suffix of up to so many digits counts rotations; a longer one is a date."""
_TRIES = 10


class Positions(Protocol):
    """Where a tail's position survives a restart."""

    def load(self) -> str | None:
        """What was saved last; None if nothing was."""

    def save(self, text: str) -> None:
        """Keep this for good before returning."""


@dataclass(frozen=True, slots=True)
class PositionFile:
    """A position in a file of mode 0600, replaced as a whole."""

    path: Path

    def load(self) -> str | None:
        """What was saved last; None if nothing was."""
        try:
            return self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def save(self, text: str) -> None:
        """Write beside, sync, rename."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_name(self.path.name + ".new")
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path)


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file: `position` is where the next record begins, `seen` how far the file was read."""

    device: int
    inode: int
    position: int
    seen: int
    check: str  # fingerprint of the bytes before `seen`; an inode may have been given to another file
    modified: int | None = None  # the file's time of change then, ns: which files are newer; None in marks of old


@dataclass(frozen=True, slots=True)
class _Previous:
    """The file read last: what was written since comes next."""

    identity: tuple[int, int] | None  # None: it was gone when the tail began, and its inode may be another file's
    modified: int


class _Source:
    """One open file, read from `position` on. Takes over the descriptor: names change hands while a tail looks."""

    def __init__(self, descriptor: int, position: int, table: Table, limit: int) -> None:
        self.start = position
        self.seen = position
        self.framer = Framer(table, limit)
        self._fd = descriptor
        self._check = fingerprint(descriptor, position)

    def status(self) -> os.stat_result:
        return os.fstat(self._fd)

    def read(self, size: int) -> bytes:
        chunk = os.pread(self._fd, size, self.seen)
        if chunk:
            self.seen += len(chunk)
            self._check = fingerprint(self._fd, self.seen)
        return chunk

    def intact(self) -> bool:
        """Whether the file still begins with what was read of it."""
        return self.status().st_size >= self.seen and fingerprint(self._fd, self.seen) == self._check

    def mark(self) -> Mark:
        status = self.status()
        position = self.start + self.framer.consumed
        return Mark(status.st_dev, status.st_ino, position, self.seen, self._check, status.st_mtime_ns)

    def close(self) -> None:
        os.close(self._fd)


class FileTail:
    """Follows one file; `poll` gives the next records, `commit` remembers that they arrived.

    `quiet_s`: after so long without growth a multi-line record is taken as complete, and a rotated file as finished.
    A last line without a line end waits for its end until the file is rotated. `cut` counts records over `limit` bytes.
    """

    def __init__(
        self,
        path: Path,
        table: Table,
        positions: Positions,
        *,
        quiet_s: float = 2.0,
        limit: int = SEND_LIMIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path.absolute()
        self.cut = 0
        self._table = table
        self._positions = positions
        self._quiet_s = quiet_s
        self._limit = limit
        self._clock = clock
        self._grew_at = clock()
        self._previous: _Previous | None = None
        self._source: _Source | None = None
        self._unsaved: Mark | None = None
        self._saved: Mark | None = None
        if (saved := positions.load()) is not None:
            self._resume(Mark(**json.loads(saved)))

    def poll(self, size: int = 1024 * 1024) -> list[bytes]:
        """The records completed by the next `size` bytes; empty when there is nothing new. Raises OSError."""
        source = self._source or self._open_next()
        if source is None:
            return []
        if not source.intact():
            return self._truncated(source)
        chunk = source.read(size)
        records = source.framer.feed(chunk)
        now = self._clock()
        if chunk:
            self._grew_at = now
        elif now - self._grew_at >= self._quiet_s:
            if self._is_current(source):
                records = source.framer.flush_lines()
            else:
                return self._finish(source)
        self._unsaved = source.mark()
        return records

    def commit(self) -> None:
        """Remember the place behind the records of the last poll: call it after each, once they are acknowledged."""
        if (state := self.state()) is not None:
            self._positions.save(state)
            self._saved = self._unsaved

    def state(self) -> str | None:
        """What `commit` would save, for a caller who keeps it with the records; None if there is nothing new."""
        if self._unsaved is None or self._unsaved == self._saved:
            return None
        return json.dumps(asdict(self._unsaved))

    def close(self) -> None:
        """Close the file; nothing is saved."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def _resume(self, mark: Mark) -> None:
        descriptor = self._find(mark, [self.path, *self._rotated_paths()])
        if descriptor is None:
            _LOG.warning("%s: the file read last is gone; what it held after byte %d is lost", self.path, mark.position)
            if mark.modified is not None:  # those rotated after it are read
                self._previous = _Previous(None, mark.modified)
        else:
            self._start(descriptor, mark.position)

    def _start(self, descriptor: int, position: int) -> _Source:
        self._source = _Source(descriptor, position, self._table, self._limit)
        self._grew_at = self._clock()
        return self._source

    def _finish(self, source: _Source) -> list[bytes]:
        """The rest of a file that was rotated away."""
        records = source.framer.finish()
        self._unsaved = source.mark()
        self.cut += source.framer.cut
        status = source.status()
        self._previous = _Previous(_identity(status), status.st_mtime_ns)
        self.close()
        return records

    def _truncated(self, source: _Source) -> list[bytes]:
        """The file was emptied in place: go on in its copy if there is one, and then from its beginning."""
        mark = source.mark()
        self._previous = None
        self.cut += source.framer.cut
        self.close()
        copy = self._find(mark, self._rotated_paths())
        if copy is not None:
            self._start(copy, mark.position)
            return []
        _LOG.warning("%s: truncated; what was written between byte %d and then is lost", self.path, mark.seen)
        self._unsaved = replace(mark, position=0, seen=0, check=fingerprint(None, 0))
        return source.framer.finish()

    def _is_current(self, source: _Source) -> bool:
        """Whether the source is what the followed path names now (a path that names nothing was rotated too)."""
        try:
            return _identity(self.path.stat()) == _identity(source.status())
        except FileNotFoundError:
            return False

    def _find(self, mark: Mark, paths: list[Path]) -> int | None:
        """A descriptor of the file among these that holds what the mark has seen; the same file before a copy of it."""
        found: int | None = None
        for path in paths:
            try:
                descriptor = _open(path)
            except FileNotFoundError:
                continue
            status = os.fstat(descriptor)
            same = (mark.device, mark.inode) == _identity(status)
            holds = status.st_size >= mark.seen and fingerprint(descriptor, mark.seen) == mark.check
            if holds and (same or (mark.seen and found is None)):  # nothing seen fits any file: only the inode tells
                if found is not None:
                    os.close(found)
                found = descriptor
                if same:
                    return found
            else:
                os.close(descriptor)
        return found

    def _open_next(self) -> _Source | None:
        """The file after the one read last, from its beginning; None if there is none yet."""
        for _ in range(_TRIES):
            chosen = self._after_previous()
            if chosen is None:
                return None
            path, identity = chosen
            try:
                descriptor = _open(path)
            except FileNotFoundError:
                continue
            # Files may have been renamed between looking and opening.
            if _identity(os.fstat(descriptor)) == identity and self._after_previous() == chosen:
                return self._start(descriptor, 0)
            os.close(descriptor)
        return None

    def _after_previous(self) -> tuple[Path, tuple[int, int]] | None:
        """Name and identity of the file that was written after the one read last: a rotated one or the followed one."""
        if self._previous is not None:
            names = self._rotated()
            places = [place for place, (_, status) in enumerate(names) if _identity(status) == self._previous.identity]
            if places:
                later = names[places[0] + 1 :]
            else:  # deleted or compressed meanwhile
                later = [(path, status) for path, status in names if status.st_mtime_ns >= self._previous.modified]
            if later:
                return later[0][0], _identity(later[0][1])
        try:
            return self.path, _identity(self.path.stat())
        except FileNotFoundError:  # not there yet, or between rename and create
            return None

    def _rotated_paths(self) -> list[Path]:
        return [path for path, _ in self._rotated()]

    def _rotated(self) -> list[tuple[Path, os.stat_result]]:
        """Rotated files beside the followed one, oldest first: dates rise, numbers fall."""
        found: list[tuple[int, str, int, Path, os.stat_result]] = []
        for entry in self.path.parent.iterdir() if self.path.parent.is_dir() else ():
            suffix = entry.name.removeprefix(self.path.name)
            if suffix == entry.name or not _ROTATED.fullmatch(suffix):
                continue
            try:
                status = entry.stat()
            except FileNotFoundError:  # renamed since it was listed
                continue
            if not stat.S_ISREG(status.st_mode):
                continue
            if suffix[1:].isdigit() and len(suffix) <= _NUMBER_DIGITS + 1:
                found.append((1, "", -int(suffix[1:]), entry, status))
            else:
                found.append((0, suffix, 0, entry, status))
        return [(path, status) for *_, path, status in sorted(found, key=lambda entry: entry[:3])]


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _open(path: Path) -> int:
    """A descriptor for reading. Raises OSError when the path names no regular file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must not block
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is no regular file")
    return descriptor


def fingerprint(descriptor: int | None, seen: int) -> str:
    """Of the first and the last bytes before `seen`; equal for a file and its copy."""
    digest = hashlib.sha256(str(seen).encode())
    if descriptor is not None and seen:
        window = min(_WINDOW, seen)
        digest.update(os.pread(descriptor, window, 0))
        digest.update(os.pread(descriptor, window, seen - window))
    return digest.hexdigest()[:32]
