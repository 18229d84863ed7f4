"""However a command ends, a person sees one line at most, and a script its exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from platform_assets.cli import app
from platform_assets.cli.app import assay
from platform_assets.cli.session import Interrupted, stopping
from platform_assets.contracts.errors import ContractError
from platform_assets.core.errors import AssayError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("ASSAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ASSAY_HOME", str(tmp_path / "home"))
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(assay, arguments)


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> Result:
    """A command that ends with this error."""

    @click.command()
    def broken() -> None:
        raise error

    monkeypatch.setattr(app.Root, "get_command", lambda *_: broken)
    return run("down")


def one_line(result: Result) -> str:
    assert result.stderr.count("\n") == 1, result.stderr
    assert "Traceback" not in result.output
    return result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["sned", "x"], 2, "there is no command 'sned', perhaps 'send' - see `assay --help`"),
        (["send"], 2, "Missing argument 'TABLE' - see `assay send --help`"),
        (["send", "logs.access", "/nowhere", "--rate", "0"], 2, "--rate"),
        (["send", "logs", "x"], 1, "there is no table or topic 'logs' - known: logs.events, logs.access, logs.broker"),
        (["send", "logs.access", "/nowhere"], 1, "there is no file /nowhere - nothing was sent"),
        (["send", "logs.access", "/"], 1, "/ is a folder"),
        (["tail", "logs.access", "/nowhere/x.log"], 1, "there is no folder /nowhere"),
        (["simulate", "log"], 1, "there is no system 'log' - known: logs"),
        (
            ["simulate", "logs", "--seconds", "1"],
            1,
            "the address of Kafka is not known - start local services with `assay up`",
        ),
        (["prove", "--table", "events"], 2, "--table needs a SYSTEM"),
        (
            ["prove", "logs", "--table", "event"],
            1,
            "the system logs has no table 'event' - known: events, access, broker",
        ),
        (["ingest", "logs", "--once", "--seconds", "5"], 2, "--once ends by itself"),
        (["rebuild", "logs", "events", "today"], 2, "DAY"),
        (["accept-gap", "logs", "events", "0", "--reason", " "], 2, "--reason"),
        (["bench", "fast"], 2, "fast"),
        (["bench", "live", "-o", "rate"], 2, "'rate' is not NAME=VALUE"),
        (["contract", "chek"], 2, "chek"),
    ],
)
def test_wrong_use_is_one_line(home: Path, arguments: list[str], code: int, expected: str) -> None:
    result = run(*arguments)
    assert result.exit_code == code
    assert expected in one_line(result)


def test_a_folder_of_systems_that_is_not_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_SYSTEMS", "/nowhere")
    assert "ASSAY_SYSTEMS does not name a folder" in one_line(run("contract", "check"))


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (AssayError("it broke", "mend it"), 1, "error: it broke - mend it\n"),
        (AssayError("two\nlines"), 1, "error: two lines\n"),
        (ContractError("schema[x]: wrong", "right"), 1, "error: schema[x]: wrong - right\n"),
        (OSError(28, "No space left on device", "/lake"), 1, "error: /lake: No space left on device\n"),
        (
            ZeroDivisionError("oh"),
            1,
            "error: ZeroDivisionError: oh - this is a fault of the program; `--debug` shows where\n",
        ),
        (KeyboardInterrupt(), 130, ""),
        (click.Abort(), 130, ""),
        (Interrupted(signal.SIGTERM), 143, ""),
    ],
)
def test_ends(monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, line: str) -> None:
    result = failing(monkeypatch, error)
    assert (result.exit_code, result.stderr) == (code, line if line else result.stderr)
    assert line or not result.stderr.strip()


def test_debug_shows_where(home: Path) -> None:
    result = run("send", "logs.access", "/nowhere", "--debug")
    assert result.exit_code == 1
    assert "Traceback" in result.stderr


def test_a_reader_that_left_is_no_error(home: Path) -> None:
    """`assay ... | head -1`: what is printed after that goes nowhere, quietly."""
    code = (
        "import sys, time; from platform_assets.cli import main\n"
        "sys.argv[1:] = ['contract', 'check', '--json']; time.sleep(0.5); main()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait() == 141


def test_ctrl_c_lets_work_end_and_is_told_to_the_shell() -> None:
    ended = False
    with pytest.raises(Interrupted) as caught, stopping() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.wait(1)
        ended = True
    assert ended
    assert caught.value.number == signal.SIGINT


def test_a_second_ctrl_c_does_not_wait() -> None:
    before = signal.getsignal(signal.SIGINT)  # ignored where the tests run in a shell's background
    with pytest.raises(KeyboardInterrupt), stopping():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    assert signal.getsignal(signal.SIGINT) is before
