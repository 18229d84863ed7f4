"""`assay bench`: the project's benchmarks, from its checkout."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from platform_assets.cli.checkout import checkout
from platform_assets.cli.session import Command, Session, pass_session

NAMES = ("start", "live", "drain", "rebuild", "prove", "idle", "gold", "alert", "api", "peer", "all")


@click.command(cls=Command, examples=("assay bench drain --json", "assay bench live -o rate=20000 -o seconds=120"))
@click.argument("name", type=click.Choice(NAMES), metavar="NAME")
@click.option("-o", "--option", "options", multiple=True, metavar="NAME=VALUE", help="An option of the benchmark.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
@pass_session
def bench(session: Session, name: str, options: tuple[str, ...], as_json: bool) -> None:
    """Measure latency, throughput and idle cost.

    NAME is start, live, drain, rebuild, prove, idle, gold, alert, api, peer or all. A benchmark starts its own
    services unless --home names a home whose services run. Only the result goes to standard output.
    """
    from platform_assets.cli import render

    chosen = dict(map(_option, options))
    run = _load(checkout("assay bench"), name)
    with redirect_stdout(sys.stderr):
        result = run(session.home, **chosen)
    if as_json:
        render.emit(result)
        return
    rows = [(key, render.one_line(value, 100)) for key, value in _flat(result)]
    render.console().print(render.grid(("figure", "value"), rows))


def _load(root: Path, name: str) -> Callable[..., dict[str, Any]]:
    sys.path.insert(0, str(root))  # benchmarks import each other as `bench.<name>`
    run: Callable[..., dict[str, Any]] = import_module(f"bench.{name}").run
    return run


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--option")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _flat(result: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested figures as `live.p95_s`."""
    rows: list[tuple[str, Any]] = []
    for key, value in result.items():
        rows += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return rows
