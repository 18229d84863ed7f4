"""What a file holds is told by its bytes; what is compressed is unpacked within limits; what is no text is refused."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from platform_assets.sources.files.content import Content, Limits, UnreadableFile

LINES = b"".join(b"203.0.113.7 line %d of a web server\n" % number for number in range(20_000))


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as out:
        out.write(data)
    return sink.getvalue().to_pybytes()


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstd,
    "bzip2": lambda data: bz2.compress(data, 1),
    "xz": lzma.compress,
}
packed = pytest.mark.parametrize("codec", PACK)


class Slow(io.RawIOBase):
    """Gives a few bytes at a time, as a pipe may."""

    def __init__(self, data: bytes, step: int) -> None:
        self._data, self._step = io.BytesIO(data), step

    def read(self, size: int = -1, /) -> bytes:
        return self._data.read(min(size, self._step))


def text_of(data: bytes, limits: Limits | None = None, step: int = 10_000) -> bytes:
    content = Content(Slow(data, step), "a.log", limits)
    return b"".join(iter(lambda: content.read(50_000), b""))


@packed
@pytest.mark.parametrize("step", [1000, 1 << 20])
def test_compressed_text_is_unpacked_whatever_its_name_and_in_all_its_parts(codec: str, step: int) -> None:
    first, second = LINES[:300_001], LINES[300_001:]
    assert text_of(PACK[codec](LINES), step=step) == LINES
    assert text_of(PACK[codec](first) + PACK[codec](second), step=step) == LINES
    assert text_of(PACK[codec](b"")) == b""


def test_text_is_left_as_it_is() -> None:
    for text in (
        b"",
        b"B",
        b"BZ",
        b"a\n",
        LINES,
        b"caf\xe9 \xff\n",
        b"\x1b[31mred\x1b[0m\n",
        b"8=FIX.4.4\x019=65\x01\n",
    ):
        assert text_of(text) == text
        assert text_of(text, step=1) == text
    some_requests_of_anybody = LINES + b'"\x16\x03\x01\x00\x02" 400\n' + LINES
    assert text_of(some_requests_of_anybody) == some_requests_of_anybody


def test_the_mark_of_utf_8_is_no_part_of_the_first_record() -> None:
    assert text_of(b"\xef\xbb\xbfone\n") == b"one\n"
    assert text_of(gzip.compress(b"\xef\xbb\xbfone\n")) == b"one\n"


@pytest.mark.timeout(20)
def test_a_slow_stream_is_not_waited_for_longer_than_needed() -> None:
    """A pipe whose writer writes a short line and then nothing."""
    read, write = os.pipe()
    os.write(write, b"a\n")
    with os.fdopen(read, "rb", buffering=0) as raw:
        assert Content(raw, "-").read(100) == b"a\n"
    os.close(write)


@packed
def test_a_cut_file_gives_what_it_has_and_then_an_error(codec: str) -> None:
    data = os.urandom(400_000).hex().encode()  # more than one block of each codec
    cut = PACK[codec](data)
    content = Content(io.BytesIO(cut[: len(cut) * 9 // 10]), "a.log")
    found = b""
    with pytest.raises(UnreadableFile, match=f"a.log: the {codec} data is cut off after [1-9][0-9,]+ bytes of text"):
        while chunk := content.read(50_000):
            found += chunk
    assert found
    assert data.startswith(found)


@packed
def test_a_file_cut_in_its_first_bytes_is_an_error(codec: str) -> None:
    with pytest.raises(UnreadableFile, match="cut off after 0 bytes"):
        Content(io.BytesIO(PACK[codec](LINES)[:9]), "a.log")


@pytest.mark.parametrize("codec", ["gzip", "bzip2", "xz"])
def test_damage_is_an_error(codec: str) -> None:
    data = bytearray(PACK[codec](os.urandom(300_000).hex().encode()))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(UnreadableFile, match="data is damaged"):
        text_of(bytes(data))


@packed
def test_a_bomb_ends_at_a_limit(codec: str) -> None:
    bomb = PACK[codec](b"a line\n" * 2_000_000)
    limits = Limits(ratio=50, free=1_000_000)
    with pytest.raises(UnreadableFile, match=r"a.log unfolds to more than 1,\d{3},\d{3} bytes"):
        text_of(bomb, limits, 1 << 20)
    with pytest.raises(UnreadableFile, match="unfolds to more than"):
        text_of(PACK[codec](LINES), Limits(size=100_000))
    assert len(text_of(bomb)) == 14_000_000  # a log may well repeat itself
    assert len(text_of(b"a line\n" * 200_000, limits)) == 1_400_000  # text is as long as it is


def foreign(folder: Path) -> dict[str, bytes]:
    plain = folder / "a.log"
    plain.write_bytes(LINES)
    with tarfile.open(folder / "tar", "w") as archive:
        archive.add(plain, "a.log")
    with zipfile.ZipFile(folder / "zip", "w") as archive:
        archive.write(plain, "a.log")
    pq.write_table(pa.table({"x": [1, 2]}), folder / "parquet")
    found = {name: (folder / name).read_bytes() for name in ("tar", "zip", "parquet")}
    return found | {"image": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "binary": os.urandom(5000)}


def test_other_files_are_refused_by_their_kind(tmp_path: Path) -> None:
    kinds = {"tar": "a tar archive", "zip": "a zip archive", "parquet": "a Parquet file", "image": "an image",
             "binary": "a binary file"}  # fmt: skip
    for name, data in foreign(tmp_path).items():
        with pytest.raises(UnreadableFile, match=f"a.log is {kinds[name]} - ") as caught:
            Content(io.BytesIO(data), "a.log")
        assert "unpack or convert" in caught.value.hint
        with pytest.raises(UnreadableFile, match=f"a.log is {kinds[name]}, compressed with gzip"):
            Content(io.BytesIO(gzip.compress(data)), "a.log")
    with pytest.raises(UnreadableFile, match="compressed twice, with xz inside, compressed with gzip"):
        Content(io.BytesIO(gzip.compress(lzma.compress(LINES))), "a.log")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_wide_text_is_refused_with_the_way_to_convert_it(encoding: str) -> None:
    marks = {"utf-16-be": "\ufeff"}
    wide = (marks.get(encoding, "") + LINES.decode()).encode(encoding)
    with pytest.raises(UnreadableFile, match="UTF-16 or UTF-32") as caught:
        Content(io.BytesIO(wide), "a.log")
    assert "iconv -f UTF-16 -t UTF-8" in caught.value.hint
    with pytest.raises(UnreadableFile, match="binary"):
        Content(io.BytesIO(LINES.decode().encode("utf-16-le")), "a.log")


def test_an_error_of_the_file_itself_stays_what_it_is() -> None:
    class Broken(io.RawIOBase):
        def __init__(self, head: bytes) -> None:
            self._head = head

        def read(self, size: int = -1, /) -> bytes:
            head, self._head = self._head, b""
            if not head:
                raise OSError(5, "Input/output error")
            return head

    for codec, pack in PACK.items():
        with pytest.raises(OSError, match="Input/output") as caught:
            content = Content(Broken(pack(os.urandom(300_000).hex().encode())[:100_000]), "a.log")
            while content.read(50_000):
                pass
        assert caught.value.errno == 5, codec
