"""A table of text lines for the tests of files."""

from __future__ import annotations

from typing import Any

from platform_assets.contracts.model import Field, FieldType, Format, Table


def line_table(frame_start: str | None = None, **more: Any) -> Table:
    """Lines, or records of several lines that begin at those which `frame_start` matches."""
    return Table(
        system="shop",
        name="lines",
        version="1.0.0",
        description="",
        topic="shop.lines",
        format=Format.REGEX,
        fields=(Field("t", FieldType.TIMESTAMP, required=True, source="t"),),
        event_time="t",
        frame_start=frame_start,
        **more,
    )
