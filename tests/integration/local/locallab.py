"""Plain clients of the broker and the node, as any role."""

from __future__ import annotations

from typing import Any

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from opensearchpy import OpenSearch

from platform_assets.core.settings import OpenSearchRole, Settings


def search_client(settings: Settings, role: OpenSearchRole | None) -> OpenSearch:
    """A client as `role`, or as nobody."""
    auth = settings.opensearch_auth(role) if role else None
    return OpenSearch([settings.opensearch_url], http_auth=auth, ca_certs=str(settings.opensearch_ca), max_retries=0)


def publish(conf: dict[str, Any], topic: str, value: bytes) -> KafkaError | None:
    """Publish one record; returns the error that came back for it."""
    outcome: list[KafkaError | None] = []
    producer = Producer({**conf, "log_level": 0, "message.timeout.ms": 60_000, "message.max.bytes": 16_000_000})
    producer.produce(topic, value, on_delivery=lambda error, _: outcome.append(error))
    producer.flush(90)
    return outcome[0]


def consume(conf: dict[str, Any], topic: str) -> bytes | KafkaError:
    """The first record of a topic's partition 0, or the error that came instead."""
    extra = {"group.id": "assay-test", "log_level": 0, "fetch.message.max.bytes": 16_000_000}
    consumer = Consumer({**conf, **extra})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        while True:
            message = consumer.poll(1)
            if message is None:
                continue
            error, value = message.error(), message.value()
            if error is None:
                return value or b""
            # Of the group, not of the topic, and told at any time.
            if error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:
                return error
    finally:
        consumer.close()


def drop_topic(settings: Settings, name: str) -> None:
    """Delete a topic; the client must outlive its answer."""
    admin = AdminClient(settings.kafka_conf("admin"))
    admin.delete_topics([name])[name].result(90)
