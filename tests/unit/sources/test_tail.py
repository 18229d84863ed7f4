"""Following files: rotation, truncation, restart, and what happens to a record that is still being written."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from linetable import line_table

from platform_assets.sources.files.content import UnreadableFile
from platform_assets.sources.files.tail import FileTail, Lost, PositionFile

QUIET = 2.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Tailing:
    """A tail on a folder of its own, with the steps that a test takes."""

    def __init__(self, folder: Path, frame_start: str | None = None, name: str = "app.log") -> None:
        self.path = folder / name
        self.positions = PositionFile(folder / "state" / "app.json")
        self.clock = Clock()
        self.table = line_table(frame_start)
        self.start()

    def start(self, *, accept_loss: bool = False, quiet_s: float = QUIET) -> None:
        """A new process."""
        self.tail = FileTail(
            self.path, self.table, self.positions, quiet_s=quiet_s, accept_loss=accept_loss, clock=self.clock
        )

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
        self.rotate_old()
        rotated = self.path.with_name("app.log.1")
        self.path.rename(rotated)
        self.path.touch()
        return rotated

    def rotate_old(self) -> None:
        """Rotated files move up by renaming; the followed one stays."""
        names = sorted(self.path.parent.glob("app.log.*"), key=lambda path: int(path.suffix[1:]), reverse=True)
        for path in names:
            path.rename(path.with_suffix(f".{int(path.suffix[1:]) + 1}"))

    def rotate_all(self, suffix: str) -> None:
        """Rename and create; what was rotated moves up and is compressed at once."""
        packed = self.path.parent.glob(f"app.log.*.{suffix}")
        for path in sorted(packed, key=lambda path: int(path.name.split(".")[2]), reverse=True):
            path.rename(path.with_name(f"app.log.{int(path.name.split('.')[2]) + 1}.{suffix}"))
        for path in sorted(self.path.parent.glob("app.log.[0-9]"), reverse=True):
            moved = path.rename(path.with_name(f"app.log.{int(path.suffix[1:]) + 1}"))
            compress(moved, suffix)
        self.path.rename(self.path.with_name("app.log.1"))
        compress(self.path.with_name("app.log.1"), suffix)
        self.path.touch()

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
    assert "emptied" in caplog.text
    logs.write("b")
    assert logs.read() == ["b"]
    logs.start()
    assert logs.read() == []


def test_gone_while_away_is_an_error_until_it_is_accepted(logs: Tailing, caplog: pytest.LogCaptureFixture) -> None:
    logs.write("a")
    logs.read()
    logs.rotate().unlink()
    logs.write("b")
    for _ in range(2):
        with pytest.raises(Lost, match=r"is gone; what it held after byte 2 is lost.*--accept-loss"):
            logs.start()
    logs.start(accept_loss=True)
    assert "is gone" in caplog.text
    assert logs.read() == ["b"]
    logs.start()
    assert logs.read() == []


def test_a_file_that_is_gone_and_none_in_its_place_is_an_error(logs: Tailing) -> None:
    logs.write("a")
    logs.read()
    logs.path.unlink()
    with pytest.raises(Lost):
        logs.start()


def test_deleted_while_it_is_followed_it_is_read_to_its_end(logs: Tailing) -> None:
    logs.write("a")
    logs.read()
    with logs.path.open("a") as writer:
        logs.path.unlink()
        writer.write("b\n")
    assert logs.read(wait=QUIET) == ["b"]
    logs.write("c")
    assert logs.read(wait=QUIET) == ["c"]


@pytest.mark.parametrize("inode_again", [False, True])
def test_a_file_recreated_while_away_is_another_file(logs: Tailing, inode_again: bool) -> None:
    logs.write("a", "b")
    logs.read()
    logs.path.unlink()
    logs.write("x", "y", "z")
    if inode_again:
        state = json.loads(logs.positions.load() or "")
        logs.positions.save(json.dumps(state | {"inode": logs.path.stat().st_ino}))
    with pytest.raises(Lost):
        logs.start()
    logs.start(accept_loss=True)
    assert logs.read() == ["x", "y", "z"]


PACK: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("suffix", PACK)
def test_rotated_and_compressed_while_away(logs: Tailing, suffix: str) -> None:
    """Twice, and the older one by whoever rotates (`delaycompress`); compressed files keep their time of change."""
    logs.write("old")
    logs.read()
    logs.rotate()
    logs.write("a")
    assert logs.read(wait=QUIET) == ["a"]
    logs.write("b")
    gone = logs.rotate()
    logs.write("c")
    logs.rotate()
    compress(gone.with_suffix(".2"), suffix)
    logs.write("d")
    logs.start()
    assert logs.read(wait=QUIET) == ["b", "c", "d"]
    logs.start()
    assert logs.read(wait=QUIET) == []
    logs.write("e")
    for _ in range(2):
        logs.write("f")
        logs.rotate_all(suffix)
    logs.write("g")
    logs.start()
    assert logs.read(wait=QUIET) == ["e", "f", "f", "g"]


def compress(path: Path, suffix: str) -> None:
    packed = path.with_name(f"{path.name}.{suffix}")
    packed.write_bytes(PACK[suffix](path.read_bytes()))
    shutil.copystat(path, packed)
    path.unlink()


def test_a_restart_within_a_compressed_file_goes_on_there(logs: Tailing) -> None:
    logs.write("a")
    logs.read()
    logs.write(*"bcdef")
    compress(logs.rotate(), "gz")
    logs.write("g")
    logs.start()
    assert [record.decode() for record in logs.tail.poll(4)] == ["b", "c"]
    logs.tail.commit()
    logs.start()
    assert logs.read(wait=QUIET) == ["d", "e", "f", "g"]


def test_a_compressed_file_that_is_cut_is_no_copy(logs: Tailing) -> None:
    logs.write("a")
    logs.read()
    rotated = logs.rotate()
    compress(rotated, "gz")
    packed = rotated.with_name("app.log.1.gz")
    packed.write_bytes(packed.read_bytes()[:-6])
    with pytest.raises(Lost):
        logs.start()


@pytest.mark.parametrize("suffix", [".gz", ""])
def test_a_mark_of_utf8_is_no_part_of_the_first_record(logs: Tailing, suffix: str) -> None:
    logs.path.write_bytes(b"\xef\xbb")
    logs.start()
    assert logs.read() == []
    logs.path.write_bytes(b"\xef\xbb\xbf")
    assert logs.read() == []
    logs.write("a", "b")
    assert logs.read() == ["a", "b"]
    logs.write("c")
    logs.tail.close()
    rotated = logs.path.with_name("app.log.1" + suffix)
    rotated.write_bytes(gzip.compress(logs.path.read_bytes()) if suffix else logs.path.read_bytes())
    logs.path.write_bytes(b"\xef\xbb\xbfd\n")
    logs.start()
    assert logs.read(wait=5.0) + logs.read(wait=5.0) == ["c", "d"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_the_followed_file_may_not_be_wide(logs: Tailing, encoding: str) -> None:
    logs.start()
    logs.path.write_bytes("a\nb\n".encode(encoding))
    for _ in range(2):
        with pytest.raises(UnreadableFile, match="UTF-16 or UTF-32"):
            logs.read()


def test_the_followed_file_may_not_be_compressed(logs: Tailing) -> None:
    logs.path.write_bytes(gzip.compress(b"a\n"))
    with pytest.raises(UnreadableFile, match="is compressed - `assay send`"):
        logs.read()


@pytest.mark.parametrize("restarted", [False, True])
def test_an_old_file_with_the_same_first_line_is_no_copy(
    logs: Tailing, restarted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever its name and its age are by now."""
    logs.write("# header", "old 1", "old 2")
    logs.rotate()
    logs.write("# header")
    assert logs.read() == ["# header"]
    os.utime(logs.path.with_name("app.log.1"))
    logs.rotate_old()
    if restarted:
        os.truncate(logs.path, 0)
        with pytest.raises(Lost):
            logs.start()
        logs.start(accept_loss=True)
    else:
        os.truncate(logs.path, 0)
    logs.write("new")
    assert logs.read(wait=QUIET) == ["new"]
    assert "lost" in caplog.text


