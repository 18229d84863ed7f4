"""What commands say of row policies: which tables and marts have none, and keys that are limited to values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from platform_assets.cli.app import assay


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("home")
def test_the_check_names_what_is_for_keys_without_a_limit_only() -> None:
    told = CliRunner().invoke(assay, ["contract", "check", "logs"])
    assert "without a row policy, for keys without a limit only: access, broker" in told.stdout
    [found] = json.loads(CliRunner().invoke(assay, ["contract", "check", "logs", "--json"]).stdout)["systems"]
    assert found["without_row_policy"] == ["access", "broker"]


@pytest.mark.usefixtures("home")
def test_keys_are_limited_to_values() -> None:
    def run(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(assay, ["keys", *arguments])
        assert done.exit_code == code, done.output
        return done.stdout if code == 0 else done.output

    add = ("add", "team", "--json", "--role")
    limited = json.loads(run(*add, "reader", "--system", "logs", "--only", "payments, Prenzlauer Berg ,"))
    assert limited["only"] == ["payments", "Prenzlauer Berg"]
    assert json.loads(run(*add, "reader"))["only"] is None
    assert json.loads(run(*add, "writer", "--unlimited"))["only"] is None
    assert "a writer is limited to values" in run(*add, "writer", code=1)
    assert "a limited key needs a value" in run(*add, "reader", "--only", " , ", code=1)
    assert "a key is limited to some values or to none" in run(*add, "writer", "--only", "a", "--unlimited", code=1)
    assert "payments, Prenzlauer Berg" in " ".join(run("list").split())
    assert "no limit" in run("list")
