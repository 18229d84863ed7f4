"""One system with every kind of check, from Kafka to the proof: computed columns, rules, bounds, absent values, personal data."""

from __future__ import annotations

import json
import logging
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support import private_settings, publish, today

from platform_assets.cli.app import assay
from platform_assets.contracts.export import message_schema
from platform_assets.contracts.model import Table
from platform_assets.contracts.read import load_contract
from platform_assets.core.settings import Settings
from platform_assets.index.connect import connect_indices
from platform_assets.index.names import read_alias
from platform_assets.index.query import search
from platform_assets.ingest.rebuild import rebuild
from platform_assets.ingest.worker import Worker
from platform_assets.local.topics import TopicSpec, ensure_topics
from platform_assets.reconcile.prove import prove
from platform_assets.reconcile.replay import replay
from platform_assets.tables.layout import Lake
from platform_assets.tables.session import session

pytestmark = pytest.mark.services

CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: climate
name: SYSTEM
version: 1.0.0
status: active
description: {purpose: Readings of sensors in rooms.}
team: {name: buildings}
slaProperties:
  - {property: latency, value: 5, valueExt: 10, unit: m}
  - {property: retention, value: 30, unit: d}
schema:
  - name: readings
    physicalName: SYSTEM.readings
    description: One visit of a sensor.
    customProperties:
      - {property: format, value: json}
      - {property: nullValues, value: ["-", ""]}
    quality:
      - {type: custom, engine: assay, name: cool, implementation: "kind <> 'room' OR kelvin < 320"}
      - {type: custom, engine: assay, name: not_nobody, implementation: "person <> 'nobody@example.org'"}
    properties:
      - {name: id, logicalType: string, required: true, primaryKey: true}
      - {name: started_at, logicalType: timestamp, required: true, partitioned: true}
      - {name: ended_at, logicalType: timestamp}
      - {name: kind, logicalType: string}
      - {name: celsius, logicalType: number, logicalTypeOptions: {exclusiveMinimum: -273.15, exclusiveMaximum: 1000}}
      - name: person
        logicalType: string
        classification: pii
        customProperties: [{property: mask, value: hmac}]
      - name: note
        logicalType: string
        customProperties: [{property: mask, value: scrub_addresses}]
      - name: duration_s
        description: Length of the visit.
        logicalType: integer
        logicalTypeOptions: {exclusiveMinimum: 0}
        customProperties: [{property: computed, value: "date_diff('second', started_at, ended_at)"}]
      - name: kelvin
        logicalType: number
        customProperties: [{property: computed, value: celsius + 273.15}]
      - name: label
        logicalType: string
        required: true
        customProperties: [{property: computed, value: "concat_ws(' ', coalesce(kind, 'unknown'), CAST(kelvin AS INTEGER), 'K')"}]
      - name: rest
        logicalType: object
        customProperties: [{property: mask, value: scrub_addresses}]
