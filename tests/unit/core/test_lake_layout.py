"""A lake of another layout is refused by whoever would read or write it, before anything is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from lakes import SmallLake

from platform_assets.alerts.store import AlertStore
from platform_assets.backup.backup import backup
from platform_assets.backup.restore import restore
from platform_assets.cli.app import SECTIONS, assay
from platform_assets.cli.session import Command
from platform_assets.contracts.model import Contract
from platform_assets.contracts.read import load_contracts
from platform_assets.contracts.registry import accept_contract
from platform_assets.core.errors import AssayError
from platform_assets.core.lake import LAYOUT, LAYOUT_FILE, begin_lake, holds_nothing, require_layout
from platform_assets.core.settings import Settings
from platform_assets.marts.graph import marts_of
from platform_assets.marts.marts import refresh_log_table
from platform_assets.marts.project import project_folder
from platform_assets.reconcile.state import table_state
from platform_assets.tables.layout import Lake
from platform_assets.tables.runs import run_folder

LOGS = load_contracts()["logs"]


def of_another_layout(root: Path) -> None:
    root.mkdir()
    (root / LAYOUT_FILE).write_text(json.dumps({"layout": LAYOUT + 1}))


def without_layout(root: Path) -> None:
    (root / "bronze" / "logs" / "events" / "_delta_log").mkdir(parents=True)


def spoilt(root: Path) -> None:
    root.mkdir()
    (root / LAYOUT_FILE).write_text("{}")


UNFIT: dict[Callable[[Path], None], str] = {
    of_another_layout: f"has layout {LAYOUT + 1}; this release has layout {LAYOUT}",
    without_layout: "has tables and does not say which layout they have",
    spoilt: "does not say which layout the lake has",
}


def run_in(lake: Path) -> None:
    with run_folder(lake, "logs"):
        pytest.fail("a run has begun")


DOORS: dict[str, Callable[[Settings, Contract], object]] = {
    "tables": lambda settings, logs: Lake(settings.lake_path).tables(logs.tables[0]),
    "accepted contracts": accept_contract,
    "alerts": lambda settings, logs: AlertStore(settings.lake_path, logs.system),
    "marts": lambda settings, logs: marts_of(project_folder(), logs)[0].table(settings.lake_path),
    "refreshes": lambda settings, logs: refresh_log_table(settings.lake_path, logs.system),
    "runs": lambda settings, _: run_in(settings.lake_path),
    "checks": lambda settings, logs: table_state(settings, logs.tables[0]),
}


def content(root: Path) -> list[str]:
    return sorted(str(path) for path in root.rglob("*"))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("make", UNFIT, ids=lambda make: make.__name__)
def test_every_door_refuses_and_writes_nothing(tmp_path: Path, make: Callable[[Path], None], door: str) -> None:
    make(tmp_path / "lake")
    before = content(tmp_path)
    with pytest.raises(AssayError, match=UNFIT[make]):
        DOORS[door](Settings(tmp_path, tmp_path / "lake", {}), LOGS)
    assert content(tmp_path) == before


@pytest.mark.parametrize("make", UNFIT, ids=lambda make: make.__name__)
def test_the_command_line_says_so_in_one_line(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "lake")
    for words in (
        ["status"],
        ["prove", "logs"],
        ["serve"],
        ["backup", str(tmp_path / "copy")],
        ["search", "logs", "x"],
    ):
        found = CliRunner().invoke(assay, [*words, "--home", str(tmp_path)], env={"ASSAY_LAKE": None})
        assert (found.exit_code, found.output.count("\n")) == (1, 1), (words, found.output)
        assert UNFIT[make] in found.output
    assert not (tmp_path / "copy").exists()


def test_only_what_ends_services_works_with_any_lake() -> None:
    free = set()
    for name in [name for section in SECTIONS.values() for name in section]:
        command = assay.get_command(click.Context(assay), name)
        leaves = command.commands.values() if isinstance(command, click.Group) else [command]
        assert all(isinstance(leaf, Command) for leaf in leaves), name
        free |= {name for leaf in leaves if isinstance(leaf, Command) and leaf.any_lake}
    assert free == {"down"}


def test_a_new_lake_records_its_layout(tmp_path: Path) -> None:
    require_layout(tmp_path / "lake")
    assert not (tmp_path / "lake").exists()
    bronze = Lake(tmp_path / "lake").tables(LOGS.table("events")).bronze
    assert not bronze.exists()
    assert not list((tmp_path / "lake").iterdir()), "looking records nothing"
    begin_lake(tmp_path / "lake")
    assert json.loads((tmp_path / "lake" / LAYOUT_FILE).read_text()) == {"layout": LAYOUT}
    assert holds_nothing(tmp_path / "lake")
    bronze.refresh()
    assert bronze.exists()
    assert not holds_nothing(tmp_path / "lake")


def test_the_first_table_records_the_layout_of_its_lake(tmp_path: Path) -> None:
    Lake(tmp_path / "lake").tables(LOGS.table("events")).feed.refresh()
    assert json.loads((tmp_path / "lake" / LAYOUT_FILE).read_text()) == {"layout": LAYOUT}


def test_a_backup_carries_the_layout_and_one_of_another_is_not_restored(tmp_path: Path) -> None:
    home, other = tmp_path / "home", tmp_path / "other"
    SmallLake(home / "lake").land_and_settle(range(3))
    backup(Settings(home, home / "lake", {}), tmp_path / "copy")
    begin_lake(other / "lake")  # somebody has looked into the new home already
    restored = Settings(other, other / "lake", {})
    (made,) = (tmp_path / "copy").rglob(LAYOUT_FILE)
    stored = made.read_bytes()
    made.write_text(json.dumps({"layout": LAYOUT + 1}))
    with pytest.raises(AssayError, match=f"has layout {LAYOUT + 1}"):
        restore(restored, tmp_path / "copy")
    assert holds_nothing(other / "lake")
    made.write_bytes(stored)
    restore(restored, tmp_path / "copy")
    require_layout(other / "lake")
    assert Lake(other / "lake").tables(LOGS.table("events")).bronze.exists()
