"""Sending records: idempotent, acknowledged by all, counted; a rate limit and progress for people."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from platform_assets.sources.base import SourceError
from platform_assets.sources.kafka.topics import QUIET, explain, refused

PRODUCER_CONF: Mapping[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "lz4",
    "linger.ms": 20,
    "batch.size": 262_144,
    "message.max.bytes": 16 * 1024 * 1024,
    "queue.buffering.max.messages": 200_000,
    "queue.buffering.max.kbytes": 262_144,
    "delivery.timeout.ms": 120_000,
}
FLUSH_S = 120.0
_BUFFERED = 150_000
"""Records in flight at most; below the client's own limit, so that a batch is taken whole and order is kept."""

Record = tuple[bytes | None, bytes | None]
"""(key, value)."""


class RecordProducer:
    """Publishes batches of records to one topic and answers for their delivery."""

    def __init__(self, conf: Mapping[str, Any], topic: str) -> None:
        self._failed: list[KafkaError] = []
        self._producer = Producer({**conf, **PRODUCER_CONF, **QUIET, "error_cb": self._on_error})
        self.topic = topic
        self.delivered = 0

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal() or refused(error):  # anything else the client repairs by itself
            self._failed.append(error)

    def _on_delivery(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failed.append(error)
        else:
            self.delivered += 1

    def send(self, records: Sequence[Record]) -> int:
        """Hand records to the client, waiting while its buffer is full; how many. Raises SourceError on a failed delivery."""
        while len(self._producer) + len(records) > _BUFFERED:
            self._producer.poll(0.05)
            self._check()
        messages: list[dict[str, Any]] = [{"key": key, "value": value} for key, value in records]
        try:
            queued = self._producer.produce_batch(self.topic, messages, on_delivery=self._on_delivery)
        except KafkaException as error:
            raise explain(error.args[0]) from error
        if queued != len(messages):
            refused = next(m["_error"] for m in messages if "_error" in m)
            raise explain(refused)
        self._producer.poll(0)
        self._check()
        return queued

    def flush(self) -> None:
        """Wait until everything is acknowledged. Raises SourceError when something was not."""
        until = time.monotonic() + FLUSH_S
        while (left := self._producer.flush(0.5)) and time.monotonic() < until:
            self._check()
        self._check()
        if left:
            raise SourceError(
                f"{left} records were not acknowledged within {FLUSH_S:.0f} s",
                "is the broker up? what was not acknowledged may be sent again",
            )

    def _check(self) -> None:
        if self._failed:
            raise explain(self._failed[0])


def send_paced(
    producer: RecordProducer,
    batches: Iterable[Sequence[Record]],
    rate: float | None,
    progress: Callable[[int], None] | None = None,
    sleep: Callable[[float], object] = time.sleep,
) -> int:
    """Send batches at no more than `rate` records a second (None: as fast as possible) and wait for all; records sent.

    A batch larger than a tenth of a second's worth is cut, so that the stream flows evenly. `sleep` waits for seconds: one
    that can be woken ends a slow stream at once.
    """
    started = time.monotonic()
    sent = 0
    piece = max(1, int(rate / 10)) if rate else 10_000
    for batch in batches:
        for at in range(0, len(batch), piece):
            part = batch[at : at + piece]
            producer.send(part)
            sent += len(part)
            if progress:
                progress(len(part))
            if rate and (ahead := sent / rate - (time.monotonic() - started)) > 0:
                sleep(ahead)
    producer.flush()
    return sent
