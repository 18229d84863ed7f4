"""Files of separated values cut into rows.

Belongs here: where a row ends, and the row of names at a file's begin. Does not belong here: what a row's values are
(`csv_stages.py`).

A value is quoted when its first character is the quote; a quote elsewhere is a character like others. Only a quoted value has
line breaks. A quote that is never closed would make one row of the rest of the file: once what follows it is longer than any row
may be, or the file ends, its line is a row of its own (and is refused), and the next line begins another.
"""

from __future__ import annotations

import csv
import re

from platform_assets.contracts.formats import FramingError
from platform_assets.contracts.model import CsvDialect

_SHOWN = 200


def values_of(row: str, dialect: CsvDialect) -> tuple[str, ...]:
    """The values of one row; a row that is none is one value."""
    try:
        return tuple(next(csv.reader([row], delimiter=dialect.delimiter, quotechar=dialect.quote), []))
    except csv.Error:
        return (row,)


class RowFramer:
    """Cuts a stream of bytes into rows, without the line end (LF or CR LF) behind each; implements `contracts.formats.Framer`.

    With `dialect.header`, rows that only name the columns are left out, and the first row of a file must be one: FramingError
    otherwise. A row over `limit` bytes keeps its first `limit`.
    """

    def __init__(
        self, limit: int, dialect: CsvDialect, columns: tuple[str, ...], encoding: str, *, at_start: bool = True
    ) -> None:
        delimiter, quote = (re.escape(one.encode()) for one in (dialect.delimiter, dialect.quote))
        value = rb"(?:%b(?:[^%b]++|%b%b)*+%b[^%b\n]*+|(?!%b)[^%b\n]*+)" % (
            *(quote, quote, quote, quote, quote, delimiter),
            *(quote, delimiter),
        )
        self._row = re.compile(rb"%b(?:%b%b)*+\n" % (value, delimiter, value))
        self._limit, self._dialect, self._encoding = limit, dialect, encoding
        self._names = columns if dialect.header else None
        self._begins = tuple(f"{sign}{columns[0]}".encode(encoding, "replace") for sign in ("", dialect.quote))
        self._at_start = at_start
        self._buffer = bytearray()
        self._skipped = 0  # bytes of the row in the buffer that were not kept
        self.consumed = 0
        self.cut = 0

    @property
    def held(self) -> int:
        """Bytes fed and not yet handed out."""
        return len(self._buffer) + self._skipped

    @property
    def in_line(self) -> bool:
        """Whether the bytes fed so far end within a line."""
        return bool(self._skipped) or (bool(self._buffer) and not self._buffer.endswith(b"\n"))

    def feed(self, chunk: bytes) -> list[bytes]:
        """The rows that this chunk completes."""
        rows: list[bytes] = []
        if self._skipped:
            end = chunk.find(b"\n") + 1
            self._skipped += end or len(chunk)
            if not end:
                return []
            rows += self._end_long_row()
            chunk = chunk[end:]
        self._buffer += chunk
        return rows + self._rows(to_the_end=False)

    def finish(self) -> list[bytes]:
        """The rest of the rows: the file has ended."""
        rows = self._end_long_row() if self._skipped else []
        if self._buffer and not self._buffer.endswith(b"\n"):
            self._buffer += b"\n"
            self.consumed -= 1
        return rows + self._rows(to_the_end=True)

    def flush_lines(self) -> list[bytes]:
        """Nothing: a row is complete with its line end, and one whose quote is open may go on."""
        return []

    def _end_long_row(self) -> list[bytes]:
        """The row of which only the begin was kept."""
        row, size = bytes(self._buffer), self.held
        self._buffer.clear()
        self._skipped = 0
        return self._hand_out(row, size)

    def _rows(self, *, to_the_end: bool) -> list[bytes]:
        rows: list[bytes] = []
        at = 0
        while at < len(self._buffer):
            if match := self._row.match(self._buffer, at):
                end = match.end()
            elif to_the_end or len(self._buffer) - at > self._limit:
                # Of a row whose quote is not closed the line is taken.
                end = self._buffer.find(b"\n", at) + 1
            else:
                break
            if not end:
                break
            rows += self._hand_out(bytes(self._buffer[at:end]), end - at)
            at = end
        del self._buffer[:at]
        if len(self._buffer) > self._limit + 1 and b"\n" not in self._buffer:
            # An endless line must not fill the memory; one byte more than the limit tells that it was longer.
            self._skipped = len(self._buffer) - self._limit - 1
            del self._buffer[self._limit + 1 :]
        return rows

    def _hand_out(self, row: bytes, size: int) -> list[bytes]:
        self.consumed += size
        row = row.removesuffix(b"\n").removesuffix(b"\r")
        if len(row) > self._limit:
            self.cut += 1
            row = row[: self._limit]
        first, self._at_start = self._at_start, False
        if self._names is not None and (first or row.startswith(self._begins)):
            values = values_of(row.decode(self._encoding, "replace"), self._dialect)
            if values == self._names:
                return []
            if first:
                raise FramingError(
                    f"the file begins with the columns {self._shown(values)}, the contract has {self._shown(self._names)}",
                    "name the columns in the file's order in the contract's property columns",
                )
        return [row]

    def _shown(self, names: tuple[str, ...]) -> str:
        text = self._dialect.delimiter.join(names)
        return f"{text[:_SHOWN]}…" if len(text) > _SHOWN else text
