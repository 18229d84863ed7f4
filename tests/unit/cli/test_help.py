"""Every command explains itself, quickly."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from platform_assets.cli.app import SECTIONS, assay

NAMES = [name for section in SECTIONS.values() for name in section]


def leaves(command: click.Command, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], click.Command]]:
    """Commands that do something, with their paths."""
    if isinstance(command, click.Group):
        return [leaf for name, child in command.commands.items() for leaf in leaves(child, (*path, name))]
    return [(path, command)]


def every_command() -> list[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(assay)
    found = []
    for name in NAMES:
        command = assay.get_command(context, name)
        assert command is not None
        found += leaves(command, (name,))
    return found


EVERY = every_command()
IDS = [" ".join(path) for path, _ in EVERY]


@pytest.mark.parametrize(("path", "command"), EVERY, ids=IDS)
def test_help_shows_an_example_that_parses(path: tuple[str, ...], command: click.Command) -> None:
    result = CliRunner().invoke(assay, [*path, "--help"])
    assert result.exit_code == 0
    assert "--home" in result.output
    assert "Examples:" in result.output
    assert f"assay {' '.join(path)}" in result.output.split("Examples:")[1]


@pytest.mark.parametrize(("path", "command"), EVERY, ids=IDS)
def test_the_first_line_fits_the_list_of_commands(path: tuple[str, ...], command: click.Command) -> None:
    assert not command.get_short_help_str(limit=63).endswith("...")


def test_the_list_names_every_command() -> None:
    output = CliRunner().invoke(assay, ["--help"]).output
    assert all(f"  {name} " in output for name in NAMES)


def test_help_needs_no_heavy_module() -> None:
    """The promise of a quick answer, without a stop-watch on a busy machine."""
    code = (
        "import sys\n"
        "from platform_assets.cli.app import assay\n"
        "try:\n    assay.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'rich', 'pyarrow', 'duckdb', 'confluent_kafka', 'opensearchpy', 'deltalake', 'dagster', 'pydantic', 'yaml'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
