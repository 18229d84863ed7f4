"""Dagster's home and processes: what is written and with which rights, without starting anything."""

from __future__ import annotations

import errno
import itertools
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from platform_assets.core.errors import AssayError
from platform_assets.local import dagster as local
from platform_assets.local import dagster_supervisor as owner
from platform_assets.local.dagster import prepare_dagster_home
from platform_assets.local.dagster_supervisor import Supervisor, code_servers

WORKSPACE = Path(__file__).parents[3] / "workspace.yaml"


def test_the_home_is_private_and_holds_the_projects_settings(tmp_path: Path) -> None:
    folder = prepare_dagster_home(tmp_path)
    assert folder == tmp_path / "dagster"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert yaml.safe_load((folder / "dagster.yaml").read_text(encoding="utf-8"))["telemetry"] == {"enabled": False}
    prepare_dagster_home(tmp_path)  # again, over what is there


def test_nothing_of_ours_is_where_telemetry_looks(tmp_path: Path) -> None:
    """Dagster's processes upload and delete what they find in `logs`, whatever the settings say."""
    folder = prepare_dagster_home(tmp_path)
    assert not (folder / "logs").exists()
    assert local._environment(tmp_path)["DAGSTER_DISABLE_TELEMETRY"]


def test_a_code_server_for_each_of_the_projects_locations() -> None:
    servers = code_servers(WORKSPACE)
    assert [(server.module, server.name) for server in servers] == [
        ("platform_assets.definitions", "assay"),
        ("platform_assets.gold_definitions", "gold"),
    ]
    command = servers[0].command()
    assert command[command.index("-h") + 1] == "127.0.0.1"


def test_other_kinds_of_locations_are_refused(tmp_path: Path) -> None:
    (tmp_path / "workspace.yaml").write_text("load_from: [{python_file: there.py}]", encoding="utf-8")
    with pytest.raises(AssayError, match="python_module"):
        code_servers(tmp_path / "workspace.yaml")


def test_a_taken_port_is_refused_or_avoided() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(AssayError, match="taken"):
            local.free_port(port)
        assert local.free_port(None) != port


@pytest.fixture
def supervisor(tmp_path: Path) -> Supervisor:
    """It has started nothing."""
    prepare_dagster_home(tmp_path)
    return Supervisor(tmp_path, 3000, WORKSPACE)


def test_a_long_log_keeps_one_copy(supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "LOG_BYTES", 10)
    output = tmp_path / "dagster" / local.OUTPUT
    for number in range(200):
        (output / "daemon.log").write_text(f"{number:020}")
        supervisor._shorten_logs()
    assert {path.name: path.read_text() for path in output.iterdir()} == {
        "daemon.log": "",
        "daemon.1.log": f"{199:020}",
    }


def test_a_log_that_cannot_be_shortened_ends_nothing(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(owner, "LOG_BYTES", 10)
    monkeypatch.setattr(shutil, "copy2", full)
    (tmp_path / "dagster" / local.OUTPUT / "daemon.log").write_text("x" * 20)
    for _ in range(3):
        supervisor._shorten_logs()
    assert [record.message for record in caplog.records if "No space left" in record.message] == [
        f"cannot shorten {tmp_path / 'dagster' / local.OUTPUT / 'daemon.log'}: [Errno 28] No space left on device"
    ]


def test_only_crashes_in_quick_succession_end_dagster(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(0, 200)
    monkeypatch.setattr(owner.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(
        owner.subprocess, "Popen", lambda *_, **__: SimpleNamespace(poll=lambda: 1, returncode=1, pid=1)
    )
    assert all(supervisor._watch("daemon") for _ in range(50))
    clock = itertools.count(next(clock), 1)
    assert not all(supervisor._watch("daemon") for _ in range(6))
