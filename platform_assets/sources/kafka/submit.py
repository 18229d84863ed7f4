"""Publishing a few records at a time for callers who wait for their coordinates.

Belongs here: one producer for many threads, and which record went where. Does not: streams of records (`produce.py`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from platform_assets.sources.base import SourceError, Stream
from platform_assets.sources.kafka.produce import PRODUCER_CONF
from platform_assets.sources.kafka.topics import QUIET, Broker, explain

TOPIC_KEPT_S = 30.0
"""How long a topic's identity is believed: one that is made anew has another."""


class Submitter:
    """Publishes with acknowledgement by all replicas. Threads may share it; `timeout_s` bounds one call."""

    def __init__(self, conf: Mapping[str, Any], *, timeout_s: float) -> None:
        self._conf = dict(conf)
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._producer: Producer | None = None
        self._streams: dict[str, tuple[float, Stream]] = {}

    def topic(self, name: str) -> Stream:
        """The topic as the broker knows it. Raises SourceError when it does not answer or has none of that name."""
        known = self._streams.get(name)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        found = Broker(self._conf).describe([name]).get(name)
        if found is None:
            raise SourceError(f"the broker has no topic {name}", "`assay up` creates the topics of all contracts")
        self._streams[name] = (time.monotonic() + TOPIC_KEPT_S, found)
        return found

    def publish(self, topic: str, key: bytes, values: Sequence[bytes]) -> list[tuple[int, int]]:
        """Send `values` with one key, so that they keep their order; (partition, offset) of each.

        Raises SourceError when one was not acknowledged in time; it may have been written all the same.
        """
        placed: list[tuple[int, int]] = []
        failed: list[KafkaError] = []
        done = threading.Event()

        def told(error: KafkaError | None, message: Message) -> None:
            # One key is one partition, whose acknowledgements come in order.
            partition, offset = message.partition(), message.offset()
            if error is not None or partition is None or offset is None:
                failed.append(error or KafkaError(KafkaError._FAIL))
            else:
                placed.append((partition, offset))
            if len(placed) + len(failed) == len(values):
                done.set()

        producer = self._get()
        messages: list[dict[str, Any]] = [{"key": key, "value": value} for value in values]
        try:
            queued = producer.produce_batch(topic, messages, on_delivery=told)
        except (KafkaException, BufferError) as error:
            raise SourceError("the broker takes no more records now", "try again") from error
        if queued != len(messages):
            raise explain(next(m["_error"] for m in messages if "_error" in m))
        until = time.monotonic() + self._timeout_s + 1
        while not done.is_set() and time.monotonic() < until:
            producer.poll(0.02)
        if failed:
            if any(error.fatal() for error in failed):
                self._forget(producer)
            raise explain(failed[0])
        if not done.is_set():
            raise SourceError(f"the broker did not acknowledge within {self._timeout_s:.0f} s", "is it up?")
        return placed

    def close(self) -> None:
        """Wait for what is on its way."""
        if self._producer is not None:
            self._producer.flush(self._timeout_s)

    def _get(self) -> Producer:
        with self._lock:
            if self._producer is None:
                own = {"linger.ms": 2, "delivery.timeout.ms": int(self._timeout_s * 1000), "request.timeout.ms": 5000}
                self._producer = Producer({**self._conf, **PRODUCER_CONF, **QUIET, **own})
            return self._producer

    def _forget(self, producer: Producer) -> None:
        """An idempotent producer that failed for good stays so."""
        with self._lock:
            if self._producer is producer:
                self._producer = None
