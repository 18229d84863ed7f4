"""Schemas of the lake's tables, and exports, against what is promised in writing."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pyarrow as pa
import pytest
import yaml
from jsonschema import Draft202012Validator, FormatChecker

from platform_assets.contracts.arrow import BRONZE_SCHEMA, FEED_SCHEMA, QUARANTINE_SCHEMA, silver_schema
from platform_assets.contracts.docs import render_markdown
from platform_assets.contracts.export import dbt_sources, dbt_sources_yaml, message_schema, row_schema
from platform_assets.contracts.model import Contract, Field, FieldType
from platform_assets.contracts.read import load_contracts


@pytest.fixture(scope="module")
def logs() -> Contract:
    return load_contracts()["logs"]


def described(schema: pa.Schema) -> list[str]:
    return [f"{field.name} {field.type}{'' if field.nullable else ' not null'}" for field in schema]


def test_silver(logs: Contract) -> None:
    assert described(silver_schema(logs.table("events"))) == [
        "event_id string not null",
        "event_time timestamp[us, tz=UTC] not null",
        "service string not null",
        "level string not null",
        "status int64",
        "user_id string",
        "trace_id string",
        "latency_ms double",
        "host string",
        "message string",
        "attributes string",
        "_source string not null",
        "_shard int32 not null",
        "_position int64 not null",
        "_seq int64 not null",
        "_landed_at timestamp[us, tz=UTC] not null",
        "_contract_version string not null",
        "_key_id string",
        "_history bool not null",
        "_hash int64 not null",
        "event_partition string not null",
    ]
    assert "attributes" not in silver_schema(logs.table("access")).names


def test_the_tables_that_all_systems_share() -> None:
    assert BRONZE_SCHEMA.names == [
        *("_source", "_shard", "_position", "_span", "kind", "record_time", "key", "value", "headers"),
        *("seq", "landed_at", "landed_date"),
    ]
    assert QUARANTINE_SCHEMA.names == [
        *("_source", "_shard", "_position", "_seq", "_landed_at", "contract_version", "stage", "reason"),
        *("detail", "excerpt", "value_bytes", "landed_date"),
    ]
    assert FEED_SCHEMA.names == [
        *("seq_min", "seq_max", "event_partition", "rows", "_shard", "_source", "position_min", "position_max"),
    ]


def test_dbt_sources_cover_every_column(logs: Contract) -> None:
    assert yaml.safe_load(dbt_sources_yaml(logs)) == dbt_sources(logs)
    source = dbt_sources(logs)["sources"][0]
    for table in source["tables"]:
        assert [column["name"] for column in table["columns"]] == silver_schema(logs.table(table["name"])).names
    columns = {column["name"]: column for column in source["tables"][0]["columns"]}
    assert columns["level"]["data_tests"][0] == "not_null"
    assert "ERROR" in columns["level"]["data_tests"][1]["accepted_values"]["arguments"]["values"]
    assert columns["user_id"]["config"]["meta"] == {"pii": True, "mask": "hmac"}
    assert columns["_shard"]["data_type"] == "integer"


def test_json_schema_of_a_row(logs: Contract) -> None:
    schema = row_schema(logs.table("events"))
    assert schema["required"] == ["event_id", "event_time", "service", "level"]
    assert schema["properties"]["status"]["type"] == ["integer", "null"]
    assert (schema["properties"]["status"]["minimum"], schema["properties"]["status"]["maximum"]) == (100, 599)
    assert schema["properties"]["event_time"]["format"] == "date-time"
    assert schema["properties"]["attributes"]["type"] == ["object", "null"]
    # What arrives may be 256 characters long; what masking leaves has its own length.
    assert "maxLength" not in schema["properties"]["user_id"]


def test_json_schema_of_a_message_is_what_transform_accepts(logs: Contract) -> None:
    table = logs.table("events")
    schema = message_schema(table)
    assert schema["properties"]["user_id"]["maxLength"] == 256
    assert schema["additionalProperties"] is True
    assert message_schema(replace(table, attributes=None))["additionalProperties"] is False
    sample = json.loads(table.sample or "")
    validator = Draft202012Validator(schema, format_checker=FormatChecker())
    validator.validate(sample)
    for wrong in ({"level": "LOUD"}, {"status": "500"}, {"user_id": "u" * 257}, {"event_id": None}, {"status": 99}):
        assert not validator.is_valid(sample | wrong), wrong


def test_computed_columns_are_read_and_not_sent(logs: Contract) -> None:
    table = logs.table("events")
    column = Field(
        name="half", type=FieldType.NUMBER, computed="status / 2", required=True, exclusive_minimum=Decimal(1)
    )
    table = replace(table, fields=(*table.fields, column))
    assert row_schema(table)["properties"]["half"] == {
        **{"type": "number", "description": "", "readOnly": True, "exclusiveMinimum": 1}
    }
    assert "half" in row_schema(table)["required"]
    assert "half" not in message_schema(table)["properties"]
    assert "half" not in message_schema(table)["required"]
    contract = replace(logs, tables=(table,))
    [source] = dbt_sources(contract)["sources"][0]["tables"]
    [found] = [one for one in source["columns"] if one["name"] == "half"]
    assert found["config"]["meta"]["computed"] == "status / 2"
    assert "| computed: `status / 2`; > 1 |" in render_markdown(contract)
