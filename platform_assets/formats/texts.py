"""What formats share whose values are all texts.

Belongs here: the base class of such formats. Does not belong here: how a text is cut into fields (`regex.py`, `csv.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from platform_assets.contracts.errors import at
from platform_assets.contracts.formats import FieldText, RecordFormat, Stage
from platform_assets.contracts.model import Field, Table
from platform_assets.core.errors import Mistake

_PIECE = 64 * 1024


class TextFormat(RecordFormat):
    """A message is a text, its fields are parts of it. There are no members that the contract does not know."""

    language = "text"

    def check(self, table: Table, place: str) -> Iterator[Mistake]:
        if table.attributes is not None:
            where = f"{place}.properties[{table.attributes}]"
            yield from at(where, "a text line has no unknown fields to keep", "format: json").mistakes

    def body_schemas(self, table: Table, most: int) -> list[dict[str, Any]]:
        return [{"type": "string"}]

    def example(self, table: Table) -> Any:
        return table.sample

    def records(self, table: Table, body: bytes, most: int) -> list[bytes]:
        """As files are cut."""
        framer = self.framer(table, max(len(body), table.max_bytes + 1))
        records: list[bytes] = []
        for at_ in range(0, len(body), _PIECE):
            if len(records) > most:  # a body of line ends alone has millions
                break
            records += framer.feed(body[at_ : at_ + _PIECE])
        return records + framer.finish()

    def sources(self, table: Table) -> list[FieldText]:
        return [FieldText(field, f"_x{i}") for i, field in enumerate(table.sent, 1)]

    def last_faults(self, table: Table) -> list[Stage]:
        return []

    def excerpt(self, table: Table, sources: list[FieldText], hidden: list[Field]) -> str:
        from platform_assets.formats.text_sql import excerpt

        return excerpt(sources, hidden)
