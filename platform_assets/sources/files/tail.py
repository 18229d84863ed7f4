"""Following a growing file into a topic: rotation, truncation, restart.

Belongs here: which bytes of which file come next, and remembering them. Does not belong here: cutting bytes into
records (`files.py`), finding the files around the followed one (`rotated.py`), sending (`produce.py`).

A file is known by device, inode and a fingerprint of what was read of it, so that a rotated file is found again under
its new name or compressed, a truncated one is noticed even when it has grown again, and its copy (copytruncate) gives the
rest. A copy is a file that holds what was read, was not there when reading began, and is no older than what was read: an
old rotated file with the same first lines is none. When the rest of a file cannot be found, the tail raises `Lost` and
keeps its position, until somebody accepts the loss. Not noticed: what a file got and lost again (copytruncate) before its
first byte was read.

Delivery is at least once: `commit` is called after the producer's acknowledgement, so a crash between the two sends the
records of one poll again. Tables with a key drop them; in tables without a key they are distinct records. Positions
may be kept anywhere (`Positions`), also in a Kafka transaction together with the records.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

from platform_assets.contracts.formats import Framer
from platform_assets.contracts.model import Table
from platform_assets.core.files import write_private
from platform_assets.sources.base import SourceError
from platform_assets.sources.files.content import UTF8_MARK, UnreadableFile, codec_of, refuse_wide
from platform_assets.sources.files.framing import SEND_LIMIT, framer_of
from platform_assets.sources.files.rotated import (
    WINDOW,
    Identity,
    Named,
    fingerprint,
    identity,
    open_file,
    real_path,
    rotated,
    unpacked,
    with_identity,
)

_LOG = logging.getLogger(__name__)
_TRIES = 10


class Lost(SourceError):
    """What was written behind the position cannot be found any more."""


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
        """Replace what was saved, whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_private(self.path, text.encode())


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file: `position` is where the next record begins, `seen` how far the file was read."""

    device: int
    inode: int
    path: str  # where the file was, symbolic links resolved
    position: int
    seen: int
    check: str  # fingerprint of the bytes before `seen`; an inode may have been given to another file
    modified: int  # the file's time of change then, ns: a copy of it is no older
    known: list[list[int]]  # inode and size of the rotated files when reading began: no copies of this one


@dataclass(frozen=True, slots=True)
class _Previous:
    """The file read last: what was written since comes next."""

    identity: Identity | None  # None: it was gone when the tail began, and its inode may be another file's
    modified: int
    known: list[list[int]]  # of its mark


class _Source:
    """One open file, read from `position` on. Takes over the descriptor: names change hands while a tail looks.

    `named` is the file that the name led to, which differs from the descriptor's where that was compressed.
    """

    def __init__(
        self, descriptor: int, named: os.stat_result, path: Path, known: list[list[int]], position: int, framer: Framer
    ) -> None:
        self.identity = identity(named)
        self.start = self.seen = position
        self.framer = framer
        self.behind = False
        self._fd, self._path, self.known = descriptor, path, known
        self._plain = identity(os.fstat(descriptor)) == self.identity
        self.modified = named.st_mtime_ns
        self._check = fingerprint(descriptor, position)

    def read(self, size: int) -> bytes:
        chunk = os.pread(self._fd, size, self.seen)
        status = os.fstat(self._fd)
        self.behind = status.st_size > self.seen + len(chunk)
        if self.seen == 0:
            refuse_wide(chunk, str(self._path))
            if len(chunk) < len(UTF8_MARK) and UTF8_MARK.startswith(chunk):
                return b""  # a mark that is being written, or nothing
        if chunk:
            if self.seen == 0 and chunk.startswith(UTF8_MARK):
                chunk = chunk[len(UTF8_MARK) :]
                self.start = self.seen = len(UTF8_MARK)
            self.seen += len(chunk)
            self._check = fingerprint(self._fd, self.seen)
            if self._plain:  # when the text was unpacked says nothing
                self.modified = status.st_mtime_ns
        return chunk

    def intact(self) -> bool:
        """Whether the file still begins with what was read of it."""
        return os.fstat(self._fd).st_size >= self.seen and fingerprint(self._fd, self.seen) == self._check

    def mark(self) -> Mark:
        device, inode = self.identity
        position = self.start + self.framer.consumed
        return Mark(device, inode, str(self._path), position, self.seen, self._check, self.modified, self.known)

    def close(self) -> None:
        os.close(self._fd)


class FileTail:
    """Follows one file; `poll` gives the next records, `commit` remembers that they arrived.

    `quiet_s`: after so long without growth a multi-line record is taken as complete; `rotated_s`: after so long a rotated
    file is. A last line without a line end waits for its end until the file is rotated. `cut` counts records over `limit`
    bytes. `scratch` is the folder in which compressed files are unpacked, nameless. Raises Lost, unless `accept_loss`.
    """

    def __init__(
        self,
        path: Path,
        table: Table,
        positions: Positions,
        *,
        quiet_s: float = 10.0,
        rotated_s: float = 2.0,
        limit: int = SEND_LIMIT,
        scratch: Path | None = None,
        accept_loss: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path.absolute()
        self.cut = 0
        self._table = table
        self._positions = positions
        self._quiet_s, self._rotated_s = quiet_s, rotated_s
        self._limit = limit
        self._scratch = scratch
        self._clock = clock
        self._grew_at = clock()
        self._previous: _Previous | None = None
        self._source: _Source | None = None
        self._unsaved: Mark | None = None
        self._saved: Mark | None = None
        if (saved := positions.load()) is not None:
            self._resume(Mark(**json.loads(saved)), accept_loss)

    def poll(self, size: int = 1024 * 1024) -> list[bytes]:
        """The records completed by the next `size` bytes; empty when there is nothing new. Raises OSError and Lost."""
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
        elif self._is_current(source):
            if now - self._grew_at >= self._quiet_s:
                records = source.framer.flush_lines()
        elif now - self._grew_at >= self._rotated_s:
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

    def _resume(self, mark: Mark, accept_loss: bool) -> None:
        folders = {self.path.parent, real_path(self.path).parent, Path(mark.path).parent}
        same = with_identity((mark.device, mark.inode), folders)
        # A followed file of another inode was replaced by its copy, as editors do: told by its content, if there is enough.
        replaced = [self.path] if mark.seen >= WINDOW else []
        if self._continue(mark, same, mark.known) or self._continue(mark, [*self._copies(mark), *replaced], None):
            return
        self._previous = _Previous(None, mark.modified, mark.known)  # those rotated after it are read
        if mark.seen == 0 and self._after_previous() is not None:
            return
        lost = (
            f"{self.path}: the file read last, {mark.path}, is gone; what it held after byte {mark.position:,} is lost"
        )
        if not accept_loss:
            raise Lost(lost, "put it back beside the followed file, or go on without it: --accept-loss")
        _LOG.warning("%s", lost)

    def _continue(self, mark: Mark, paths: Iterable[Path], known: list[list[int]] | None) -> bool:
        """Go on in the first of these files that holds what the mark has seen. `known` None: look which ones there are."""
        for path in paths:
            try:
                descriptor = open_file(path)
                named = os.fstat(descriptor)
                descriptor = unpacked(descriptor, path, self._scratch)
            except FileNotFoundError:
                continue
            except UnreadableFile as error:
                _LOG.warning("%s", error)
                continue
            # Nothing seen fits any file: only the inode tells.
            fits = mark.seen > 0 or identity(named) == (mark.device, mark.inode)
            holds = os.fstat(descriptor).st_size >= mark.seen and fingerprint(descriptor, mark.seen) == mark.check
            if fits and holds:
                self._start(descriptor, named, path, mark.position, known)
                return True
            os.close(descriptor)
        return False

    def _copies(self, mark: Mark) -> list[Path]:
        """Rotated files that may be copies of the marked one, compressed or not: the first that came is the likeliest."""
        return [file.path for file in _since(rotated(self.path), mark)]

    def _start(
        self, descriptor: int, named: os.stat_result, path: Path, position: int, known: list[list[int]] | None = None
    ) -> _Source:
        if known is None:
            known = [[file.identity[1], file.size] for file in rotated(self.path)]
        framer = framer_of(self._table, self._limit, at_start=position == 0)
        self._source = _Source(descriptor, named, real_path(path), known, position, framer)
        self._grew_at = self._clock()
        return self._source

    def _finish(self, source: _Source) -> list[bytes]:
        """The rest of a file that was rotated away."""
        records = source.framer.finish()
        self._unsaved = source.mark()
        self.cut += source.framer.cut
        self._previous = _Previous(source.identity, source.modified, source.known)
        self.close()
        return records

    def _truncated(self, source: _Source) -> list[bytes]:
        """The file was emptied in place: go on in its copy if there is one, and then from its beginning."""
        mark = source.mark()
        self._previous = None
        self.cut += source.framer.cut
        self.close()
        if self._continue(mark, self._copies(mark), None):
            return []
        if source.behind:
            raise Lost(
                f"{self.path}: emptied before it was read to its end; what it held after byte {mark.seen:,} is lost",
                "put a copy of it beside it, or go on without it: --accept-loss",
            )
        _LOG.warning("%s: emptied; what was written in the moment after byte %d was read is lost", self.path, mark.seen)
        self._unsaved = replace(mark, position=0, seen=0, check=fingerprint(None, 0))
        return source.framer.finish()

    def _is_current(self, source: _Source) -> bool:
        """Whether the source is what the followed path names now (a path that names nothing was rotated too)."""
        try:
            return identity(self.path.stat()) == source.identity
        except FileNotFoundError:
            return False

    def _open_next(self) -> _Source | None:
        """The file after the one read last, from its beginning; None if there is none yet."""
        for _ in range(_TRIES):
            chosen = self._after_previous()
            if chosen is None:
                return None
            path, wanted = chosen
            try:
                descriptor = open_file(path)
            except FileNotFoundError:
                continue
            named = os.fstat(descriptor)
            # Files may have been renamed between looking and opening.
            if identity(named) == wanted and self._after_previous() == chosen:
                if path != self.path:
                    descriptor = unpacked(descriptor, path, self._scratch)
                elif codec_of(os.pread(descriptor, 16, 0)):
                    os.close(descriptor)
                    raise UnreadableFile(
                        f"{path} is compressed", "`assay send` sends it; a tail follows text that grows"
                    )
                return self._start(descriptor, named, path, 0)
            os.close(descriptor)
        return None

    def _after_previous(self) -> tuple[Path, Identity] | None:
        """Name and identity of the file that was written after the one read last: a rotated one or the followed one."""
        if self._previous is not None:
            files = self._rotated_since(self._previous)
            places = [place for place, file in enumerate(files) if file.identity == self._previous.identity]
            later = files[places[0] + 1 :] if places else _since(files, self._previous)
            if later:
                return later[0].path, later[0].identity
        try:
            return self.path, identity(self.path.stat())
        except FileNotFoundError:  # not there yet, or between rename and create
            return None

    def _rotated_since(self, previous: _Previous) -> list[Named]:
        """Rotated files; where the previous one has a number within its name, those that have one too."""
        like: list[Path] = []
        if previous.identity is not None:
            like = with_identity(previous.identity, {self.path.parent, real_path(self.path).parent})
        return rotated(self.path, like[0] if like else None)


def _since(files: list[Named], mark: Mark | _Previous) -> list[Named]:
    """Files that came, or changed, since a file was read up to there."""
    known = {tuple(entry) for entry in mark.known}
    return [file for file in files if file.modified >= mark.modified and (file.identity[1], file.size) not in known]
