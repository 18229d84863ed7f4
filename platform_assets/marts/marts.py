"""The marts of a system, read from the properties files of its dbt models.

Belongs here: what a mart promises (grain, key, columns), what is wrong with an entry, and where the mart's Delta table lies. Does
not: its SQL, which dbt reads.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from platform_assets.contracts.checks import IDENTIFIER, RESERVED_TABLES
from platform_assets.contracts.document import Declared, Document, parse_document, read_text, understood
from platform_assets.contracts.model import FieldType, IndexPeriod
from platform_assets.core.errors import AssayError, Mistake, Mistakes, one_line
from platform_assets.core.lake import require_layout
from platform_assets.marts.assembled import origin
from platform_assets.marts.columns import Column, check_columns, read_column
from platform_assets.tables.table import LakeTable

_NEEDS = "a mart needs a description, config.meta with grain and key, and columns with description and data_type"
PARTITION = "slot_partition"
"""The partition column of every mart; dbt never sees it."""
REFRESH_LOG = "refresh_log"


class Slot(StrEnum):
    """The grain of a mart: the name of its time column too. In the order in which marts are built from each other."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"


LENGTHS = {Slot.MINUTE: timedelta(minutes=1), Slot.HOUR: timedelta(hours=1), Slot.DAY: timedelta(days=1)}
PARTITION_FORMATS = {Slot.MINUTE: "%Y-%m-%dT%H", Slot.HOUR: "%Y-%m-%d", Slot.DAY: "%Y-%m"}
"""A partition holds 60, 24 or 31 slots at most and one file: replacing a slot never costs more than that."""
_INDEX_PERIODS = {
    Slot.MINUTE: (IndexPeriod.MONTH, (IndexPeriod.HOUR, IndexPeriod.DAY, IndexPeriod.MONTH, IndexPeriod.YEAR)),
    Slot.HOUR: (IndexPeriod.YEAR, (IndexPeriod.DAY, IndexPeriod.MONTH, IndexPeriod.YEAR)),
    Slot.DAY: (IndexPeriod.YEAR, (IndexPeriod.MONTH, IndexPeriod.YEAR)),
}
"""How much time one search index holds: by default, and what a mart may declare (a partition lies within one index)."""


@dataclass(frozen=True, slots=True)
class Reads:
    """How far a row reads around its own slot. `everything`: all that its inputs hold."""

    before: timedelta = timedelta(0)
    after: timedelta = timedelta(0)
    everything: bool = False


@dataclass(frozen=True)
class Mart:
    """One dbt model that is published."""

    system: str
    name: str
    description: str
    grain: Slot
    key: tuple[str, ...]
    index: bool
    columns: tuple[Column, ...]
    example: str | None = None  # the column with the id of a document that is one of those counted
    index_period: IndexPeriod = IndexPeriod.YEAR  # how much time one search index holds
    main: bool = False  # whether statistics are asked of this one unless another is named
    row_policy: str | None = None  # column whose value limits who sees a row; None: only readers without a limit
    reads: Reads | None = None  # as declared; None: nothing but its own slot, which its SQL must show

    @property
    def schema(self) -> pa.Schema:
        """The columns as DuckDB hands them over, in the order of the properties file."""
        return _arrow_schema(self.columns)

    def table(self, lake: Path) -> LakeTable:
        """Its Delta table under the lake's root."""
        schema = self.schema.append(pa.field(PARTITION, pa.string()))
        return LakeTable(require_layout(lake) / "gold" / self.system / self.name, schema, PARTITION, lake=lake)

    def partition(self, slot: datetime) -> str:
        """The partition of its Delta table that holds a slot."""
        return slot.strftime(PARTITION_FORMATS[self.grain])

    @property
    def partition_sql(self) -> str:
        """SQL for the partition of a row."""
        return f"strftime(CAST(\"{self.grain}\" AS TIMESTAMP), '{PARTITION_FORMATS[self.grain]}')"


