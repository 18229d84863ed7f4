"""Topics and who may use them.

Belongs here: creating topics that are missing, comparing those that are there, granting roles on a prefix.
Does not: reading or writing records (`sources/`), or which topics a system has (its contract).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from platform_assets.core.errors import AssayError

_TIMEOUT_S = 30
_POLL_S = 0.02
_RIGHTS = {
    "producer": (AclOperation.WRITE, AclOperation.DESCRIBE),
    "ingest": (AclOperation.READ, AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS),
}


@dataclass(frozen=True)
class TopicSpec:
    """A topic as it should be. `retention_ms` of None leaves the broker's default, -1 keeps records for ever."""

    name: str
    partitions: int
    retention_ms: int | None = None
    replication: int = 1
    config: Mapping[str, str] = field(default_factory=dict)

    def wanted_config(self) -> dict[str, str]:
        """`config` with the retention in it."""
        retention = {} if self.retention_ms is None else {"retention.ms": str(self.retention_ms)}
        return {**self.config, **retention}


@dataclass(frozen=True)
class TopicReport:
    """What `ensure_topics` found and did; `differs` maps a topic to `{setting: (wanted, actual)}`, left as it is."""

    created: tuple[str, ...]
    present: tuple[str, ...]
    grown: tuple[str, ...]
    differs: Mapping[str, Mapping[str, tuple[str, str]]]


def ensure_topics(admin_conf: Mapping[str, Any], specs: Sequence[TopicSpec], *, grow: bool = False) -> TopicReport:
    """Create the topics that are missing and let the roles use them; a second call changes nothing.

    An existing topic with fewer partitions than asked for is an AssayError unless `grow`: more partitions send keys
    elsewhere. One with more is left alone, settings that differ are reported, not changed (a shorter retention
    deletes records). Rights are granted on the prefix of each name up to its first dot (`logs.` for `logs.events`).
    """
    admin = AdminClient(dict(admin_conf))
    existing = _partitions(admin)
    missing = [spec for spec in specs if spec.name not in existing]
    created = _create(admin, missing)
    present = [spec for spec in specs if spec.name not in created]
    if len(created) < len(missing):  # Somebody else was faster.
        existing = _partitions(admin)
    small = [spec for spec in present if existing[spec.name] < spec.partitions]
    if small and not grow:
        spec = small[0]
        raise AssayError(
            f"topic {spec.name} has {existing[spec.name]} partitions, {spec.partitions} are asked for",
            "growing moves keys to other partitions: lower the number, or grow it on purpose",
        )
    if small:
        _settle(admin.create_partitions([NewPartitions(spec.name, spec.partitions) for spec in small]))
    grant(admin, sorted({_prefix(spec.name) for spec in specs}))
    return TopicReport(
        created=tuple(sorted(created)),
        present=tuple(spec.name for spec in present),
        grown=tuple(spec.name for spec in small),
        differs=_differences(admin, present),
    )


def grant(admin: AdminClient, prefixes: Sequence[str]) -> None:
    """Let `producer` write and `ingest` read every topic whose name begins with one of `prefixes`."""
    bindings = [
        _allow(ResourceType.TOPIC, prefix, role, operation)
        for prefix in prefixes
        for role, operations in _RIGHTS.items()
        for operation in operations
    ]
    _allow_all(admin, bindings)


def grant_base(admin: AdminClient) -> None:
    """What the roles may do besides topics: consumer groups and transactions named `assay-*`."""
    _allow_all(
        admin,
        [
            _allow(ResourceType.GROUP, "assay-", "ingest", AclOperation.READ),
            _allow(ResourceType.TRANSACTIONAL_ID, "assay-", "producer", AclOperation.WRITE),
            _allow(ResourceType.TRANSACTIONAL_ID, "assay-", "producer", AclOperation.DESCRIBE),
        ],
    )


def _allow_all(admin: AdminClient, bindings: Sequence[AclBinding]) -> None:
    """Create rights and wait until the broker knows them: the controller answers a little earlier."""
    known = _known(admin)
    missing = [binding for binding in bindings if binding not in known]
    if not missing:
        return
    _settle(admin.create_acls(missing))
    deadline = time.monotonic() + _TIMEOUT_S
    while not _known(admin).issuperset(missing):
        if time.monotonic() > deadline:
            raise AssayError("Kafka does not apply the rights that it accepted", "see its log")
        time.sleep(_POLL_S)


def _known(admin: AdminClient) -> set[AclBinding]:
    anyone: Any = None  # The library's own wildcard, which its annotations do not know.
    every = AclBindingFilter(
        ResourceType.ANY, anyone, ResourcePatternType.ANY, anyone, anyone, AclOperation.ANY, AclPermissionType.ANY
    )
    try:
        return set(admin.describe_acls(every).result(_TIMEOUT_S))
    except KafkaException as error:
        raise _failure("list rights", error) from error


def _prefix(topic: str) -> str:
    system, dot, _ = topic.partition(".")
    return system + dot


def _allow(resource: ResourceType, prefix: str, role: str, operation: AclOperation) -> AclBinding:
    return AclBinding(
        resource, prefix, ResourcePatternType.PREFIXED, f"User:{role}", "*", operation, AclPermissionType.ALLOW
    )


def _partitions(admin: AdminClient) -> dict[str, int]:
    try:
        topics = admin.list_topics(timeout=_TIMEOUT_S).topics
    except KafkaException as error:
        raise _failure("list topics", error) from error
    return {name: len(topic.partitions) for name, topic in topics.items()}


def _create(admin: AdminClient, specs: Sequence[TopicSpec]) -> set[str]:
    """Create topics; returns the names of those that were not made by somebody else meanwhile."""
    if not specs:
        return set()
    new = [
        NewTopic(spec.name, spec.partitions, replication_factor=spec.replication, config=spec.wanted_config())
        for spec in specs
    ]
    return _settle(admin.create_topics(new, operation_timeout=_TIMEOUT_S), tolerated=KafkaError.TOPIC_ALREADY_EXISTS)


def _differences(admin: AdminClient, specs: Sequence[TopicSpec]) -> dict[str, dict[str, tuple[str, str]]]:
    wanted = {spec.name: spec.wanted_config() for spec in specs if spec.wanted_config()}
    if not wanted:
        return {}
    found = admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, name) for name in wanted])
    differs: dict[str, dict[str, tuple[str, str]]] = {}
    for resource, future in found.items():
        try:
            entries = future.result(_TIMEOUT_S)
        except KafkaException as error:
            raise _failure(f"describe topic {resource.name}", error) from error
        actual = {name: entry.value for name, entry in entries.items()}
        different = {
            name: (value, str(actual.get(name)))
            for name, value in wanted[resource.name].items()
            if actual.get(name) != value
        }
        if different:
            differs[resource.name] = different
    return differs


def _settle(futures: Mapping[Any, Future[Any]], tolerated: int | None = None) -> set[Any]:
    """Wait for all; returns the keys that succeeded, `tolerated` errors left out."""
    done = set()
    for key, future in futures.items():
        try:
            future.result(_TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() != tolerated:
                raise _failure(str(key), error) from error
        else:
            done.add(key)
    return done


def _failure(what: str, error: KafkaException) -> AssayError:
    hint = "check the address and the administrator's password"
    return AssayError(f"Kafka refused: {what}: {error.args[0].str()}", hint)
