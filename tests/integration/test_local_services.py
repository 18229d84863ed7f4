"""The real services: who may do what, what survives, and that nothing is left behind.

Rights are tried on the session's services; whatever kills or restarts has services of its own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from opensearchpy import OpenSearch
from opensearchpy.exceptions import AuthenticationException, AuthorizationException

from platform_assets.errors import AssayError
from platform_assets.local import lifecycle
from platform_assets.local.kafka_access import check_kafka
from platform_assets.local.layout import Layout
from platform_assets.local.search_access import check_opensearch
from platform_assets.local.state import read_state
from platform_assets.local.topics import TopicSpec, ensure_topics
from platform_assets.search.callers import CallerPool, token
from platform_assets.settings import OpenSearchRole, Settings

pytestmark = pytest.mark.services


def search_client(settings: Settings, role: OpenSearchRole | None) -> OpenSearch:
    """A client as `role`, or as nobody."""
    auth = settings.opensearch_auth(role) if role else None
    return OpenSearch([settings.opensearch_url], http_auth=auth, ca_certs=str(settings.opensearch_ca), max_retries=0)


def publish(conf: dict[str, Any], topic: str, value: bytes) -> KafkaError | None:
    """Publish one record; returns the error that came back for it."""
    outcome: list[KafkaError | None] = []
    producer = Producer({**conf, "log_level": 0, "message.timeout.ms": 8000, "message.max.bytes": 16_000_000})
    producer.produce(topic, value, on_delivery=lambda error, _: outcome.append(error))
    producer.flush(15)
    return outcome[0]


def consume(conf: dict[str, Any], topic: str, seconds: float = 15) -> bytes | KafkaError:
    """The first record of a topic's partition 0, or the error that came instead."""
    extra = {"group.id": "assay-test", "log_level": 0, "fetch.message.max.bytes": 16_000_000}
    consumer = Consumer({**conf, **extra})
    deadline = time.monotonic() + seconds
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        while time.monotonic() < deadline:
            message = consumer.poll(1)
            if message is None:
                continue
            error, value = message.error(), message.value()
            if error is None:
                return value or b""
            # Of the group, not of the topic, and told at any time.
            if error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:
                return error
        raise AssertionError(f"neither a record nor an error within {seconds} s")
    finally:
        consumer.close()


def drop_topic(settings: Settings, name: str) -> None:
    """Delete a topic; the client must outlive its answer."""
    admin = AdminClient(settings.kafka_conf("admin"))
    admin.delete_topics([name])[name].result(20)


@pytest.fixture
def topic(services: Settings) -> Iterator[str]:
    """A topic of its own."""
    name = f"t{uuid.uuid4().hex[:8]}.events"
    ensure_topics(services.kafka_conf("admin"), [TopicSpec(name, 1)])
    yield name
    drop_topic(services, name)


@pytest.fixture
def index(services: Settings) -> Iterator[str]:
    """An index of its own, created by the lane."""
    name = f"t{uuid.uuid4().hex[:8]}-events-000001"
    client = search_client(services, "lane")
    client.indices.create(index=name, body={"settings": {"number_of_replicas": 0}})
    yield name
    client.indices.delete(index=name)


def test_producer_writes_and_lane_reads(services: Settings, topic: str) -> None:
    assert publish(services.kafka_conf("producer"), topic, b"hello") is None
    assert consume(services.kafka_conf("lane"), topic) == b"hello"


def test_messages_of_ten_megabytes_pass(services: Settings, topic: str) -> None:
    value = os.urandom(10_000_000)
    assert publish(services.kafka_conf("producer"), topic, value) is None
    assert consume(services.kafka_conf("lane"), topic) == value


def test_producer_may_not_read(services: Settings, topic: str) -> None:
    assert publish(services.kafka_conf("producer"), topic, b"x") is None
    error = consume(services.kafka_conf("producer"), topic)
    assert isinstance(error, KafkaError)
    assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


def test_lane_may_not_write(services: Settings, topic: str) -> None:
    error = publish(services.kafka_conf("lane"), topic, b"x")
    assert error is not None
    assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


def test_lane_may_not_create_topics(services: Settings) -> None:
    with pytest.raises(AssayError, match="uthoriz"):
        ensure_topics(services.kafka_conf("lane"), [TopicSpec("t.forbidden", 1)])


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

        wait_until(refused, 10, "the refusal")


def test_reader_searches_and_may_not_write(services: Settings, index: str) -> None:
    search_client(services, "lane").index(index=index, body={"a": 1}, id="1", params={"refresh": "true"})
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


