"""A broken system in Dagster: the code location has all the others, and says what is wrong with that one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dagster import (
    AssetCheckKey,
    DagsterInstance,
    SkipReason,
    build_sensor_context,
)
from support import private_systems

from platform_assets.alerts.platform import PLATFORM_SYSTEM
from platform_assets.alerts.service import AlertService
from platform_assets.contracts.read import load_systems
from platform_assets.core.errors import AssayError
from platform_assets.core.settings import Settings
from platform_assets.declarations import read_systems
from platform_assets.defs.build import build_definitions
from platform_assets.defs.declarations import CHECK, raise_mistakes
from platform_assets.defs.ingest import stopped_now
from platform_assets.defs.specs import contract_key

LOAD = """
import json
from platform_assets import definitions, gold_definitions
jobs = [job.name for m in (definitions, gold_definitions) for job in m.defs.get_repository_def().get_all_jobs()]
assets = [key.to_user_string() for key in definitions.defs.resolve_asset_graph().get_all_asset_keys()]
print(json.dumps({"jobs": jobs, "assets": assets}))
"""


@pytest.fixture
def systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the healthy system `shop` and the broken one `stall`."""
    folder = private_systems(tmp_path, "shop")
    private_systems(tmp_path / "beside", "stall")
    (tmp_path / "beside" / "systems" / "stall").rename(folder / "stall")
    path = folder / "stall" / "contract.yaml"
    path.write_text(path.read_text().replace("\nversion: ", "\nversoin: ", 1))
    monkeypatch.setenv("ASSAY_SYSTEMS", str(folder))
    monkeypatch.setenv("ASSAY_HOME", str(tmp_path / "home"))
    return folder


def test_the_code_location_loads_with_the_healthy_systems(systems: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOAD], cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert "shop_ingest" in found["jobs"]
    assert not [name for name in found["jobs"] if name.startswith("stall_")]
    assert "contract/stall/contract" in found["assets"]
    assert not [name for name in found["assets"] if name.startswith("contract/shop")]


def test_the_sensor_fails_with_the_reasons_until_the_contract_is_put_right(systems: Path) -> None:
    found = load_systems(systems)
    defs = build_definitions(found.contracts, found.broken)
    sensor = defs.resolve_sensor_def("assay_declarations")
    with DagsterInstance.ephemeral() as instance:
        context = build_sensor_context(instance)
        with pytest.raises(AssayError) as raised:
            sensor(context)
        assert "contract.yaml:5" in raised.value.message
        assert "versoin" in raised.value.message
        record = instance.get_latest_asset_check_evaluation_record(AssetCheckKey(contract_key("stall"), CHECK))
        assert record is not None and record.event is not None
        evaluation = record.event.asset_check_evaluation
        assert evaluation is not None and not evaluation.passed
        assert "versoin" in (evaluation.description or "")
        path = systems / "stall" / "contract.yaml"
        path.write_text(path.read_text().replace("versoin", "version"))
        assert isinstance(sensor(context), SkipReason)


def test_an_alert_of_the_platform_opens_and_ends(systems: Path) -> None:
    settings = Settings.load()
    now = datetime.now(UTC)
    raise_mistakes(read_systems(settings), now)

    def alerts() -> list[tuple[str, str, str]]:
        alert_service = AlertService(settings, PLATFORM_SYSTEM, index=False)
        try:
            return [(alert.rule, alert.severity, alert.state) for alert in alert_service.alerts()]
        finally:
            alert_service.close()

    assert alerts() == [("declaration_wrong", "critical", "open")]
    path = systems / "stall" / "contract.yaml"
    path.write_text(path.read_text().replace("versoin", "version"))
    raise_mistakes(read_systems(settings), now + timedelta(seconds=30))
    raise_mistakes(read_systems(settings), now + timedelta(minutes=3))
    assert alerts() == [("declaration_wrong", "critical", "resolved")]


def test_a_system_that_becomes_broken_launches_no_more_runs(systems: Path) -> None:
    assert stopped_now("shop") == ()
    path = systems / "shop" / "contract.yaml"
    good = path.read_text()
    path.write_text(good.replace("value: json}", "value: jsn}", 1))
    [mistake] = stopped_now("shop")
    assert "jsn" in mistake.message
    assert mistake.line
    path.write_text(good)
    assert stopped_now("shop") == ()
    assert stopped_now("loaded_from_elsewhere") == ()
