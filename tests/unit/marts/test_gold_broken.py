"""A mart that is wrong is left out alone: dbt, which reads a project as a whole, is given the rest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from chainlab import DAY_ONE, MARKET, ChainLab, Model

from platform_assets.contracts.read import load_contracts
from platform_assets.core.errors import AssayError
from platform_assets.declarations.read import _marts
from platform_assets.marts.graph import marts_of
from platform_assets.marts.marts import declared_marts
from platform_assets.marts.project import broken_models, manifest_path, project_folder

LOGS = load_contracts()["logs"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The packaged project beside the models of `shop`."""
    folder = shutil.copytree(project_folder(), tmp_path / "project", ignore=shutil.ignore_patterns("target"))
    (folder / "models" / "shop").mkdir()
    return folder


def test_files_that_dbt_cannot_read_are_left_out_and_told(project: Path) -> None:
    shop = project / "models" / "shop"
    (shop / "bad.sql").write_text("select {{ foo( }} 1")
    (shop / "follows.sql").write_text("select * from {{ ref('bad') }}")
    (shop / "good.sql").write_text("select 1 as one")
    models = {
        node["name"]: node["fqn"][1]
        for node in json.loads(manifest_path(project).read_text())["nodes"].values()
        if node["resource_type"] == "model"
    }
    assert "errors_hour" in models
    assert [name for name, system in models.items() if system == "shop"] == ["good"]
    told = {Path(mistake.file).name: mistake.message for mistake in broken_models(project, "shop")}
    assert set(told) == {"bad.sql", "follows.sql"}
    assert "unexpected '}'" in told["bad.sql"]
    assert "'bad'" in told["follows.sql"]
    assert broken_models(project, "logs") == ()
    assert marts_of(project, LOGS)


def test_what_is_wrong_with_the_project_itself_is_told_in_dbts_words(project: Path) -> None:
    (project / "dbt_project.yml").write_text("name: assay\n")
    with pytest.raises(AssayError, match="no profile was specified") as caught:
        manifest_path(project)
    assert "Warning" not in caught.value.message


SPOILT = {
    "unpublishable": {"columns": [{"name": "hour", "description": "x", "data_type": "uuid"}]},
    "no_key": {"config": {"meta": {"grain": "hour"}}},
    "no_mapping": {"config": "x"},
    "dbt_refuses": {"description": {"a": 1}},
    "no_columns": {"columns": "minute"},
}


def test_wrong_properties_disable_their_mart_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = "date_trunc('hour', traded_at) as hour, symbol, count(*) as trades, sum(size)::bigint as size"
    sql = f"from {{{{ source('market', 'trades') }}}} select {counts} group by all"
    models = {name: Model("hour", sql) for name in (*SPOILT, "twice", "good")}
    models["follows"] = Model("hour", "select * from {{ ref('unpublishable') }}")
    lab = ChainLab(tmp_path, models, monkeypatch)
    path = lab.project / "models" / "market" / "marts.yml"
    properties = yaml.safe_load(path.read_text())
    properties["models"] = [entry | SPOILT.get(entry["name"], {}) for entry in properties["models"]]
    properties["models"] += [{"name": "twice", "description": "again"}, "no mapping"]
    path.write_text(yaml.safe_dump(properties, sort_keys=False))
    found = declared_marts(lab.project, "market")
    assert set(found.valid) == {"good", "follows"}
    assert {mistake.place for mistake in found.mistakes} == {*SPOILT, "twice", str(len(models) + 1)}
    graph = lab.graph
    assert [mart.name for mart in graph.marts] == ["good"]
    told = {mistake.place or Path(mistake.file).stem for mistake in _marts(MARKET)}
    assert told >= {*SPOILT, "twice", "follows"}
    lab.trade((DAY_ONE, "a", 1, 1))
    lab.refresh()
    assert len(lab.published("good")) == 1
