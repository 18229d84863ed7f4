"""What a file holds: text as it is, compressed text, or neither.

Belongs here: telling it by the first bytes, unpacking within limits, refusing what holds no lines of text. Does not belong
here: cutting text into records (`files.py`), where the bytes come from. A file's name says nothing here: `access.log.1` may be
compressed, and `access.gz` may not.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Protocol, cast

from platform_assets.core.errors import one_line
from platform_assets.sources.base import SourceError

HEAD = 64 * 1024
"""Bytes of text that are looked at before any is handed out; fewer, when a slow stream has given fewer."""
_COMPRESSED: dict[str, bytes] = {
    "gzip": b"\x1f\x8b",
    "zstd": b"\x28\xb5\x2f\xfd",
    "bzip2": b"BZh",
    "xz": b"\xfd7zXZ\x00",
}
_FOREIGN: tuple[tuple[int, bytes, str], ...] = (
    (257, b"ustar", "a tar archive"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"PK\x05\x06", "a zip archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!\x1a\x07", "a rar archive"),
    (0, b"\x04\x22\x4d\x18", "an lz4 file"),
    (0, b"\x1f\x9d", "a file of compress"),
    (0, b"\x89LZO", "an lzop file"),
    (0, b"PAR1", "a Parquet file"),
    (0, b"ORC", "an ORC file"),
    (0, b"Obj\x01", "an Avro file"),
    (0, b"ARROW1", "an Arrow file"),
    (0, b"\x89PNG\r\n", "an image"),
    (0, b"\xff\xd8\xff", "an image"),
    (0, b"GIF8", "an image"),
    (0, b"%PDF-", "a PDF document"),
    (0, b"SQLite format 3\x00", "an SQLite database"),
    (0, b"ElfFile\x00", "a Windows event log"),
    (0, b"LPKSHHRH", "a systemd journal"),
    (0, b"\x7fELF", "a program"),
)
_WIDE = (b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff", b"\xff\xfe", b"\xfe\xff")
UTF8_MARK = b"\xef\xbb\xbf"
# Control characters that no text has: not tab, line ends, form feed, escape (colours), and the separators of FIX and ASCII.
_CONTROL = re.compile(rb"[\x00\x02-\x08\x0e-\x1a\x7f]")


class UnreadableFile(SourceError):
    """The file holds no text, or its text cannot be unpacked to the end."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a compressed file may unfold to: `ratio` is evaluated once there are more than `free` bytes, `size` is of the text."""

    ratio: int = 250
    free: int = 256 * 1024 * 1024
    size: int = 1024**4


class Readable(Protocol):
    """Bytes from somewhere: at most `size`, fewer when there are fewer now, none at the end."""

    def read(self, size: int, /) -> bytes: ...


