"""What the broker knows of a topic: its identity, partitions and watermarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition, Uuid
from confluent_kafka.admin import AdminClient, OffsetSpec

from platform_assets.sources.base import SourceError, Stream

TIMEOUT_S = 15.0
QUIET: Mapping[str, Any] = {"log_level": 2}
"""The client's own lines on standard error repeat what the error callback hears."""


def explain(error: KafkaError) -> SourceError:
    """One line for a person."""
    if refused(error):
        return SourceError(
            "the broker refused the credentials", "check the Kafka user and password in secrets.env or the environment"
        )
    if error.code() in (
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TRANSPORT,
        KafkaError._TIMED_OUT,
        KafkaError._RESOLVE,
    ):
        return SourceError(
            f"the broker does not answer ({error.str()})", "is it running? `assay up` starts a local one"
        )
    if error.code() in (
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    ):
        return SourceError(f"the broker forbids it ({error.str()})", "the role lacks a permission (ACL)")
    if error.code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE):
        return SourceError(
            "a record is larger than the broker takes", "raise max.message.bytes of the topic, or leave the record out"
        )
    return SourceError(f"the broker says: {error.str()}", "see the broker's log")


class Broker:
    """Asks the broker about topics. Says why it cannot be asked, at once where the reason is a wrong password."""

    def __init__(self, conf: Mapping[str, Any]) -> None:
        self._errors: list[KafkaError] = []
        settings: dict[str, Any] = {**conf, **QUIET, "error_cb": self._errors.append}
        self._admin = AdminClient(settings)

    def describe(self, names: Sequence[str]) -> dict[str, Stream]:
        """The topics of those names that exist. Raises SourceError when the broker cannot answer."""
        self._errors.clear()
        futures = self._admin.describe_topics(TopicCollection(list(names)), request_timeout=TIMEOUT_S)
        found: dict[str, Stream] = {}
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
            found[name] = Stream(name, _text(description.topic_id), tuple(sorted(p.id for p in description.partitions)))
        return found

    def holds_since(self, stream: Stream, moment: int) -> bool:
        """Whether the topic holds a record stamped at or after `moment` (microseconds since 1970). Raises SourceError."""
        spec = OffsetSpec.for_timestamp(max(0, moment) // 1000)
        wanted = {TopicPartition(stream.name, partition): spec for partition in stream.shards}
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


def watermarks(consumer: Consumer, stream: Stream) -> dict[int, tuple[int, int]]:
    """(earliest offset still held, next offset to be written) by partition, asked of the broker now."""
    marks = {}
    for partition in stream.shards:
        try:
            marks[partition] = consumer.get_watermark_offsets(TopicPartition(stream.name, partition), timeout=TIMEOUT_S)
        except KafkaException as error:
            raise explain(error.args[0]) from error
    return marks
