"""Who sees which rows in a system that is not logs: another row policy, a table and a mart without one, and its alerts."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from apilab import START, Api, ids, index_rows
from fastapi.testclient import TestClient
from opensearchpy import OpenSearch
from support import publish

from platform_assets.alerts.incident import Sighting
from platform_assets.alerts.model import Kind, Rule, Severity
from platform_assets.alerts.service import AlertService
from platform_assets.contracts.read import parse_contract
from platform_assets.core.settings import Settings
from platform_assets.index.callers import CallerPool, token
from platform_assets.index.client import connect
from platform_assets.index.names import read_alias
from platform_assets.local.topics import TopicSpec, ensure_topics
from platform_assets.serve.app import create_app
from platform_assets.serve.keys import KeyStore, Role

pytestmark = pytest.mark.services

CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: urn:x
name: SYSTEM
version: 1.0.0
status: active
team: {name: planning}
schema:
  - name: readings
    description: What sensors measure.
    customProperties:
      - {property: format, value: json}
      - {property: rowPolicy, value: district}
      - {property: severity, value: {field: quality, scale: {good: info, doubtful: warning, wrong: critical}}}
      - {property: origin, value: [sensor]}
    properties:
      - {name: at, logicalType: timestamp, required: true, partitioned: true,
         customProperties: [{property: timeFormat, value: [epoch_ms, iso]}]}
      - {name: district, logicalType: string}
      - {name: sensor, logicalType: string, required: true}
      - {name: quality, logicalType: string, enum: [{value: good}, {value: doubtful}, {value: wrong}]}
      - {name: service, logicalType: string, description: A name that another system gives its row policy.}
  - name: visits
    description: Who came to look after a sensor.
    customProperties:
      - {property: format, value: json}
    properties:
      - {name: at, logicalType: timestamp, required: true, partitioned: true,
         logicalTypeOptions: {defaultTimezone: Asia/Kolkata},
         customProperties: [{property: composedOf, value: [year, month, day, hour, minute]}]}
      - {name: year, logicalType: integer, required: true}
      - {name: month, logicalType: integer, required: true}
      - {name: day, logicalType: integer, required: true}
      - {name: hour, logicalType: integer, required: true}
      - {name: minute, logicalType: integer, required: true}
      - {name: district, logicalType: string}
      - {name: sensor, logicalType: string, required: true}
"""
MARTS = """
version: 2
models:
  - name: readings_hour
    description: Readings of every district, by hour.
    config: {meta: {grain: hour, key: [hour, district], index: true, main: true, row_policy: district}}
    columns: &columns
      - {name: hour, data_type: timestamptz, description: The hour.}
      - {name: district, data_type: varchar, description: The district.}
      - {name: readings, data_type: bigint, description: How many.}
  - name: visits_hour
    description: Visits to every district, by hour.
    config: {meta: {grain: hour, key: [hour, district], index: true}}
    columns: *columns
"""
DISTRICTS = ("Mitte", "Prenzlauer Berg", "Köpenick", None)
READINGS, VISITS = 120, 12
QUALITY = ("good", "good", "doubtful", "wrong")


