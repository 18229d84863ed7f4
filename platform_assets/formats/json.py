"""JSON objects, one a message.

Belongs here: what the format is. Does not belong here: its SQL (`json_stages.py`, `json_excerpt.py`), which whoever only reads
contracts does not load; bodies of requests (`json_bodies.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

from platform_assets.contracts.export import message_schema
from platform_assets.contracts.formats import Case, FieldText, Framer, RecordFormat, Stage
from platform_assets.contracts.model import Field, Table
from platform_assets.contracts.values import whole
from platform_assets.core.errors import Mistake
from platform_assets.formats.json_bodies import body_records
from platform_assets.formats.lines import LineFramer


class Json(RecordFormat):
    """One JSON object a message, in one line of a file."""

    media_type = "application/json"
    language = "json"
    properties = MappingProxyType({"maxDepth": ("max_depth", whole), "maxFields": ("max_fields", whole)})
    keeps_unknown = True
    typed = True
    json_text = True

    def check(self, table: Table, place: str) -> Iterator[Mistake]:
        yield from ()

    def describe(self, table: Table) -> str:
        return "one JSON object"

    def limits(self, table: Table) -> str:
        return f"{table.max_depth} levels, {table.max_fields} fields"

    def body_schemas(self, table: Table, most: int) -> list[dict[str, Any]]:
        one = message_schema(table)
        return [one, {"type": "array", "items": one, "minItems": 1, "maxItems": most}]

    def example(self, table: Table) -> Any:
        return json.loads(table.sample or "{}")

    def records(self, table: Table, body: bytes, most: int) -> list[bytes]:
        return body_records(body, most)

    def framer(self, table: Table, limit: int, *, at_start: bool = True) -> Framer:
        return LineFramer(limit)

    def sources(self, table: Table) -> list[FieldText]:
        return [FieldText(field, f"_x{i}", f"_t{i}") for i, field in enumerate(table.sent, 1)]

    def stages(self, table: Table) -> list[Stage]:
        from platform_assets.formats.json_stages import stages

        return stages(table)

    def last_faults(self, table: Table) -> list[Case]:
        return [("_attributes_fault IS NOT NULL", "_attributes_fault")]

    def excerpt(self, table: Table, sources: list[FieldText], hidden: list[Field]) -> str:
        from platform_assets.formats.json_excerpt import excerpt

        return excerpt(hidden)


FORMAT = Json()
