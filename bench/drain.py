"""How fast a full topic becomes lake, and lake and index, beside what the consumer and `_bulk` alone reach on the same data."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from bench.bulk import bulk_limit
from bench.common import KAFKA_PARTITIONS, fill, machine, median, private_lake, private_system, services
from platform_assets.contracts.model import Contract
from platform_assets.core.settings import Settings
from platform_assets.ingest.worker import Worker
from platform_assets.sources.kafka.consume import CONSUMER_CONF


def run(home: Path | None = None, *, events: int = 1_000_000, repeats: int = 3) -> dict[str, Any]:
    """`drain.*`: events a second, medians of `repeats`. The first one with the index finds a node that is not warm yet."""
    with services(home) as settings:
        return _run(settings, events, repeats)


def _run(settings: Settings, events: int, repeats: int) -> dict[str, Any]:
    contract = private_system(settings)
    fill(settings, contract, events)
    consume = [events / _consume(settings, contract, events) for _ in range(repeats)]
    lake, memory = [], []
    for _ in range(repeats):
        with private_lake(settings) as private:
            started = time.perf_counter()
            report = Worker(private, contract, index=False).drain()
            lake.append(report.tables["events"].records / (time.perf_counter() - started))
            memory.append(report.peak_rss / 1e6)
    indexed = []
    for left in reversed(range(repeats)):
        contract = private_system(settings)  # an index belongs to one lake
        fill(settings, contract, events)
        with private_lake(settings) as private:
            started = time.perf_counter()
            report = Worker(private, contract).drain()
            indexed.append(sum(report.tables["events"].indexed.values()) / (time.perf_counter() - started))
            memory.append(report.peak_rss / 1e6)
            if not left:
                limit = bulk_limit(private, contract.tables[0], rows=events)
    return {
        "drain.events": events,
        "drain.consume_limit_per_s": round(median(consume)),
        "drain.lake_per_s": round(median(lake)),
        "drain.index_per_s": round(median(indexed)),
        "drain.index_runs_per_s": [round(rate) for rate in indexed],
        "drain.bulk_limit_per_s": round(limit),
        "drain.index_ratio": round(median(indexed) / limit, 3),
        "drain.rss_mb": round(max(memory)),
        "machine": machine(),
    }


def _consume(settings: Settings, contract: Contract, events: int) -> float:
    """Seconds that the client alone needs for the topic."""
    consumer = Consumer({**settings.kafka_conf("ingest"), **CONSUMER_CONF, "enable.partition.eof": False})
    consumer.assign([TopicPartition(contract.tables[0].topic, p, 0) for p in range(KAFKA_PARTITIONS)])
    started = time.perf_counter()
    seen = 0
    while seen < events:
        seen += len(consumer.consume(10_000, 1.0))
    consumer.close()
    return time.perf_counter() - started