def test_lane_does_what_a_lane_needs(services: Settings, index: str) -> None:
    """Template, bulk, alias, reindex, settings, delete: everything the search room uses."""
    client = search_client(services, "lane")
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


def test_lane_may_not_touch_the_security_index(services: Settings) -> None:
    lane = search_client(services, "lane")
    attempts: list[Callable[[], object]] = [
        lambda: lane.search(index=".opendistro_security"),
        lambda: lane.indices.delete(index=".opendistro_security"),
        lambda: lane.transport.perform_request("GET", "/_plugins/_security/api/internalusers"),
        lambda: lane.cluster.put_settings(body={"transient": {"action.auto_create_index": "true"}}),
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
    assert not answer.startswith(b"HTTP/1.1 200")


def test_documents_need_an_index_that_was_made(services: Settings) -> None:
    """A misspelt name must be an error, not a new index with guessed mappings."""
    name = f"t{uuid.uuid4().hex[:8]}-typo"
    bulk = search_client(services, "lane").bulk(body=[{"index": {"_index": name}}, {"a": 1}])
    assert bulk["errors"]
    assert bulk["items"][0]["index"]["error"]["type"] == "index_not_found_exception"


def test_a_wrong_password_is_one_clear_line(services: Settings) -> None:
    wrong = {f"ASSAY_KAFKA_{role}_PASSWORD": "wrong" for role in ("PRODUCER", "LANE")}
    settings = replace(services, values={**services.values, **wrong, "ASSAY_OPENSEARCH_LANE_PASSWORD": "wrong"})
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
        for path in folder.rglob("*"):
            if not path.is_file() or "data" in path.parts:
                continue
            content = path.read_bytes()
            if any(secret in content for secret in secrets):
                assert path.stat().st_mode & 0o077 == 0
                assert path.name in ("server.properties", "config.yml")


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A home whose services a test may kill; they are ended, and everything is deleted, whatever the test did."""
    for name in list(os.environ):
        if name.startswith(("ASSAY_KAFKA_", "ASSAY_OPENSEARCH_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ASSAY_OPENSEARCH_HEAP_MB", "512")
    monkeypatch.setenv("ASSAY_KAFKA_HEAP_MB", "256")
    # Closed to other users, as a root's home is: the stores must then lie elsewhere.
    home = Path(tempfile.mkdtemp(prefix="assay-own-"))
    yield home
    lifecycle.down(home)
    lifecycle.wipe(home)
    shutil.rmtree(home)


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait for `condition`; returns how long it took."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, f"{what} did not happen within {seconds} s"
        time.sleep(0.05)
    return time.monotonic() - begun


def children(home: Path) -> dict[str, psutil.Process]:
    """The servers of a home by name."""
    state = read_state(Layout.of(home).state)
    assert state is not None
    found = {}
    for name, service in state.services.items():
        assert service.process is not None
        found[name] = psutil.Process(service.process.pid)
    return found


def running(process: psutil.Process) -> bool:
    """Whether it runs; a zombie, which a container's first process may never reap, does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def forget_tokens(home: Path, settings: Settings) -> None:
    """Make a home as it was before the API's callers had tokens."""
    secrets = home / "secrets.env"
    secrets.write_text(re.sub(r"ASSAY_OPENSEARCH_JWT_KEY=.*\n", "", secrets.read_text()))
    certificates = Layout.of(home).certificates
    client = OpenSearch(
        [settings.opensearch_url],
        ca_certs=str(certificates.ca),
        client_cert=str(certificates.admin),
        client_key=str(certificates.admin_key),
    )
    remove = [{"op": "remove", "path": "/config/dynamic/authc/jwt"}]
    client.transport.perform_request("PATCH", "/_plugins/_security/api/securityconfig", body=remove)
    for kind in ("rolesmapping", "roles"):
        client.transport.perform_request("DELETE", f"/_plugins/_security/api/{kind}/assay_api_reader")
    client.close()


@pytest.mark.faults
@pytest.mark.timeout(400)
def test_killed_crashed_and_restarted_services_keep_their_data(own: Path) -> None:
    """One life with every accident: a start costs ten seconds, so they share it."""
    status = lifecycle.up(own)
    assert status.healthy
    settings = Settings.load(own)
    ensure_topics(settings.kafka_conf("admin"), [TopicSpec("logs.kept", 1)])
    assert publish(settings.kafka_conf("producer"), "logs.kept", b"kept") is None
    lane = search_client(settings, "lane")
    lane.indices.create(index="logs-kept", body={"settings": {"number_of_replicas": 0}})
    lane.index(index="logs-kept", body={"kept": True}, id="1")

    servers = children(own)
    if os.geteuid() == 0:
        assert all(server.uids().effective != 0 for server in servers.values())
    begun = time.monotonic()
    again = lifecycle.up(own)
    assert again.healthy
    assert {s.pid for s in again.services} == {s.pid for s in status.services}
    assert time.monotonic() - begun < 8

    # A server that dies is started again.
    servers["kafka"].kill()
    wait_until(lambda: lifecycle.status(own).phase == "degraded", 10, "noticing the death")
    wait_until(lambda: lifecycle.status(own).healthy, 60, "mending")
    assert {s.name: s.restarts for s in lifecycle.status(own).services} == {"kafka": 1, "opensearch": 0}

    forget_tokens(own, settings)

    # A supervisor that is killed takes its servers along.
    servers = children(own)
    state = read_state(Layout.of(own).state)
    assert state is not None
    os.kill(state.supervisor.pid, signal.SIGKILL)
    wait_until(lambda: not any(map(running, servers.values())), 5, "the end of the servers")
    assert lifecycle.status(own).phase == "stopped"

    # The next start has the same addresses and data; passwords that were changed in the file hold from then on.
    secrets = own / "secrets.env"
    secrets.write_text(re.sub(r"(_(?:LANE|READER)_PASSWORD)=.*", r"\1=changed-by-hand", secrets.read_text()))
    assert lifecycle.up(own).healthy
    changed = Settings.load(own)
    assert changed.kafka_bootstrap == settings.kafka_bootstrap
    assert changed.opensearch_url == settings.opensearch_url
    assert changed.kafka_conf("lane")["sasl.password"] == "changed-by-hand"
    assert consume(changed.kafka_conf("lane"), "logs.kept") == b"kept"
    assert search_client(changed, "reader").get(index="logs-kept", id="1")["_source"] == {"kept": True}
    with pytest.raises(AuthenticationException):
        search_client(settings, "reader").count(index="logs-kept")

    # A home that knew no tokens has a key now, and its node knows whom it signed for.
    pool = CallerPool(changed.opensearch_url, changed.opensearch_ca, timeout_s=10, size=1)
    caller = pool.client(token(changed.opensearch_jwt_key, "t", "logs", None))
    assert caller.count(index="logs-kept")["count"] == 1
    pool.close()

    # The ordinary end leaves nothing behind.
    servers = children(own)
    assert lifecycle.down(own)
    assert not any(map(running, servers.values()))
    assert not lifecycle.down(own)


@pytest.mark.timeout(200)
def test_ctrl_c_ends_the_foreground_with_its_servers(own: Path) -> None:
    script = "import sys; from pathlib import Path; from platform_assets.local import lifecycle; "
    script += "lifecycle.up(Path(sys.argv[1]), foreground=True)"
    process = subprocess.Popen([sys.executable, "-c", script, str(own)])
    try:
        wait_until(lambda: lifecycle.status(own).healthy or process.poll() is not None, 120, "health")
        with pytest.raises(AssayError, match="run already"):
            lifecycle.up(own, foreground=True)
        servers = children(own)
        process.send_signal(signal.SIGINT)
        assert process.wait(40) == 0
    finally:
        process.kill()
        process.wait()
    assert not any(map(running, servers.values()))
    state = read_state(Layout.of(own).state)
    assert state is not None
    assert state.phase == "stopped"


def test_a_configured_port_that_is_taken_is_one_clear_line(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("ASSAY_KAFKA_PORT", str(port))
        with pytest.raises(AssayError) as error:
            lifecycle.up(own)
    assert error.value.message == f"port {port} for kafka is taken"
    assert "ASSAY_KAFKA_PORT" in error.value.hint


def test_a_server_that_cannot_start_says_why(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Java that ends at once stands for any server that dies while starting."""
    broken = own / "java"
    (broken / "bin").mkdir(parents=True)
    (broken / "release").write_text('JAVA_VERSION="25.0.1"\nMODULES="java.base"\n')
    (broken / "bin" / "java").write_text("#!/bin/sh\necho 'Error: cannot reserve memory for the heap'\nexit 3\n")
    for path in (own, broken, broken / "bin", broken / "bin" / "java"):
        path.chmod(0o755)
    monkeypatch.setenv("ASSAY_JAVA_HOME", str(broken))
    with pytest.raises(AssayError, match="cannot reserve memory for the heap") as error:
        lifecycle.up(own)
    assert "\n" not in str(error.value)
    assert lifecycle.status(own).phase == "stopped"
