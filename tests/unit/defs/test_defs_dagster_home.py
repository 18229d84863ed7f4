"""Dagster's home and processes: what is written and with which rights, without starting anything."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import yaml

from platform_assets.core.errors import AssayError
from platform_assets.local import dagster as local
from platform_assets.local.dagster import prepare_dagster_home
from platform_assets.local.dagster_processes import code_servers, supervisor

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


def test_web_server_and_daemon_wait_for_the_code_servers_and_all_are_needed(tmp_path: Path) -> None:
    prepare_dagster_home(tmp_path)
    (tmp_path / "dagster" / "schedules").mkdir()  # a home that was used before
    children = {child.name: child for child in supervisor(tmp_path, 3000, WORKSPACE).prepare()}
    assert {name: list(child.after) for name, child in children.items()} == {
        "code-assay": [],
        "code-gold": [],
        "webserver": ["code-assay", "code-gold"],
        "daemon": ["code-assay", "code-gold"],
    }
    assert all(child.restart.essential and child.command().append for child in children.values())
    assert not children["code-assay"].ready()
