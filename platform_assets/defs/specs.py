"""Asset specs from contracts: one small pure helper an attribute, nothing written by hand for one system.

topic -> bronze -> silver, quarantine -> index, each `<layer>/<system>/<layer>_<table>`. The graph names a node by the last part;
its box is the group, the system; the layer is one of its kinds.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from enum import StrEnum

import pyarrow as pa
from dagster import AssetKey, AssetSpec, MetadataValue, TableColumn, TableColumnConstraints, TableSchema

from platform_assets.contracts.arrow import BRONZE_SCHEMA, QUARANTINE_SCHEMA, silver_schema
from platform_assets.contracts.field_roles import visibility
from platform_assets.contracts.formats import format_of
from platform_assets.contracts.model import Contract, Field, Grain, IndexType, Table
from platform_assets.defs.partitions import DAYS
from platform_assets.defs.policies import freshness


class Layer(StrEnum):
    """The layers that a worker writes, in the order of the flow."""

    BRONZE = "bronze"
    SILVER = "silver"
    QUARANTINE = "quarantine"
    INDEX = "index"


KINDS = {
    Layer.BRONZE: {"bronze", "delta"},
    Layer.SILVER: {"silver", "delta", "duckdb"},
    Layer.QUARANTINE: {"quarantine", "delta", "duckdb"},
    Layer.INDEX: {"index", "opensearch"},
}
SUMMARY = {
    Layer.BRONZE: "What arrived: raw bytes with topic, partition, offset and time, by the day of landing.",
    Layer.SILVER: "What the contract promises: typed, checked, deduplicated, masked, by the day of the event.",
    Layer.QUARANTINE: "What was refused: coordinates, reason and a scrubbed excerpt, by the day of landing.",
    Layer.INDEX: "Silver's rows as documents for search, one index a partition behind an alias.",
}
HOW = {
    Layer.BRONZE: "Materialize by hand: land and carry on whatever waits in the topic now.",
    Layer.SILVER: "Materialize by hand or backfill: rebuild the day, and its index, from bronze; the worker goes on meanwhile.",
    Layer.QUARANTINE: "Materialize by hand: land and carry on whatever waits in the topic now.",
    Layer.INDEX: "Materialize by hand or backfill: rebuild the day's silver from bronze, then its index, and swap the alias.",
}


def key(layer: Layer | str, table: Table) -> AssetKey:
    """`<layer>/<system>/<layer>_<table>`."""
    return table_key(layer, table.system, table.name)


def table_key(layer: Layer | str, system: str, table: str) -> AssetKey:
    """The same by names. The graph shows only the last part, which therefore says the layer too."""
    return AssetKey([str(layer), system, f"{layer}_{table}"])


def topic_key(table: Table) -> AssetKey:
    """`topic/<system>/topic_<table>`: the source, which the platform does not make."""
    return key("topic", table)


def contract_key(system: str) -> AssetKey:
    """`contract/<system>/contract`: what stands for a system whose contract is wrong."""
    return AssetKey(["contract", system, "contract"])


def gold_key(system: str, mart: str) -> AssetKey:
    """`gold/<system>/gold_<mart>`."""
    return AssetKey(["gold", system, f"gold_{mart}"])


def mart_of(asset: AssetKey) -> str:
    """The name of the mart that is such an asset."""
    return asset.path[-1].removeprefix("gold_")


def alerts_key(system: str) -> AssetKey:
    """`alerts/<system>/alerts`."""
    return AssetKey(["alerts", system, "alerts"])


def owners(contract: Contract) -> list[str]:
    """An e-mail address as it is, anything else as a team."""
    if not contract.owner:
        return []
    return [contract.owner if "@" in contract.owner else f"team:{contract.owner}"]


def tags(table: Table, layer: str) -> dict[str, str]:
    """What people filter by."""
    marks = {
        "assay/layer": str(layer),
        "assay/system": table.system,
        "assay/contract": table.version,
        "assay/format": table.format.value,
    }
    if any(field.pii for field in table.fields):
        marks["assay/personal_data"] = "in_clear" if layer in ("topic", Layer.BRONZE) else "masked"
    return marks


def description(table: Table, layer: Layer) -> str:
    """What it holds, whose promise it is, and what a click on Materialize does."""
    return f"{layer.capitalize()} of `{table.qualified_name}`. {SUMMARY[layer]}\n\n{table.description}\n\n{HOW[layer]}"


def deps(table: Table, layer: Layer) -> list[AssetKey]:
    """What it is made from."""
    if layer is Layer.BRONZE:
        return [topic_key(table)]
    return [key(Layer.SILVER if layer is Layer.INDEX else Layer.BRONZE, table)]


def columns(table: Table, layer: Layer) -> TableSchema:
    """The layer's columns for the catalogue."""
    if layer is Layer.BRONZE:
        return _table_schema(BRONZE_SCHEMA)
    if layer is Layer.QUARANTINE:
        return _table_schema(QUARANTINE_SCHEMA)
    if layer is Layer.SILVER:
        return _table_schema(silver_schema(table), table)
    return TableSchema([_document_field(field) for field in table.fields if field.index is not IndexType.NONE])


