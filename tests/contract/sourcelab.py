"""What the suite of sources asks of each kind: making, filling, cutting and losing streams for real.

Belongs here: `SourceLab`, and one class for each kind of source. Does not: what is asserted (`test_source.py`).
"""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Sequence
from typing import Protocol

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from waiting import eventually

from platform_assets.core.settings import Settings
from platform_assets.local import lifecycle
from platform_assets.local.topics import TopicSpec, ensure_topics
from platform_assets.sources.base import Source
from platform_assets.sources.connect import open_source
from platform_assets.sources.kafka import consume


class SourceLab(Protocol):
    """One kind of source, with streams of a test's own."""

    def open(self) -> Source:
        """A source as a worker has it."""

    def make(self, shards: int = 1) -> str:
        """A new stream's name."""

    def grow(self, name: str, shards: int) -> None:
        """Give a stream more shards."""

    def remake(self, name: str) -> None:
        """Delete a stream and make it anew under its name, with one shard."""

    def write(self, name: str, values: Sequence[bytes | None], shard: int = 0) -> None:
        """Append records."""

    def skip(self, name: str, shard: int = 0) -> int:
        """Append positions that hold no record that can be read; how many."""

    def forget(self, name: str, before: int, shard: int = 0) -> None:
        """Let retention take what lies before a position."""

    def interrupt(self, patch: pytest.MonkeyPatch) -> None:
        """Make the source go away and come back by itself; only where nobody else uses it."""


class KafkaLab:
    """Topics of a real broker."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._admin = AdminClient(settings.kafka_conf("admin"))

    def open(self) -> Source:
        return open_source(self._settings)

    def make(self, shards: int = 1) -> str:
        name = f"t{uuid.uuid4().hex[:10]}.source"
        ensure_topics(self._settings.kafka_conf("admin"), [TopicSpec(name, shards)])
        return name

    def grow(self, name: str, shards: int) -> None:
        ensure_topics(self._settings.kafka_conf("admin"), [TopicSpec(name, shards)], grow=True)

    def remake(self, name: str) -> None:
        self._admin.delete_topics([name])[name].result(20)
        source = self.open()
        eventually(lambda: name not in source.describe([name]))
        source.close()
        ensure_topics(self._settings.kafka_conf("admin"), [TopicSpec(name, 1)])

    def write(self, name: str, values: Sequence[bytes | None], shard: int = 0) -> None:
        producer = Producer(self._settings.kafka_conf("producer") | {"message.max.bytes": 16 * 1024 * 1024})
        for value in values:
            producer.produce(name, value, partition=shard)
        assert producer.flush(60) == 0

    def skip(self, name: str, shard: int = 0) -> int:
        """Three records of a transaction that is aborted, and its marker."""
        own = {"transactional.id": f"assay-{uuid.uuid4().hex}"}
        producer = Producer(self._settings.kafka_conf("producer") | own)
        producer.init_transactions(30)
        producer.begin_transaction()
        for _ in range(3):
            producer.produce(name, b"aborted", partition=shard)
        producer.flush(20)
        producer.abort_transaction(30)
        return 4

    def forget(self, name: str, before: int, shard: int = 0) -> None:
        where = TopicPartition(name, shard, before)
        self._admin.delete_records([where])[TopicPartition(name, shard)].result(20)

    def interrupt(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(consume, "PATIENCE_S", 3600.0)  # on a busy machine a broker starts slowly
        (pid,) = [one.pid for one in lifecycle.status(self._settings.home).services if one.name == "kafka"]
        assert pid
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not lifecycle.status(self._settings.home).healthy)
        eventually(lambda: lifecycle.status(self._settings.home).healthy)
