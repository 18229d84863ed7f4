"""What all commands share: the options that each has, the home, the contracts, and how to stop.

Belongs here: what is asked of the command line before any package is called. Does not: output (`render.py`).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from platform_assets.core.errors import AssayError

if TYPE_CHECKING:
    from platform_assets.contracts.model import Contract, Table
    from platform_assets.contracts.read import Systems
    from platform_assets.core.settings import Settings


@dataclass
class Session:
    """One invocation: where its home is, and what it has read there so far."""

    home: Path | None = None
    debug: bool = False

    @cached_property
    def settings(self) -> Settings:
        """Settings of the home."""
        from platform_assets.core.settings import Settings

        return Settings.load(self.home)

    def reload(self) -> None:
        """Read the settings anew: the services have been started since."""
        self.__dict__.pop("settings", None)

    @cached_property
    def systems(self) -> Systems:
        """Every system's contract, or what is wrong with it. Raises AssayError when there is no folder of systems."""
        from platform_assets.declarations import valid_systems

        return valid_systems(self.settings)

    @property
    def contracts(self) -> dict[str, Contract]:
        """The contracts of the systems that work."""
        return dict(self.systems.contracts)

    def contract(self, system: str) -> Contract:
        """The contract of one system. Raises ContractError with every mistake of it, AssayError when there is no such system."""
        from platform_assets.contracts.errors import ContractError

        if system in self.systems.broken:
            raise ContractError.of(self.systems.broken[system])
        if system not in self.contracts:
            raise AssayError(f"there is no system {system!r}", f"known: {', '.join(self.contracts) or 'none'}")
        return self.contracts[system]

    def chosen(self, system: str | None) -> list[Contract]:
        """One system, or all that work; those that do not are named on standard error."""
        if system:
            return [self.contract(system)]
        self.warn()
        return list(self.contracts.values())

    def warn(self) -> None:
        """Name the systems that do not work on standard error."""
        for system, mistakes in self.systems.broken.items():
            number = f"{len(mistakes)} mistakes" if len(mistakes) > 1 else "a mistake"
            click.echo(
                f"{click.style('warning:', fg='yellow')} the system {system} is left out, its contract has {number}: "
                "`assay contract check` tells all",
                err=True,
            )

    def table(self, name: str) -> Table:
        """A table by `system.table` or by its topic. Raises AssayError that names those there are."""
        if (system := name.partition(".")[0]) in self.systems.broken:
            self.contract(system)
        tables = [table for contract in self.contracts.values() for table in contract.tables]
        for table in tables:
            if name in (table.topic, table.qualified_name):
                return table
        known = [table.qualified_name for table in tables if table.system == name] or [t.qualified_name for t in tables]
        raise AssayError(f"there is no table or topic {name!r}", f"known: {', '.join(known) or 'none'}")

    def table_of(self, contract: Contract, name: str) -> Table:
        """A table of one system by its name, with or without the system before it."""
        for table in contract.tables:
            if name in (table.name, table.qualified_name):
                return table
        known = ", ".join(table.name for table in contract.tables)
        raise AssayError(f"the system {contract.system} has no table {name!r}", f"known: {known}")


class Command(click.Command):
    """A command with the options that every command has, and examples at the end of its help."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), any_lake: bool = False, **kwargs: Any) -> None:
        """`any_lake`: the command works, too, where the lake has another layout than this release."""
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.any_lake = any_lake
        self.params += [_home_option(), _debug_option()]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, unless the home's lake has another layout. Raises AssayError."""
        if not self.any_lake:
            from platform_assets.core.lake import require_layout

            require_layout(ctx.ensure_object(Session).settings.lake_path)
        return super().invoke(ctx)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples, as they would be typed."""
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


pass_session = click.make_pass_decorator(Session)

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")


def _set_home(ctx: click.Context, _: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.ensure_object(Session).home = value


def _set_debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(Session).debug = True


def _home_option() -> click.Option:
    return click.Option(
        ["--home"],
        type=click.Path(file_okay=False, path_type=Path),
        expose_value=False,
        is_eager=True,
        callback=_set_home,
        help="The folder of services, lake and secrets.  [default: $ASSAY_HOME, else .assay]",
    )


def _debug_option() -> click.Option:
    return click.Option(
        ["--debug"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_set_debug,
        help="Show where an error came from.",
    )


class Interrupted(Exception):
    """A signal ended a command that had finished its work in hand; `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Stop(threading.Event):
    """Set by Ctrl-C or SIGTERM; `number` is the signal's, 0 when something else set it."""

    number = 0


@contextmanager
def stopping(*, quietly: bool = False) -> Iterator[Stop]:
    """Let the block end by itself when asked to stop; a second Ctrl-C interrupts it where it is.

    Raises `Interrupted` behind the block when a signal asked, unless `quietly` (Ctrl-C is how the command ends).
    """
    stop = Stop()

    def on_signal(number: int, _: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.number = number
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if stop.number and not quietly:
        raise Interrupted(stop.number)
