"""Following files: rotation, truncation, restart, and what happens to a record that is still being written."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import pytest

from platform_assets.contracts.model import Field, FieldType, Format, Table
from platform_assets.stream.tail import FileTail, PositionFile

QUIET = 2.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Tailing:
    """A tail on a folder of its own, with the steps that a test takes."""

    def __init__(self, folder: Path, frame_start: str | None = None) -> None:
        self.path = folder / "app.log"
        self.positions = PositionFile(folder / "state" / "app.json")
        self.clock = Clock()
        field = Field("t", FieldType.TIMESTAMP, required=True, source="t")
        self.table = Table(
            system="shop",
            name="lines",
            version="1.0.0",
            description="",
            topic="shop.lines",
            format=Format.REGEX,
            fields=(field,),
            event_time="t",
            frame_start=frame_start,
        )
        self.start()

    def start(self) -> None:
        """A new process."""
        self.tail = FileTail(self.path, self.table, self.positions, quiet_s=QUIET, clock=self.clock)

    def write(self, *lines: str, path: Path | None = None) -> None:
        with (path or self.path).open("a") as file:
            file.writelines(line + "\n" for line in lines)

    def read(self, *, commit: bool = True, wait: float = 0.0) -> list[str]:
        """Everything there is to read now, after `wait` seconds without growth."""
        found: list[str] = []
        for _ in range(8):
            found += [record.decode() for record in self.tail.poll()]
            if commit:
                self.tail.commit()
            self.clock.now += wait
        return found

    def rotate(self) -> Path:
        """Rename and create, as logrotate does; older ones move up."""
        names = sorted(self.path.parent.glob("app.log.*"), key=lambda path: int(path.suffix[1:]), reverse=True)
        for path in names:
            path.rename(path.with_suffix(f".{int(path.suffix[1:]) + 1}"))
        rotated = self.path.with_name("app.log.1")
        self.path.rename(rotated)
        self.path.touch()
        return rotated

    def copytruncate(self) -> None:
        shutil.copy(self.path, self.path.with_name("app.log.1"))
        os.truncate(self.path, 0)


@pytest.fixture
def logs(tmp_path: Path) -> Tailing:
    return Tailing(tmp_path)


@pytest.fixture
def framed(tmp_path: Path) -> Tailing:
    return Tailing(tmp_path, r"^\[")


def test_growth(logs: Tailing) -> None:
    assert logs.read() == []  # not there yet
    logs.write("a", "b")
    assert logs.read() == ["a", "b"]
    assert logs.read() == []
    logs.write("c")
    assert logs.read() == ["c"]


def test_an_unfinished_line_waits_for_its_end(logs: Tailing) -> None:
    logs.path.write_text("a\nhal")
    assert logs.read(wait=QUIET) == ["a"]
    logs.write("f")
    assert logs.read() == ["half"]


def test_restart_goes_on_where_it_was(logs: Tailing) -> None:
    logs.write("a", "b")
    logs.read()
    logs.write("c")
    logs.start()
    assert logs.read() == ["c"]


def test_what_was_not_committed_comes_again(logs: Tailing) -> None:
    logs.write("a", "b")
    assert logs.read(commit=False) == ["a", "b"]
    logs.start()
    assert logs.read() == ["a", "b"]


def test_a_record_still_held_comes_again_whole(framed: Tailing) -> None:
    framed.write("[1", " x", "[2", " y")
    assert framed.read() == ["[1\n x"]
    framed.start()
    framed.write(" z", "[3")
    assert framed.read() == ["[2\n y\n z"]


def test_a_quiet_time_ends_a_multi_line_record(framed: Tailing) -> None:
    framed.write("[1", " x")
    assert framed.read() == []
    assert framed.read(wait=QUIET) == ["[1\n x"]
    framed.write("[2")
    assert framed.read(wait=QUIET) == ["[2"]
    framed.start()
    assert framed.read(wait=QUIET) == []


def test_rename_and_create(logs: Tailing) -> None:
    logs.write("a")
    assert logs.read() == ["a"]
    logs.write("b")
    rotated = logs.rotate()
    logs.write("c")
    logs.write("late", path=rotated)  # the writer had the old file open still
    assert logs.read() == ["b", "late"]
    assert logs.read(wait=QUIET) == ["c"]
    logs.write("d")
    assert logs.read() == ["d"]


def test_the_last_line_of_a_rotated_file_needs_no_end(logs: Tailing) -> None:
    logs.path.write_text("a\nno end")
    assert logs.read() == ["a"]
    logs.rotate()
    logs.write("b")
    assert logs.read(wait=QUIET) == ["no end", "b"]


def test_several_rotations_while_it_was_away(logs: Tailing) -> None:
    logs.write("a")
    logs.read()
    logs.write("b")
    logs.rotate()
    logs.write("c")
    logs.rotate()
    logs.write("d")
    logs.rotate()
    logs.write("e")
    logs.start()
    assert logs.read(wait=QUIET) == ["b", "c", "d", "e"]
    logs.start()
    assert logs.read(wait=QUIET) == []


def test_several_rotations_while_it_was_slow(logs: Tailing) -> None:
    logs.write("a")
    logs.read()
    for line in "bcd":
        logs.write(line)
        logs.rotate()
    logs.write("e")
    assert logs.read(wait=QUIET) == ["b", "c", "d", "e"]


def test_files_rotated_before_it_began_are_left_alone(logs: Tailing) -> None:
    logs.write("old")
    logs.rotate()
    logs.write("a")
    logs.start()
    assert logs.read() == ["a"]
    logs.rotate()
    logs.write("b")
    assert logs.read(wait=QUIET) == ["b"]


def test_other_files_beside_are_left_alone(logs: Tailing) -> None:
    logs.write("a")
    logs.read()
    logs.rotate()
    for name in ("app.log.bak", "app.log.1.gz", "app.log2", "other.log.1"):
        (logs.path.parent / name).write_text("no\n")
    logs.write("b")
    assert logs.read(wait=QUIET) == ["b"]


@pytest.mark.parametrize("restarted", [False, True])
def test_copy_and_truncate(logs: Tailing, restarted: bool) -> None:
    logs.write("a", "b")
    logs.read()
    logs.write("c")
    logs.copytruncate()
    logs.write("d")
    if restarted:
        logs.start()
    assert logs.read(wait=QUIET) == ["c", "d"]
    assert logs.read(wait=QUIET) == []


@pytest.mark.parametrize("restarted", [False, True])
def test_truncated_and_grown_past_the_old_place(logs: Tailing, restarted: bool) -> None:
    logs.write("a", "b")
    logs.read()
    logs.copytruncate()
    logs.write(*"vwxyz")
    if restarted:
        logs.start()
    assert logs.read(wait=QUIET) == list("vwxyz")


def test_truncated_without_a_copy_is_said(logs: Tailing, caplog: pytest.LogCaptureFixture) -> None:
    logs.path.write_text("a\nheld")
    logs.read()
    os.truncate(logs.path, 0)
    assert logs.read() == ["held"]
    assert "truncated" in caplog.text
    logs.write("b")
    assert logs.read() == ["b"]
    logs.start()
    assert logs.read() == []


def test_gone_while_away_is_said(logs: Tailing, caplog: pytest.LogCaptureFixture) -> None:
    logs.write("a")
    logs.read()
    logs.rotate().unlink()
    logs.write("b")
    logs.start()
    assert "is gone" in caplog.text
    assert logs.read() == ["b"]


@pytest.mark.parametrize("inode_again", [False, True])
def test_files_rotated_after_the_one_that_is_gone_are_read(
    logs: Tailing, caplog: pytest.LogCaptureFixture, inode_again: bool
) -> None:
    """Compressed meanwhile (`delaycompress`): what it held is lost, and no whole file besides."""
    logs.write("old")
    logs.read()
    os.utime(logs.rotate(), (1, 1))
    logs.write("a")
    assert logs.read(wait=QUIET) == ["a"]
    logs.write("b")
    gone = logs.rotate()
    logs.write("c")
    latest = logs.rotate()
    gone.with_suffix(".2").rename(gone.with_suffix(".2.gz"))
    logs.write("d")
    if inode_again:  # of a file that was deleted: the next one may get it
        state = json.loads(logs.positions.load() or "")
        logs.positions.save(json.dumps(state | {"inode": latest.stat().st_ino}))
    logs.start()
    assert "is gone; what it held after byte 2" in caplog.text
    assert logs.read(wait=QUIET) == ["c", "d"]
    logs.start()
    assert logs.read(wait=QUIET) == []


def test_a_position_without_a_time_of_change_is_read(logs: Tailing) -> None:
    """As it was saved before marks had one."""
    logs.write("a")
    logs.read()
    state = json.loads(logs.positions.load() or "")
    del state["modified"]
    logs.positions.save(json.dumps(state))
    logs.write("b")
    logs.start()
    assert logs.read() == ["b"]


def test_a_folder_is_no_file(tmp_path: Path, logs: Tailing) -> None:
    logs.path.mkdir()
    with pytest.raises(OSError, match=r"regular file|directory"):
        logs.read()


def test_the_position_is_private_and_replaced_whole(logs: Tailing) -> None:
    logs.write("a")
    logs.read()
    state = logs.positions.path
    assert state.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in state.parent.iterdir()] == ["app.json"]
    before = state.stat().st_mtime_ns, state.stat().st_ino
    logs.read()
    assert (state.stat().st_mtime_ns, state.stat().st_ino) == before  # nothing new, nothing written


@pytest.mark.parametrize("seed", range(12))
def test_at_least_once_and_in_order_through_anything(tmp_path: Path, seed: int) -> None:
    """Random growth, rotation, restarts; a crash may repeat what was not committed, never lose or reorder it."""
    chance = random.Random(seed)
    logs = Tailing(tmp_path, r"^\[" if seed % 2 else None)
    written: list[str] = []
    seen: list[str] = []
    logs.path.touch()
    logs.read()  # what is rotated away before the first look is not followed
    for _ in range(120):
        step = chance.choice(
            ["write", "write", "write", "read", "read", "rotate", "restart", "crash", "wait", "truncate"]
        )
        if step == "write":
            line = f"[{len(written)}" + chance.choice(["", "x" * chance.randrange(3000)])
            written.append(line)
            logs.write(line)
        elif step == "rotate" and logs.path.exists():
            logs.rotate()
        elif step == "truncate" and logs.path.exists() and not list(tmp_path.glob("app.log.*")):
            seen += logs.read(wait=QUIET)  # what was never seen cannot be recognised in a copy
            logs.copytruncate()
        elif step == "restart":
            logs.start()
        elif step == "crash":
            seen += logs.read(commit=False)
            logs.start()
        else:
            seen += logs.read(wait=QUIET if step == "wait" else 0)
    logs.start()
    for _ in range(30):
        seen += logs.read(wait=QUIET)
    assert list(dict.fromkeys(seen)) == written
