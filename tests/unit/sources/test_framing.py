"""Cutting files into records: nothing lost, nothing altered, whatever the chunks."""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from linetable import line_table

from platform_assets.contracts.formats import Framer
from platform_assets.contracts.model import Table
from platform_assets.sources.files.framing import framer_of, frames


def table(frame_start: str | None = None, max_bytes: int = 20) -> Table:
    return line_table(frame_start, max_bytes=max_bytes, lateness=timedelta(days=1))


LINES = table()
FRAMED = table(r"^\[\d")


def cut(content: bytes, of: Table, sizes: list[int] | None = None, limit: int = 1000) -> tuple[list[bytes], Framer]:
    """Records of the content, fed in chunks of these sizes in turn."""
    framer = framer_of(of, limit)
    records: list[bytes] = []
    at = turn = 0
    while at < len(content):
        size = sizes[turn % len(sizes)] if sizes else len(content)
        records += framer.feed(content[at : at + size])
        at += size
        turn += 1
        assert framer.consumed + framer.held == min(at, len(content))
    records += framer.finish()
    assert (framer.consumed, framer.held) == (len(content), 0)
    return records, framer


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"a\r\nb\r\n", [b"a", b"b"]),
        (b"a\n\nb", [b"a", b"", b"b"]),
        (b"\n", [b""]),
        (b"\xff\xfe\x00\n\x80", [b"\xff\xfe\x00", b"\x80"]),
        (b"a\rb\n", [b"a\rb"]),
        ("a\u2028b\x0bc\n".encode(), ["a\u2028b\x0bc".encode()]),  # only LF ends a line
    ],
)
def test_lines(content: bytes, expected: list[bytes]) -> None:
    assert cut(content, LINES)[0] == expected
    assert cut(content, LINES, [1])[0] == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"[1 a\n[2 b\n", [b"[1 a", b"[2 b"]),
        (b"[1 a\n at x\n at y\n[2 b", [b"[1 a\n at x\n at y", b"[2 b"]),
        (b"lost\nmore\n[1 a\n", [b"lost\nmore", b"[1 a"]),
        (b"[1 a\n\n[x no start\n[2\n", [b"[1 a\n\n[x no start", b"[2"]),
        (b"[1 a\r\n at x\r\n[2\r\n", [b"[1 a\r\n at x", b"[2"]),
        (b"[1 [2 [3\n", [b"[1 [2 [3"]),
    ],
)
def test_multi_line_records(content: bytes, expected: list[bytes]) -> None:
    assert cut(content, FRAMED)[0] == expected
    assert cut(content, FRAMED, [1])[0] == expected


@given(
    content=st.lists(st.sampled_from([b"[1", b"[", b"\n", b"\r\n", b"\r", b"x" * 30, b"\xff", b"at"]), max_size=40),
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    framed=st.booleans(),
    limit=st.sampled_from([21, 25, 40, 1000]),
)
def test_chunks_make_no_difference(content: list[bytes], sizes: list[int], framed: bool, limit: int) -> None:
    of = FRAMED if framed else LINES
    whole, one = cut(b"".join(content), of, None, limit)
    pieces, other = cut(b"".join(content), of, sizes, limit)
    assert pieces == whole
    assert other.cut == one.cut


@given(st.lists(st.binary(max_size=60).map(lambda line: line.replace(b"\n", b"").rstrip(b"\r")), max_size=30))
def test_lines_come_out_as_they_went_in(lines: list[bytes]) -> None:
    assert cut(b"".join(line + b"\n" for line in lines), LINES)[0] == lines


def test_too_large_is_cut_but_stays_too_large() -> None:
    records, framer = cut(b"a" * 100 + b"\nb\n" + b"c" * 22 + b"\n", LINES, [7], limit=0)
    assert records == [b"a" * 21, b"b", b"c" * 21]  # one more than the contract's 20: to be quarantined
    assert framer.cut == 2
    records, framer = cut(b"[1\n" + b"x\n" * 50 + b"[2\n", FRAMED, [7], limit=0)
    assert records == [(b"[1\n" + b"x\n" * 50)[:21], b"[2"]
    assert framer.cut == 1
    assert cut(b"a" * 21 + b"\r\n", LINES, [3], limit=21)[1].cut == 0


def test_an_endless_line_does_not_fill_the_memory() -> None:
    framer = framer_of(FRAMED, 1000)
    for _ in range(100):
        assert framer.feed(b"x" * 100_000) == []
    assert framer.held == 10_000_000
    assert len(framer._line._bytes) < 2000
    assert [len(record) for record in framer.finish()] == [1000]


@pytest.mark.parametrize("of", [LINES, FRAMED])
def test_a_file_in_batches_with_progress(of: Table, tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_bytes(b"".join(b"[%d message of some length\n" % number for number in range(150_000)))
    batches = list(frames(path, of, batch=1000))
    assert all(len(records) <= 1000 for records, _ in batches)
    assert sum(len(records) for records, _ in batches) == 150_000
    assert sum(size for _, size in batches) == path.stat().st_size
    assert [record for records, _ in batches for record in records] == path.read_bytes().splitlines()


def test_a_stream_and_an_empty_file(tmp_path: Path) -> None:
    assert list(frames(io.BytesIO(b"a\nb"), LINES)) == [([b"a", b"b"], 3)]
    (tmp_path / "empty").touch()
    assert list(frames(tmp_path / "empty", LINES)) == []
    with pytest.raises(OSError, match="gone"):
        list(frames(tmp_path / "gone", LINES))
