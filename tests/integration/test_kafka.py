"""What is Kafka's own in reading and sending; what every source promises is in `tests/contract/test_source.py`."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from platform_assets.core.settings import Settings
from platform_assets.local.topics import TopicSpec, ensure_topics
from platform_assets.sources.base import SourceBatch, SourceError, Stream
from platform_assets.sources.kafka.consume import KafkaSource
from platform_assets.sources.kafka.produce import RecordProducer, send_paced

pytestmark = pytest.mark.services


@pytest.fixture
def topic(services: Settings) -> str:
    name = f"t{uuid.uuid4().hex[:10]}.stream"
    ensure_topics(services.kafka_conf("admin"), [TopicSpec(name, 2)])
    return name


@pytest.fixture
def reader(services: Settings) -> Iterator[KafkaSource]:
    made = KafkaSource(services.kafka_conf("ingest"))
    yield made
    made.close()


def read_all(reader: KafkaSource, topic: str, start: dict[int, int | None], expected: int) -> list[SourceBatch]:
    found: Stream = reader.describe([topic])[topic]
    reader.seek({topic: (found, start)})
    batches: list[SourceBatch] = []
    for _ in range(20):
        batches += reader.read(max_rows=1000, max_bytes=1 << 26, seconds=0.5)
        if sum(b.next[p] - b.start[p] for b in batches for p in b.start) >= expected:
            break
    return batches


def ranges(batches: list[SourceBatch]) -> dict[int, list[int]]:
    """Every offset that rows and markers cover, by partition; within a batch they come in order."""
    covered: dict[int, list[int]] = {}
    for batch in batches:
        rows = batch.rows.select(["_shard", "_position", "_span"]).to_pylist()
        assert rows == sorted(rows, key=lambda row: (row["_shard"], row["_position"]))
        for row in rows:
            covered.setdefault(row["_shard"], []).extend(range(row["_position"], row["_position"] + row["_span"]))
    return {p: sorted(o) for p, o in covered.items()}


def test_a_batch_carries_bytes_times_keys_and_headers(services: Settings, topic: str, reader: KafkaSource) -> None:
    producer = Producer(services.kafka_conf("producer"))
    producer.produce(topic, b"v0", key=b"k", partition=0, headers=[("a", b"\xff"), ("a", None)])
    producer.produce(topic, None, key=None, partition=0)
    producer.produce(topic, b"", key=b"", partition=0)
    assert producer.flush(20) == 0
    (batch,) = read_all(reader, topic, {0: None, 1: None}, 3)
    rows = batch.rows.to_pylist()
    assert [(r["key"], r["value"], r["_position"], r["kind"]) for r in rows] == [
        (b"k", b"v0", 0, "record"), (None, None, 1, "record"), (b"", b"", 2, "record")
    ]  # fmt: skip
    assert json.loads(rows[0]["headers"]) == [["a", "\u00ff"], ["a", None]]
    assert rows[0]["record_time"].tzinfo is not None
    assert (batch.start, batch.next) == ({0: 0}, {0: 3})


def test_transaction_markers_and_aborted_records_are_covered(
    services: Settings, topic: str, reader: KafkaSource
) -> None:
    producer = Producer({**services.kafka_conf("producer"), "transactional.id": f"assay-{uuid.uuid4().hex}"})
    producer.init_transactions(30)
    for commit in (True, False, True, False):
        producer.begin_transaction()
        for i in range(5):
            producer.produce(topic, str(i).encode(), partition=i % 2)
        producer.flush(20)
        producer.commit_transaction(30) if commit else producer.abort_transaction(30)
    batches = read_all(reader, topic, {0: None, 1: None}, 28)
    assert ranges(batches) == {0: list(range(16)), 1: list(range(12))}, "10 records, 10 aborted, a marker each 4 times"
    kinds = [r["kind"] for b in batches for r in b.rows.to_pylist()]
    assert kinds.count("record") == 10


def test_bounded_reading_stops_at_the_end_and_gives_the_rest_back(
    services: Settings, topic: str, reader: KafkaSource
) -> None:
    producer = RecordProducer(services.kafka_conf("producer"), topic)
    assert send_paced(producer, [[(None, b"x%d" % i) for i in range(500)]], None) == 500
    found = reader.describe([topic])[topic]
    marks = reader.watermarks(found)
    until = {(topic, p): high // 2 for p, (_, high) in marks.items()}
    reader.seek({topic: (found, {0: None, 1: None})})
    batches = reader.read(max_rows=10_000, max_bytes=1 << 26, seconds=10, until=until)
    assert ranges(batches) == {p: list(range(end)) for (_, p), end in until.items() if end}
    assert {p: end for b in batches for p, end in b.next.items()} == {p: end for (_, p), end in until.items() if end}
    # At the end there is nothing to wait for: pytest's own limit ends a test that does.
    assert reader.read(max_rows=10_000, max_bytes=1 << 26, seconds=86_400, until=until) == []
    rest = reader.read(max_rows=10_000, max_bytes=1 << 26, seconds=2)
    assert {p: (b.start[p], b.next[p]) for b in rest for p in b.start} == {
        p: (high // 2, high) for p, (_, high) in marks.items() if high
    }


@pytest.mark.parametrize("cut", [0, 1])
def test_what_one_topic_gives_back_another_does_not_repeat(services: Settings, reader: KafkaSource, cut: int) -> None:
    """A bounded read that ends in the middle of one topic while the other goes on, in whichever order they come."""
    names = [f"t{uuid.uuid4().hex[:10]}.stream" for _ in range(2)]
    ensure_topics(services.kafka_conf("admin"), [TopicSpec(name, 1) for name in names])
    count = 20_000
    for name in names:
        sender = RecordProducer(services.kafka_conf("producer"), name)
        assert send_paced(sender, [[(None, b"x%d" % i) for i in range(count)]], None) == count
    found = reader.describe(names)
    until = {(name, 0): count - 1_000 if number == cut else count for number, name in enumerate(names)}
    reader.seek({name: (found[name], {0: None}) for name in names})
    batches: dict[str, list[SourceBatch]] = {name: [] for name in names}
    while any(ranges(batches[name]).get(0, []) != list(range(end)) for (name, _), end in until.items()):
        for batch in reader.read(max_rows=6_000, max_bytes=1 << 26, seconds=2, until=until):
            batches[batch.stream.name].append(batch)


def test_a_topic_tells_whether_it_holds_a_record_since_a_moment(
    services: Settings, topic: str, reader: KafkaSource
) -> None:
    found = reader.describe([topic])[topic]
    assert not reader.holds_since(found, 0)
    producer = Producer(services.kafka_conf("producer"))
    producer.produce(topic, b"v", partition=1, timestamp=1_700_000_000_000)
    producer.flush()
    assert reader.holds_since(found, 1_700_000_000_000_000)
    assert not reader.holds_since(found, 1_700_000_000_001_000)


def test_wrong_credentials_are_one_line(services: Settings) -> None:
    wrong = KafkaSource({**services.kafka_conf("ingest"), "sasl.password": "wrong"})
    with pytest.raises(SourceError, match="credentials"):
        wrong.describe(["t.none"])
    wrong.close()


def test_a_record_larger_than_the_topic_takes_is_said(services: Settings) -> None:
    name = f"t{uuid.uuid4().hex[:10]}.stream"
    ensure_topics(services.kafka_conf("admin"), [TopicSpec(name, 1, config={"max.message.bytes": "10000"})])
    producer = RecordProducer(services.kafka_conf("producer"), name)
    noise = random.Random(1).randbytes(50_000)
    with pytest.raises(SourceError, match="a record is larger than the broker takes"):
        send_paced(producer, [[(None, b"small")], [(None, noise)]], None)
