"""The session's services: who may do what, and what they tell nobody."""

from __future__ import annotations

import json
import os
import re
import socket
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from locallab import consume, drop_topic, publish, search_client
from opensearchpy.exceptions import AuthenticationException, AuthorizationException
from waiting import eventually

from platform_assets.core.errors import AssayError
from platform_assets.core.settings import Settings
from platform_assets.local.kafka_access import check_kafka
from platform_assets.local.layout import Layout
from platform_assets.local.search_access import check_opensearch
from platform_assets.local.state import read_state
from platform_assets.local.topics import TopicSpec, ensure_topics

pytestmark = pytest.mark.services


@pytest.fixture
def topic(services: Settings) -> Iterator[str]:
    """A topic of its own."""
    name = f"t{uuid.uuid4().hex[:8]}.events"
    ensure_topics(services.kafka_conf("admin"), [TopicSpec(name, 1)])
    yield name
    drop_topic(services, name)


@pytest.fixture
def index(services: Settings) -> Iterator[str]:
    """An index of its own, created by the worker."""
    name = f"t{uuid.uuid4().hex[:8]}-events-000001"
    client = search_client(services, "ingest")
    client.indices.create(index=name, body={"settings": {"number_of_replicas": 0}})
    yield name
    client.indices.delete(index=name)


def test_producer_writes_and_worker_reads(services: Settings, topic: str) -> None:
    assert publish(services.kafka_conf("producer"), topic, b"hello") is None
    assert consume(services.kafka_conf("ingest"), topic) == b"hello"


def test_messages_of_ten_megabytes_pass(services: Settings, topic: str) -> None:
    value = os.urandom(10_000_000)
    assert publish(services.kafka_conf("producer"), topic, value) is None
    assert consume(services.kafka_conf("ingest"), topic) == value


def test_producer_may_not_read(services: Settings, topic: str) -> None:
    assert publish(services.kafka_conf("producer"), topic, b"x") is None
    error = consume(services.kafka_conf("producer"), topic)
    assert isinstance(error, KafkaError)
    assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


def test_worker_may_not_write(services: Settings, topic: str) -> None:
    error = publish(services.kafka_conf("ingest"), topic, b"x")
    assert error is not None
    assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


def test_worker_may_not_create_topics(services: Settings) -> None:
    with pytest.raises(AssayError, match="uthoriz"):
        ensure_topics(services.kafka_conf("ingest"), [TopicSpec("t.forbidden", 1)])


def test_kafka_refuses_whoever_does_not_say_who_he_is(services: Settings, topic: str) -> None:
    conf: dict[str, Any] = {"bootstrap.servers": services.kafka_bootstrap, "log_level": 0}
    with pytest.raises(KafkaException):
        AdminClient(conf).list_topics(timeout=3)


def test_the_brokers_own_listeners_refuse_roles(services: Settings) -> None:
    """The inter-broker and controller listeners know the broker only, not the roles' passwords."""
    if "ASSAY_TEST_HOME" in os.environ and not (services.home / "local" / "ports.json").exists():
        pytest.skip("the services are not local")
    ports = json.loads((services.home / "local" / "ports.json").read_text())
    for name in ("kafka_internal", "kafka_controller"):
        errors: list[KafkaError] = []
        conf = {**services.kafka_conf("admin"), "bootstrap.servers": f"127.0.0.1:{ports[name]}"}
        quiet: dict[str, Any] = {"sasl.mechanism": "PLAIN", "log_level": 0, "error_cb": errors.append}
        client = AdminClient({**conf, **quiet})

        def refused(client: AdminClient = client, errors: list[KafkaError] = errors) -> bool:
            client.poll(0.1)
            return KafkaError._AUTHENTICATION in [error.code() for error in errors]

        eventually(refused, "the refusal")


def test_reader_searches_and_may_not_write(services: Settings, index: str) -> None:
    search_client(services, "ingest").index(index=index, body={"a": 1}, id="1", params={"refresh": "true"})
    reader = search_client(services, "reader")
    assert reader.search(index=index)["hits"]["total"]["value"] == 1
    attempts: list[Callable[[], object]] = [
        lambda: reader.index(index=index, body={"a": 2}),
        lambda: reader.delete(index=index, id="1"),
        lambda: reader.indices.create(index=f"{index}-more"),
        lambda: reader.indices.delete(index=index),
        lambda: reader.search(index="assay-progress"),
    ]
    for attempt in attempts:
        with pytest.raises(AuthorizationException):
            attempt()


def test_ingest_user_may_do_what_a_worker_needs(services: Settings, index: str) -> None:
    """Template, bulk, alias, reindex, settings, delete: everything the index package uses."""
    client = search_client(services, "ingest")
    template, alias, copy = f"{index}-template", f"{index}-alias", f"{index}-copy"
    body = {"index_patterns": [f"{index}-*"], "template": {"mappings": {"dynamic": "strict"}}}
    client.indices.put_index_template(name=template, body=body)
    bulk = client.bulk(body=[{"index": {"_index": index, "_id": "1"}}, {"a": 1}], params={"refresh": "true"})
    assert not bulk["errors"]
    client.indices.update_aliases(body={"actions": [{"add": {"index": index, "alias": alias}}]})
    assert client.count(index=alias)["count"] == 1
    client.indices.create(index=copy, body={"mappings": {"properties": {"a": {"type": "long"}}}})
    client.reindex(body={"source": {"index": index}, "dest": {"index": copy}}, params={"refresh": "true"})
    assert client.count(index=copy)["count"] == 1
    client.indices.put_settings(body={"index.blocks.write": True}, index=copy)
    client.indices.delete(index=copy)
    client.indices.delete_index_template(name=template)


