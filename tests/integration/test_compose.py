"""The configuration that `deploy/compose/init` makes, in real servers: only addresses and folders are this machine's."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
import yaml
from opensearchpy import OpenSearch
from opensearchpy.exceptions import AuthorizationException, OpenSearchException
from releases import next_release
from support import event, publish
from waiting import eventually

from platform_assets.alerts.platform import POISON, sighting
from platform_assets.alerts.service import AlertService
from platform_assets.contracts.read import load_contracts
from platform_assets.core.errors import AssayError
from platform_assets.core.files import make_folder, write_private
from platform_assets.core.settings import Settings, read_env_file
from platform_assets.index.connect import connect_indices
from platform_assets.index.names import read_alias
from platform_assets.ingest.worker import Worker
from platform_assets.local.artifacts import ensure_runtime
from platform_assets.local.endpoints import HOST, choose_ports, ensure_secrets
from platform_assets.local.java import find_java, reachable_java
from platform_assets.local.kafka import Broker
from platform_assets.local.kafka_access import check_kafka
from platform_assets.local.layout import Layout, runtime_folder
from platform_assets.local.opensearch import SearchNode
from platform_assets.local.prepare import prepare, prepare_users
from platform_assets.local.process import spawn, stop
from platform_assets.local.tls import ensure_certificates
from platform_assets.local.topics import TopicReport
from platform_assets.reconcile.replay import replay
from platform_assets.reconcile.state import table_state
from platform_assets.reconcile.trace import trace
from platform_assets.serve.backend import Backend
from platform_assets.serve.keys import Key, Role

pytestmark = pytest.mark.services
COMPOSE = Path(__file__).parents[2] / "deploy" / "compose"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Reachable for the services' user, as pytest's own folder is not."""
    made = Path(tempfile.mkdtemp(prefix="assay-compose-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def servers(folder: Path) -> Iterator[Settings]:
    """Kafka and OpenSearch with the generated files; settings as the one-shot service `prepare` has them."""
    generated = folder / "generated"
    subprocess.run([str(COMPOSE / "init"), str(generated)], check=True, capture_output=True)
    home = make_folder(folder / "home", 0o711)
    layout = Layout.of(home)
    layout.create()
    ensure_certificates(layout.certificates.folder)
    runtime = ensure_runtime()
    java = reachable_java(find_java(), runtime_folder())
    ports = choose_ports(layout)
    broker = Broker(layout, ports, java, runtime, 512, "")
    text = (generated / "kafka" / "server.properties").read_text(encoding="utf-8")
    addresses = {
        "0.0.0.0:9092": f"{HOST}:{ports.kafka}", "kafka:9092": f"{HOST}:{ports.kafka}",
        "0.0.0.0:9093": f"{HOST}:{ports.kafka_internal}", "kafka:9093": f"{HOST}:{ports.kafka_internal}",
        "EXTERNAL://0.0.0.0:9094": f"EXTERNAL://{HOST}:{ports.opensearch_transport - 1}",
        "127.0.0.1:9095": f"{HOST}:{ports.kafka_controller}", "/var/lib/kafka/data": str(broker._data),
    }  # fmt: skip
    for theirs, ours in addresses.items():
        assert theirs in text
        text = text.replace(theirs, ours)
    owner = layout.user.owner
    write_private(broker._properties, text.encode(), owner)
    shutil.copy(COMPOSE / "kafka-log4j2.properties", broker._config / "log4j2.properties")
    (broker._config / "log4j2.properties").chmod(0o644)

    node = SearchNode.prepare(layout, ports, java, runtime, heap_mb=512, secrets=ensure_secrets(home))
    config = layout.service("opensearch") / "config"
    here = json.loads((config / "opensearch.yml").read_text(encoding="utf-8"))
    theirs = json.loads((generated / "opensearch" / "opensearch.yml").read_text(encoding="utf-8"))
    addressed = ("network.host", "http.port", "transport.port", "path.data", "path.logs")
    settings_file = theirs | {name: here[name] for name in addressed}
    write_private(config / "opensearch.yml", json.dumps(settings_file).encode(), owner)
    for name in ("ca.pem", "node.pem", "node.key"):
        write_private(config / name, (generated / "tls" / name).read_bytes(), owner)
    for path in (generated / "opensearch" / "security").iterdir():
        write_private(config / "opensearch-security" / path.name, path.read_bytes(), owner)

    values = read_env_file(generated / "roles" / "prepare.env") | {
        "ASSAY_KAFKA_BOOTSTRAP": f"{HOST}:{ports.kafka}",
        "ASSAY_KAFKA_INTERNAL_BOOTSTRAP": f"{HOST}:{ports.kafka_internal}",
        "ASSAY_OPENSEARCH_URL": node.url,
        "ASSAY_OPENSEARCH_CA": str(generated / "tls" / "ca.pem"),
    }
    processes = [spawn(node.command(), layout.user)]
    try:
        broker.ensure_formatted()
        processes.append(spawn(broker.command(), layout.user))
        yield Settings(home, home / "lake", values)
    finally:
        for process in processes:
            stop(process, 20)


def security(folder: Path) -> Path:
    """The folder that compose.yaml mounts for `assay prepare --security`, with what it mounts and nothing else."""
    made = make_folder(folder / "security", 0o700)
    compose = yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))
    for secret in compose["services"]["prepare"]["secrets"]:
        if isinstance(secret, dict) and secret["target"].startswith("/run/security/"):
            shutil.copy(folder / compose["secrets"][secret["source"]]["file"], made / Path(secret["target"]).name)
    return made


