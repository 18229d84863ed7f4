import click

from platform_assets.cli.session import Command


@click.command(cls=Command)
def trace():
    "x"
