"""One table in each format, and how its rows are written: what the contract suite of formats is run over."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from platform_assets.contracts.arrow import BRONZE_SCHEMA
from platform_assets.contracts.formats import RecordFormat, format_named
from platform_assets.contracts.model import CsvDialect, Field, FieldType, Format, IndexType, Mask, Table
from platform_assets.transform import Masker, Transformed, Transformer

LANDED = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)
MASKER = Masker({"k1": b"0123456789abcdef" * 2}, "k1")
ROW: Mapping[str, str | None] = {
    "id": "r-1",
    "at": "2026-01-15T09:29:59.250Z",
    "amount": "12.50",
    "ratio": "0.25",
    "count": "7",
    "ok": "true",
    "who": "Zq7Secret7qZ",
    "text": "plain words",
}
"""A valid row as texts."""
SECRET = "Zq7Secret7qZ"
FIELDS = (
    Field("id", FieldType.STRING, required=True, source="id"),
    Field("at", FieldType.TIMESTAMP, required=True, source="at", index=IndexType.DATE),
    Field("amount", FieldType.DECIMAL, source="amount", precision=10, scale=2, index=IndexType.DECIMAL),
    Field("ratio", FieldType.NUMBER, source="ratio", index=IndexType.DOUBLE),
    Field("count", FieldType.INTEGER, source="count", index=IndexType.LONG),
    Field("ok", FieldType.BOOLEAN, source="ok", index=IndexType.BOOLEAN),
    Field("who", FieldType.STRING, source="who", mask=Mask.HMAC, pii=True),
    Field("text", FieldType.STRING, source="text", mask=Mask.SCRUB, max_length=200, index=IndexType.TEXT),
)
_GROUP = {"id": "[^|]+", "at": "[^|]+"}
_PATTERN = r"^" + r"\|".join(f"(?P<{name}>{_GROUP.get(name, '[^|]*')})" for name in ROW) + r"$"


@dataclass(frozen=True)
class Member:
    """A format: its table, how a row of texts is written as a message, and how two messages of a file are set apart."""

    table: Table
    write: Callable[[Mapping[str, str | None]], bytes]

    @property
    def format(self) -> RecordFormat:
        return format_named(self.table.format)

    def row(self, **changes: str | None) -> bytes:
        """A valid row's message; `changes` replace its texts, None leaves one out."""
        return self.write({**ROW, **changes})

    def transform(self, *values: bytes | None) -> Transformed:
        """What a transformer makes of these messages."""
        with Transformer(self.table, MASKER, threads=1) as transformer:
            return transformer.transform(bronze(values))

    def reasons(self, *values: bytes | None) -> list[str]:
        """The reasons for which messages are refused, all of which must be."""
        transformed = self.transform(*values)
        assert transformed.accepted.num_rows == 0
        return list(transformed.rejected["reason"].to_pylist())


def bronze(values: tuple[bytes | None, ...]) -> pa.Table:
    """Bronze rows with these values at rising positions."""
    rows = len(values)
    columns: dict[str, Any] = {
        "_source": ["AAAAAAAAAAAAAAAAAAAAAA"] * rows,
        "_shard": [0] * rows,
        "_position": range(rows),
        "_span": [1] * rows,
        "kind": ["record"] * rows,
        "record_time": [LANDED] * rows,
        "key": [None] * rows,
        "value": list(values),
        "headers": [None] * rows,
        "seq": [1] * rows,
        "landed_at": [LANDED] * rows,
        "landed_date": [LANDED.date()] * rows,
    }
    return pa.table({f.name: pa.array(columns[f.name], f.type) for f in BRONZE_SCHEMA}, schema=BRONZE_SCHEMA)


def table(format_: Format, **options: Any) -> Table:
    """The table in a format."""
    return Table("lab", format_.value, "1.0.0", "", f"lab.{format_.value}", format_, FIELDS, event_time="at", **options)


def _json(row: Mapping[str, str | None]) -> bytes:
    typed = {"amount", "ratio", "count", "ok"}
    members = [f"{json.dumps(k)}:{v if k in typed else json.dumps(v)}" for k, v in row.items() if v is not None]
    return ("{" + ",".join(members) + "}").encode()


def _csv(dialect: CsvDialect, encoding: str = "utf-8") -> Callable[[Mapping[str, str | None]], bytes]:
    def write(row: Mapping[str, str | None]) -> bytes:
        written = io.StringIO()
        writer = csv.writer(written, delimiter=dialect.delimiter, quotechar=dialect.quote, lineterminator="\r\n")
        comma = {"amount", "ratio"} if dialect.decimal_comma else set()
        writer.writerow([(row[n] or "").replace(".", ",") if n in comma else row[n] for n in dialect.columns or ROW])
        return written.getvalue().removesuffix("\r\n").encode(encoding)

    return write


def _lines(row: Mapping[str, str | None]) -> bytes:
    return "|".join(value or "" for value in row.values()).encode()


GERMAN = CsvDialect(
    columns=("at", "id", "unused", "amount", "ratio", "count", "ok", "who", "text"),
    delimiter=";",
    quote="'",
    decimal_comma=True,
)


def _german(row: Mapping[str, str | None]) -> bytes:
    return _csv(GERMAN, "windows-1252")({"unused": "-", **row})


def _absent(made: Table) -> Table:
    """Without a value of their own for it, texts between separators stand for absent when they are empty."""
    fields = tuple(field if field.required else replace(field, null_values=("",)) for field in made.fields)
    return replace(made, fields=fields)


MEMBERS = {
    "json": Member(table(Format.JSON, attributes="more"), _json),
    "regex": Member(_absent(table(Format.REGEX, patterns=(_PATTERN,))), _lines),
    "csv": Member(table(Format.CSV), _csv(CsvDialect())),
    "csv-german": Member(table(Format.CSV, csv=GERMAN, encoding="windows-1252"), _german),
}
