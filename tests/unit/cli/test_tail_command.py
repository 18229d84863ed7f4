"""`assay tail` as a command: how it ends when it cannot go on, and the alert that it leaves."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from waiting import eventually

from platform_assets.alerts.incident import OPEN, RESOLVED
from platform_assets.alerts.store import AlertStore
from platform_assets.cli import tail as command
from platform_assets.cli.app import assay
from platform_assets.sources.kafka import ranges
from platform_assets.sources.kafka.produce import Record

pytestmark = pytest.mark.timeout(60)


class Kept:
    """Stands for a producer: keeps what it is to send, and ends the command when it has `enough`."""

    def __init__(self, enough: int) -> None:
        self.values: list[bytes | None] = []
        self._enough = enough

    @property
    def delivered(self) -> int:
        return len(self.values)

    def send(self, records: Sequence[Record]) -> int:
        self.values += [value for _, value in records]
        if len(self.values) >= self._enough:
            os.kill(os.getpid(), signal.SIGINT)
        return len(records)

    def flush(self) -> None:
        """Nothing is in flight."""


Tail = Callable[..., tuple[Kept, Result]]


@pytest.fixture
def tail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tail:
    """Runs the command on `app.log` until so many records came."""
    monkeypatch.setenv("ASSAY_HOME", str(tmp_path / "home"))

    def run(enough: int, *arguments: str) -> tuple[Kept, Result]:
        kept = Kept(enough)
        monkeypatch.setattr(ranges, "producer_for", lambda *_: kept)
        return kept, CliRunner().invoke(assay, ["tail", "logs.access", str(tmp_path / "app.log"), *arguments])

    return run


def alerts(tmp_path: Path) -> list[tuple[str, str]]:
    store = AlertStore(tmp_path / "home" / "lake", "logs")
    try:
        found = store.load().values()
        assert all("app" in alert.summary for alert in found)
        return [(alert.rule, alert.state) for alert in found]
    finally:
        store.close()


def test_a_loss_is_an_alert_and_an_exit_code_until_it_is_accepted(
    tail: Tail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "app.log"
    path.write_text("a\n")
    assert tail(1)[0].values == [b"a"]
    assert alerts(tmp_path) == []
    path.unlink()
    path.write_text("b\n")
    for _ in range(2):
        kept, result = tail(1)
        assert (kept.values, result.exit_code) == ([], 1)
        assert "what it held after byte 2 is lost" in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert alerts(tmp_path) == [("tail_stopped", OPEN)]
    assert tail(1, "--accept-loss")[0].values == [b"b"]
    assert tail_is_well(tail, path, monkeypatch) == [b"c"]
    assert alerts(tmp_path) == [("tail_stopped", RESOLVED)]


def tail_is_well(tail: Tail, path: Path, monkeypatch: pytest.MonkeyPatch) -> list[bytes | None]:
    """A tail that has run for long enough, a while after the alert."""
    from datetime import UTC, datetime, timedelta

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) + timedelta(minutes=2)

    monkeypatch.setattr(command, "SETTLED_S", 0.01)
    monkeypatch.setattr(command, "datetime", Later)

    def write() -> None:
        with path.open("a") as file:
            file.write("c\n")

    threading.Timer(2, write).start()
    return tail(1)[0].values


def test_a_file_that_cannot_be_followed_is_an_alert(tail: Tail, tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_bytes(b"\x1f\x8b\x08\x00")
    result = tail(1)[1]
    assert (result.exit_code, "is compressed" in result.stderr) == (1, True)
    assert alerts(tmp_path) == [("tail_stopped", OPEN)]


def test_another_error_of_the_file_is_one_line(tail: Tail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "app.log"
    path.write_text("a\n")
    tail(1)
    path.rename(tmp_path / "app.log.1")
    path.symlink_to(path)  # a loop
    result = tail(1)[1]
    assert result.exit_code == 1
    assert "cannot be followed" in result.stderr, result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert alerts(tmp_path) == [("tail_stopped", OPEN)]


@pytest.mark.parametrize("trouble", ["at the start", "meanwhile", "of all"])
def test_the_other_files_are_followed_all_the_same(tail: Tail, tmp_path: Path, trouble: str) -> None:
    app, other = tmp_path / "app.log", tmp_path / "other.log"
    app.write_text("a\n")
    other.write_text("b\n")
    assert sorted(filter(None, tail(2, str(other))[0].values)) == [b"a", b"b"]
    if trouble == "meanwhile":

        def empty_and_write() -> None:
            app.write_bytes("c\n".encode("utf-16"))  # emptied in place, and what no tail can read
            eventually(lambda: alerts(tmp_path) == [("tail_stopped", OPEN)])
            other.write_text("b\nd\n")

        writer = threading.Timer(0.5, empty_and_write)
        writer.start()
    else:
        app.unlink()
        app.write_text("c\n")
        if trouble == "of all":
            other.unlink()
        other.write_text("b\nd\n" if trouble == "at the start" else "")
    kept, result = tail(1, str(other))
    assert kept.values == ([] if trouble == "of all" else [b"d"])
    assert result.exit_code == 1
    count = 2 if trouble == "of all" else 1
    assert f"{count} of 2 files could not be followed" in result.stderr
    assert result.stderr.count("the other files are followed") == count