@cache
def _arrow_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """Kept, because each needs a connection to DuckDB."""
    with duckdb.connect(config={"threads": 1}) as con:
        con.execute("SET TimeZone = 'UTC'")
        nulls = ", ".join(f'CAST(NULL AS {column.type}) AS "{column.name}"' for column in columns)
        return con.sql(f"SELECT {nulls} LIMIT 0").to_arrow_table().schema


REFRESH_LOG_SCHEMA: pa.Schema = pa.schema(
    [
        pa.field("model", pa.string(), nullable=False),
        pa.field("refresh", pa.int64(), nullable=False),
        pa.field("slot", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("refreshed_date", pa.date32(), nullable=False),
    ]
)
"""Which refresh replaced which slot of which mart (a superset: a refresh may have died after it wrote this)."""


def refresh_log_table(lake: Path, system: str) -> LakeTable:
    """The refresh_log of a system's marts."""
    return LakeTable(
        require_layout(lake) / "gold" / system / REFRESH_LOG, REFRESH_LOG_SCHEMA, "refreshed_date", lake=lake
    )


def load_marts(project: Path, system: str) -> tuple[Mart, ...]:
    """The valid marts of a system, finer ones first, then by name; none when it has no models."""
    return tuple(declared_marts(project, system).valid.values())


def declared_marts(project: Path, system: str) -> Declared[Mart]:
    """The valid marts of a system by name, finer ones first, and the mistakes of the others.

    A wrong mart is left out by itself; the mistake's `place` is its name (empty when the whole file cannot be read). Two marts
    that are both marked as the main one stay, and neither is the main one.
    """
    found = Mistakes()
    marts: dict[str, Mart] = {}
    names: set[str] = set()
    for path in sorted((project / "models" / system).glob("*.yml")):
        own = Mistakes()
        document, entries = _entries(path, own)
        for number, entry in enumerate(entries):
            name = entry.get("name") if isinstance(entry, dict) else None
            mart = own.get(_entry, system, entry, number)
            if isinstance(name, str) and name in names:
                own.found.append(Mistake(f"the model {name}: it has two entries", "leave one of them", name))
                marts.pop(name, None)
            elif mart is not None:
                marts[mart.name] = mart
            names |= {name} if isinstance(name, str) else set()
        found.found += [_located(document, mistake, path) for mistake in own.found]
    if len(main := [name for name, mart in marts.items() if mart.main]) > 1:
        said = f"{' and '.join(main)} are each marked as the main mart, so none of them is"
        found.found.append(Mistake(said, "leave `main` to one of them", file=str(project / "models" / system)))
        marts |= {name: replace(marts[name], main=False) for name in main}
    order = list(Slot)
    return Declared(
        {mart.name: mart for mart in sorted(marts.values(), key=lambda mart: (order.index(mart.grain), mart.name))},
        tuple(found.found),
    )


def _entries(path: Path, found: Mistakes) -> tuple[Document | None, list[Any]]:
    """The document of a properties file and its entries for models; nothing when it cannot be read."""
    text = found.get(read_text, path, "a properties file of dbt")
    document = parse_document(text, found) if text is not None else None
    raw = document.value if document is not None else None
    models = raw.get("models") if isinstance(raw, dict) else None
    if raw is not None and not isinstance(raw, dict):
        found.found.append(Mistake("is no mapping", "a properties file has `models`, a list"))
    elif models is not None and not isinstance(models, list):
        found.found.append(Mistake("models: is no list", _NEEDS, "models"))
    return document, models if isinstance(models, list) else []


def _located(document: Document | None, mistake: Mistake, path: Path) -> Mistake:
    line = mistake.line or (document.line(f"models[{mistake.place}]") if document and mistake.place else None)
    return replace(mistake, file=str(origin(path.parents[2], path)), line=line)


def _entry(system: str, model: Any, number: int) -> Mart | None:
    """The mart of an entry; None for a model that is not published. Raises AssayError, whose mistake has the mart's name."""
    name = model.get("name") if isinstance(model, dict) else None
    if not isinstance(name, str):
        raise AssayError("", mistakes=[Mistake(f"the model {number} has no name", _NEEDS, str(number))])
    try:
        config = model.get("config")
        if isinstance(config, dict) and config.get("materialized", "mart") != "mart":
            return None
        return understood(lambda: _mart(system, model))
    except AssayError as error:
        said = [Mistake(f"the model {name}: {one.message}", one.hint, name) for one in error.mistakes]
        raise AssayError(error.message, error.hint, mistakes=said) from error


def _mart(system: str, model: dict[str, Any]) -> Mart:
    try:
        meta = model["config"]["meta"]
        key = tuple(meta["key"])
        columns = _columns(model["columns"], key)
        mart = Mart(
            system,
            model["name"],
            " ".join(model["description"].split()),
            Slot(meta["grain"]),
            key,
            bool(meta.get("index", False)),
            columns,
            meta.get("example"),
            IndexPeriod(meta.get("index_period", _INDEX_PERIODS[Slot(meta["grain"])][0])),
            bool(meta.get("main", False)),
            _row_policy(meta.get("row_policy")),
            _reads(meta.get("reads")),
        )
    except ValueError as error:
        raise AssayError(one_line(error), "see docs/gold.md") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise AssayError(f"lacks {one_line(error)}", _NEEDS) from error
    if mart.name in (REFRESH_LOG, *RESERVED_TABLES):  # `<system>-alerts` is the index of the system's alerts
        raise AssayError(f"a mart cannot be named {mart.name}", "rename the model")
    if not IDENTIFIER.fullmatch(mart.name):
        raise AssayError(
            "its name is no identifier", "small letters, digits and _, as the name of its index; rename the model"
        )
    if mart.index_period not in (allowed := _INDEX_PERIODS[mart.grain][1]):
        raise AssayError(
            f"the index_period is {mart.index_period}, shorter than a partition of its table",
            f"one of {', '.join(allowed)}",
        )
    named = {mart.grain, *mart.key, *filter(None, [mart.example, mart.row_policy])}
    if missing := sorted(named - {column.name for column in columns}):
        raise AssayError(f"has no column {', '.join(missing)}", "name it among its columns")
    policy = next((column for column in columns if column.name == mart.row_policy), None)
    if policy is not None and policy.kind is not FieldType.STRING:
        raise AssayError(f"the row_policy {policy.name} is of type {policy.type}", "a column of type varchar")
    return mart


def _columns(given: Any, key: tuple[str, ...]) -> tuple[Column, ...]:
    """The columns of an entry. Raises AssayError with what is wrong with each, ValueError and others as `read_column`."""
    columns: list[Column] = []
    wrong: list[Mistake] = []
    for one in given:
        try:
            columns.append(read_column(one, key))
        except ValueError as error:
            wrong.append(Mistake(one_line(error), "see docs/gold.md"))
    names = [str(one["name"]).lower() for one in given]
    for name in sorted({name for name in names if names.count(name) > 1}):
        wrong.append(Mistake(f"column {name} is there twice (upper and lower case are the same)", "rename one of them"))
    if wrong:
        raise AssayError(wrong[0].message, mistakes=wrong)
    check_columns(tuple(columns))
    return tuple(columns)


def _row_policy(declared: Any) -> str | None:
    """The name of a column, or none. Raises ValueError for anything else."""
    if declared is not None and not isinstance(declared, str):
        raise ValueError(f"`row_policy` is {declared!r}; it is the name of a column")
    return declared


def _reads(declared: Any) -> Reads | None:
    """`all`, or how far before and after its slot a row reads. Raises ValueError for anything else."""
    if declared is None:
        return None
    if declared == "all":
        return Reads(everything=True)
    if not isinstance(declared, dict) or not declared or set(declared) - {"before", "after"}:
        raise ValueError(f"`reads` is {declared!r}; it is `all` or has `before` and `after`, e.g. {{before: 1d}}")
    return Reads(_span(declared.get("before", "0m")), _span(declared.get("after", "0m")))


def _span(text: Any) -> timedelta:
    match = re.fullmatch(r"(\d{1,4})([mhd])", str(text))
    if match is None:
        raise ValueError(f"`reads`: {text!r} is no span of time, a whole number with m, h or d, e.g. 2d")
    return int(match[1]) * {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}[match[2]]
