"""What formats share whose values are all texts.

Belongs here: the base class of such formats. Does not belong here: how a text is cut into fields (`regex.py`, `csv.py`).
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

from platform_assets.contracts.errors import at
from platform_assets.contracts.formats import BodyError, Case, FieldText, FramingError, RecordFormat
from platform_assets.contracts.model import Field, InvalidBytes, Table
from platform_assets.contracts.values import choice
from platform_assets.core.charsets import ENCODINGS
from platform_assets.core.errors import Mistake

_PIECE = 64 * 1024


def _encoding(value: Any, place: str) -> str:
    if value not in ENCODINGS:
        raise at(place, f"is {value!r}", ", ".join(ENCODINGS))
    return str(value)


class TextFormat(RecordFormat):
    """A message is a text, its fields are parts of it. There are no members that the contract does not know."""

    language = "text"
    properties = MappingProxyType(
        {
            "encoding": ("encoding", _encoding),
            "invalidBytes": ("invalid_bytes", lambda value, where: choice(InvalidBytes, value, where)),
        }
    )

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
        body = body.removeprefix(codecs.BOM_UTF8)
        try:
            for start in range(0, len(body), _PIECE):
                if len(records) > most:  # a body of line ends alone has millions
                    break
                records += framer.feed(body[start : start + _PIECE])
            return records + framer.finish()
        except FramingError as error:
            raise BodyError(str(error)) from None

    def sources(self, table: Table) -> list[FieldText]:
        return [FieldText(field, f"_x{i}") for i, field in enumerate(table.sent, 1)]

    def last_faults(self, table: Table) -> list[Case]:
        return []

    def excerpt(self, table: Table, sources: list[FieldText], hidden: list[Field]) -> str:
        from platform_assets.formats.text_sql import excerpt

        return excerpt(sources, hidden)