def client(settings: Settings, user: str, password: str) -> OpenSearch:
    return OpenSearch(
        hosts=[settings.opensearch_url], http_auth=(user, password), ca_certs=str(settings.opensearch_ca), max_retries=0
    )


def prepared(servers: Settings, folder: Path) -> TopicReport:
    """As the service `prepare` does at each start, once the servers are up."""

    def once() -> TopicReport | None:
        try:
            prepare_users(servers, security(folder))
            return prepare(servers, load_contracts().values())
        except (AssayError, OpenSearchException) as error:
            print(f"not yet: {error}")
            return None

    return eventually(once, "the servers", every_s=0.5)


def test_the_generated_configuration_serves(servers: Settings, folder: Path) -> None:
    contracts = load_contracts().values()
    made = prepared(servers, folder)
    assert set(made.created) | set(made.present) == {table.topic for c in contracts for table in c.tables}
    assert prepared(servers, folder).created == ()  # each start repeats it
    compose = yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))
    asked = urlsplit(compose["services"]["opensearch"]["healthcheck"]["test"][-1])
    assert requests.get(servers.opensearch_url + asked.path, verify=str(servers.opensearch_ca), timeout=30).ok

    worker = read_env_file(folder / "generated" / "roles" / "ingest.env")
    producer = read_env_file(folder / "generated" / "roles" / "producer.env")
    check_kafka(replace(servers, values={**_addresses(servers), **worker, **producer}))  # published and consumed
    with pytest.raises(AssayError, match="wrong password"):
        check_kafka(
            replace(servers, values={**_addresses(servers), **worker, "ASSAY_KAFKA_PRODUCER_PASSWORD": "guess"})
        )

    passwords = read_env_file(folder / "generated" / "secrets.env")
    reader = client(servers, "reader", passwords["ASSAY_OPENSEARCH_READER_PASSWORD"])
    with pytest.raises(AuthorizationException):
        reader.indices.create(index="logs-events-mine")
    dashboards = client(
        servers, "dashboards", (folder / "generated/passwords/dashboards").read_text(encoding="utf-8").strip()
    )
    dashboards.indices.create(index=".kibana_1")  # what Dashboards does at its first start
    with pytest.raises(AuthorizationException):
        dashboards.indices.create(index="logs-events-mine")
    for made_client in (reader, dashboards):
        made_client.close()


def test_the_api_does_its_work_with_its_own_user(servers: Settings, folder: Path) -> None:
    """Status, trace, replay, alerts, and its callers' searches: with what the container `api` has, and nothing more."""
    prepared(servers, folder)
    roles = folder / "generated" / "roles"
    has = {role: read_env_file(roles / f"{role}.env") for role in ("ingest", "serve")}
    worker, api = (replace(servers, values={**_addresses(servers), **values}) for values in has.values())
    logs = load_contracts()["logs"]
    table = logs.table("events")
    contract = replace(logs, tables=(table,))
    publish(api, table, [*(event(n) for n in range(30)), event(30, latency_ms=-5.0)])
    Worker(worker, contract).drain()

    state = table_state(api, table, services=True)
    assert (state.unanswered, state.index_behind, state.rows) == ([], 0, 30)
    fields = tuple(replace(f, minimum=None) if f.name == "latency_ms" else f for f in table.fields)
    later = next_release(contract, table, fields)
    assert replay(api, later).tables["events"].documents == 1
    with closing(AlertService(api, "logs")) as alert_service:
        [alert, *_] = (
            alert_service.see([sighting(POISON, "logs.events", datetime.now(UTC), breach=True)])
            or alert_service.alerts()
        )
        alert_service.acknowledge(alert.alert_id, "somebody")
        alert_service.publish()
    backend = Backend(api, {"logs": contract})
    try:
        callers = {
            role: backend.client(Key("k", "n", Role.READER, "", datetime.now(UTC), "logs", services))
            for role, services in (("reader", None), ("limited", ("payments",)))
        }
        indices = connect_indices(api)
        indices.refresh(table)
        alias = read_alias(table)
        found = {
            role: client.search(index=alias, body={"size": 100})["hits"]["hits"] for role, client in callers.items()
        }
        assert len(found["reader"]) == 31
        assert {hit["_source"]["service"] for hit in found["limited"]} == {"payments"}
        traced = trace(api, contract, found["reader"][0]["_id"])
        assert len(traced.documents) == 1 and traced.broker == "held"
        for forbidden in (
            lambda: indices.client.indices.delete(index=f"{alias}-*"),
            lambda: indices.client.indices.delete(index="assay-progress"),
            lambda: indices.client.search(index=".opendistro_security"),
            lambda: indices.client.cluster.put_settings(body={"transient": {"action.auto_create_index": "true"}}),
        ):
            with pytest.raises(AuthorizationException):
                forbidden()
        indices.client.close()
    finally:
        backend.close()


def _addresses(settings: Settings) -> dict[str, str]:
    return {name: value for name, value in settings.values.items() if "PASSWORD" not in name}
