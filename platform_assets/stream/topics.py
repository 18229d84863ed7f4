"""What the broker knows of a topic: its identity, partitions and watermarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition, Uuid
from confluent_kafka.admin import AdminClient, OffsetSpec

from platform_assets.core.errors import AssayError
from platform_assets.core.transactions import app_id

TIMEOUT_S = 15.0
QUIET: Mapping[str, Any] = {"log_level": 2}
"""The client's own lines on standard error repeat what the error callback hears."""


class StreamError(AssayError):
    """The broker cannot be reached, refuses, or answers what the worker cannot go on from."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it is now. `id` is the broker's UUID: a topic deleted and created again has another."""

    name: str
    id: str
    partitions: tuple[int, ...]

    def app_id(self, partition: int) -> str:
        """The application transaction under which tables record the next offset of this partition."""
        return app_id(self.id, partition)


def explain(error: KafkaError) -> StreamError:
    """One line for a person."""
    if refused(error):
        return StreamError(
            "the broker refused the credentials", "check the Kafka user and password in secrets.env or the environment"
        )
    if error.code() in (
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TRANSPORT,
        KafkaError._TIMED_OUT,
        KafkaError._RESOLVE,
    ):
        return StreamError(
            f"the broker does not answer ({error.str()})", "is it running? `assay up` starts a local one"
        )
    if error.code() in (
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    ):
        return StreamError(f"the broker forbids it ({error.str()})", "the role lacks a permission (ACL)")
    if error.code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE):
        return StreamError(
            "a record is larger than the broker takes", "raise max.message.bytes of the topic, or leave the record out"
        )
    return StreamError(f"the broker says: {error.str()}", "see the broker's log")


class Broker:
    """Asks the broker about topics. Says why it cannot be asked, at once where the reason is a wrong password."""

    def __init__(self, conf: Mapping[str, Any]) -> None:
        self._errors: list[KafkaError] = []
        settings: dict[str, Any] = {**conf, **QUIET, "error_cb": self._errors.append}
        self._admin = AdminClient(settings)

    def describe(self, names: Sequence[str]) -> dict[str, Topic]:
        """The topics of those names that exist. Raises StreamError when the broker cannot answer."""
        self._errors.clear()
        futures = self._admin.describe_topics(TopicCollection(list(names)), request_timeout=TIMEOUT_S)
        found: dict[str, Topic] = {}
        for name, future in futures.items():
            while not future.done() and not any(map(refused, self._errors)):
                self._admin.poll(0.02)
            if not future.done():
                raise explain(next(filter(refused, self._errors)))
            try:
                description = future.result()
            except KafkaException as error:
                kafka_error: KafkaError = error.args[0]
                if kafka_error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    continue
                raise explain(kafka_error) from error
            found[name] = Topic(name, _text(description.topic_id), tuple(sorted(p.id for p in description.partitions)))
        return found

    def holds_since(self, topic: Topic, moment: int) -> bool:
        """Whether the topic holds a record stamped at or after `moment` (microseconds since 1970). Raises StreamError."""
        spec = OffsetSpec.for_timestamp(max(0, moment) // 1000)
        wanted = {TopicPartition(topic.name, partition): spec for partition in topic.partitions}
        futures = self._admin.list_offsets(wanted, request_timeout=TIMEOUT_S)
        try:
            return any(future.result().offset >= 0 for future in futures.values())
        except KafkaException as error:
            raise explain(error.args[0]) from error


def _text(topic_id: Uuid) -> str:
    """A topic's UUID as Kafka's own tools print it: safe in addresses and shells, where the client's form is not."""
    return str(topic_id).translate(str.maketrans("+/", "-_"))


def refused(error: KafkaError) -> bool:
    """Whether the broker knows us and says no; waiting would not help."""
    return error.code() in (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED)


def watermarks(consumer: Consumer, topic: Topic) -> dict[int, tuple[int, int]]:
    """(earliest offset still held, next offset to be written) by partition, asked of the broker now."""
    marks = {}
    for partition in topic.partitions:
        try:
            marks[partition] = consumer.get_watermark_offsets(TopicPartition(topic.name, partition), timeout=TIMEOUT_S)
        except KafkaException as error:
            raise explain(error.args[0]) from error
    return marks
