"""Columns of a mart: which types can be published everywhere, and how the values of several rows become one.

Belongs here: reading a column of a properties file, and refusing what index, API, page and reports could not show, with what to
write instead. Does not belong here: the mart as a whole (`marts.py`), computing figures (`index/stats.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from platform_assets.contracts.model import Field, FieldType, IndexType
from platform_assets.contracts.types import MAX_PRECISION, TYPES


class Merge(StrEnum):
    """What the values of several rows, of slots or of groups, become together."""

    SUM = "sum"  # they add up
    MEAN = "mean"  # weighted by the column `weight`
    MIN = "min"
    MAX = "max"
    PERCENTILE = "percentile"  # of the merged histograms in the column `of`
    HISTOGRAM = "histogram"  # buckets that add up (see the macros `histograms.sql`)
    DISTINCT = "distinct"  # of one row alone: distinct values of several rows do not add up
    NONE = "none"  # of one row alone


@dataclass(frozen=True, slots=True)
class Column:
    """A column as the properties file promises it; `type` is DuckDB's. `kind` is None for a histogram."""

    name: str
    type: str
    description: str
    kind: FieldType | None = FieldType.STRING
    precision: int = 0
    scale: int = 0
    is_date: bool = False
    merge: Merge = Merge.NONE
    weight: str | None = None  # of a mean
    count: str | None = None  # of a sum: what it is divided by for a mean
    of: str | None = None  # of a percentile: the histogram
    percentile: float | None = None
    most: str | None = None  # of a histogram: the column with the greatest value, which no percentile exceeds

    def field(self, required: bool) -> Field:
        """The column as a field of documents; a histogram is JSON text there. A date is its first moment."""
        if self.kind is None:
            return Field(self.name, FieldType.STRING, self.description, required=required, index=IndexType.NONE)
        return Field(
            self.name, self.kind, self.description, required=required, index=TYPES[self.kind].indexes[0],
            precision=self.precision, scale=self.scale,
        )  # fmt: skip


_NAMES: dict[FieldType, tuple[str, ...]] = {
    FieldType.STRING: ("varchar", "text", "string", "char", "bpchar"),
    FieldType.INTEGER: (
        "bigint", "int8", "long", "int64", "integer", "int", "int4", "int32", "signed", "smallint", "int2", "short",
        "int16", "tinyint", "int1",
    ),
    FieldType.NUMBER: ("double", "float8"),
    FieldType.BOOLEAN: ("boolean", "bool", "logical"),
    FieldType.TIMESTAMP: ("timestamptz", "timestamp with time zone", "date"),
}  # fmt: skip
_KINDS = {name: kind for kind, names in _NAMES.items() for name in names}
_DECIMAL = re.compile(r"(?:decimal|numeric|dec)\s*\(\s*(\d{1,3})\s*(?:,\s*(\d{1,3})\s*)?\)")
_HISTOGRAM = re.compile(
    r"struct\s*\(\s*\"?bucket\"?\s+(?:integer|int|int4)\s*,\s*\"?\w+\"?\s+(?:bigint|int8|long)\s*\)\s*\[\s*\]"
)
_TO_TEXT = "cast to varchar"
_MEMBERS = "make each member a column, or cast to varchar with to_json"
_FIXES: dict[str, str] = {
    "hugeint": "cast to bigint, or to decimal(38,0)",
    "int128": "cast to bigint, or to decimal(38,0)",
    "uhugeint": "cast to bigint, or to decimal(38,0)",
    "ubigint": "cast to bigint, or to decimal(20,0)",
    "uint64": "cast to bigint, or to decimal(20,0)",
    **dict.fromkeys(("utinyint", "usmallint", "uinteger", "uint8", "uint16", "uint32"), "cast to bigint"),
    **dict.fromkeys(("float", "float4", "real"), "cast to double, or to decimal(precision,scale) if it is money"),
    **dict.fromkeys(("decimal", "numeric", "dec"), "say how many digits: decimal(precision,scale), e.g. decimal(18,2)"),
    **dict.fromkeys(
        ("timestamp", "datetime", "timestamp_s", "timestamp_ms", "timestamp_us", "timestamp_ns"),
        "cast to timestamptz, e.g. with at time zone 'UTC'",
    ),
    **dict.fromkeys(("time", "timetz", "time_ns"), "cast to varchar, or to bigint as seconds of the day"),
    "interval": "cast to double with epoch(…), as seconds",
    **dict.fromkeys(("blob", "bytea", "binary", "varbinary"), "cast to varchar with base64(…)"),
    **dict.fromkeys(("uuid", "guid", "enum", "json", "bit", "bitstring", "variant"), _TO_TEXT),
    **dict.fromkeys(("struct", "row", "map", "union", "list", "array"), _MEMBERS),
}
"""Types that Delta, the index or readers would not show as they are, and what to write in the model instead."""
NUMBERS = (FieldType.INTEGER, FieldType.NUMBER, FieldType.DECIMAL)