def test_worker_may_not_touch_the_security_index(services: Settings) -> None:
    worker = search_client(services, "ingest")
    attempts: list[Callable[[], object]] = [
        lambda: worker.search(index=".opendistro_security"),
        lambda: worker.indices.delete(index=".opendistro_security"),
        lambda: worker.transport.perform_request("GET", "/_plugins/_security/api/internalusers"),
        lambda: worker.cluster.put_settings(body={"transient": {"action.auto_create_index": "true"}}),
    ]
    for attempt in attempts:
        with pytest.raises(AuthorizationException):
            attempt()


def test_opensearch_refuses_whoever_does_not_say_who_he_is(services: Settings) -> None:
    with pytest.raises(AuthenticationException):
        search_client(services, None).info()


def test_opensearch_refuses_plain_http(services: Settings) -> None:
    host, port = services.opensearch_url.removeprefix("https://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        try:
            answer = connection.recv(100)
        except ConnectionResetError:
            answer = b""
    assert not answer.startswith(b"HTTP/")


def test_documents_need_an_index_that_was_made(services: Settings) -> None:
    """A misspelt name must be an error, not a new index with guessed mappings."""
    name = f"t{uuid.uuid4().hex[:8]}-typo"
    bulk = search_client(services, "ingest").bulk(body=[{"index": {"_index": name}}, {"a": 1}])
    assert bulk["errors"]
    assert bulk["items"][0]["index"]["error"]["type"] == "index_not_found_exception"


def test_a_wrong_password_is_one_clear_line(services: Settings) -> None:
    wrong = {f"ASSAY_KAFKA_{role}_PASSWORD": "wrong" for role in ("PRODUCER", "INGEST")}
    settings = replace(services, values={**services.values, **wrong, "ASSAY_OPENSEARCH_INGEST_PASSWORD": "wrong"})
    with pytest.raises(AssayError) as kafka_error:
        check_kafka(settings)
    with pytest.raises(AssayError) as search_error:
        check_opensearch(settings)
    for error in (kafka_error.value, search_error.value):
        assert re.search(r"refuses the user '\w+': wrong password", error.message)
        assert "\n" not in str(error)


def test_ensure_topics_is_idempotent_and_never_grows_in_silence(services: Settings) -> None:
    name, conf = f"t{uuid.uuid4().hex[:8]}.grown", services.kafka_conf("admin")
    spec = TopicSpec(name, 2, retention_ms=3_600_000, config={"max.message.bytes": "11000000"})
    try:
        assert ensure_topics(conf, [spec]).created == (name,)
        again = ensure_topics(conf, [spec])
        assert (again.created, again.present, again.differs) == ((), (name,), {})
        other = ensure_topics(conf, [replace(spec, retention_ms=1_000)])
        assert other.differs == {name: {"retention.ms": ("1000", "3600000")}}
        with pytest.raises(AssayError, match="has 2 partitions, 3 are asked for"):
            ensure_topics(conf, [replace(spec, partitions=3)])
        assert ensure_topics(conf, [replace(spec, partitions=3)], grow=True).grown == (name,)
        assert len(AdminClient(conf).list_topics(name, timeout=10).topics[name].partitions) == 3
    finally:
        drop_topic(services, name)


def test_no_password_in_logs_arguments_or_open_files(services: Settings) -> None:
    """Secrets are in files of mode 0600 and nowhere else: not in logs, arguments, environments of the servers."""
    layout = Layout.of(services.home)
    assert (services.home / "secrets.env").stat().st_mode & 0o777 == 0o600
    passwords = [value.encode() for name, value in services.values.items() if name.endswith("_PASSWORD")]
    properties = (layout.service("kafka") / "config" / "server.properties").read_text()
    internal = re.search(r'password="([^"]+)"', properties)
    assert internal is not None
    secrets = [*passwords, internal.group(1).encode(), services.values["ASSAY_HMAC_KEY"].encode()]
    secrets.append(services.values["ASSAY_OPENSEARCH_JWT_KEY"].encode())
    assert len(secrets) == 9
    state = read_state(layout.state)
    assert state is not None
    for process in (state.supervisor, *(service.process for service in state.services.values())):
        assert process is not None
        for source in ("cmdline", "environ"):
            content = Path(f"/proc/{process.pid}/{source}").read_bytes()
            assert not [secret for secret in secrets if secret in content]
    for folder in {layout.local, layout.store}:
        for base, folders, names in os.walk(folder):
            folders[:] = [name for name in folders if name != "data"]  # where the servers make and delete files
            for path in (Path(base, name) for name in names):
                if path.is_file() and any(secret in path.read_bytes() for secret in secrets):
                    assert path.stat().st_mode & 0o077 == 0
                    assert path.name in ("server.properties", "config.yml")
