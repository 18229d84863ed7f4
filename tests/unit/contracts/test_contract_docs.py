"""The committed pages are those of the contracts, and the contracts pass the standard's own linter."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from platform_assets.contracts.docs import FOLDER, main, render_markdown, write_pages
from platform_assets.contracts.model import Contract, Mask
from platform_assets.contracts.read import FILE_NAME, load_contracts

ROOT = Path(__file__).parents[3]
SYSTEMS = ROOT / "platform_assets" / "systems"


@pytest.fixture(scope="module")
def contracts() -> dict[str, Contract]:
    return load_contracts()


def test_pages_are_up_to_date() -> None:
    assert write_pages(ROOT / FOLDER, check=True) == [], "run `python -m platform_assets.contracts.docs`"


def test_no_page_without_a_system(contracts: dict[str, Contract]) -> None:
    assert {path.stem for path in (ROOT / FOLDER).glob("*.md")} == set(contracts)


def test_a_page_names_every_field_and_its_privacy(contracts: dict[str, Contract]) -> None:
    for contract in contracts.values():
        page = render_markdown(contract)
        for table in contract.tables:
            assert f"## {table.qualified_name}" in page
            assert all(f"| `{field.name}` | {field.type} |" in page for field in table.fields)
        masks = [f.mask for t in contract.tables for f in t.fields] + [
            t.attributes_mask for t in contract.tables if t.attributes
        ]
        assert page.count("personal: keyed hash") == masks.count(Mask.HMAC)
        assert page.count("| scrubbed |") == masks.count(Mask.SCRUB)
        assert page.count("| scrubbed, also of network addresses |") == masks.count(Mask.SCRUB_ADDRESSES)


def test_what_is_in_a_cell_stays_in_its_cell(contracts: dict[str, Contract]) -> None:
    table = contracts["logs"].table("events")
    field = replace(table.fields[0], description="one | two\nthree")
    page = render_markdown(replace(contracts["logs"], tables=(replace(table, fields=(field, *table.fields[1:])),)))
    assert "| one \\| two three |" in page


def test_check_tells_an_outdated_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", "--folder", str(tmp_path)]) == 1
    assert "out of date" in capsys.readouterr().out
    assert main(["--folder", str(tmp_path)]) == 0
    assert main(["--check", "--folder", str(tmp_path)]) == 0


@pytest.mark.parametrize("path", sorted(SYSTEMS.glob(f"*/{FILE_NAME}")), ids=lambda path: path.parent.name)
def test_the_standards_linter_accepts(path: Path) -> None:
    # The linter carries the standard's schema; it fetches nothing unless references are to be inlined.
    command = [Path(sys.executable).with_name("datacontract"), "lint", "--no-inline-references", "--all-errors", path]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