@pytest.mark.parametrize("restarted", [False, True])
def test_the_copy_is_taken_and_not_an_old_file_with_the_same_first_line(logs: Tailing, restarted: bool) -> None:
    logs.write("# header", "old 1", "old 2")
    logs.rotate()
    logs.write("# header")
    assert logs.read() == ["# header"]
    logs.write("rest")
    logs.rotate_old()
    logs.copytruncate()
    logs.write("new")
    if restarted:
        logs.start()
    assert logs.read(wait=QUIET) == ["rest", "new"]


def test_of_several_files_with_the_same_first_line_the_first_goes_on(logs: Tailing) -> None:
    logs.write("# header")
    assert logs.read() == ["# header"]
    logs.write("a")
    logs.rotate_all("gz")
    logs.write("# header", "b")
    logs.rotate_all("gz")
    logs.write("# header", "c")
    logs.start()
    assert logs.read(wait=QUIET) == ["a", "# header", "b", "# header", "c"]


@pytest.mark.parametrize("compressed", [False, True])
def test_emptied_twice_while_away(logs: Tailing, compressed: bool) -> None:
    logs.write("a")
    logs.read()
    logs.write("b")
    logs.copytruncate()
    logs.write("c")
    logs.rotate_old()
    logs.copytruncate()
    if compressed:
        compress(logs.path.with_name("app.log.2"), "gz")
    logs.write("d")
    logs.start()
    assert logs.read(wait=QUIET) == ["b", "c", "d"]


