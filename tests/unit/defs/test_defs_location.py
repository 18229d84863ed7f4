"""The code location loads anywhere: no environment, no network, nothing written, and only what it needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import yaml
from support import private_project, private_systems

PROJECT = Path(__file__).parents[3]
LOAD = """
import json, socket, sys
def refuse(*args, **kwargs): raise OSError("no network here")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from platform_assets import definitions, gold_definitions
for module in (definitions, gold_definitions):
    module.defs.get_repository_def().load_all_definitions()
jobs = [job.name for m in (definitions, gold_definitions) for job in m.defs.get_repository_def().get_all_jobs()]
print(json.dumps({"jobs": jobs, "modules": sorted(sys.modules)}))
"""


def test_loads_with_no_environment_and_no_network(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOAD], cwd=tmp_path, env={}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {"logs_ingest", "logs_rebuild", "logs_gold", "maintenance", "purge"} <= set(found["jobs"])
    assert not list(tmp_path.iterdir())


def test_systems_of_ones_own_have_workers_marts_and_reports(tmp_path: Path) -> None:
    places = {
        "ASSAY_SYSTEMS": str(private_systems(tmp_path, "shop")),
        "ASSAY_DBT_PROJECT": str(private_project(tmp_path, "shop")),
    }
    done = subprocess.run(
        [sys.executable, "-c", LOAD], cwd=tmp_path, env=places, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    jobs = json.loads(done.stdout)["jobs"]
    assert {"shop_ingest", "shop_rebuild", "shop_gold", "shop_reports"} <= set(jobs)
    assert not [name for name in jobs if name.startswith("logs_")]


def test_loading_leaves_the_engines_alone(tmp_path: Path) -> None:
    """They cost seconds at import, and every tick and every click would pay."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys, platform_assets.definitions; print(*sys.modules)"],
        cwd=tmp_path, env={}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    heavy = {"dbt", "duckdb", "deltalake", "confluent_kafka", "opensearchpy", "sqlalchemy", "pandas"}
    assert not heavy & set(done.stdout.split())


def test_the_workspace_names_both_locations() -> None:
    workspace = yaml.safe_load((PROJECT / "workspace.yaml").read_text(encoding="utf-8"))
    named = [entry["python_module"]["module_name"] for entry in workspace["load_from"]]
    assert named == ["platform_assets.definitions", "platform_assets.gold_definitions"]
