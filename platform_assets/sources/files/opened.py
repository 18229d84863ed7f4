"""A file as it was when it was opened, or a pipe, read without losing sight of a wish to stop.

Belongs here: waiting for bytes, files that grow or shrink meanwhile. Does not belong here: what the bytes are (`content.py`),
following a file for good (`tail.py`).
"""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Callable

from platform_assets.sources.files.content import UnreadableFile
from platform_assets.sources.files.framing import SEND_LIMIT

LOOK_S = 0.2
"""How often a source that gives nothing is left to see whether to stop."""
_CHUNK = 64 * 1024


class Stopped(Exception):
    """Whoever reads is to stop: there was nothing to read until then."""


class Opened:
    """Reads a descriptor from where it stands; of a file, up to the size that it had then. The caller closes it.

    `name` is for messages.
    """

    def __init__(self, descriptor: int, name: str, stopped: Callable[[], bool]) -> None:
        self._fd, self._name, self._stopped = descriptor, name, stopped
        status = os.fstat(descriptor)
        self._regular = stat.S_ISREG(status.st_mode)
        self._left = max(0, status.st_size - os.lseek(descriptor, 0, os.SEEK_CUR)) if self._regular else 0

    def read(self, size: int, /) -> bytes:
        """What there is now, at most `size` bytes; none at the end. Raises Stopped, OSError, and UnreadableFile when the file
        has become shorter."""
        if not self._regular:
            return self._wait(size)
        if not self._left:
            return b""
        chunk = self._wait(min(size, self._left))
        if not chunk:
            raise UnreadableFile(f"{self._name} was cut short while it was read", "send it when nothing changes it")
        self._left -= len(chunk)
        return chunk

    def rest_of_line(self) -> bytes:
        """What the file has got since that belongs to the line in which it ended, line end included."""
        found = b""
        while self._regular and len(found) <= SEND_LIMIT and (chunk := self._wait(_CHUNK)):
            line, end, _ = chunk.partition(b"\n")
            found += line + end
            if end:
                os.lseek(self._fd, len(line) + 1 - len(chunk), os.SEEK_CUR)
                break
        return found

    def has_more(self) -> bool:
        """Whether the file has grown past what was read."""
        return self._regular and os.fstat(self._fd).st_size > os.lseek(self._fd, 0, os.SEEK_CUR)

    def _wait(self, size: int) -> bytes:
        while not self._stopped():
            if select.select([self._fd], [], [], LOOK_S)[0]:
                try:
                    return os.read(self._fd, size)
                except BlockingIOError:  # somebody else reads the same pipe
                    continue
        raise Stopped
