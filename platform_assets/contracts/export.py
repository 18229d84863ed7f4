"""A contract in other people's terms: dbt sources, JSON Schema.

Belongs here: translations of the model, and the dbt sources as files. Does not belong here: pages for people (`docs.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from platform_assets.contracts.arrow import SILVER_SYSTEM_COLUMNS
from platform_assets.contracts.field_roles import visibility
from platform_assets.contracts.model import EPOCHS, ISO, Contract, Field, FieldType, Mask, Table
from platform_assets.contracts.types import BOUNDS, TYPES, sql_type
from platform_assets.core.coordinates import document_id_sql

_SYSTEM_SQL_TYPES = {
    "string": "varchar",
    "int32": "integer",
    "int64": "bigint",
    "bool": "boolean",
    "timestamp[us, tz=UTC]": "timestamptz",
}


def dbt_sources(contract: Contract) -> dict[str, Any]:
    """A dbt properties document (version 2) with the system's silver tables as one source named as the system."""
    return {
        "version": 2,
        "sources": [
            {
                "name": contract.system,
                "description": contract.description,
                "config": {"meta": {"owner": contract.owner, "contract_version": contract.version}},
                "tables": [_dbt_table(table) for table in contract.tables],
            }
        ],
    }


def dbt_sources_yaml(contract: Contract) -> str:
    """`dbt_sources` as YAML text."""
    return yaml.safe_dump(dbt_sources(contract), sort_keys=False, allow_unicode=True, width=120)


SOURCES_HEAD = "# Made from the contract; `assay docs` writes it anew.\n"


def sources_text(contract: Contract) -> str:
    """The text of a system's `sources.yml`."""
    return SOURCES_HEAD + dbt_sources_yaml(contract)


MACROS = "macros/coordinates.sql"
"""Where a dbt project has the macros that are made from the platform's own definitions."""


def macros_text() -> str:
    """The text of a project's `MACROS`."""
    return (
        "{# Made from core/coordinates.py; `assay docs` writes it anew. #}\n\n"
        "{# The id of a silver row's document in the search index. #}\n"
        f"{{% macro document_id() -%}}\n  {document_id_sql()}\n{{%- endmacro %}}\n"
    )


def write_made(project: Path, contracts: Mapping[str, Contract], *, check: bool = False) -> list[Path]:
    """Write what of a dbt project is made: `MACROS`, and `sources.yml` of every system that has a folder of models.

    Returns the files that differed (`check`: write nothing).
    """
    made = {project / "models" / system / "sources.yml": sources_text(one) for system, one in contracts.items()}
    made[project / MACROS] = macros_text()
    differing = []
    for path, text in made.items():
        if path.parent.is_dir() and (not path.is_file() or path.read_text(encoding="utf-8") != text):
            differing.append(path)
            if not check:
                path.write_text(text, encoding="utf-8")
    return differing


def _dbt_table(table: Table) -> dict[str, Any]:
    columns = [_dbt_column(table, field) for field in table.fields]
    if table.attributes:
        columns.append({"name": table.attributes, "description": "Unknown fields, as JSON.", "data_type": "varchar"})
    for column in SILVER_SYSTEM_COLUMNS:
        columns.append({"name": column.name, "data_type": _SYSTEM_SQL_TYPES[str(column.type)]})
    return {
        "name": table.name,
        "description": table.description,
        "config": {
            "loaded_at_field": "_landed_at",
            "freshness": {
                "warn_after": {"count": _minutes(table.freshness_warn), "period": "minute"},
                "error_after": {"count": _minutes(table.freshness_fail), "period": "minute"},
            },
            "meta": _roles(table),
        },
        "columns": columns,
    }


def _roles(table: Table) -> dict[str, Any]:
    """What single fields of a table are for."""
    severity = table.severity
    return {
        "row_policy": table.row_policy,
        "severity": severity
        and {"field": severity.field, "scale": {value: str(rank) for value, rank in severity.ranks}},
        "origin": list(table.origin),
    }


