"""Command lines of the platform's programs, read by the programs themselves and not carried out."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import entry_points

import click

from platform_assets.cli.app import assay


def parsed(arguments: Sequence[str]) -> click.Context:
    """A command line of `assay`, or of one of Dagster's programs, as the program reads it. Raises UsageError."""
    name, *rest = arguments
    command: click.Command = assay
    if name != "assay":
        [script] = entry_points(group="console_scripts", name=name)
        command = script.load().__globals__["cli"]
    context = click.Context(command, info_name=name)
    while isinstance(command, click.Group):
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None
        command, context = found, click.Context(found, parent=context, info_name=name)
    return command.make_context(name, rest, parent=context.parent)
