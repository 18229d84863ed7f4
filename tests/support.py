"""What several test folders share: a system of its own for each test, on the shared real services."""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import psutil
from opensearchpy import OpenSearch

from platform_assets.alerts.index import alerts_alias
from platform_assets.alerts.platform import PLATFORM_SYSTEM
from platform_assets.contracts.model import Contract, Table
from platform_assets.contracts.read import load_contracts
from platform_assets.core.settings import Settings
from platform_assets.index.client import connect
from platform_assets.index.connect import connect_indices
from platform_assets.index.indices import Indices
from platform_assets.index.mappings import mapping, mapping_version
from platform_assets.index.names import index_name, period_alias, read_alias
from platform_assets.local.topics import TopicSpec, ensure_topics
from platform_assets.marts.project import project_folder
from platform_assets.sources.kafka.produce import RecordProducer, send_paced


def private_system(settings: Settings, tables: Sequence[str] = ("events",), partitions: int = 3) -> Contract:
    """The logs contract under a name nobody else has, with its topics."""
    logs = load_contracts()["logs"]
    name = f"t{uuid.uuid4().hex[:10]}"
    chosen = tuple(replace(logs.table(t), system=name, topic=f"{name}.{t}") for t in tables)
    ensure_topics(settings.kafka_conf("admin"), [TopicSpec(t.topic, partitions) for t in chosen])
    return replace(logs, system=name, tables=chosen)


def private_settings(settings: Settings, folder: Path) -> Settings:
    """The same services with a lake of one's own."""
    return replace(settings, lake_path=folder / "lake")


def alive(process: psutil.Process) -> bool:
    """Whether it runs; a zombie, which a container's first process may never reap, does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


_began = datetime.now(UTC)


def begin() -> None:
    """Event 0 happens now: called before each test, so that an event of a number is one and the same within a test."""
    global _began  # noqa: PLW0603
    _began = datetime.now(UTC)


def today() -> date:
    """The day of event 0."""
    return _began.date()


def event(number: int, **changes: Any) -> bytes:
    """One valid log event, the same of a number within a test; `changes` replace or add members (None as a value stays null)."""
    value = {
        "event_id": f"e-{number:08d}",
        "event_time": (_began + timedelta(microseconds=number)).isoformat(timespec="microseconds"),
        "service": ("users", "payments", "delivery")[number % 3],
        "level": "INFO" if number % 10 else "ERROR",
        "status": 200 if number % 10 else 500,
        "user_id": f"u{number % 50}",
        "latency_ms": float(number % 1000),
        "host": "h1",
        "message": f"request {number} done",
    }
    return json.dumps(value | changes).encode()


def event_now(number: int, **changes: Any) -> bytes:
    """The same, happening now: for windows of event time."""
    return event(number, event_time=datetime.now(UTC).isoformat(timespec="microseconds"), **changes)


def private_project(folder: Path, system: str) -> Path:
    """The models of `logs` under a name that nobody else has."""
    project = shutil.copytree(project_folder(), folder / "dbt_project", ignore=shutil.ignore_patterns("target"))
    models = (project / "models" / "logs").rename(project / "models" / system)
    for path, ours, theirs in (
        (models / "sources.yml", "- name: logs\n", f"- name: {system}\n"),
        (models / "stg_logs.sql", "source('logs'", f"source('{system}'"),
    ):
        text = path.read_text()
        assert ours in text
        path.write_text(text.replace(ours, theirs))
    return project


def private_systems(folder: Path, system: str) -> Path:
    """A folder of systems that holds the one of `logs` under that name."""
    packaged = Path(str(files("platform_assets.systems") / "logs"))
    made = shutil.copytree(packaged, folder / "systems" / system)
    contract = made / "contract.yaml"
    text = re.sub(r"^name: logs$", f"name: {system}", contract.read_text(), flags=re.MULTILINE)
    contract.write_text(text.replace("physicalName: logs.", f"physicalName: {system}."))
    return made.parent


def publish(settings: Settings, table: Table, values: Iterable[bytes | None]) -> int:
    """Send values to the table's topic and wait until they are acknowledged.

    Keys spread them over the partitions, the same way each time: without, a short burst goes to any one of them.
    """
    producer = RecordProducer(settings.kafka_conf("producer"), table.topic)
    return send_paced(producer, [[(b"%d" % i, v) for i, v in enumerate(values)]], None)


def burst_rules(window: str, resolve_after: str, cool_down: str) -> str:
    """An alerts file with one rule, `many`: more than ten errors of a service in a window."""
    return f"""
rules:
  many:
    kind: window
    table: events
    where: level = 'ERROR'
    by: [service]
    measure: count(*)
    window: {window}
    above: 10
    resolve_after: {resolve_after}
    cool_down: {cool_down}
    summary: "{{service}}: {{value:.0f}} errors in {{window}}"
"""


def narrow_index(client: OpenSearch, table: Table, day: str) -> None:
    """Make the index of a day so that it refuses a host that is no number: the contract's own mapping takes all of silver."""
    Indices(client).ensure_template(table)
    narrow = mapping(table)
    narrow["properties"]["host"] = {"type": "integer", "coerce": True}
    client.indices.create(
        index=index_name(table, day, 1),
        body={
            "mappings": narrow | {"_meta": {"mapping_version": mapping_version(table), "base": -1}},
            "aliases": {read_alias(table): {}, period_alias(table, day): {}},
        },
    )


@contextmanager
def no_platform_alerts(settings: Settings) -> Iterator[None]:
    """The index of the platform's own alerts has none from before: another lake's, numbered anew. Nor are there any behind."""
    client = connect(settings.opensearch_url, settings.opensearch_auth("ingest"), settings.opensearch_ca)
    index = f"{alerts_alias(PLATFORM_SYSTEM)}-000001"
    try:
        client.indices.delete(index=index, params={"ignore_unavailable": "true"})
        yield
        client.indices.delete(index=index, params={"ignore_unavailable": "true"})
    finally:
        client.close()


def alert_documents(settings: Settings, contract: Contract) -> list[dict[str, Any]]:
    """What people can read of the system's alerts now; nothing while the index is being made."""
    client = connect_indices(settings).client
    try:
        found = client.search(
            index=alerts_alias(contract.system),
            body={"size": 1000},
            params={"ignore_unavailable": "true", "ignore": (404, 503)},
        )
        return [hit["_source"] for hit in found.get("hits", {}).get("hits", [])]
    finally:
        client.close()
