"""A producer that remembers where its records went, for the commands that send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, Message

from platform_assets.contracts.model import Table
from platform_assets.core.errors import AssayError
from platform_assets.core.settings import Settings
from platform_assets.sources.base import SourceError
from platform_assets.sources.kafka.produce import RecordProducer
from platform_assets.sources.kafka.topics import Broker


class RangeProducer(RecordProducer):
    """Counts what was acknowledged, and its first and last offset by partition."""

    def __init__(self, conf: Mapping[str, Any], topic: str) -> None:
        super().__init__(conf, topic)
        self._first: dict[int, int] = {}
        self._last: dict[int, int] = {}

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        super()._on_delivery(error, message)
        partition, offset = message.partition(), message.offset()
        if error is None and partition is not None and offset is not None:
            self._first.setdefault(partition, offset)
            self._last[partition] = offset  # an idempotent producer's acknowledgements come in order

    def ranges(self) -> dict[int, tuple[int, int]]:
        """First and last offset by partition, both included. Others may have written between them."""
        return {partition: (first, self._last[partition]) for partition, first in self._first.items()}


def producer_for(settings: Settings, table: Table) -> RangeProducer:
    """A producer for a table's topic. Raises AssayError when the broker does not have the topic."""
    conf = settings.kafka_conf("producer")
    try:
        found = Broker(conf).describe([table.topic])
    except SourceError as error:
        if "authorization" not in error.message.lower():
            raise
        found = {}  # whoever may not see a topic is not told whether there is one
    if table.topic not in found:
        raise AssayError(
            f"the broker has no topic {table.topic}, or none that we may write to",
            "`assay up` creates the topics of all contracts",
        )
    return RangeProducer(conf, table.topic)
