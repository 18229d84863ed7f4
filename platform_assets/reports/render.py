"""A built report as HTML, CSV or JSON. What stands in the rows is data: it is escaped wherever it goes."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from platform_assets.core.serialization import cell, plain
from platform_assets.reports.build import Built, Filled
from platform_assets.reports.charts import svg
from platform_assets.reports.declare import Column, Kind


def to_json(built: Built) -> dict[str, Any]:
    """One JSON document: the report's name and day, each section with its rows."""
    return {
        "system": built.system,
        "report": built.report.name,
        "title": built.report.title,
        "day": built.day.isoformat(),
        "made": built.made.isoformat(timespec="seconds"),
        "sections": [
            {"title": f.section.title, "kind": f.section.kind.value, "mart": f.section.mart, "rows": _rows(f)}
            for f in built.sections
        ],
    }


def to_csv(built: Built) -> str:
    """Every section as a block of its own: a line with its title, the header, the rows, an empty line."""
    out = io.StringIO()
    writer = csv.writer(out)
    for filled in built.sections:
        writer.writerow([cell(filled.section.title)])
        writer.writerow(filled.rows.column_names)
        writer.writerows([cell(value) for value in row.values()] for row in filled.rows.to_pylist())
        writer.writerow([])
    return out.getvalue()


def to_html(built: Built) -> str:
    """One page without scripts or anything from elsewhere: it can be mailed and kept."""
    page = Environment(
        loader=PackageLoader("platform_assets.reports"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    ).get_template("report.html")
    return page.render(built=built, sections=[_view(filled) for filled in built.sections])


RENDERERS: dict[str, tuple[str, Callable[[Built], Any]]] = {
    "html": ("text/html", to_html),
    "csv": ("text/csv", to_csv),
    "json": ("application/json", to_json),
}
"""Media type and renderer by name."""


def _rows(filled: Filled) -> list[dict[str, Any]]:
    return [plain(row) for row in filled.rows.to_pylist()]


def _view(filled: Filled) -> dict[str, Any]:
    section = filled.section
    view: dict[str, Any] = {"section": section, "empty": filled.rows.num_rows == 0}
    if section.kind in (Kind.BARS, Kind.LINES):
        # As an image, so that no text of the data could become markup of the page.
        picture = "" if view["empty"] else base64.b64encode(svg(filled).encode()).decode()
        return view | {"picture": picture}
    rows = filled.rows.to_pylist()
    return view | {
        "rows": [[(column, column_text(column, row[column.name])) for column in section.columns] for row in rows]
    }


def column_text(column: Column, value: Any) -> str:
    """A value as people read it."""
    if value is None:
        return "n/a" if column.form == "change" else "-"  # there a dash would be a sign
    if column.form == "percent":
        return f"{value:.2%}"
    if column.form == "milliseconds":
        return f"{value:,.0f} ms"
    if column.form == "change":
        return f"{value * 100:+,.0f} %"
    if isinstance(value, Decimal):
        return f"{value:,f}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value.isoformat() if isinstance(value, datetime | date) else str(value)
    return f"{value:,}" if isinstance(value, int) or not value.is_integer() else f"{value:,.0f}"
