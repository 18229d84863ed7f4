"""Marts in the folders of systems outside the package: compiled with the platform's macros, apart from each other."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from platform_assets.cli.app import assay
from platform_assets.contracts.read import load_contract
from platform_assets.marts.graph import read_graph
from platform_assets.marts.project import has_models, manifest_path, project_folder


@pytest.fixture
def systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The systems `shop` and `till`, as `assay init` writes them."""
    folder = tmp_path / "systems"
    monkeypatch.setenv("ASSAY_HOME", str(tmp_path / "home"))
    for name in ("shop", "till"):
        done = CliRunner().invoke(assay, ["init", name, "--folder", str(folder)])
        assert done.exit_code == 0, done.output
    monkeypatch.setenv("ASSAY_SYSTEMS", str(folder))
    return folder


def test_what_init_writes_passes_the_check_and_is_not_overwritten(systems: Path) -> None:
    done = CliRunner().invoke(assay, ["contract", "check", "--json"])
    assert json.loads(done.stdout)["passes"], done.stdout
    (systems / "shop" / "contract.yaml").write_text("mine")
    again = CliRunner().invoke(assay, ["init", "shop", "--folder", str(systems)])
    assert (again.exit_code, again.stderr.count("\n")) == (1, 1)
    assert (systems / "shop" / "contract.yaml").read_text() == "mine"
    for name in ("../out", "Shop", "", "a b"):
        assert CliRunner().invoke(assay, ["init", name, "--folder", str(systems)]).exit_code == 1
    assert sorted(path.name for path in systems.iterdir()) == ["shop", "till"]


def test_a_mistake_in_one_system_s_marts_stops_only_these(systems: Path) -> None:
    own = systems / "shop" / "marts"
    (own / "bad.sql").write_text("select {{ foo( }} 1")
    (own / "loose.sql").write_text("select 1 as one")
    for system in ("shop", "till"):
        graph = read_graph(project_folder(), load_contract(system, systems))
        assert [mart.name for mart in graph.marts] == [f"{system}_hour"]
    mistakes = json.loads(CliRunner().invoke(assay, ["contract", "check", "--json"]).stdout)["mistakes"]
    told = {(mistake["system"], mistake["file"]) for mistake in mistakes}
    assert told == {("shop", str(own / "bad.sql")), ("shop", str(own / "loose.sql"))}


def test_files_that_dbt_stops_at_without_a_name_are_left_out_and_told(systems: Path) -> None:
    """Whatever stands in one system's folder: no program hangs or fails, and the marts of the other are there."""
    own = systems / "shop" / "marts"
    (own / "folder.sql").mkdir()
    (own / "gone.sql").symlink_to("nowhere")
    (own / "loop.sql").symlink_to(own / "loop.sql")
    os.mkfifo(own / "pipe.yml")
    (own / "latin.sql").write_bytes(b"select '\xe9'")
    (own / "latin.yml").write_bytes(b"models: [] # \xe9")
    (own / "nul.yml").write_bytes(b"models: []\n# \0")
    aliases = "".join(f"a{n + 1}: &a{n + 1} [{','.join([f'*a{n}'] * 10)}]\n" for n in range(9))
    (own / "bomb.yml").write_text(f"a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n{aliases}")
    (own / "other.yaml").write_text("models: []")
    (own / "one.sql").write_text("select * from {{ ref('two') }}")
    (own / "two.sql").write_text("select * from {{ ref('one') }}")
    (own / "stops.sql").write_text("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}")
    for system in ("shop", "till"):
        graph = read_graph(project_folder(), load_contract(system, systems))
        assert [mart.name for mart in graph.marts] == [f"{system}_hour"]
    mistakes = json.loads(CliRunner().invoke(assay, ["contract", "check", "--json"]).stdout)["mistakes"]
    assert {mistake["system"] for mistake in mistakes} == {"shop"}
    assert {Path(mistake["file"]).name for mistake in mistakes} == {
        "folder.sql", "gone.sql", "loop.sql", "pipe.yml", "latin.sql", "latin.yml", "nul.yml", "bomb.yml", "other.yaml",
        "one.sql", "two.sql",
        "stops.sql",
    }  # fmt: skip
    said = {Path(mistake["file"]).name: mistake for mistake in mistakes}
    assert "Found a cycle" in said["one.sql"]["message"] + said["two.sql"]["message"]
    assert said["nul.yml"]["line"] == 2


