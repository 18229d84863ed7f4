"""The documents name what there is: commands that parse, settings that are read, properties of contracts, files that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from commandlines import parsed

from platform_assets.alerts.platform import LOUD_REJECTS, RATE_WINDOW
from platform_assets.cli.app import assay
from platform_assets.contracts.docs import render_markdown
from platform_assets.contracts.formats import format_named
from platform_assets.contracts.mapping import ATTRIBUTES_PROPERTIES, FIELD_PROPERTIES, TABLE_PROPERTIES
from platform_assets.contracts.model import Format
from platform_assets.contracts.read import load_contracts

PROJECT = Path(__file__).parents[3]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
IDS = [path.relative_to(PROJECT).as_posix() for path in PAGES]
INNER = {"ASSAY_GOLD_DATABASE", "ASSAY_FAULT"}
"""Between parts of the platform, and for its tests."""
ROLES = re.compile(r"^(ASSAY_KAFKA|ASSAY_OPENSEARCH)_(?:PRODUCER|INGEST|ADMIN|READER)_(USER|PASSWORD)$")


def variables(text: str) -> set[str]:
    """Names of settings, those of roles as one."""
    names = re.findall(r"\bASSAY(?:_[A-Z]+)+\b", re.sub(r"<ROLE>|\{role(\.upper\(\))?\}", "INGEST", text))
    return {ROLES.sub(r"\1_<ROLE>_\2", name) for name in names}


def code(page: Path) -> list[str]:
    """Lines of the blocks of code."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    return [line for block in blocks for line in block.splitlines()]


def test_every_setting_is_in_a_document_and_is_read() -> None:
    read = {path for path in (PROJECT / "platform_assets").rglob("*.py") if "__pycache__" not in path.parts}
    read |= {PROJECT / "deploy/compose" / name for name in ("compose.yaml", "init")}
    known = {name for path in read for name in variables(path.read_text(encoding="utf-8"))} - INNER
    said = {name for page in PAGES for name in variables(page.read_text(encoding="utf-8"))}
    assert {*known} - said == set()
    assert said - known == set()


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_are_taken_by_the_program(page: Path) -> None:
    for line in code(page):
        words = shlex.split(line, comments=True) if re.match(r"(assay|docker compose) ", line) else []
        if "assay" not in words:
            continue
        try:
            parsed(words[words.index("assay") :])
        except click.BadParameter as error:
            assert "does not exist" in error.message, line  # a file of the reader's
    for words in re.findall(r"`assay ([a-z][a-z -]*)", page.read_text(encoding="utf-8")):
        command: click.Command | None = assay
        for word in words.split():
            if isinstance(command, click.Group):
                command = command.get_command(click.Context(command), word)
                assert command is not None, words


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, target


def test_every_property_of_a_contract_is_in_the_guide() -> None:
    guide = (PROJECT / "docs" / "adding-a-system.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (table|field|property of type `object`) \|", guide, re.M)
    found: dict[str, set[str]] = {}
    for names, place in rows:
        found.setdefault(place, set()).update(re.findall(r"`(\w+)`", names))
    assert found == {
        "table": {*TABLE_PROPERTIES, *(name for format_ in Format for name in format_named(format_).properties)},
        "field": {*FIELD_PROPERTIES},
        "property of type `object`": {*ATTRIBUTES_PROPERTIES},
    }


def test_the_rule_over_rejects_is_told_as_it_is() -> None:
    minutes = RATE_WINDOW.total_seconds() / 60
    for contract in load_contracts().values():
        page = render_markdown(contract)
        assert page.count(f" % within {minutes:g} min, and at least {LOUD_REJECTS}, raise an alert.") == len(
            contract.tables
        )
