"""Commands where one system is broken: the others go on, and what is wrong is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support import private_systems

from platform_assets.cli.app import assay


@pytest.fixture
def systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`shop` is healthy but for a rule and a report, `stall` has two mistakes in its contract."""
    folder = private_systems(tmp_path, "shop")
    private_systems(tmp_path / "beside", "stall")
    (tmp_path / "beside" / "systems" / "stall").rename(folder / "stall")
    contract = folder / "stall" / "contract.yaml"
    spoilt = contract.read_text().replace("valueExt: 10", "valueExt: 1").replace("30\n    unit: d", "30\n    unit: w")
    contract.write_text(spoilt)
    rules = folder / "shop" / "alerts.yaml"
    rules.write_text(rules.read_text().replace("table: events", "table: evnts", 1))
    reports = folder / "shop" / "reports.yaml"
    reports.write_text(reports.read_text().replace("kind: figures", "kind: figure", 1))
    monkeypatch.setenv("ASSAY_SYSTEMS", str(folder))
    monkeypatch.setenv("ASSAY_HOME", str(tmp_path / "home"))
    return folder


def run(*arguments: str) -> Result:
    return CliRunner().invoke(assay, arguments)


def test_check_lists_every_mistake_of_every_file(systems: Path) -> None:
    done = run("contract", "check", "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert not found["passes"]
    assert [(v["system"], v["passes"]) for v in found["systems"]] == [("shop", True)]
    listed = {(m["system"], m["part"], Path(m["file"]).name) for m in found["mistakes"]}
    assert {
        ("stall", "contract", "contract.yaml"),
        ("shop", "rule", "alerts.yaml"),
        ("shop", "report", "reports.yaml"),
    } <= listed
    assert all(m["line"] and m["message"] for m in found["mistakes"] if m["part"] != "mart")
    text = run("contract", "check").stdout
    assert all(f"{m['file']}:{m['line']}: {m['message']}" in text for m in found["mistakes"])
    assert run("contract", "check", "stall").exit_code == 1
    assert "stall" not in run("contract", "check", "shop").stdout


def test_mistakes_are_counted_in_words(systems: Path) -> None:
    assert run("contract", "check", "stall").stdout.endswith(" mistakes in stall\n")
    (systems / "stall" / "contract.yaml").write_text("schema: [\n")
    assert run("contract", "check", "stall").stdout.endswith("\n1 mistake in stall\n")


def test_a_mistake_that_only_the_engine_finds_is_one_of_the_contract(systems: Path) -> None:
    contract = systems / "shop" / "contract.yaml"
    contract.write_text(contract.read_text().replace("%Y-%m-%d %H:%M:%S,%g", "%Y-%m-%d %H:%M:%S,%g%-b"))
    done = run("contract", "check", "shop", "--json")
    [mistake] = [m for m in json.loads(done.stdout)["mistakes"] if m["part"] == "contract"]
    assert done.exit_code == 1
    assert "does not compile" in mistake["message"]
    assert mistake["place"] == "schema[broker]"
    told = run("ingest", "shop", "--once")
    assert told.exit_code == 1
    assert "does not compile" in told.stderr


def test_status_shows_the_healthy_ones_and_the_mistakes(systems: Path) -> None:
    found = json.loads(run("status", "--json").stdout)
    assert [system["system"] for system in found["systems"]] == ["shop"]
    assert {m["part"] for m in found["mistakes"]} >= {"contract", "rule", "report"}
    text = " ".join(run("status").stdout.split())
    assert "shop.events" in text
    assert "stall: the system stands still" in text
    assert "shop: a rule stands still" in text


def test_the_command_of_a_broken_system_tells_its_mistakes(systems: Path) -> None:
    for command in (["ingest", "stall", "--once"], ["prove", "stall"], ["send", "stall.events", "-"]):
        done = run(*command)
        assert done.exit_code == 1
        assert "mistakes" in done.stderr
        assert "slaProperties[latency]" in done.stderr
        assert "30 w is no duration" in done.stderr


def test_commands_for_all_systems_name_what_they_leave_out(systems: Path) -> None:
    done = run("contract", "check", "shop")
    assert "stall" not in done.stderr
    done = run("prove")
    assert "the system stall is left out" in done.stderr


def test_each_wrong_expression_is_a_mistake_with_its_own_line(systems: Path) -> None:
    contract = systems / "shop" / "contract.yaml"
    text = contract.read_text()
    column = """
      - name: double
        logicalType: integer
        customProperties:
          - property: computed
            value: statuss * 2
"""
    rules = """
    quality:
      - {type: custom, engine: assay, name: right, implementation: status > 1}
      - type: custom
        engine: assay
        name: wrong
        implementation: random() > status
      - type: custom
        engine: assay
        name: wrong_too
        implementation: double >
"""
    head = "    properties:\n"
    assert text.count(head) == 3
    contract.write_text(text.replace(head, rules[1:] + head[:-1] + column, 1))
    done = run("contract", "check", "--json")
    found = [m for m in json.loads(done.stdout)["mistakes"] if m["system"] == "shop"]
    lines = contract.read_text().splitlines()
    assert [(m["part"], lines[m["line"] - 1].strip()) for m in found] == [
        ("contract", "- property: computed"),
        ("contract", "implementation: random() > status"),
        ("contract", "implementation: double >"),
    ]
    assert {m["file"] for m in found} == {str(contract)}
    (systems / "stall" / "contract.yaml").write_text(text.replace("shop", "stall"))
    assert run("contract", "check", "stall").exit_code == 0