def read_column(given: Mapping[str, Any], key: tuple[str, ...]) -> Column:
    """A column of a properties file. Raises KeyError for what is missing, ValueError for what is wrong."""
    name, type_ = str(given["name"]), str(given["data_type"])
    meta = {**(given.get("meta") or {}), **((given.get("config") or {}).get("meta") or {})}
    kind, precision, scale = _kind(name, type_)
    usual = kind in (FieldType.INTEGER, FieldType.DECIMAL) and name not in key
    said = meta.get("aggregate")
    if said is not None and said not in list(Merge):
        raise ValueError(f"column {name}: aggregate is {said!r}: it is one of {', '.join(Merge)}")
    merge = Merge(said) if said else Merge.HISTOGRAM if kind is None else Merge.SUM if usual else Merge.NONE
    column = Column(
        name, type_, " ".join(str(given["description"]).split()), kind, precision, scale,
        is_date=_plain(type_) == "date", merge=merge,
        weight=meta.get("weight"), count=meta.get("count"), of=meta.get("of"), percentile=meta.get("percentile"),
        most=meta.get("most"),
    )  # fmt: skip
    _check(column, key)
    return column


def check_columns(columns: tuple[Column, ...]) -> None:
    """Raises ValueError when a column is merged by way of another that there is not."""
    named = {column.name: column for column in columns}
    for column in columns:
        for what, other in (("weight", column.weight), ("count", column.count)):
            if other is not None and (other not in named or named[other].merge is not Merge.SUM):
                raise ValueError(f"column {column.name}: {what} is {other!r}: name a column whose aggregate is sum")
        if column.of is not None and (column.of not in named or named[column.of].kind is not None):
            raise ValueError(f"column {column.name}: of is {column.of!r}: name a histogram of the mart")
        if column.most is not None and (column.most not in named or named[column.most].merge is not Merge.MAX):
            raise ValueError(f"column {column.name}: most is {column.most!r}: name a column whose aggregate is max")


def _plain(type_: str) -> str:
    return " ".join(type_.lower().split())


def _kind(name: str, type_: str) -> tuple[FieldType | None, int, int]:
    """(kind, precision, scale); the kind is None for a histogram."""
    plain = _plain(type_)
    if plain in _KINDS:
        return _KINDS[plain], 0, 0
    if decimal := _DECIMAL.fullmatch(plain):
        precision, scale = int(decimal[1]), int(decimal[2] or 0)
        if not (1 <= precision <= MAX_PRECISION and scale <= precision):
            raise ValueError(
                f"column {name}: {type_}: the precision is 1 to {MAX_PRECISION}, the scale 0 to the precision"
            )
        return FieldType.DECIMAL, precision, scale
    if _HISTOGRAM.fullmatch(plain):
        return None, 0, 0
    word = re.match(r"\w*", plain)
    fix = _MEMBERS if plain.endswith("]") else _FIXES.get(word[0] if word else "")
    known = ", ".join(names[0] for names in _NAMES.values())
    raise ValueError(
        f"column {name} has the type {type_}, which cannot be published: {fix or f'cast to one of {known}, date, decimal(p,s)'}"
    )


def _check(column: Column, key: tuple[str, ...]) -> None:
    name, kind, merge = column.name, column.kind, column.merge
    if (kind is None) is not (merge is Merge.HISTOGRAM):
        raise ValueError(f"column {name}: aggregate is {merge}: a histogram is struct(bucket integer, … bigint)[]")
    if name in key and merge is not Merge.NONE:
        raise ValueError(f"column {name} is of the key: it is grouped by, and has no aggregate")
    if merge is Merge.MEAN and (column.weight is None or kind not in (FieldType.NUMBER, FieldType.INTEGER)):
        raise ValueError(
            f"column {name}: a mean needs its weight, and no decimal is one: of money give the sum, with `count`"
        )
    if merge is Merge.PERCENTILE and not (column.of and _percent(column.percentile) and kind is FieldType.NUMBER):
        raise ValueError(f"column {name}: a percentile is a double with `of: <histogram>` and `percentile: 95`")
    if merge in (Merge.SUM, Merge.DISTINCT) and kind not in NUMBERS:
        raise ValueError(f"column {name}: aggregate is {merge}: it is for numbers")
    if merge in (Merge.MIN, Merge.MAX) and kind not in (*NUMBERS, FieldType.TIMESTAMP):
        raise ValueError(f"column {name}: aggregate is {merge}: it is for numbers and times")


def _percent(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 100