def _table_schema(schema: pa.Schema, table: Table | None = None) -> TableSchema:
    promised = {field.name: field for field in table.fields} if table else {}
    alone = table.key if table and len(table.key) == 1 else ()
    return TableSchema(
        [
            TableColumn(
                name=column.name,
                type=str(column.type),
                description=promised[column.name].description if column.name in promised else None,
                constraints=TableColumnConstraints(
                    nullable=column.nullable, unique=column.name in alone, other=_checks(promised.get(column.name))
                ),
                tags=_column_tags(promised.get(column.name)),
            )
            for column in schema
        ]
    )


def _document_field(field: Field) -> TableColumn:
    return TableColumn(
        name=field.name,
        type=field.index.value,
        description=field.description,
        constraints=TableColumnConstraints(nullable=not field.required),
        tags=_column_tags(field),
    )


def _checks(field: Field | None) -> list[str]:
    if field is None:
        return []
    found = [f"in {', '.join(field.enum)}"] if field.enum else []
    found += [f">= {field.minimum:g}"] if field.minimum is not None else []
    found += [f"<= {field.maximum:g}"] if field.maximum is not None else []
    found += [f"matches {field.pattern}"] if field.pattern else []
    return found + ([f"{field.max_length} characters at most"] if field.max_length is not None else [])


def _column_tags(field: Field | None) -> dict[str, str]:
    return {"mask": field.mask.value} if field is not None and field.pii else {}


def documentation(contract: Contract, table: Table) -> str:
    """The promise in Markdown, as shown beside the asset."""
    lines = [
        f"### {table.qualified_name}, contract {table.version}",
        "",
        table.description,
        "",
        f"- **topic** `{table.topic}`, each message {format_of(table).describe(table)}",
        f"- **event time** `{table.event_time}`, one partition {'a day' if table.grain is Grain.DAY else 'an hour'}",
        f"- **key** {', '.join(f'`{name}`' for name in table.key) or 'none: equal records are distinct'}",
        f"- **readers** {visibility(table.row_policy)}",
        f"- **fresh** within {_words(table.freshness_warn)}, late after {_words(table.freshness_fail)}",
        f"- **history** when more than {_words(table.lateness)} late at landing",
        f"- **kept** {table.retention.days} days ({table.bronze_retention.days} in bronze)",
        f"- **owner** {contract.owner}",
    ]
    return "\n".join(lines)


def _words(duration: timedelta) -> str:
    seconds = round(duration.total_seconds())
    for length, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length and seconds % length == 0:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def layer_spec(contract: Contract, table: Table, layer: Layer) -> AssetSpec:
    """The spec of one layer of one table."""
    return AssetSpec(
        key(layer, table),
        deps=deps(table, layer),
        description=description(table, layer),
        group_name=contract.system,
        owners=owners(contract),
        tags=tags(table, layer),
        kinds=KINDS[layer],
        metadata={
            "dagster/column_schema": columns(table, layer),
            "contract": MetadataValue.md(documentation(contract, table)),
        },
        partitions_def=DAYS,
        freshness_policy=freshness(table).policy,
    )


def topic_spec(contract: Contract, table: Table) -> AssetSpec:
    """The spec of the source. Each ingest run that reached the broker reports it, with its end offsets."""
    return AssetSpec(
        topic_key(table),
        description=f"Topic `{table.topic}` of `{table.qualified_name}`, as the worker last found it.\n\n{table.description}",
        group_name=contract.system,
        owners=owners(contract),
        tags=tags(table, "topic"),
        kinds={"topic", "kafka"},
        metadata={"topic": table.topic, "contract": MetadataValue.md(documentation(contract, table))},
        freshness_policy=freshness(table).policy,
    )


def ingest_specs(contract: Contract) -> Iterator[AssetSpec]:
    """What the system's worker writes: four layers a table."""
    for table in contract.tables:
        for layer in Layer:
            yield layer_spec(contract, table, layer)
