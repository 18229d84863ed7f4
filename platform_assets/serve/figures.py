"""Which figures of a mart a caller may ask for: what its columns mean over slots and groups decides.

Belongs here: from the names in a request to figures, and the refusal of what would be wrong. Does not belong here: computing them
(`index/stats.py`, `index/percentiles.py`), the route (`reporting.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from platform_assets.index.errors import QueryError
from platform_assets.index.percentiles import Percentile
from platform_assets.index.stats import Figure, Function
from platform_assets.index.times import parse_duration
from platform_assets.marts.columns import Column, Merge
from platform_assets.marts.marts import LENGTHS, Mart, Slot

PERCENTILE = "percentile"
FUNCTIONS = (*Function, PERCENTILE)
_EVERY = {Slot.MINUTE: "15m", Slot.HOUR: "6h", Slot.DAY: "7d"}
_OF = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::([0-9]{1,3}(?:\.[0-9]{1,3})?))?")
_POSSIBLE: dict[Merge, tuple[str, ...]] = {
    Merge.SUM: ("sum",),
    Merge.MEAN: ("mean",),
    Merge.MIN: ("min",),
    Merge.MAX: ("max",),
    Merge.PERCENTILE: (PERCENTILE,),
    Merge.HISTOGRAM: (PERCENTILE,),
    Merge.DISTINCT: ("distinct",),
    Merge.NONE: (),
}


class WrongAggregate(QueryError):
    """Such a figure would be wrong, or means nothing."""


@dataclass(frozen=True)
class Wanted:
    """What a request asks of each group, in the order in which it is answered."""

    figures: list[Figure] = field(default_factory=list)
    percentiles: list[Percentile] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The figures' names."""
        return [one.name for one in self.figures] + [one.name for one in self.percentiles]


def wanted(mart: Mart, by: Sequence[str], asked: dict[str, Sequence[str]]) -> Wanted:
    """The figures for the columns that a request names by function.

    Raises WrongAggregate, which says what is possible, when a column's values do not become one in that way.
    """
    found = Wanted()
    columns = {column.name: column for column in mart.columns}
    for function in FUNCTIONS:
        for text in asked.get(function, ()):
            name, percent = _named(text, function)
            if name not in columns:
                raise QueryError(f"{mart.name} has no column {name!r}", f"it has {', '.join(columns)}")
            column = columns[name]
            if function not in possible(mart, column):
                raise _wrong(mart, column, function)
            if function == PERCENTILE:
                found.percentiles.append(_percentile(mart, columns, column, percent))
            else:
                found.figures.append(_figure(mart, column, Function(function), by))
    doubled = next((name for name in found.names if found.names.count(name) > 1 or name in by), None)
    if doubled is not None:  # a row has one value under a name
        raise QueryError(f"{doubled!r} is either grouped by or summed, not both, and asked for once")
    return found


def possible(mart: Mart, column: Column) -> tuple[str, ...]:
    """The functions that mean something for a column."""
    if column.name in mart.key:
        return ("count", "distinct")
    more = ("mean",) if column.merge is Merge.SUM and column.count else ()
    return (*_POSSIBLE[column.merge], *more, *(() if column.kind is None else ("count",)))


def every_of(mart: Mart, every: str | None, by: Sequence[str]) -> str | None:
    """The steps in which the mart's time is grouped, as they are asked of the index. Raises QueryError."""
    if every is None:
        return None
    if str(mart.grain) not in by:
        raise QueryError("`every` are the steps of the mart's time", f"group by it: by={mart.grain}")
    step, grain = parse_duration(every), LENGTHS[mart.grain]
    if step % grain:
        raise QueryError(
            f"{mart.name} has a row for each {mart.grain}: {every} is no multiple of that", f"e.g. {_EVERY[mart.grain]}"
        )
    return f"{int(step.total_seconds())}s"


def _named(text: str, function: str) -> tuple[str, float | None]:
    match = _OF.fullmatch(text)
    if match is None or (match[2] and function != PERCENTILE):
        raise QueryError(f"{text!r} is no column", "percentile=histogram:95 alone has a number behind it")
    percent = float(match[2]) if match[2] else None
    if percent is not None and not 0 < percent <= 100:
        raise QueryError(f"{text!r}: a percentile is above 0 and at most 100")
    return match[1], percent


def _figure(mart: Mart, column: Column, function: Function, by: Sequence[str]) -> Figure:
    if function is Function.DISTINCT and column.name not in mart.key:
        if missing := [name for name in mart.key if name not in by]:
            raise WrongAggregate(
                f"{column.name} counts different values of one row of {mart.name}: those of several rows do not add up",
                f"group by {', '.join(missing)} too",
            )
        return Figure(column.name, Function.MAX, column.name)  # of a single row
    own = {Function.SUM, Function.MIN, Function.MAX} | ({Function.MEAN} if column.merge is Merge.MEAN else set())
    name = column.name if function in own else f"{function}_{column.name}"
    return Figure(name, function, column.name, column.weight, column.count)


def _percentile(mart: Mart, columns: dict[str, Column], column: Column, percent: float | None) -> Percentile:
    if column.merge is Merge.PERCENTILE:
        if percent is not None:
            raise QueryError(
                f"{column.name} is the percentile {column.percentile:g}", f"percentile={column.of}:{percent:g}"
            )
        histogram = columns[str(column.of)]
        return Percentile(column.name, histogram.name, float(column.percentile or 0), histogram.most)
    if percent is None:
        raise QueryError(f"which percentile of {column.name}?", f"percentile={column.name}:95")
    return Percentile(f"{column.name}_p{percent:g}", column.name, percent, column.most)


def _wrong(mart: Mart, column: Column, function: str) -> WrongAggregate:
    instead = [f"{one}={column.name}" for one in possible(mart, column)]
    others = [f"{function}={other.name}" for other in mart.columns if function in possible(mart, other)]
    hint = f"possible: {', '.join(instead)}" if instead else "it is of one row alone"
    if others:
        hint += f"; {function} is for {', '.join(others)}"
    what = "is grouped by" if column.name in mart.key else f"is declared as `{column.merge}`"
    return WrongAggregate(f"{function} of {column.name} would be wrong: in {mart.name} it {what}", hint)