"""
SECRETS = (
    "jane",
    "hidden.example",
    "hidden%2Eexample",
    "4111",
    " 1111",
    "201111",
    "203.0.113",
    "c633:6407",
    "\\u0040",
    "%40",
)
NOTE = (
    "call jane.roe%40hidden%2Eexample or jane&#64;hidden.example, card 4111%201111%201111%201111"
    " from 203.0.113.77 [2001:db8::c633:6407]"
)
CLEAN = "call [email] or [email], card [card] from [ip] [[ip]]"


def reading(name: str, **changes: Any) -> bytes:
    """A valid visit of 90 seconds; `changes` replace or add members."""
    day = today().isoformat()
    value = {
        "id": name,
        "started_at": f"{day}T00:00:00Z",
        "ended_at": f"{day}T00:01:30Z",
        "kind": "room",
        "celsius": 20.0,
        "person": "jane.roe@hidden.example",
        "note": NOTE,
    }
    return json.dumps(value | changes).encode()


VALUES = [
    reading("plain"),
    reading("absent", kind="-", person="", ended_at="-", note=""),
    reading("hot kiln", kind="kiln", celsius=999.9),
    reading("own", duration_s="jane@hidden.example", more={NOTE: [NOTE]}),
    reading("cold", celsius=-273.15),
    reading("hot", celsius=60),
    reading("backwards", ended_at="2020-01-01T00:00:00Z"),
    reading("instant", ended_at=f"{NOTE}"),
    reading("nobody", person="nobody@example.org"),
    reading("broken")[:-1],
]
REASONS = {
    "range:celsius": 1,
    "rule:cool": 1,
    "range:duration_s": 1,
    "time:ended_at": 1,
    "rule:not_nobody": 1,
    "malformed_json": 1,
}


def rows(settings: Settings, table: Table, layer: str) -> list[dict[str, Any]]:
    stored = getattr(Lake(settings.lake_path).tables(table), layer)
    stored.refresh()
    found: list[dict[str, Any]] = stored.read(session(), order="_shard, _position").to_pylist()
    return found


def test_every_check_from_kafka_to_the_proof(
    services: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "platform_assets")
    system = f"t{uuid.uuid4().hex[:10]}"
    (tmp_path / "systems" / system).mkdir(parents=True)
    (tmp_path / "systems" / system / "contract.yaml").write_text(CONTRACT.replace("SYSTEM", system))
    settings = private_settings(services, tmp_path)
    environment = {"ASSAY_SYSTEMS": str(tmp_path / "systems"), "ASSAY_LAKE": str(settings.lake_path)}
    checked = CliRunner().invoke(assay, ["contract", "check", system], env=environment)
    assert checked.exit_code == 0, checked.output
    contract = load_contract(system, tmp_path / "systems")
    [table] = contract.tables
    assert "duration_s" not in message_schema(table)["properties"]
    ensure_topics(settings.kafka_conf("admin"), [TopicSpec(table.topic, 2)])
    publish(settings, table, VALUES)

    report = Worker(settings, contract).drain()
    part = report.tables["readings"]
    assert (part.records, sum(part.silver.values()), dict(part.rejected)) == (len(VALUES), 4, REASONS)
    silver = {row["id"]: row for row in rows(settings, table, "silver")}
    names = ("duration_s", "kelvin", "label", "note")
    assert {name: tuple(row[column] for column in names) for name, row in silver.items()} == {
        "plain": (90, 293.15, "room 293 K", CLEAN),
        "absent": (None, 293.15, "unknown 293 K", None),
        "hot kiln": (90, 1273.05, "kiln 1273 K", CLEAN),
        "own": (90, 293.15, "room 293 K", CLEAN),
    }
    assert silver["absent"]["person"] is None
    assert json.loads(silver["own"]["rest"]) == {"duration_s": "[email]", "more": {CLEAN: [CLEAN]}}

    indices = connect_indices(settings)
    indices.refresh(table)
    found = search(indices.client, table, "duration_s:90 AND kelvin:>1000")
    assert [(row["id"], row["label"]) for row in found.rows] == [(found.rows[0]["id"], "kiln 1273 K")]
    documents = indices.client.search(index=read_alias(table), body={"size": 100})["hits"]["hits"]
    indices.client.close()
    assert len(documents) == 4

    quarantine = rows(settings, table, "quarantine")
    proof = prove(settings, contract)
    shown = [silver, quarantine, documents, report, proof, caplog.text, checked.output, found]
    for secret in SECRETS:
        assert not [one for one in map(str, shown) if secret in one], secret
    assert {row["reason"] for row in quarantine} == set(REASONS)
    assert proof.holds

    rebuild(settings, table, today())
    again = {row["id"]: row for row in rows(settings, table, "silver")}
    assert {name: row["_hash"] for name, row in again.items()} == {name: row["_hash"] for name, row in silver.items()}
    looser = replace(table, version="1.0.1", rules=table.rules[1:])
    replayed = replay(settings, replace(contract, version="1.0.1", tables=(looser,)))
    assert replayed.tables["readings"].accepted == 1
    assert {row["id"]: row["kelvin"] for row in rows(settings, table, "silver")}["hot"] == 333.15
    assert prove(settings, replace(contract, version="1.0.1", tables=(looser,))).holds