def test_a_model_whose_jinja_does_not_end_is_left_out(systems: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform_assets.marts.project._FILE_SECONDS", 1)
    endless = "".join(f"{{% for {name} in range(90000) %}}" for name in "ijk") + "{% endfor %}" * 3
    own = systems / "shop" / "marts"
    (own / "endless.sql").write_text(f"select 1 as one {endless}")
    (own / "later.sql").write_text(f"{{% if execute %}}{endless}{{% endif %}} select 1 as one")
    for system in ("shop", "till"):
        graph = read_graph(project_folder(), load_contract(system, systems))
        assert [mart.name for mart in graph.marts] == [f"{system}_hour"]
    mistakes = json.loads(CliRunner().invoke(assay, ["contract", "check", "--json"]).stdout)["mistakes"]
    assert {mistake["file"] for mistake in mistakes} == {str(own / "endless.sql"), str(own / "later.sql")}
    assert all("does not end within 1 s" in mistake["message"] for mistake in mistakes)


def test_models_and_tests_in_folders_of_their_own_are_told(systems: Path) -> None:
    own = systems / "shop" / "marts"
    deep = own / "daily" / "more"
    (own / "tests" / "slow").mkdir(parents=True)
    deep.mkdir(parents=True)
    lost = [deep / "shop_day.sql", deep / "shop_day.yml", own / "tests" / "slow" / "shop_test.sql"]
    for path in lost:
        path.write_text("")
    (own / "daily" / "notes.md").write_text("No model.")
    (own / "link").symlink_to(deep)
    lost.append(own / "link")
    done = CliRunner().invoke(assay, ["contract", "check", "--json"])
    mistakes = json.loads(done.stdout)["mistakes"]
    assert {(mistake["system"], mistake["file"]) for mistake in mistakes} == {("shop", str(path)) for path in lost}
    assert {mistake["hint"] for mistake in mistakes} == {f"move it to {own}", f"move it to {own / 'tests'}"}


def test_a_file_in_place_of_the_folder_of_marts_is_told(systems: Path) -> None:
    shutil.rmtree(systems / "shop" / "marts")
    (systems / "shop" / "marts").write_text("no folder")
    (mistake,) = json.loads(CliRunner().invoke(assay, ["contract", "check", "--json"]).stdout)["mistakes"]
    assert (mistake["system"], mistake["message"]) == ("shop", "is no folder")


def test_properties_that_cannot_be_read_are_named_where_they_are(systems: Path) -> None:
    path = systems / "shop" / "marts" / "marts.yml"
    path.write_text("models: [")
    mistakes = json.loads(CliRunner().invoke(assay, ["contract", "check", "--json"]).stdout)["mistakes"]
    assert {mistake["system"] for mistake in mistakes} == {"shop"}
    assert any(str(path) in f"{mistake['file']} {mistake['message']}" for mistake in mistakes)
    assert read_graph(project_folder(), load_contract("till", systems)).marts


def test_sources_follow_the_contract_and_a_project_stays_as_it_is(systems: Path) -> None:
    before = project_folder()
    assert project_folder() == before
    contract = systems / "shop" / "contract.yaml"
    contract.write_text(contract.read_text().replace("version: 1.0.0", "version: 1.0.1"))
    after = project_folder()
    versions = []
    for project in (before, after):
        (source,) = yaml.safe_load((project / "models" / "shop" / "sources.yml").read_text())["sources"]
        versions.append(source["config"]["meta"]["contract_version"])
    assert versions == ["1.0.0", "1.0.1"]
    (after / "models" / "till" / "till_hour.sql").unlink()
    assert (project_folder() / "models" / "till" / "till_hour.sql").is_file()
    contract.write_text("no contract")
    without = project_folder()
    assert not has_models(without, "shop")
    assert has_models(without, "till")


def test_tests_of_ones_own_are_part_of_the_project(systems: Path) -> None:
    folder = systems / "shop" / "marts" / "tests"
    folder.mkdir()
    (folder / "no_losses.sql").write_text("select * from {{ ref('shop_hour') }} where amount < 0")
    nodes = json.loads(manifest_path(project_folder()).read_text())["nodes"]
    assert "test.assay.no_losses" in nodes
