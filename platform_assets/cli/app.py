"""The root command: which commands there are, and what becomes of every way in which one can end.

Exit codes: 0 done, 1 failed or does not hold, 2 wrong usage, 130 after Ctrl-C, 143 after SIGTERM, 141 when the reader of a
pipe is gone. An error is one line on standard error; `--debug` shows where it came from.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NoReturn

import click

from platform_assets.cli.session import Interrupted, Session
from platform_assets.core.errors import AssayError
from platform_assets.core.settings import variable

SECTIONS: Mapping[str, Mapping[str, str]] = {
    "Local services": {
        "init": "init:init",
        "demo": "demo:demo",
        "dev": "dev:dev",
        "up": "services:up",
        "down": "services:down",
        "prepare": "services:prepare",
        "status": "status:status",
    },
    "Input": {
        "send": "send:send",
        "tail": "tail:tail",
        "simulate": "simulate:simulate",
    },
    "Search and proof": {
        "search": "search:search",
        "prove": "prove:prove",
        "trace": "trace:trace",
        "replay": "replay:replay",
        "report": "report:report",
    },
    "HTTP API": {
        "serve": "serve:serve",
        "keys": "keys:keys",
    },
    "Operation": {
        "ingest": "ingest:ingest",
        "rebuild": "ingest:rebuild",
        "gold": "gold:gold",
        "reindex": "backup:reindex",
        "backup": "backup:backup",
        "restore": "backup:restore",
        "accept-gap": "gap:accept_gap",
        "alerts": "alerts:alerts",
        "contract": "contract:contract",
        "docs": "contract:docs",
        "bench": "bench:bench",
    },
}
"""Where each command lives, in the order of the help."""

_PLAIN = (click.ClickException, click.Abort, Interrupted, BrokenPipeError)
"""Ends that have no place in the program worth showing."""

_PLACES = {name: place for section in SECTIONS.values() for name, place in section.items()}


class Root(click.Group):
    """Imports a command's module when it is asked for, and turns every end into an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the help."""
        return list(_PLACES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name; None when there is none."""
        if cmd_name not in _PLACES:
            return None
        module, _, attribute = _PLACES[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f"platform_assets.cli.{module}"), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments name, or an error that offers the nearest."""
        name = click.utils.make_str(args[0])
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            near = get_close_matches(name, _PLACES, 1)
            raise click.UsageError(f"there is no command {name!r}{f', perhaps {near[0]!r}' if near else ''}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands by section."""
        widest = max(map(len, _PLACES))
        for title, commands in SECTIONS.items():
            rows: list[tuple[str, str]] = []
            for name in commands:
                if command := self.get_command(ctx, name):
                    rows.append((name.ljust(widest), command.get_short_help_str(limit=formatter.width - widest - 6)))
            with formatter.section(title):
                formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a reader that left ends it as the signal would."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _pipe_closed() from error

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run, and end the process."""
        session = Session(debug=bool(variable("ASSAY_DEBUG")))
        try:
            extra.pop("standalone_mode", None)
            result = super().main(args, prog_name, standalone_mode=False, obj=session, **extra)
            sys.stdout.flush()
            code = result if isinstance(result, int) else 0
        except Exception as error:
            if session.debug and not isinstance(error, _PLAIN):
                traceback.print_exception(error)
            code = explain(error)
        except KeyboardInterrupt:
            code = 130
        with suppress(OSError):
            sys.stderr.flush()
        sys.exit(code)


def explain(error: Exception) -> int:
    """Say in one line what went wrong, and what to do next; the exit code."""
    if isinstance(error, Interrupted):
        return 128 + error.number
    if isinstance(error, click.Abort):
        return 130
    if isinstance(error, BrokenPipeError):
        return 128 + _pipe_closed().number
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "assay"
        _say(error.format_message().rstrip("."), f"see `{path} --help`")
        return error.exit_code
    if isinstance(error, click.ClickException):
        _say(error.format_message())
        return error.exit_code
    if isinstance(error, AssayError) and len(error.mistakes) > 1:
        _say(f"{len(error.mistakes)} mistakes")
        for mistake in error.mistakes:
            with suppress(OSError):
                click.echo(f"  {' '.join(str(mistake).split())}", err=True)
    elif isinstance(error, AssayError):
        _say(error.message, error.hint)
    elif isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        _say(f"{where}{error.strerror}")
    else:
        _say(f"{type(error).__name__}: {error}", "this is a fault of the program; `--debug` shows where")
    return 1


def _pipe_closed() -> Interrupted:
    """The reader has left, and what is still buffered has none: the interpreter must not complain of it as it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Interrupted(signal.SIGPIPE)


def _say(message: str, hint: str = "") -> None:
    line = f"{message} - {hint}" if hint else message
    with suppress(OSError):
        click.echo(click.style("error:", fg="red") + " " + " ".join(line.split()), err=True)


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(None, "--version", "-V", package_name="assay", prog_name="assay")
def assay() -> None:
    """Deliver events exactly once from topics to tables and search, and prove it."""
