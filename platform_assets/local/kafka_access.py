"""The supervisor and the commands as Kafka's clients.

Belongs here: giving the roles their passwords and rights, and checking that publish and consume really work.
Does not: the server (`kafka.py`), or moving data (`sources/`).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from platform_assets.core.errors import AssayError
from platform_assets.core.settings import KafkaRole, Settings
from platform_assets.local.endpoints import KAFKA_ROLES
from platform_assets.local.topics import TopicSpec, ensure_topics, grant_base

CHECK_TOPIC = "assay.check"
_CHECK = TopicSpec(CHECK_TOPIC, 1, retention_ms=60_000, config={"segment.ms": "60000"})
_SCRAM_ITERATIONS = 4096
_CLIENT = TypeVar("_CLIENT")


def provision(internal_conf: Mapping[str, str], passwords: Mapping[str, str]) -> None:
    """Give every role its password, its rights and the check topic, through the broker's internal listener.

    Repeated at each start, so passwords that were changed in `secrets.env` take effect.
    """
    admin = AdminClient({**internal_conf, "log_level": 0})
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, _SCRAM_ITERATIONS)
    futures = admin.alter_user_scram_credentials(
        [
            UserScramCredentialUpsertion(role, info, passwords[f"ASSAY_KAFKA_{role.upper()}_PASSWORD"].encode())
            for role in KAFKA_ROLES
        ],
        request_timeout=10,
    )
    for future in futures.values():
        future.result(15)
    grant_base(admin)
    ensure_topics(internal_conf, [_CHECK])


def check_kafka(settings: Settings, timeout_s: float = 10.0) -> float:
    """Publish as `producer`, consume it as `ingest`; returns the seconds it took.

    Raises AssayError in one line: a wrong password, a missing right, no answer.
    """
    begun = time.monotonic()
    deadline = begun + timeout_s
    value = secrets.token_bytes(16)
    offset = _publish(settings, value, deadline)
    consumer, errors = _client(Consumer, settings, "ingest", {"group.id": "assay-check", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(CHECK_TOPIC, 0, offset)])
        while (message := consumer.poll(0.1)) is None or message.error() is not None:
            if message is not None and (error := message.error()) is not None:
                errors.append(error)
            _raise_fatal(settings, "ingest", errors)
            if time.monotonic() > deadline:
                raise _silence(settings, errors)
        if message.value() != value:
            raise AssayError("Kafka returned another record than was published", "see Kafka's log")
    finally:
        consumer.close()
    return time.monotonic() - begun


def _publish(settings: Settings, value: bytes, deadline: float) -> int:
    """Publish one record to the check topic; returns its offset."""
    producer, errors = _client(Producer, settings, "producer", {"linger.ms": 0})
    offsets: list[int] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            errors.append(error)
            return
        offset = message.offset()
        if offset is not None:
            offsets.append(offset)

    producer.produce(CHECK_TOPIC, value, on_delivery=delivered)
    while not offsets:
        producer.poll(0.1)
        _raise_fatal(settings, "producer", errors)
        if time.monotonic() > deadline:
            producer.purge()
            raise _silence(settings, errors)
    return offsets[0]


def _client(
    kind: Callable[[dict[str, Any]], _CLIENT], settings: Settings, role: KafkaRole, extra: Mapping[str, Any]
) -> tuple[_CLIENT, list[KafkaError]]:
    errors: list[KafkaError] = []
    # Errors are ours to tell; librdkafka would print them besides.
    quiet = {"error_cb": errors.append, "log_level": 0}
    try:
        return kind({**settings.kafka_conf(role), **extra, **quiet}), errors
    except KafkaException as error:
        raise AssayError(f"Kafka's settings are not accepted: {error.args[0].str()}", "check ASSAY_KAFKA_*") from error


_WRONG_PASSWORD = (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED)
_NO_RIGHT = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)


def _raise_fatal(settings: Settings, role: KafkaRole, errors: list[KafkaError]) -> None:
    refusal = f"Kafka at {settings.kafka_bootstrap} refuses the user {role!r}"
    for error in errors:
        if error.code() in _WRONG_PASSWORD:
            raise AssayError(
                f"{refusal}: wrong password", f"compare ASSAY_KAFKA_{role.upper()}_PASSWORD with secrets.env"
            )
        if error.code() in _NO_RIGHT:
            raise AssayError(f"{refusal}: no right on {CHECK_TOPIC}", "an administrator must grant it")


def _silence(settings: Settings, errors: list[KafkaError]) -> AssayError:
    last = f" ({errors[-1].str()})" if errors else ""
    return AssayError(f"Kafka at {settings.kafka_bootstrap} does not answer{last}", "is it up? `assay status` tells")
