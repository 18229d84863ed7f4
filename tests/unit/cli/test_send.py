"""`assay send` up to the producer: slow standard input, an end that is asked for, files that cannot be read."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from io import FileIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from platform_assets.cli.app import assay
from platform_assets.cli.send import CHUNK
from platform_assets.sources.kafka import ranges
from platform_assets.sources.kafka.produce import Record

SOON = 0.3


class Kept:
    """Stands for a producer: keeps what it is to send. `then` is called after each time."""

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        self.values: list[bytes | None] = []
        self._then = then

    @property
    def delivered(self) -> int:
        return len(self.values)

    def send(self, records: Sequence[Record]) -> int:
        self.values += [value for _, value in records]
        self._then()
        return len(records)

    def flush(self) -> None:
        """Nothing is in flight."""

    def ranges(self) -> dict[int, tuple[int, int]]:
        return {}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[Kept, Result]]:
    """Runs the command with a producer that keeps."""
    monkeypatch.setenv("ASSAY_HOME", str(tmp_path / "home"))

    def run(*arguments: str, producer: Kept | None = None, table: str = "logs.access") -> tuple[Kept, Result]:
        kept = producer or Kept()
        monkeypatch.setattr(ranges, "producer_for", lambda *_: kept)
        return kept, CliRunner().invoke(assay, ["send", table, *arguments])

    return run


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileIO]:
    """Standard input is a pipe; its other end."""
    read, write = os.pipe()
    with os.fdopen(read) as stdin, os.fdopen(write, "wb", buffering=0) as other:
        # The runner of commands puts in a standard input of its own.
        monkeypatch.setattr("platform_assets.cli.send.sys", SimpleNamespace(stdin=stdin))
        yield other


def soon(work: Callable[[], object]) -> None:
    threading.Timer(SOON, work).start()


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_what_standard_input_has_is_sent_at_once_and_ctrl_c_ends_the_wait(
    sent: Callable[..., tuple[Kept, Result]], pipe: FileIO
) -> None:
    """Whoever writes it is at work still, and writes nothing for now."""
    pipe.write(b"one\r\ntwo, and mor")

    def then() -> None:
        if len(kept.values) == 1:
            pipe.write(b"e\nthree")
        else:
            soon(interrupt)

    kept = Kept(then)
    result = sent("-", "--json", producer=kept)[1]
    assert kept.values == [b"one", b"two, and more"]
    assert (result.exit_code, json.loads(result.stdout)["records"]) == (130, 2)


def test_the_end_of_standard_input_ends_the_last_record(sent: Callable[..., tuple[Kept, Result]], pipe: FileIO) -> None:
    first, last = b"[2026-11-20 09:30:00,123] ERROR no (kafka.X)\n\tat x.Y", b"[2026-11-20 09:30:01,123] INFO yes"
    pipe.write(first + b"\n" + last)
    soon(pipe.close)
    kept, result = sent("-", "--json", table="logs.broker")
    assert (kept.values, result.exit_code) == ([first, last], 0)
    assert json.loads(result.stdout)["bytes"] == len(first) + 1 + len(last)


def test_ctrl_c_ends_a_slow_stream_at_once(sent: Callable[..., tuple[Kept, Result]], tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("one\ntwo\n")
    kept, result = sent(str(path), "--rate", "0.0001", producer=Kept(lambda: soon(interrupt)))
    assert (kept.values, result.exit_code) == ([b"one"], 130)


def test_a_file_that_may_not_be_read_leaves_no_other_in_the_topic(
    sent: Callable[..., tuple[Kept, Result]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "a.log", tmp_path / "b.log"
    first.write_text("one\n")
    second.touch(0)
    if os.access(second, os.R_OK):  # root may read everything
        monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != second)
    kept, result = sent(str(first), str(second))
    assert (kept.values, result.exit_code) == ([], 1)
    assert f"we may not read {second} - nothing was sent" in result.stderr


LINES = [b"line %d" % number for number in range(5000)]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_file_is_sent_as_its_lines(
    sent: Callable[..., tuple[Kept, Result]], tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(pack(b"\n".join(LINES)))
    kept, result = sent(str(path), "--json")
    assert (kept.values, result.exit_code) == (LINES, 0)
    assert json.loads(result.stdout)["bytes"] == len(b"\n".join(LINES))


@pytest.mark.timeout(30)
def test_standard_input_may_be_compressed(sent: Callable[..., tuple[Kept, Result]], pipe: FileIO) -> None:
    pipe.write(gzip.compress(b"\n".join(LINES)))
    soon(pipe.close)
    assert sent("-", "--json")[0].values == LINES


def test_a_cut_archive_says_how_many_records_were_sent_and_sends_none_by_half(
    sent: Callable[..., tuple[Kept, Result]], tmp_path: Path
) -> None:
    path = tmp_path / "a.log.gz"
    lines = [os.urandom(500).hex().encode() for _ in range(2000)]
    packed = gzip.compress(b"\n".join(lines))
    path.write_bytes(packed[: len(packed) // 2])
    kept, result = sent(str(path), "--json")
    assert 0 < len(kept.values) < 2000
    assert kept.values == lines[: len(kept.values)]
    assert (result.exit_code, json.loads(result.stdout)["records"]) == (1, len(kept.values))
    assert "a.log.gz: the gzip data is cut off" in result.stderr
    assert f"{len(kept.values):,} records before it were sent" in result.stderr


def test_a_file_that_is_no_text_leaves_no_other_in_the_topic(
    sent: Callable[..., tuple[Kept, Result]], tmp_path: Path
) -> None:
    first, second = tmp_path / "a.log", tmp_path / "b.log"
    first.write_text("one\n")
    for data, what in ((b"PK\x03\x04", "a zip archive"), ("one\n".encode("utf-16"), "text in UTF-16")):
        second.write_bytes(data)
        kept, result = sent(str(first), str(second))
        assert (kept.values, result.exit_code) == ([], 1)
        assert f"{second} is {what}" in result.stderr
        assert result.stderr.rstrip().endswith("nothing was sent")
        assert len(result.stderr.splitlines()) == 1


def test_a_folder_and_a_socket_are_refused_and_an_empty_file_is_no_records(
    sent: Callable[..., tuple[Kept, Result]], tmp_path: Path
) -> None:
    (tmp_path / "empty").touch()
    kept, result = sent(str(tmp_path / "empty"))
    assert (kept.values, result.exit_code, "0 records" in result.stdout) == ([], 0, True)
    assert f"{tmp_path} is a folder" in sent(str(tmp_path))[1].stderr
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        assert "neither a file nor a pipe" in sent(str(tmp_path / "socket"))[1].stderr


@pytest.mark.timeout(30)
def test_a_named_pipe_is_waited_for_and_read_to_its_end(
    sent: Callable[..., tuple[Kept, Result]], tmp_path: Path
) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    soon(lambda: path.write_bytes(b"one\ntwo"))
    kept, result = sent(str(path))
    assert (kept.values, result.exit_code) == ([b"one", b"two"], 0)


@pytest.mark.timeout(30)
def test_ctrl_c_ends_the_wait_for_whoever_writes_to_a_pipe(
    sent: Callable[..., tuple[Kept, Result]], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    soon(interrupt)
    kept, result = sent(str(tmp_path / "pipe"), "--json")
    assert (kept.values, result.exit_code, json.loads(result.stdout)["records"]) == ([], 130, 0)


def test_standard_input_may_be_a_file_that_somebody_has_begun_to_read(
    sent: Callable[..., tuple[Kept, Result]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"one\ntwo\nthree")
    with path.open("rb", buffering=0) as stdin:
        stdin.read(4)
        monkeypatch.setattr("platform_assets.cli.send.sys", SimpleNamespace(stdin=stdin))
        kept, result = sent("-")
    assert (kept.values, result.exit_code) == ([b"two", b"three"], 0)


def test_a_growing_file_is_sent_as_it_was_with_its_last_line_whole(
    sent: Callable[..., tuple[Kept, Result]], tmp_path: Path
) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"x" * (CHUNK - 3) + b"\nha")

    def grow() -> None:
        if len(kept.values) == 1:
            with path.open("ab") as file:
                file.write(b"lf\nlater\n")

    kept = Kept(grow)
    result = sent(str(path), "--json", producer=kept)[1]
    assert kept.values[1:] == [b"half"]
    assert json.loads(result.stdout)["grown"] == [str(path)]


def test_a_file_that_is_emptied_meanwhile_is_an_error(sent: Callable[..., tuple[Kept, Result]], tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"one\n" * CHUNK)
    result = sent(str(path), producer=Kept(lambda: os.truncate(path, 0)))[1]
    assert result.exit_code == 1
    assert "was cut short while it was read" in result.stderr