def message(number: int) -> bytes:
    """Every fourth has no district: nobody who is limited sees it. `service` names another district than its own."""
    row = {
        "at": round((START + timedelta(minutes=number)).timestamp() * 1000),
        "district": DISTRICTS[number % 4],
        "sensor": f"s{number % 8}",
        "quality": QUALITY[number // 4 % 4],
        "service": "Mitte",
    }
    return json.dumps(row).encode()


def visit(number: int) -> bytes:
    """Written by the clocks of its district, which are those of Kolkata."""
    row = clock(START + timedelta(minutes=number))
    return json.dumps(row | {"district": DISTRICTS[number % 3], "sensor": "s1"}).encode()


def clock(moment: datetime) -> dict[str, Any]:
    local = moment.astimezone(ZoneInfo("Asia/Kolkata"))
    return {name: getattr(local, name) for name in ("year", "month", "day", "hour", "minute")}


@pytest.fixture(scope="module")
def city(services: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    home = tmp_path_factory.mktemp("city")
    own = replace(
        services, home=home, lake_path=home / "lake", values={**services.values, "ASSAY_API_RATE": "9000/minute"}
    )
    system = f"c{uuid.uuid4().hex[:10]}"
    contract = parse_contract(CONTRACT.replace("SYSTEM", system))
    ensure_topics(own.kafka_conf("admin"), [TopicSpec(table.topic, 1) for table in contract.tables])
    publish(own, contract.table("readings"), [message(n) for n in range(READINGS)])
    publish(own, contract.table("visits"), [visit(n) for n in range(VISITS)])
    worker = connect(own.opensearch_url, own.opensearch_auth("ingest"), own.opensearch_ca)
    _marts(worker, system)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_DBT_PROJECT", str(_project(home, system)))
        with TestClient(create_app(own, {system: contract})) as client:
            made = Api(own, contract, client, KeyStore(home))
            made.drain()
            yield made
    worker.indices.delete(index=f"{system}-*")
    worker.close()


def _project(home: Path, system: str) -> Path:
    models = home / "dbt_project" / "models" / system
    models.mkdir(parents=True)
    (home / "dbt_project" / "dbt_project.yml").write_text("name: own\n")
    (models / "marts.yml").write_text(MARTS)
    return home / "dbt_project"


def _marts(worker: OpenSearch, system: str) -> None:
    columns = {"hour": "date", "district": "keyword", "readings": "long"}
    rows: list[dict[str, Any]] = [
        {"hour": f"{START:%Y-%m-%dT%H:00:00Z}", "district": district, "readings": 30} for district in DISTRICTS[:3]
    ]
    index_rows(worker, f"{system}-readings_hour", columns, rows, row_policy="district")
    index_rows(worker, f"{system}-visits_hour", columns, rows, row_policy=None)


DAY = {"last": "24h", "size": 200}


@pytest.mark.parametrize("only", [("Mitte",), ("Prenzlauer Berg", "Köpenick"), ("Köpenick", "nowhere"), ("nowhere",)])
def test_a_limited_key_sees_the_rows_of_its_values_in_tables_and_marts(city: Api, only: tuple[str, ...]) -> None:
    limited, admin = city.key(only=only), city.key(Role.ADMIN)
    everything = city.get("search", admin, table="readings", **DAY)["hits"]
    seen = city.get("search", limited, **DAY)
    mine = [hit for hit in everything if hit["district"] in only]
    assert len(everything) == READINGS
    assert {hit["id"] for hit in seen["hits"]} == {hit["id"] for hit in mine}
    assert {hit["_table"] for hit in seen["hits"]} <= {"readings"}
    assert seen["total"]["value"] == len(mine)
    rows = city.get("stats", limited, last="24h")["rows"]
    assert sorted(row["district"] for row in rows) == sorted({hit["district"] for hit in mine})
    assert len(city.get("stats", admin, mart="visits_hour", last="24h")["rows"]) == 3
    assert city.get("stats", limited, mart="visits_hour", last="24h")["rows"] == []


def test_the_node_itself_holds_a_token_to_its_values(city: Api) -> None:
    own, system = city.settings, city.contract.system
    pool = CallerPool(own.opensearch_url, own.opensearch_ca, timeout_s=10, size=2)
    limited = pool.client(token(own.opensearch_jwt_key, "t", system, ["Prenzlauer Berg"]))
    aliases = {table.name: read_alias(table) for table in city.contract.tables}
    found = limited.search(index=aliases["readings"], body={"size": 200})["hits"]["hits"]
    assert {hit["_source"]["district"] for hit in found} == {"Prenzlauer Berg"}
    assert limited.count(index=aliases["visits"])["count"] == 0
    assert limited.count(index=f"{system}-*")["count"] == READINGS // 4 + 1  # and a row of the mart
    everyone = {"query": {"terms": {"_assay_row": list(filter(None, DISTRICTS))}}}
    assert limited.count(index=aliases["readings"], body=everyone)["count"] == READINGS // 4
    pool.close()


def test_counts_over_time_are_by_the_severity_that_the_contract_declares(city: Api) -> None:
    found = city.get("search", city.key(), histogram="true", table="readings", **DAY)["histogram"]["readings"][
        "buckets"
    ]
    sums = {rank: sum(one["severities"].get(rank, 0) for one in found) for rank in ("info", "warning", "critical")}
    values = Counter(QUALITY[n // 4 % 4] for n in range(READINGS))
    assert sums == {"info": values["good"], "warning": values["doubtful"], "critical": values["wrong"]}
    plain = city.get("search", city.key(), histogram="true", table="visits", **DAY)["histogram"]["visits"]["buckets"]
    assert all(one["severities"] == {} for one in plain)
    assert sum(one["total"] for one in plain) == VISITS


def test_times_are_what_messages_mean_by_epochs_and_composed_fields(city: Api) -> None:
    for table, count in (("readings", READINGS), ("visits", VISITS)):
        found = city.get("search", city.key(), table=table, **DAY)["hits"]
        moments = sorted(datetime.fromisoformat(hit["at"]) for hit in found)
        exact = [START + timedelta(minutes=n) for n in range(count)]
        assert moments == [one.replace(second=0) if table == "visits" else one for one in exact]


def test_around_a_row_is_what_its_origin_wrote(city: Api) -> None:
    hit = city.get("search", city.key(), sensor="s3", table="readings", **DAY)["hits"][5]
    around = city.get(f"context/{hit['id']}", city.key(), size=3)
    assert around["same"] == {"sensor": "s3"}
    assert {row["sensor"] for row in around["before"] + around["behind"]} == {"s3"}
    assert len(around["before"]) == 3
    [other] = city.get("search", city.key(), table="visits", **{**DAY, "size": 1})["hits"]
    assert city.get(f"context/{other['id']}", city.key())["same"] == {}
    city.get(f"context/{hit['id']}", city.key(only=("nowhere",)), 404)


def test_a_limited_writer_writes_its_values_only(city: Api) -> None:
    writer = city.key(Role.WRITER, only=("Mitte", "Köpenick"))
    now = datetime.now(UTC).isoformat()
    row = {"at": now, "sensor": "s9"}
    city.post("?table=readings", writer, 201, json=[row | {"district": "Köpenick"}, row | {"district": "Mitte"}])
    for district in ("Prenzlauer Berg", None):
        refused = city.post(
            "?table=readings", writer, 403, json=[row | {"district": "Mitte"}, row | {"district": district}]
        )
        assert "writes for Mitte, Köpenick only" in refused["detail"]
    look = clock(datetime.now(UTC)) | {"sensor": "s9", "district": "Mitte"}
    refused = city.post("?table=visits", writer, 403, json=look)
    assert "visits has no row policy" in refused["detail"]
    city.post("?table=visits", city.key(Role.WRITER), 201, json=look)


def test_an_incident_is_visible_to_the_value_of_its_group(city: Api) -> None:
    system, now = city.contract.system, datetime.now(UTC)
    of_district = Rule(
        "cold", Kind.WINDOW, Severity.WARNING, "{district}: cold", "cold.md", timedelta(minutes=1), timedelta(minutes=1),
        table="readings", by=("district",), row_policy="district",
    )  # fmt: skip
    of_sensor = replace(of_district, name="broken", summary="{sensor}: broken", by=("sensor",), row_policy=None)
    with_alerts = AlertService(city.settings, system)
    groups: list[tuple[Rule, dict[str, str | None]]] = [
        *((of_district, {"district": district}) for district in DISTRICTS), (of_sensor, {"sensor": "Mitte"}),
    ]  # fmt: skip
    stored = with_alerts.see([Sighting(rule, group, now, now, True, 11.0, 10.0) for rule, group in groups], now)
    with_alerts.publish()
    with_alerts.close()
    assert [alert.visible_to for alert in stored] == [*DISTRICTS, None]
    ahead = {"system": system, "as_of": (now + timedelta(minutes=1)).isoformat()}

    def seen(key: dict[str, str], **more: str) -> set[str]:
        return {one["alert_id"] for one in city.get("/v1/alerts", key, **ahead, **more)["alerts"]}

    limited = city.key(only=("Mitte",))
    by_value = {alert.visible_to: alert for alert in stored[:3]}
    assert seen(city.key(Role.ADMIN)) == {alert.alert_id for alert in stored}
    assert seen(limited) == seen(city.key(Role.ADMIN), visible_to="Mitte") == {by_value["Mitte"].alert_id}
    for alert in stored:
        status = 200 if alert.visible_to == "Mitte" else 404
        city.post(f"alerts/{alert.alert_id}/acknowledge", limited, status)


def test_who_sees_what_is_told(city: Api) -> None:
    [system] = city.get("/v1/systems", city.key(only=("Mitte",)))["systems"]
    readings, visits = system["tables"]
    assert (readings["row_policy"], visits["row_policy"]) == ("district", None)
    assert "`district` is one of its values" in readings["visibility"]
    assert "no row policy" in visits["visibility"]
    assert readings["severity"]["scale"] == {"good": "info", "doubtful": "warning", "wrong": "critical"}
    assert (readings["origin"], visits["severity"]) == (["sensor"], None)
    assert {mart["mart"]: mart["row_policy"] for mart in system["marts"]} == {
        "readings_hour": "district",
        "visits_hour": None,
    }
    told = str(city.client.app.openapi()["paths"][city.path("search")])  # type: ignore[attr-defined]
    assert "it has no row policy" in told
    assert ids(city.get("search", city.key(only=("Mitte",)), table="visits", **DAY)) == []