def test_emptied_before_it_was_read_to_its_end_is_an_error(logs: Tailing) -> None:
    logs.write(*"abcdef")
    assert [record.decode() for record in logs.tail.poll(4)] == ["a", "b"]
    logs.tail.commit()
    os.truncate(logs.path, 0)
    with pytest.raises(Lost, match=r"emptied before it was read to its end; what it held after byte 4 is lost"):
        logs.tail.poll()
    logs.start(accept_loss=True)
    logs.write("g")
    assert logs.read(wait=QUIET) == ["g"]


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("days", [1, 3])
def test_a_link_that_points_to_another_file_each_day(tmp_path: Path, restarted: bool, days: int) -> None:
    logs = Tailing(tmp_path, name="current.log")
    folder = tmp_path / "archive"
    folder.mkdir()
    (folder / "app-2026-01-14.log").write_text("before\n")
    (folder / "other-2026-01-16.log").write_text("of another\n")

    def begin(day: int) -> None:
        file = folder / f"app-2026-01-{day}.log"
        file.write_text(f"first of {day}\n")
        logs.path.unlink(missing_ok=True)
        logs.path.symlink_to(file)

    begin(15)
    assert logs.read() == ["first of 15"]
    logs.write("last of 15")
    for day in range(16, 16 + days):
        begin(day)
    if restarted:
        logs.start()
    assert logs.read(wait=QUIET) == ["last of 15", *(f"first of {day}" for day in range(16, 16 + days))]
    logs.start()
    assert logs.read(wait=QUIET) == []


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(
    "names",
    [
        ("app-2026-01-15.log", "app-2026-01-16.log"),
        ("app.20260115.log", "app.20260116.log"),
        ("app.log-20260115", "app.log-20260116"),
        ("app.log.2026-01-15-09", "app.log.2026-01-15-10"),
        ("app.1.log", "app.2.log"),  # the highest is the newest
    ],
)
def test_renamed_with_a_date_or_a_number(logs: Tailing, names: tuple[str, str], restarted: bool) -> None:
    logs.write("a")
    logs.read()
    logs.write("b")
    logs.path.rename(logs.path.with_name(names[0]))
    logs.write("c")
    logs.path.rename(logs.path.with_name(names[1]))
    os.utime(logs.path.with_name(names[0]), (1, 1))
    logs.write("d")
    if restarted:
        logs.start()
    assert logs.read(wait=QUIET) == ["b", "c", "d"]


def test_renamed_to_anything_beside(logs: Tailing) -> None:
    logs.write("a")
    logs.read()
    logs.write("b")
    logs.path.rename(logs.path.with_name("put aside.txt"))
    logs.write("c")
    logs.start()
    assert logs.read(wait=QUIET) == ["b", "c"]


def test_logs_of_like_names_are_left_alone(logs: Tailing) -> None:
    logs.write("a")
    logs.read()
    for name in ("app-2.log", "app2.log", "app_1.log", "app.log.old", "xapp-20260115.log", "app-20260115.log.txt"):
        logs.path.with_name(name).write_text("of another\n")
    logs.path.unlink()
    logs.write("b")
    assert logs.read(wait=QUIET) == ["b"]


def test_lines_of_a_stack_trace_that_come_slowly_stay_one_record(framed: Tailing) -> None:
    framed.start(quiet_s=10.0)
    framed.write("[1", "[2")
    assert framed.read(wait=1) == ["[1"], "complete records do not wait"
    for line in (" x", " y", " z"):
        framed.write(line)
        assert framed.read(wait=1) == []
    framed.write("[3")
    assert framed.read() == ["[2\n x\n y\n z"]
    assert framed.read(wait=5) == ["[3"]


def test_a_rotated_file_is_not_waited_for_as_long_as_a_record(framed: Tailing) -> None:
    framed.start(quiet_s=60.0)
    framed.write("[1")
    assert framed.read() == []
    framed.rotate()
    framed.write("[2", "[3")
    assert framed.read(wait=1) == ["[1", "[2"]


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that every user may reach: pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="assay-tail-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def test_a_file_that_may_not_be_read_any_more_is_an_error(reachable: Path) -> None:
    """Of another user, for root may read everything."""
    folder = reachable / "logs"
    folder.mkdir()
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        f"sys.path[:0] = [{str(Path(__file__).parent)!r}]\n"
        "import platform_assets.formats.regex\n"
        "from test_tail import Tailing\n"
        f"logs = Tailing(Path({str(folder)!r}))\n"
        "logs.write('a')\n"
        "assert logs.read() == ['a']\n"
        "logs.rotate()\n"
        "logs.path.chmod(0)\n"
        "try:\n"
        "    logs.read(wait=2)\n"
        "except PermissionError as error:\n"
        "    print(error.strerror)\n"
    )
    # As others than root may not reach this code, the program is loaded before it changes its user.
    if os.getuid() == 0:
        os.chown(folder, 65534, 65534)
        script = script.replace("logs = ", "os.setegid(65534)\nos.seteuid(65534)\nlogs = ", 1)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("Permission denied\n", "")


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
