"""Kafka and OpenSearch of one home as declared processes: their order, their readiness, the state file.

Belongs here: one run of the two, from folders and secrets to an orderly end. Does not belong here: the life of processes in
general (`supervisor.py`), what a person sees (`lifecycle.py`), how a server is configured (`kafka.py`, `opensearch.py`).

`python -m platform_assets.local.services HOME [OWNER]` is what `up` starts. Its children die with it, whatever kills it.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import psutil
from confluent_kafka import KafkaException
from opensearchpy.exceptions import OpenSearchException

from platform_assets.core.errors import AssayError, one_line
from platform_assets.core.files import locked
from platform_assets.core.settings import Settings, environment, whole_number
from platform_assets.local import kafka, opensearch
from platform_assets.local.artifacts import ensure_runtime
from platform_assets.local.endpoints import HOST, Endpoints, choose_ports, ensure_secrets
from platform_assets.local.java import find_java, reachable_java
from platform_assets.local.kafka import Broker
from platform_assets.local.kafka_access import check_kafka, provision
from platform_assets.local.layout import Layout, runtime_folder
from platform_assets.local.opensearch import SearchNode
from platform_assets.local.process import Command, ProcessId
from platform_assets.local.search_access import apply_security, check_opensearch, security_answers
from platform_assets.local.state import Phase, State, read_state
from platform_assets.local.supervisor import Child, Supervisor, log_to, owner_of
from platform_assets.local.tls import ensure_certificates

log = logging.getLogger("assay.supervisor")

_STOP_QUIET_S = 20
"""A server that is told to end is killed when it has done nothing for so long."""
_LOOK_S = 0.25
_FREE_DISK = 1 << 30
_NOT_YET = (KafkaException, OpenSearchException, TimeoutError)
"""What a server that starts, or is busy, may answer: it is asked again."""


class Services:
    """The services of one home, owned by this process."""

    def __init__(
        self, home: Path, on_healthy: Callable[[], None] = lambda: None, owner: ProcessId | None = None
    ) -> None:
        """`owner`: the services end with that process, however it ends."""
        self.layout = Layout.of(home)
        self._self = ProcessId.of(os.getpid())
        self._on_healthy = on_healthy
        self._endpoints: Endpoints | None = None
        self.supervisor = Supervisor(
            self._prepare,
            self.layout.user,
            _STOP_QUIET_S,
            _LOOK_S,
            owner=owner,
            started=self._announce,
            tell=self._tell,
        )

    def run(self) -> int:
        """Own the services until SIGTERM or SIGINT; returns an exit code. Only one process per home gets to work."""
        self.layout.create()
        with locked(self.layout.lock, wait=False) as ours:
            return self.supervisor.run() if ours else 0

    def _prepare(self) -> list[Child]:
        """Everything up to the start of the servers. OpenSearch comes first: it takes longest."""
        self._end_leftovers()
        layout = self.layout
        free = shutil.disk_usage(layout.store).free
        if free < _FREE_DISK:
            raise AssayError(
                f"the disk under {layout.store} is full ({free >> 20} MiB free)", "free at least 1 GiB, then `assay up`"
            )
        secrets = ensure_secrets(layout.home)
        ensure_certificates(layout.certificates.folder)
        runtime = ensure_runtime()
        java = reachable_java(find_java(), runtime_folder())
        log.info("Java %d at %s, services run as %s", java.major, java.home, layout.user.name)
        ports = choose_ports(layout)
        broker = Broker.prepare(layout, ports, java, runtime, _heap("ASSAY_KAFKA_HEAP_MB", 512, 1024, 0.05))
        heap = _heap("ASSAY_OPENSEARCH_HEAP_MB", 1024, 4096, 0.25)
        node = SearchNode.prepare(layout, ports, java, runtime, heap_mb=heap, secrets=secrets)
        endpoints = self._endpoints = Endpoints(broker.bootstrap, node.url, str(layout.certificates.ca))
        settings = _settings(layout.home, endpoints, secrets)
        return [
            Child(opensearch.NAME, node.command, asked(partial(_search_ready, node, settings)), node.log, node.output),
            Child(
                kafka.NAME,
                partial(_formatted, broker),
                asked(partial(_broker_ready, broker, settings, secrets)),
                broker.log,
                broker.output,
            ),
        ]

    def _end_leftovers(self) -> None:
        """Children of a killed supervisor are killed by the kernel; where it cannot, they are ended here."""
        previous = read_state(self.layout.state)
        for service in previous.services.values() if previous else ():
            if service.process is not None and service.process.alive():
                log.warning("ending a leftover of the last run, process %d", service.process.pid)
                service.process.signal(signal.SIGKILL)
                while service.process.alive():
                    self.supervisor.pause(0.05)

    def _announce(self) -> None:
        """All are healthy for the first time: clients may come."""
        if self._endpoints is not None:
            self._endpoints.write(self.layout.home)
        self._tell("healthy", None)
        self._on_healthy()

    def _tell(self, phase: Phase, error: AssayError | None) -> None:
        services = {child.name: child.state() for child in self.supervisor.children}
        message, hint = (error.message, error.hint) if error else ("", "")
        State(phase, self._self, services, message, hint).write(self.layout.state)


def asked(ready: Callable[[], bool]) -> Callable[[], bool]:
    """`ready` that raises AssayError for whatever a server answers that is busy or starts."""

    def ask() -> bool:
        try:
            return ready()
        except _NOT_YET as error:
            said = one_line(error)
            raise AssayError(f"{type(error).__name__}: {said}" if said else type(error).__name__) from error

    return ask


def _formatted(broker: Broker) -> Command:
    """The broker's command line; its storage is formatted at its first start, while the node starts."""
    broker.ensure_formatted()
    return broker.command()


def _broker_ready(broker: Broker, settings: Settings, secrets: Mapping[str, str]) -> bool:
    try:
        socket.create_connection((HOST, broker.ports.kafka_internal), timeout=1).close()
    except OSError as error:
        raise AssayError("its port is closed") from error
    provision(broker.internal_conf(), secrets)
    log.info("kafka: published and consumed in %.2f s", check_kafka(settings))
    return True


def _search_ready(node: SearchNode, settings: Settings) -> bool:
    if not security_answers(node):
        raise AssayError("its security plugin does not answer")
    if apply_security(node):
        log.info("opensearch: users and roles brought up to date")
    log.info("opensearch: cluster is %s", check_opensearch(settings))
    return True


def _settings(home: Path, endpoints: Endpoints, secrets: Mapping[str, str]) -> Settings:
    """Settings of these very services, whatever the environment says of others."""
    values = {
        **secrets,
        "ASSAY_KAFKA_BOOTSTRAP": endpoints.kafka_bootstrap,
        "ASSAY_OPENSEARCH_URL": endpoints.opensearch_url,
        "ASSAY_OPENSEARCH_CA": endpoints.opensearch_ca,
    }
    return Settings(home, home / "lake", values)


def _heap(variable: str, least: int, most: int, share: float) -> int:
    """Heap in MiB: configured, else `share` of the memory between `least` and `most`."""
    if (configured := whole_number(environment(), variable, 256)) is not None:
        return configured
    return int(min(max(psutil.virtual_memory().total / (1 << 20) * share, least), most))


if __name__ == "__main__":
    services = Services(Path(sys.argv[1]), owner=owner_of(sys.argv, 2))
    services.layout.create()
    log_to(services.layout.logs)
    sys.exit(services.run())