def _dbt_column(table: Table, field: Field) -> dict[str, Any]:
    column: dict[str, Any] = {
        "name": field.name,
        "description": field.description,
        "data_type": sql_type(field),
        "config": {"meta": {"pii": field.pii, "mask": str(field.mask)} | _computed(field)},
    }
    tests: list[Any] = []
    if field.required:
        tests.append("not_null")
    if field.enum and field.mask is Mask.NONE:
        tests.append({"accepted_values": {"arguments": {"values": list(field.enum)}}})
    if tests:
        column["data_tests"] = tests
    return column


def _computed(field: Field) -> dict[str, str]:
    return {} if field.computed is None else {"computed": field.computed}


def row_schema(table: Table) -> dict[str, Any]:
    """JSON Schema (2020-12) of a row as the API returns it: values as they are in silver, absent optional ones null."""
    properties = {field.name: _row_property(field) for field in table.fields}
    if table.attributes:
        properties[table.attributes] = {"type": ["object", "null"], "description": "Unknown fields of the message."}
    return {
        "title": table.qualified_name,
        "description": f"{table.description} {visibility(table.row_policy)}",
        "type": "object",
        "properties": properties,
        "required": [field.name for field in table.fields if field.required],
    }


def message_schema(table: Table) -> dict[str, Any]:
    """JSON Schema (2020-12) of a message as it may be submitted, by the names that messages have.

    Computed columns are not in it: a member of that name is an unknown member.
    """
    return {
        "title": table.qualified_name,
        "description": table.description,
        "type": "object",
        "properties": {field.source or field.name: _message_property(field) for field in table.sent},
        "required": [field.source or field.name for field in table.sent if field.required],
        "additionalProperties": table.attributes is not None,
    }


def _row_property(field: Field) -> dict[str, Any]:
    """Length, pattern and enumeration hold for what arrives, not for what masking leaves."""
    if field.type is FieldType.DECIMAL:
        fraction = rf"\.[0-9]{{{field.scale}}}" if field.scale else ""
        return {
            **_property(field, [TYPES[field.type].json]),
            "format": "decimal",
            "pattern": f"^-?[0-9]{{1,{max(1, field.precision - field.scale)}}}{fraction}$",
        }
    found = _property(field, [TYPES[field.type].json])
    return found | _checks(field) if field.mask is Mask.NONE else found


def _message_property(field: Field) -> dict[str, Any]:
    types = [TYPES[field.type].message, *(["string"] if field.text_too else [])]
    epochs = [written for written in field.time_formats if written in EPOCHS]
    if epochs:
        types = ["number", *(["string"] if len(epochs) < len(field.time_formats) else [])]
    found = _property(field, types) | _checks(field)
    if field.time_formats not in ((), (ISO,)) or field.time_zone is not None:
        found.pop("format", None)  # with a zone, and nothing else, it would say
    return found


def _property(field: Field, types: list[str]) -> dict[str, Any]:
    types = types if field.required else [*types, "null"]
    found: dict[str, Any] = {"type": types if len(types) > 1 else types[0], "description": field.description}
    if field.type is FieldType.TIMESTAMP:
        found["format"] = "date-time"
    if field.computed is not None:
        found["readOnly"] = True
    return found


def _checks(field: Field) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if field.enum:
        found["enum"] = list(field.enum) if field.required else [*field.enum, None]
    bounds = (field.minimum, field.maximum, field.exclusive_minimum, field.exclusive_maximum)
    for name, value in zip(BOUNDS, bounds, strict=True):
        if value is not None:
            found[name] = int(value) if value == value.to_integral_value() else float(value)
    if field.max_length is not None:
        found["maxLength"] = field.max_length
    if field.pattern is not None:
        found["pattern"] = f"^(?:{field.pattern})$"
    return found


def _minutes(value: timedelta) -> int:
    return max(1, round(value / timedelta(minutes=1)))
