"""A section's rows as a picture: Vega-Lite, drawn to SVG by vl-convert without a browser or a network."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from platform_assets.reports.build import Filled
from platform_assets.reports.declare import Kind

WIDTH, HEIGHT = 760, 220
_UNITS = {
    "minute": ("utcyearmonthdatehoursminutes", "%H:%M"),
    "hour": ("utcyearmonthdatehours", "%H:%M"),
    "day": ("utcyearmonthdate", "%b %d"),
}
"""A bar is as wide as its slot; how its time is written, by the time column."""
_LONG = "%b %d %H:%M"
_PALETTE = [
    "#2563eb",
    "#dc2626",
    "#059669",
    "#d97706",
    "#7c3aed",
    "#0891b2",
    "#be185d",
    "#4d7c0f",
    "#6b7280",
    "#92400e",
]


def svg(filled: Filled) -> str:
    """The chart of a section of kind bars or lines, as SVG text. ValueError for other kinds."""
    import vl_convert  # loads a JavaScript engine: only who draws pays

    return str(vl_convert.vegalite_to_svg(specification(filled)))


def specification(filled: Filled) -> dict[str, Any]:
    """The chart in Vega-Lite 5, its rows inside."""
    section = filled.section
    if section.kind not in (Kind.BARS, Kind.LINES) or section.x is None or section.y is None:
        raise ValueError(f"a section of kind {section.kind} is no chart")
    unit, form = _UNITS[section.x] if section.days == 1 or section.x == "day" else (_UNITS[section.x][0], _LONG)
    axis = {"format": form, "labelOverlap": True}
    counted = {"tickMinStep": 1} if pa.types.is_integer(filled.rows.schema.field(section.y).type) else {}
    encoding: dict[str, Any] = {
        "x": {"field": section.x, "timeUnit": unit, "type": "temporal", "title": None, "axis": axis},
        "y": {"field": section.y, "type": "quantitative", "title": section.y.replace("_", " "), "axis": counted},
    }
    if section.color:
        encoding["color"] = {
            "field": section.color,
            "type": "nominal",
            "scale": {"range": _PALETTE},
            "legend": {"orient": "top"},
        }
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "width": WIDTH,
        "height": HEIGHT,
        "data": {"values": [{n: _plain(v) for n, v in row.items()} for row in filled.rows.to_pylist()]},
        "mark": "bar" if section.kind is Kind.BARS else {"type": "line", "point": True},
        "encoding": encoding,
        "config": {"view": {"stroke": None}, "axis": {"gridColor": "#e5e7eb", "domainColor": "#9ca3af"}},
    }


def _plain(value: object) -> object:
    """A picture has no more digits than a double."""
    if isinstance(value, Decimal):
        return float(value)
    return value.isoformat() if isinstance(value, datetime | date) else value
