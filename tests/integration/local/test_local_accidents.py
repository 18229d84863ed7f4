"""Services of a test's own, which it kills, restarts and starts wrongly: what survives, and that nothing is left behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from locallab import consume, publish, search_client
from opensearchpy import OpenSearch
from opensearchpy.exceptions import AuthenticationException
from support import alive
from waiting import eventually

from platform_assets.core.errors import AssayError
from platform_assets.core.settings import Settings
from platform_assets.index.callers import CallerPool, token
from platform_assets.local import lifecycle
from platform_assets.local.artifacts import ensure_runtime
from platform_assets.local.endpoints import choose_ports
from platform_assets.local.java import find_java, reachable_java
from platform_assets.local.kafka import Broker
from platform_assets.local.layout import Layout, runtime_folder
from platform_assets.local.state import read_state
from platform_assets.local.topics import TopicSpec, ensure_topics

pytestmark = pytest.mark.services


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A home whose services a test may kill; they are ended, and everything is deleted, whatever the test did."""
    for name in list(os.environ):
        if name.startswith(("ASSAY_KAFKA_", "ASSAY_OPENSEARCH_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ASSAY_OPENSEARCH_HEAP_MB", "512")
    monkeypatch.setenv("ASSAY_KAFKA_HEAP_MB", "256")
    # Closed to other users, as a root's home is: the stores must then lie elsewhere.
    # The name is one that Java must not misread.
    home = Path(tempfile.mkdtemp(prefix="assay-own-é\\x-"))
    yield home
    lifecycle.down(home)
    lifecycle.wipe(home)
    shutil.rmtree(home)


def children(home: Path) -> dict[str, psutil.Process]:
    """The servers of a home by name."""
    state = read_state(Layout.of(home).state)
    assert state is not None
    found = {}
    for name, service in state.services.items():
        assert service.process is not None
        found[name] = psutil.Process(service.process.pid)
    return found


OWNER = """
import sys, time
from pathlib import Path
from platform_assets.local import lifecycle
print(lifecycle.up(Path(sys.argv[1]), owned=True).healthy, flush=True)
time.sleep(600)
"""


@contextmanager
def owned(home: Path) -> Iterator[None]:
    """Healthy services that belong to another process, which is killed at the end of the block."""
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(home)], stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "True\n"
        yield
    finally:
        owner.kill()
        owner.wait()


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
def test_killed_crashed_and_restarted_services_keep_their_data(own: Path) -> None:
    """One life with every accident: a start costs ten seconds, so they share it."""
    status = lifecycle.up(own)
    assert status.healthy
    settings = Settings.load(own)
    ensure_topics(settings.kafka_conf("admin"), [TopicSpec("logs.kept", 1)])
    assert publish(settings.kafka_conf("producer"), "logs.kept", b"kept") is None
    worker = search_client(settings, "ingest")
    worker.indices.create(index="logs-kept", body={"settings": {"number_of_replicas": 0}})
    worker.index(index="logs-kept", body={"kept": True}, id="1")

    servers = children(own)
    if os.geteuid() == 0:
        assert all(server.uids().effective != 0 for server in servers.values())
    again = lifecycle.up(own)
    assert again.healthy
    assert {s.pid for s in again.services} == {s.pid for s in status.services}
    assert again.phase == "healthy"

    # A server that dies is started again.
    servers["kafka"].kill()
    eventually(lambda: lifecycle.status(own).phase == "degraded", "noticing the death")
    eventually(lambda: lifecycle.status(own).healthy, "mending")
    assert {s.name: s.restarts for s in lifecycle.status(own).services} == {"kafka": 1, "opensearch": 0}

    forget_tokens(own, settings)

    # A supervisor that is killed takes its servers along.
    servers = children(own)
    state = read_state(Layout.of(own).state)
    assert state is not None
    os.kill(state.supervisor.pid, signal.SIGKILL)
    eventually(lambda: not any(map(alive, servers.values())), "the end of the servers")
    assert lifecycle.status(own).phase == "stopped"

    # The next start has the same addresses and data; passwords that were changed in the file hold from then on.
    secrets = own / "secrets.env"
    secrets.write_text(re.sub(r"(_(?:INGEST|READER)_PASSWORD)=.*", r"\1=changed-by-hand", secrets.read_text()))
    with owned(own):
        changed = Settings.load(own)
        assert changed.kafka_bootstrap == settings.kafka_bootstrap
        assert changed.opensearch_url == settings.opensearch_url
        assert changed.kafka_conf("ingest")["sasl.password"] == "changed-by-hand"
        assert consume(changed.kafka_conf("ingest"), "logs.kept") == b"kept"
        assert search_client(changed, "reader").get(index="logs-kept", id="1")["_source"] == {"kept": True}
        with pytest.raises(AuthenticationException):
            search_client(settings, "reader").count(index="logs-kept")

        # A home that knew no tokens has a key now, and its node knows whom it signed for.
        pool = CallerPool(changed.opensearch_url, changed.opensearch_ca, timeout_s=10, size=1)
        caller = pool.client(token(changed.opensearch_jwt_key, "t", "logs", None))
        assert caller.count(index="logs-kept")["count"] == 1
        pool.close()
        servers = children(own)

    # Services that belong to a process end with it, however it ends.
    eventually(lambda: lifecycle.status(own).phase == "stopped", "the end of what a killed process owned")
    assert not any(map(alive, servers.values()))
    assert not lifecycle.down(own)


def test_ctrl_c_ends_the_foreground_with_its_servers(own: Path) -> None:
    script = "import sys; from pathlib import Path; from platform_assets.local import lifecycle; "
    script += "lifecycle.up(Path(sys.argv[1]), foreground=True)"
    process = subprocess.Popen([sys.executable, "-c", script, str(own)])
    try:
        eventually(lambda: lifecycle.status(own).healthy or process.poll() is not None, "health")
        with pytest.raises(AssayError, match="run already"):
            lifecycle.up(own, foreground=True)
        servers = children(own)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
    finally:
        process.kill()
        process.wait()
    assert not any(map(alive, servers.values()))
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


def test_storage_is_formatted_when_the_clusters_id_begins_with_a_hyphen(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one in 64 does."""
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(bytes=b"\xfb" * 16, version=4))
    layout = Layout.of(own)
    layout.create()
    java = reachable_java(find_java(), runtime_folder())
    broker = Broker.prepare(layout, choose_ports(layout), java, ensure_runtime(), 256)
    broker.ensure_formatted()
    assert re.search(r"^cluster\.id=-", (broker._data / "meta.properties").read_text(encoding="utf-8"), re.MULTILINE)
    assert broker.log.is_file()
