"""Output for people and for programs: consoles, tables, counts, times, JSON.

Belongs here: how a value looks. Does not: which values a command shows. Text that came from data is cleaned before it
reaches a terminal: a log line may hold escape sequences.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

import click
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from platform_assets.core.ansi import SEQUENCE
from platform_assets.core.serialization import plain

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_ANSI = re.compile(SEQUENCE)
_PIPE_WIDTH = 200
_AROUND = 50


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


def console(*, stderr: bool = False) -> Console:
    """Standard output (or error) as it is now: colours only on a terminal, wide lines into a pipe."""
    stream = sys.stderr if stderr else sys.stdout
    made = _Console(file=stream, highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        made.width = _PIPE_WIDTH
    return made


def clean(text: str) -> str:
    """Text from data with control characters made visible."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def one_line(value: object, width: int = 120) -> str:
    """Any value on one line, without its colours, cut to `width` characters."""
    text = clean(" ".join(_ANSI.sub("", str("" if value is None else value)).split()))
    return text if len(text) <= width else text[: width - 1] + "…"


def pointed(text: str, position: int) -> str:
    """The text around a place on one line, and a caret below that place."""
    start = max(0, position - _AROUND)
    before, behind = (
        clean(" ".join(part.splitlines())) for part in (text[start:position], text[position : position + _AROUND])
    )
    head = "…" if start else ""
    tail = "…" if position + _AROUND < len(text) else ""
    return f"  {head}{before}{behind}{tail}\n  {' ' * cell_len(head + before)}^"


class Lines:
    """An answer line by line: a name in bold and what is said of it, or more of the same below."""

    def __init__(self, out: Console) -> None:
        self._out = out

    def line(self, name: str, said: str) -> None:
        """A name, and what is said."""
        self._out.print(Text.assemble((f"{name:<11}", "bold"), clean(said)), soft_wrap=True)

    def under(self, said: str) -> None:
        """More of it."""
        self._out.print(Text(f"{'':<11}{clean(said)}", "dim"), soft_wrap=True)


def grid(headers: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[str] = ()) -> Table:
    """A compact table; the columns named in `right` hold numbers. Cells are `Text`, or shown as plain text."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for header in headers:
        table.add_column(header, justify="right" if header in right else "left", no_wrap=header in right)
    for row in rows:
        table.add_row(*[cell if isinstance(cell, Text) else Text(clean(str(cell))) for cell in row])
    return table


def mark(ok: bool, yes: str = "yes", no: str = "NO") -> Text:
    """A verdict."""
    return Text(yes, "green") if ok else Text(no, "bold red")


def count(number: int | None) -> str:
    """A number for people; a dash when it is not known."""
    return "-" if number is None else f"{number:,}"


def counted(number: int, noun: str) -> str:
    """A number with its noun, whose plural has an s: `1 record`, `2 records`."""
    return f"{number:,} {noun if number == 1 else noun + 's'}"


def size(number: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def ago(moment: datetime | None, now: datetime | None = None) -> str:
    """How long ago, in one unit."""
    if moment is None:
        return "-"
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    return f"{duration(seconds)} ago" if seconds >= 0 else f"{duration(-seconds)} ahead"


def duration(seconds: float) -> str:
    """Seconds for people, in one unit."""
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds:.1f} s" if seconds < 10 else f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86_400:.0f} d"


def json_text(value: Any) -> str:
    """A JSON document, every control character escaped."""
    text = json.dumps(plain(value), indent=2, ensure_ascii=False)
    # In JSON they stand in strings only, where the escape means the same.
    return "\n".join(_CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", line) for line in text.split("\n"))


def emit(value: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json_text(value))


class _Rate(ProgressColumn):
    """Records a second so far."""

    def render(self, task: Any) -> Text:
        elapsed = task.finished_time if task.finished else task.elapsed
        return Text(f"{task.fields.get('records', 0) / elapsed:,.0f}/s" if elapsed else "")


def byte_progress() -> Progress:
    """A bar over bytes with a count of `records`; silent where standard error is no terminal."""
    out = console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("{task.fields[records]:,} records"),
        _Rate(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=out, transient=True, disable=not out.is_terminal)


def size_progress() -> Progress:
    """A bar over bytes. Silent where standard error is no terminal."""
    out = console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=out, transient=True, disable=not out.is_terminal)


def step_progress() -> Progress:
    """A spinner with a text; a bar once a total is known. Silent where standard error is no terminal."""
    out = console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=out, transient=True, disable=not out.is_terminal)


def counter() -> Progress:
    """A running count by description, and its rate. Silent where standard error is no terminal."""
    out = console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.completed:,.0f}"),
        _CountRate(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=out, transient=True, disable=not out.is_terminal)


class _CountRate(ProgressColumn):
    """What was completed in a second, lately."""

    def render(self, task: Any) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")
