"""The local Kafka broker: its configuration, its storage, its command line.

Belongs here: everything that makes the server. Does not: being its client (`kafka_access.py`, `topics.py`).

One node is broker and controller. Three listeners, all on the loopback address and all with SASL:

- CLIENT, SCRAM-SHA-512: the roles `producer`, `ingest` and `admin`, under ACLs that deny what they do not allow;
- INTERNAL and CONTROLLER, PLAIN: the broker itself and the supervisor, with a password that lives for one start.
"""

from __future__ import annotations

import secrets
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from platform_assets.core.errors import AssayError
from platform_assets.core.files import tail, write_private
from platform_assets.local.artifacts import Runtime
from platform_assets.local.endpoints import HOST, Ports
from platform_assets.local.java import Java
from platform_assets.local.layout import Layout
from platform_assets.local.process import Command, spawn
from platform_assets.local.properties import log4j_text, properties_text

NAME = "kafka"
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
INTERNAL_USER = "broker"
_FORMAT_TIMEOUT_S = 60
_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
# Each denial would be a line at INFO; refused requests are answered to their senders.
_QUIET = {"logger.authorizer.name": "kafka.authorizer.logger", "logger.authorizer.level": "warn"}


@dataclass(frozen=True)
class Broker:
    """One broker of a home. `internal_password` is new at each start and never leaves 0600 files and memory."""

    layout: Layout
    ports: Ports
    java: Java
    runtime: Runtime
    heap_mb: int
    internal_password: str

    @classmethod
    def prepare(cls, layout: Layout, ports: Ports, java: Java, runtime: Runtime, heap_mb: int) -> Broker:
        """Write the configuration. The storage is to be formatted before the start (`ensure_formatted`)."""
        broker = cls(layout, ports, java, runtime, heap_mb, secrets.token_urlsafe(24))
        broker._write_configuration()
        return broker

    @property
    def bootstrap(self) -> str:
        """Where clients connect."""
        return f"{HOST}:{self.ports.kafka}"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.layout.logs / NAME / "server.log"

    @property
    def output(self) -> Path:
        """What the virtual machine printed since its start."""
        return self.layout.logs / NAME / "console.out"

    def internal_conf(self) -> dict[str, str]:
        """Client settings of the supervisor, which may do everything."""
        return internal_conf(f"{HOST}:{self.ports.kafka_internal}", self.internal_password)

    def ensure_formatted(self) -> None:
        """Format the storage at the first start, which takes seconds. Raises AssayError when it cannot be done."""
        if (self._data / "meta.properties").is_file():
            return
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # One argument: an id may begin with a hyphen.
        arguments = ("kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(self._properties))
        process = spawn(self._java(*arguments, options=("-Xmx256m",)), self.layout.user)
        try:
            code = process.wait(_FORMAT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if code != 0:
            raise AssayError(
                f"Kafka's storage could not be formatted: {tail(self.output, 1) or f'exit code {code}'}",
                f"see {self.output}",
            )

    def command(self) -> Command:
        """The server's command line."""
        options = (f"-Xms{self.heap_mb // 2}m", f"-Xmx{self.heap_mb}m", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20")
        return self._java("kafka.Kafka", str(self._properties), options=options)

    def _java(self, *arguments: str, options: tuple[str, ...] = ()) -> Command:
        return Command(
            arguments=[
                str(self.java.executable),
                *options,
                "-XX:+ExitOnOutOfMemoryError",
                "-Djava.awt.headless=true",
                f"-Djava.io.tmpdir={self._folder / 'tmp'}",
                f"-Dlog4j2.configurationFile={self._config / 'log4j2.properties'}",
                "--enable-native-access=ALL-UNNAMED",
                "-cp",
                f"{self.runtime.kafka / 'lib'}/*",
                *arguments,
            ],
            cwd=self._folder,
            output=self.output,
            home=self._folder,
        )

    @property
    def _folder(self) -> Path:
        return self.layout.service(NAME)

    @property
    def _config(self) -> Path:
        return self._folder / "config"

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _properties(self) -> Path:
        return self._config / "server.properties"

    def _write_configuration(self) -> None:
        ports, owner = self.ports, self.layout.user.owner
        client, internal = f"{HOST}:{ports.kafka}", f"{HOST}:{ports.kafka_internal}"
        properties = broker_properties(
            {"CLIENT": (client, client), "INTERNAL": (internal, internal)},
            controller=f"{HOST}:{ports.kafka_controller}",
            password=self.internal_password,
            data=self._data,
        )
        write_private(self._properties, properties_text(properties), owner)
        logging = log4j_text(self.log, "[%d] %p %m (%c)%n", _QUIET)
        write_private(self._config / "log4j2.properties", logging, owner)


def broker_properties(
    listeners: Mapping[str, tuple[str, str]], *, controller: str, password: str, data: Path
) -> dict[str, object]:
    """The settings of every single node that we run, broker and controller in one.

    `listeners` maps a name to (where it listens, what it tells clients), each `host:port`. `INTERNAL` is among them and asks for
    the broker's own `password`, as the controller's address does; the others ask for a role's.
    """
    jaas = f'{_PLAIN} required username="{INTERNAL_USER}" password="{password}" user_{INTERNAL_USER}="{password}";'
    roles = [name for name in listeners if name != "INTERNAL"]
    scram = {
        f"listener.name.{name.lower()}.{setting}": value
        for name in roles
        for setting, value in (
            ("sasl.enabled.mechanisms", "SCRAM-SHA-512"),
            ("scram-sha-512.sasl.jaas.config", f"{_SCRAM} required;"),
        )
    }
    return {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{controller}",
        "listeners": ",".join([*(f"{n}://{at}" for n, (at, _) in listeners.items()), f"CONTROLLER://{controller}"]),
        "advertised.listeners": ",".join(f"{name}://{told}" for name, (_, told) in listeners.items()),
        "listener.security.protocol.map": ",".join(f"{name}:SASL_PLAINTEXT" for name in (*listeners, "CONTROLLER")),
        "inter.broker.listener.name": "INTERNAL",
        "controller.listener.names": "CONTROLLER",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "sasl.mechanism.controller.protocol": "PLAIN",
        **scram,
        "listener.name.internal.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.internal.plain.sasl.jaas.config": jaas,
        "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.controller.plain.sasl.jaas.config": jaas,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "false",
        "super.users": f"User:{INTERNAL_USER};User:admin",
        "log.dirs": data,
        "auto.create.topics.enable": "false",
        "default.replication.factor": 1,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 8,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 8,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        "message.max.bytes": MAX_MESSAGE_BYTES,
        "replica.fetch.max.bytes": MAX_MESSAGE_BYTES,
        # The default of 128 MiB would be a quarter of a small heap.
        "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
    }


def internal_conf(bootstrap: str, password: str) -> dict[str, str]:
    """Client settings of the broker's own user, which may do everything."""
    return {
        "bootstrap.servers": bootstrap,
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": INTERNAL_USER,
        "sasl.password": password,
    }