class Content:
    """The text of a binary stream, unpacked where it is compressed. `name` is for messages.

    A mark of UTF-8 is left out unless `keep_mark`. A compressed stream may consist of several parts, one behind the other
    (`cat a.gz b.gz`). Raises UnreadableFile, also while it is made; OSError of `raw`.
    """

    def __init__(self, raw: Readable, name: str, limits: Limits | None = None, *, keep_mark: bool = False) -> None:
        self._name, self._limits = name, limits or Limits()
        self._raw = _Counted(raw)
        self.codec = _codec(self._raw.peek)
        """`gzip`, `zstd`, `bzip2` or `xz`; empty for text as it is."""
        self._stream = _unpacked(self._raw, self.codec)
        self._given = 0
        self._head = self._next(HEAD)
        self._refuse(self._head)
        if not keep_mark:
            self._head = self._head.removeprefix(UTF8_MARK)

    @property
    def taken(self) -> int:
        """Bytes read of the file, as it is stored."""
        return self._raw.taken

    def read(self, size: int) -> bytes:
        """The next bytes of the text, at most `size` apart from the first time; none at the end."""
        if self._head:
            head, self._head = self._head, b""
            return head
        return self._next(size)

    def _next(self, size: int) -> bytes:
        try:
            chunk = self._stream.read(size)
        except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # of the file, not of what it holds
                raise
            cut = isinstance(error, EOFError) or "runcated" in str(error)
            what = "is cut off" if cut else f"is damaged ({one_line(error)})"
            raise UnreadableFile(
                f"{self._name}: the {self.codec} data {what} after {self._given:,} bytes of text",
                "get a whole copy of the file",
            ) from error
        self._given += len(chunk)
        self._bound()
        return chunk

    def _bound(self) -> None:
        if not self.codec:
            return
        ratio = self._given / max(1, self.taken)
        if self._given > self._limits.size or (self._given > self._limits.free and ratio > self._limits.ratio):
            raise UnreadableFile(
                f"{self._name} unfolds to more than {self._given:,} bytes, {ratio:,.0f} times what it has",
                "unpack it, look at it, and send the result if it is what you expect",
            )

    def _refuse(self, head: bytes) -> None:
        """Raise for what is no text in UTF-8 or a like encoding."""
        inside = f", compressed with {self.codec}" if self.codec else ""
        refuse_wide(head, f"{self._name}{inside}")
        what = next((what for at, sign, what in _FOREIGN if head.startswith(sign, at)), None)
        if self.codec and what is None and (codec := codec_of(head)):
            what = f"compressed twice, with {codec} inside"
        elif what is None and _is_binary(head):
            what = "a binary file"
        if what is not None:
            raise UnreadableFile(f"{self._name} is {what}{inside}", "send files of text: unpack or convert it first")


def refuse_wide(head: bytes, name: str) -> None:
    """Raise UnreadableFile for a text that begins with a mark of UTF-16 or UTF-32."""
    if head.startswith(_WIDE):
        raise UnreadableFile(
            f"{name} is text in UTF-16 or UTF-32",
            "records are sent in UTF-8: iconv -f UTF-16 -t UTF-8 FILE | assay send TABLE -",
        )


class _Counted(io.RawIOBase):
    """A stream that may be looked at ahead, and knows how much of it was read."""

    def __init__(self, raw: Readable) -> None:
        self._source = raw
        self._ahead = b""
        self._ended = False
        self.taken = 0

    def readable(self) -> bool:
        return True

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, without taking them; fewer at the end."""
        while len(self._ahead) < size and not self._ended:
            self._ahead += (chunk := self._source.read(max(size, HEAD)))
            self._ended = not chunk
        return self._ahead[:size]

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        if self._ahead:
            chunk, self._ahead = self._ahead[: len(buffer)], self._ahead[len(buffer) :]
        else:
            chunk = self._source.read(len(buffer))
        buffer[: len(chunk)] = chunk
        self.taken += len(chunk)
        return len(chunk)


class _Partial:
    """A stream whose `read` gives what there is, and does not wait for all that it is asked for."""

    def __init__(self, stream: gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile) -> None:
        self.read = stream.read1


def codec_of(head: bytes) -> str:
    """The compression that these first bytes begin; empty for none."""
    return _codec(lambda size: head[:size])


def _codec(peek: Callable[[int], bytes]) -> str:
    """Of the first bytes; a further one is waited for only as long as those before begin a signature."""
    for codec, sign in _COMPRESSED.items():
        size = 1
        while size < len(sign) and peek(size) == sign[:size]:
            size += 1
        if size == len(sign) and peek(size) == sign:
            return codec
    return ""


def _unpacked(raw: _Counted, codec: str) -> Readable:
    stream = cast(BinaryIO, raw)
    match codec:
        case "gzip":
            return _Partial(gzip.GzipFile(fileobj=io.BufferedReader(raw, HEAD)))
        case "bzip2":
            return _Partial(bz2.BZ2File(io.BufferedReader(raw, HEAD)))
        case "xz":
            return _Partial(lzma.LZMAFile(io.BufferedReader(raw, HEAD)))
        case "zstd":
            import pyarrow as pa

            return cast(Readable, pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd"))
    return stream


def _is_binary(head: bytes) -> bool:
    """Whether more than half of the lines hold control characters. Some lines of a log may: requests are anybody's bytes."""
    lines = [line for line in head.split(b"\n") if line]
    return sum(map(bool, map(_CONTROL.search, lines))) * 2 > len(lines)
