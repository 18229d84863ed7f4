"""Reading topics in whole batches: Arrow columns, exact offset ranges, holes and gaps named.

The reader is told where to begin (offsets live in the lake's tables, not in the consumer group) and never decides by
itself to skip anything: `auto.offset.reset=error`. Messages are turned into columns by C-level maps, not by a loop.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from platform_assets.sources.base import (
    RECORD,
    RECORD_SCHEMA,
    Gap,
    Positions,
    SourceBatch,
    SourceError,
    Stream,
    encode_headers,
)
from platform_assets.sources.kafka.topics import QUIET, TIMEOUT_S, Broker, explain, refused, watermarks
from platform_assets.sources.tiling import cut, repeat, tiled

CONSUMER_CONF: Mapping[str, Any] = {
    "group.id": "assay-worker",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
    "fetch.message.max.bytes": 16 * 1024 * 1024,
    # The client's memory is several times this; measured: the worker is no slower than with twice as much.
    "fetch.max.bytes": 32 * 1024 * 1024,
    "queued.max.messages.kbytes": 32_768,
    "fetch.wait.max.ms": 100,
    "check.crcs": True,
}
_CHUNK = 10_000
_YEAR_9999_MS = 253_402_300_799_999
PATIENCE_S = 30.0
"""How long the broker may be away (a restart) before the reader gives up; its client reconnects by itself meanwhile."""
_FATAL_FOR_PARTITION = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Messages are part of no cycle, and so many new objects would have the collector look at all there are again and again."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


@dataclass
class _Pending:
    messages: list[Message] = field(default_factory=list)
    ends: dict[int, int] = field(default_factory=dict)  # partition -> position at end of partition
    cut: bool = False  # some of it lies past the end that was asked for


class KafkaSource:
    """Follows some topics from given offsets. Not thread-safe; one per worker."""

    def __init__(self, conf: Mapping[str, Any]) -> None:
        self._errors: list[KafkaError] = []
        self._consumer = Consumer({**conf, **CONSUMER_CONF, **QUIET, "error_cb": self._errors.append})
        self._broker = Broker(conf)
        self._streams: dict[str, Stream] = {}
        self._next: dict[tuple[str, int], int] = {}
        self._empty: set[tuple[str, int]] = set()
        self._failed: set[tuple[str, int]] = set()
        self._heard = time.monotonic()
        self.gaps: dict[tuple[str, int], Gap] = {}

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def describe(self, names: Sequence[str]) -> dict[str, Stream]:
        """The topics of those names as the broker knows them now."""
        return self._broker.describe(names)

    def look(self, names: Sequence[str]) -> dict[str, Stream] | None:
        """As `describe`; None while the broker is away for a moment (a restart)."""
        try:
            topics = self.describe(names)
        except SourceError:
            if time.monotonic() - self._heard > PATIENCE_S:
                raise
            return None
        self._heard = time.monotonic()
        return topics

    def reaches(self, stream: Stream) -> bool:
        """Whether the client that reads knows a leader of each partition, which takes a moment after they were made.

        It asks the broker: by itself it looks for new partitions every few minutes only.
        """
        try:
            known = self._consumer.list_topics(stream.name, timeout=TIMEOUT_S).topics[stream.name].partitions
        except KafkaException:  # away for a moment: whoever asked looks again
            return False
        return all(p in known and known[p].leader >= 0 for p in stream.shards)

    def holds_since(self, stream: Stream, moment: int) -> bool:
        """Whether the topic holds a record stamped at or after `moment` (microseconds since 1970). Raises SourceError."""
        return self._broker.holds_since(stream, moment)

    def empty(self) -> set[tuple[str, int]]:
        """Partitions that held no record when they were last followed."""
        return set(self._empty)

    def seek(self, positions: Mapping[str, tuple[Stream, Mapping[int, int | None]]]) -> None:
        """Read from these offsets on: {topic: (stream, {partition: next offset, None for the earliest})}.

        Replaces what was followed.
        A partition whose next offset the broker has no more is left out and named in `gaps`.
        """
        self.gaps.clear()
        self._empty.clear()
        self._streams = {name: stream for name, (stream, _) in positions.items()}
        self._next.clear()
        for name, (stream, offsets) in positions.items():
            marks = watermarks(self._consumer, stream)
            for partition, offset in offsets.items():
                low, high = marks[partition]
                if offset is not None and not low <= offset <= high:
                    self.gaps[(name, partition)] = Gap(name, partition, offset, low)
                else:
                    self._next[(name, partition)] = low if offset is None else offset
                    if low == high:
                        self._empty.add((name, partition))
        self._assign()

    def _assign(self) -> None:
        self._consumer.assign(
            [TopicPartition(name, partition, offset) for (name, partition), offset in self._next.items()]
        )

    def ends(self) -> dict[tuple[str, int], int]:
        """The next offset to be written by (topic, partition), as last heard from the broker; no request is made.

        Of a partition of which nothing was heard yet it is where the reader stands.
        """
        found = {}
        for (name, partition), offset in self._next.items():
            _, high = self._consumer.get_watermark_offsets(TopicPartition(name, partition), cached=True)
            found[(name, partition)] = max(high, offset)
        return found

    def watermarks(self, stream: Stream) -> dict[int, tuple[int, int]]:
        """(earliest, next) offsets by partition, asked of the broker."""
        return watermarks(self._consumer, stream)

    def read(
        self, *, max_rows: int, max_bytes: int, seconds: float, until: Positions | None = None
    ) -> list[SourceBatch]:
        """Collect for up to `seconds`, `max_rows` or `max_bytes`, whichever is first; one batch a topic that moved.

        With `until` (exclusive end offsets) records at or past the end are given back and the read stops once all ends
        are reached (bounded mode), at once if they were before.
        """
        with _collector_paused():
            return self._read(time.monotonic() + seconds, max_rows, max_bytes, until)

    def _read(self, deadline: float, max_rows: int, max_bytes: int, until: Positions | None) -> list[SourceBatch]:
        pending: dict[str, _Pending] = {}
        count = size = 0
        while count < max_rows and size < max_bytes and (left := deadline - time.monotonic()) > 0:
            if until is not None and self._reached(pending, until):
                break
            messages = self._consumer.consume(min(_CHUNK, max_rows - count), min(left, 0.2))
            self._raise_errors()
            if not messages:
                continue
            self._heard = time.monotonic()
            taken, values = self._take(messages, pending)
            count += taken
            size += values
        batches = [self._batch(self._streams[name], p, until) for name, p in pending.items()]
        if any(p.cut for p in pending.values()):
            self._assign()  # what was read past the end is given back: once every topic's position is known
        self._stop_failed()
        return [batch for batch in batches if batch is not None]

    def _raise_errors(self) -> None:
        errors, self._errors[:] = list(self._errors), []
        for error in errors:
            away = error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT)
            if error.fatal() or refused(error) or (away and time.monotonic() - self._heard > PATIENCE_S):
                raise explain(error)

    def _take(self, messages: list[Message], pending: dict[str, _Pending]) -> tuple[int, int]:
        """Sort messages by topic and set events aside; (records, bytes of values)."""
        if any(map(Message.error, messages)):
            records = []
            for message in messages:
                error = message.error()
                where = (message.topic() or "", message.partition() or 0)
                if error is None:
                    records.append(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    pending.setdefault(where[0], _Pending()).ends[where[1]] = message.offset() or 0
                elif error.code() in _FATAL_FOR_PARTITION:
                    self._failed.add(where)
                else:
                    raise explain(error)
            messages = records
        if not messages:
            return 0, 0
        names = [name or "" for name in dict.fromkeys(map(Message.topic, messages))]  # as they came
        for name in names:
            group = pending.setdefault(name, _Pending())
            group.messages.extend(messages if len(names) == 1 else [m for m in messages if m.topic() == name])
        return len(messages), sum(map(len, messages))

    def _stop_failed(self) -> None:
        """Leave partitions whose next offset is gone, after what was read of them is covered; the others go on."""
        for name, partition in self._failed & self._next.keys():
            expected = self._next.pop((name, partition))
            low, _ = watermarks(self._consumer, self._streams[name])[partition]
            self.gaps[(name, partition)] = Gap(name, partition, expected, low)
            self._consumer.incremental_unassign([TopicPartition(name, partition)])
        self._failed.clear()

    def _reached(self, pending: dict[str, _Pending], until: Positions) -> bool:
        last = dict(self._next)
        for name, p in pending.items():
            newest = dict(zip(map(Message.partition, p.messages), map(Message.offset, p.messages), strict=True))
            last |= {(name, partition or 0): (offset or 0) + 1 for partition, offset in newest.items()}
            for partition, offset in p.ends.items():
                last[(name, partition)] = max(last[(name, partition)], offset)
        return all(last.get(where, end) >= end for where, end in until.items())

    def _batch(self, stream: Stream, p: _Pending, until: Positions | None) -> SourceBatch | None:
        rows = _columns(stream, p.messages)
        ends = {shard: end for shard, end in p.ends.items() if (stream.name, shard) in self._next}
        if until is not None:
            rows, ends = cut(stream, rows, ends, until)
        batch = tiled(
            stream, rows, ends, {shard: at for (name, shard), at in self._next.items() if name == stream.name}
        )
        if batch is not None:
            self._next |= {(stream.name, shard): end for shard, end in batch.next.items()}
            p.cut = rows.num_rows < len(p.messages)
        return batch


def _columns(stream: Stream, messages: list[Message]) -> pa.Table:
    """The messages by partition, and in each in the order in which they came."""
    n = len(messages)
    partitions = np.fromiter(map(Message.partition, messages), np.int32, n)
    if (np.diff(partitions) < 0).any():  # references are cheaper to sort than the rows that they become
        order = np.argsort(partitions, kind="stable")
        partitions, messages = partitions[order], list(map(messages.__getitem__, order.tolist()))
    milliseconds = np.fromiter(map(itemgetter(1), map(Message.timestamp, messages)), np.int64, n)
    no_time = (milliseconds < 0) | (milliseconds > _YEAR_9999_MS)  # a producer's nonsense must not stop the worker
    headers = list(map(Message.headers, messages))
    encoded = [None if not h else encode_headers(h) for h in headers] if any(headers) else [None] * n
    return pa.table(
        [
            repeat(stream.id, n),
            pa.array(partitions),
            pa.array(np.fromiter(map(Message.offset, messages), np.int64, n)),
            pa.array(np.ones(n, np.int64)),
            repeat(RECORD, n),
            pa.array(np.where(no_time, 0, milliseconds) * 1000, pa.timestamp("us", tz="UTC"), mask=no_time),
            pa.array(map(Message.key, messages), pa.binary(), size=n),
            pa.array(map(Message.value, messages), pa.binary(), size=n),
            pa.array(encoded, pa.binary()),
        ],
        schema=RECORD_SCHEMA,
    )
