"""A mart that is wrong is left out alone: dbt, which reads a project as a whole, is given the rest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from platform_assets.contracts.read import load_contracts
from platform_assets.errors import AssayError
from platform_assets.gold.graph import marts_of
from platform_assets.gold.project import broken_models, manifest_path, project_folder

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
