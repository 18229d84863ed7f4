"""A report of one day: its sections filled from marts.

Belongs here: the queries. Every identifier in them was checked by the declaration and against the mart's columns.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

import duckdb
import pyarrow as pa

from platform_assets.core.errors import AssayError
from platform_assets.reports.declare import Kind, Report, Section

_NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
TIME_COLUMNS = ("minute", "hour", "day")
"""A mart has one of these: when its row begins."""


class Marts(Protocol):
    """Where marts are read: the lake, or the index with the rights of whoever asks."""

    def rows(self, mart: str, begin: datetime, end: datetime) -> pa.Table | None:
        """The rows of a mart that begin in [begin, end); None when there is no such mart."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A section with its rows: for a chart x, y and perhaps color; for figures one row of totals; else the columns asked for."""

    section: Section
    rows: pa.Table


@dataclass(frozen=True, slots=True)
class Built:
    """A report of `day`, made at `made`."""

    system: str
    report: Report
    day: date
    made: datetime
    sections: tuple[Filled, ...]

    @property
    def empty(self) -> bool:
        """Whether no section has a row that says anything."""
        return all(f.section.kind is Kind.FIGURES or f.rows.num_rows == 0 for f in self.sections)


def build(system: str, report: Report, day: date, marts: Marts, *, missing: int = 0) -> Built:
    """Fill a report; title and introduction say so when `missing` rows of the day are not in the marts yet.

    Raises AssayError when a mart or a column that it names does not exist.
    """
    made = datetime.now(UTC)
    if missing:
        about = f"Incomplete: {missing:,} rows of this day have arrived that these figures do not count. {report.about}"
        report = report.model_copy(update={"title": f"{report.title} (incomplete)", "about": about.strip()})
    with duckdb.connect(config={"threads": 1, "memory_limit": "512MB", "temp_directory": ""}) as con:
        con.execute("SET TimeZone = 'UTC'")
        filled = tuple(Filled(section, _fill(con, section, day, marts)) for section in report.sections)
    return Built(system, report, day, made, filled)


def _fill(con: duckdb.DuckDBPyConnection, section: Section, day: date, marts: Marts) -> pa.Table:
    end = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
    rows = marts.rows(section.mart, end - timedelta(days=section.days), end)
    if rows is None:
        raise AssayError(f"there is no mart {section.mart}", "refresh gold first: `assay gold refresh`")
    _check(section, rows.schema)
    whole = {f.name for f in rows.schema if pa.types.is_integer(f.type)}
    con.register("mart", rows)
    try:
        answer = con.sql(_query(section, whole)).to_arrow_table()
    finally:
        con.unregister("mart")
    return answer


def _check(section: Section, schema: pa.Schema) -> None:
    names = schema.names
    wanted = [c.name for c in section.columns] if not section.group else []
    wanted += [*section.group, *section.sum, *section.max, *filter(None, (section.x, section.y, section.color))]
    if missing := [name for name in wanted if name not in names]:
        raise AssayError(
            f"section '{section.title}': mart {section.mart} has no column {missing[0]}", f"it has {', '.join(names)}"
        )
    figures = [c.name for c in section.columns] if section.kind is Kind.FIGURES else section.sum
    for name in [*figures, *([section.y] if section.y else [])]:
        if not any(is_one(schema.field(name).type) for is_one in _NUMBERS):
            raise AssayError(
                f"section '{section.title}': {name} of {section.mart} is no number: it cannot be summed",
                "name a column of numbers",
            )
    shown = [*section.group, *section.sum, *section.max] if section.group else names
    known = [*filter(None, (section.x, section.y, section.color))] or shown
    for name in [c.name for c in section.columns] + ([section.order.lstrip("-")] if section.order else []):
        if name not in known:
            raise AssayError(f"section '{section.title}': there is no column {name}", f"there are {', '.join(known)}")


def _query(section: Section, whole: Collection[str]) -> str:
    """SQL over `mart`. `whole` are the columns of whole numbers, which the engine sums in 128 bits; decimals stay exact."""

    def sum_of(name: str) -> str:
        return f'CAST(sum("{name}") AS BIGINT)' if name in whole else f'sum("{name}")'

    if section.kind is Kind.FIGURES:
        totals = ", ".join(f'coalesce({sum_of(c.name)}, 0) AS "{c.name}"' for c in section.columns)
        return f"SELECT {totals} FROM mart"  # noqa: S608 (checked identifiers)
    if section.x is not None:
        group = [section.x, *([section.color] if section.color else [])]
        value = sum_of(str(section.y)) if section.kind is Kind.BARS else f'max("{section.y}")'
        names = ", ".join(f'"{name}"' for name in group)
        inner = f'SELECT {names}, {value} AS "{section.y}" FROM mart GROUP BY {names}'  # noqa: S608
        return f"{inner} ORDER BY {names}"
    columns = ", ".join(f'"{c.name}"' for c in section.columns)
    source = "mart"
    if section.group:
        group = [*section.group]
        parts = [f'"{name}"' for name in group]
        parts += [f'{sum_of(name)} AS "{name}"' for name in section.sum]
        parts += [f'max("{name}") AS "{name}"' for name in section.max]
        names = ", ".join(f'"{name}"' for name in group)
        source = f"(SELECT {', '.join(parts)} FROM mart GROUP BY {names})"  # noqa: S608
    order = ", ".join(f'"{c.name}"' for c in section.columns)  # ties in a fixed order
    if section.order:
        order = f'"{section.order.lstrip("-")}"{" DESC" if section.order.startswith("-") else ""} NULLS LAST, {order}'
    return f"SELECT {columns} FROM {source} ORDER BY {order} LIMIT {section.limit}"  # noqa: S608
