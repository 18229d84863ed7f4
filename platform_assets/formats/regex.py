"""Text messages by named-group regular expressions.

Belongs here: what the format is, and the checks of its expressions. Does not belong here: its SQL (`regex_stages.py`), what all
formats of texts share (`texts.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import MappingProxyType

from platform_assets.contracts.checks import check_regex
from platform_assets.contracts.errors import at
from platform_assets.contracts.formats import Framer, Stage
from platform_assets.contracts.model import Table
from platform_assets.contracts.values import block, blocks
from platform_assets.core.errors import Mistake, Mistakes
from platform_assets.formats.lines import LineFramer
from platform_assets.formats.texts import TextFormat


class Regex(TextFormat):
    """One text record a message, read by the first of some expressions that matches it."""

    media_type = "text/plain"
    properties = MappingProxyType(
        {
            **TextFormat.properties,
            "pattern": ("patterns", blocks),
            "frameStart": ("frame_start", block),
        }
    )

    def check(self, table: Table, place: str) -> Iterator[Mistake]:
        yield from super().check(table, place)
        yield from _frame_mistakes(table, place)
        yield from _pattern_mistakes(table, place)

    def describe(self, table: Table) -> str:
        if table.frame_start:
            return f"one text record, several lines up to the next that matches `{table.frame_start}`"
        return "one line of text"

    def framer(self, table: Table, limit: int, *, at_start: bool = True) -> Framer:
        return LineFramer(limit, table.frame_start)

    def stages(self, table: Table) -> list[Stage]:
        from platform_assets.formats.regex_stages import stages

        return stages(table)


FORMAT = Regex()


def _frame_mistakes(table: Table, place: str) -> Iterator[Mistake]:
    if table.frame_start is not None:
        yield from _regex(table.frame_start, f"{place}.customProperties[frameStart]")
        if not table.frame_start.startswith("^"):
            yield from _mistake(
                f"{place}.customProperties[frameStart]", "is not anchored", "begin with ^, the start of a line"
            )


def _pattern_mistakes(table: Table, place: str) -> Iterator[Mistake]:
    where = f"{place}.customProperties[pattern]"
    if not table.patterns:
        yield from _mistake(where, "is missing", "an RE2 expression with named groups, or a list of them")
        return
    broken = Mistakes()
    compiled = [broken.get(check_regex, pattern, where) for pattern in table.patterns]
    yield from broken.found
    for pattern, one in zip(table.patterns, compiled, strict=True):
        if one is not None:
            yield from _line_pattern(pattern, one, where)
    whole = [one for one in compiled if one is not None]
    if len(whole) < len(compiled):
        return
    sources = {field.source for field in table.sent}
    groups = {group for one in whole for group in one.groupindex}
    for name in sorted(sources - groups):
        yield from _mistake(
            where, f"has no group '{name}'", f"a group for each field; found {', '.join(sorted(groups))}"
        )
    for name in sorted(groups - sources):
        yield from _mistake(where, f"no field takes the group '{name}'", "(?:…) for what is not kept")
    for name in sorted({field.source for field in table.sent if field.required} & groups):
        if not all(name in one.groupindex for one in whole):
            yield from _mistake(
                where, f"one of the list has no group '{name}'", "every required field in each of the list"
            )
    if table.sample and not any(one.search(table.sample) for one in whole):
        yield from _mistake(
            f"{place}.customProperties[sample]", "does not match the pattern", "a message as it arrives"
        )


def _line_pattern(pattern: str, compiled: re.Pattern[str], where: str) -> Iterator[Mistake]:
    """One pattern of a text line, apart from which fields it gives."""
    if not re.match(r"(\(\?[a-z]+\))?\^", pattern) or not pattern.endswith("$") or pattern.endswith("\\$"):
        yield from _mistake(where, "is not anchored", "begin with ^ (flags before it) and end with $")
    if compiled.groups != len(compiled.groupindex):
        yield from _mistake(where, "has a group without a name", "(?P<name>…) or (?:…)")
    if len({name.lower() for name in compiled.groupindex}) != len(compiled.groupindex):
        names = "names that the engine can tell apart"
        yield from _mistake(where, "has two groups whose names differ by case only", names)


def _mistake(place: str, problem: str, allowed: str = "") -> tuple[Mistake, ...]:
    return at(place, problem, allowed).mistakes


def _regex(pattern: str, place: str) -> list[Mistake]:
    """The mistakes of an expression by itself."""
    found = Mistakes()
    found.get(check_regex, pattern, place)
    return found.found
