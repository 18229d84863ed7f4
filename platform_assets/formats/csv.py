"""Rows of separated values.

Belongs here: what the format is, and the checks of its properties. Does not belong here: cutting files (`csv_rows.py`), its SQL
(`csv_stages.py`), what all formats of texts share (`texts.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from platform_assets.contracts.errors import at
from platform_assets.contracts.formats import Framer, Reader, Stage
from platform_assets.contracts.model import CsvDialect, Table
from platform_assets.contracts.values import flag, texts
from platform_assets.core.errors import Mistake, Mistakes
from platform_assets.formats.csv_rows import RowFramer, values_of
from platform_assets.formats.texts import TextFormat


def _character(value: Any, place: str) -> str:
    value = "\t" if value == "tab" else value
    if not isinstance(value, str) or len(value) != 1 or not value.isascii() or value.isalnum() or value in "\r\n\0 .+-":
        raise at(place, f"is {value!r}", "one character of ASCII that no number has, or tab")
    return value


_DIALECT: Mapping[str, tuple[str, Reader]] = {
    "columns": ("columns", texts),
    "header": ("header", flag),
    "delimiter": ("delimiter", _character),
    "quote": ("quote", _character),
    "decimalComma": ("decimal_comma", flag),
}


class Csv(TextFormat):
    """One row a message, its values separated by a character and perhaps in quotes; what is quoted may have line breaks."""

    media_type = "text/csv"
    language = "csv"
    properties = MappingProxyType({**TextFormat.properties, **_DIALECT})

    def read(self, custom: Mapping[str, Any], place: str, found: Mistakes) -> dict[str, Any]:
        values = super().read(custom, place, found)
        dialect = {attribute: values.pop(attribute) for attribute, _ in _DIALECT.values() if attribute in values}
        return {**values, "csv": CsvDialect(**dialect)}

    def check(self, table: Table, place: str) -> Iterator[Mistake]:
        yield from super().check(table, place)
        dialect, where = table.csv, f"{place}.customProperties"
        if dialect.delimiter == dialect.quote:
            yield from at(f"{where}[quote]", "is the delimiter", "another character").mistakes
        if dialect.decimal_comma and dialect.delimiter == ",":
            yield from at(f"{where}[decimalComma]", "does not go with the delimiter ','", "delimiter: ';'").mistakes
        columns = columns_of(table)
        for name, number in Counter(columns).items():
            if number > 1:
                yield from at(f"{where}[columns]", f"has {name!r} twice", "each column once").mistakes
        for name in (field.source for field in table.sent if field.source not in columns):
            yield from at(f"{where}[columns]", f"has no {name!r}", "every column that a field is read from").mistakes
        if table.sample and len(values_of(table.sample, dialect)) != len(columns):
            yield from at(f"{where}[sample]", f"has not {len(columns)} columns", "a row as it arrives").mistakes

    def describe(self, table: Table) -> str:
        between = "a tab" if table.csv.delimiter == "\t" else f"`{table.csv.delimiter}`"
        return f"one row of {len(columns_of(table))} columns with {between} between them"

    def framer(self, table: Table, limit: int, *, at_start: bool = True) -> Framer:
        return RowFramer(limit, table.csv, columns_of(table), table.encoding, at_start=at_start)

    def stages(self, table: Table) -> list[Stage]:
        from platform_assets.formats.csv_stages import stages

        return stages(table, columns_of(table))


FORMAT = Csv()


def columns_of(table: Table) -> tuple[str, ...]:
    """The names of a row's columns in their order."""
    return table.csv.columns or tuple(field.source for field in table.sent)
