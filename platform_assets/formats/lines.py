"""Bytes cut into records at line ends.

Belongs here: where one record ends and the next begins. Does not belong here: following a growing file, sending, what a record
means. Files are read as bytes: what is no UTF-8 arrives as it was written.
"""

from __future__ import annotations

import re


class LineFramer:
    """Cuts a stream of bytes into records: lines, or several lines up to the next that matches `start`.

    A record carries no line end (LF or CR LF) behind it; blank lines are records too, for nothing is dropped here.
    Lines before the first start are a record of their own. `consumed` counts the bytes of the records handed out,
    line ends included; `held` those fed and not yet handed out. A record over `limit` bytes keeps its first `limit`,
    more than its contract accepts: it ends in quarantine as too large, not as half a record. `cut` counts them.
    """

    def __init__(self, limit: int, start: str | None = None) -> None:
        self._start = re.compile(start.encode(), re.MULTILINE) if start else None
        self._limit = limit
        self._line = _Buffer(self._limit)
        self._record = _Buffer(self._limit)
        self.consumed = 0
        self.cut = 0

    @property
    def held(self) -> int:
        """Bytes fed and not yet handed out."""
        return self._line.size + self._record.size

    @property
    def in_line(self) -> bool:
        """Whether the bytes fed so far end within a line."""
        return bool(self._line.size)

    def feed(self, chunk: bytes) -> list[bytes]:
        """The records that this chunk completes; a multi-line record is complete when the next one starts."""
        end = chunk.rfind(b"\n") + 1
        records: list[bytes] = []
        first = 0
        if end and self._line.size:
            first = chunk.index(b"\n") + 1
            self._line.add(chunk[:first])
            records += self._end_line()
        if first < end:
            records += self._take(chunk[first:end], end - first)
        self._line.add(chunk[end:])
        return records

    def finish(self) -> list[bytes]:
        """The rest of the records: the file has ended."""
        return self._end_line() + self.flush_lines()

    def flush_lines(self) -> list[bytes]:
        """The multi-line record whose next line never came, unless a line of it is still being written."""
        if self._line.size or not self._record.size:
            return []
        return [self._hand_out()]

    def _end_line(self) -> list[bytes]:
        size = self._line.size
        return self._take(self._line.empty(), size) if size else []

    def _take(self, lines: bytes, size: int) -> list[bytes]:
        """Whole lines, which stand for `size` bytes of the file (more than they hold only when one was too long)."""
        if self._start is None:
            self.consumed += size
            return [self._strip(line) for line in lines.removesuffix(b"\n").split(b"\n")]
        records = []
        position = 0
        for match in self._start.finditer(lines):
            at = match.start()
            self._record.add(lines[position:at])
            if self._record.size:
                records.append(self._hand_out())
            position = at
        self._record.add(lines[position:], size - position)
        return records

    def _hand_out(self) -> bytes:
        self.consumed += self._record.size
        return self._strip(self._record.empty().removesuffix(b"\n"))

    def _strip(self, record: bytes) -> bytes:
        if len(record) > self._limit + 1:
            self.cut += 1
            return record[: self._limit]
        record = record.removesuffix(b"\r")
        if len(record) > self._limit:
            self.cut += 1
        return record[: self._limit]


class _Buffer:
    """Bytes up to a little over a limit, and how many they stand for: an endless line must not fill the memory."""

    def __init__(self, limit: int) -> None:
        self._room = limit + 3  # a line end behind the longest record, and one byte that tells a longer one
        self._bytes = bytearray()
        self.size = 0

    def add(self, part: bytes, size: int | None = None) -> None:
        """Append; `size` is what the part stands for, its length unless it was cut before."""
        self._bytes += part[: max(0, self._room - len(self._bytes))]
        self.size += len(part) if size is None else size

    def empty(self) -> bytes:
        """What was kept; the buffer is as new."""
        kept = bytes(self._bytes)
        self._bytes.clear()
        self.size = 0
        return kept
