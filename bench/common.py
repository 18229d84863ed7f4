"""What the benchmarks share: the machine's description, a private system, a filled topic."""

from __future__ import annotations

import os
import platform
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from platform_assets.contracts.model import Contract
from platform_assets.contracts.read import load_contracts
from platform_assets.core.settings import Settings
from platform_assets.local import lifecycle
from platform_assets.local.topics import TopicSpec, ensure_topics
from platform_assets.sources.kafka.produce import RecordProducer, send_paced
from platform_assets.systems.logs.simulate import simulate

KAFKA_PARTITIONS = 8


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "load_before": os.getloadavg()[0],
    }


@contextmanager
def services(home: Path | None) -> Iterator[Settings]:
    """The services of `home` when they are up; else new ones in a folder of their own, ended afterwards."""
    if home is not None and lifecycle.status(home).healthy:
        yield Settings.load(home)
        return
    with lifecycle.temporary("assay-bench-") as own:
        yield Settings.load(own)


@contextmanager
def private_lake(settings: Settings) -> Iterator[Settings]:
    """The same services with an empty lake that goes away afterwards."""
    with tempfile.TemporaryDirectory(prefix="assay-bench-", dir=settings.home) as folder:
        yield replace(settings, lake_path=Path(folder) / "lake")


def private_system(settings: Settings, tables: tuple[str, ...] = ("events",)) -> Contract:
    """The logs contract under a name of its own, with its topics."""
    contract = named(f"bench{uuid.uuid4().hex[:8]}", tables)
    ensure_topics(settings.kafka_conf("admin"), [TopicSpec(t.topic, KAFKA_PARTITIONS) for t in contract.tables])
    return contract


def named(name: str, tables: tuple[str, ...] = ("events",)) -> Contract:
    """The logs contract as system `name`."""
    logs = load_contracts()["logs"]
    chosen = tuple(replace(logs.table(t), system=name, topic=f"{name}.{t}") for t in tables)
    return replace(logs, system=name, tables=chosen)


def fill(settings: Settings, contract: Contract, events: int, seed: int = 1, duplicates: float = 0.0) -> int:
    """Publish `events` simulated events as fast as they go, that share of them sent twice; records sent."""
    producer = RecordProducer(settings.kafka_conf("producer"), contract.tables[0].topic)
    return send_paced(producer, _limited(events, seed, duplicates), None)


def _limited(events: int, seed: int, duplicates: float) -> Iterator[list[tuple[bytes | None, bytes | None]]]:
    left = events
    for batch in simulate(None, None, seed=seed, duplicates=duplicates):
        yield list(batch[:left])
        left -= len(batch)
        if left <= 0:
            return


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The value of sorted ones that so many percent do not exceed."""
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def median(values: list[float]) -> float:
    """The middle value (upper one of an even number)."""
    return sorted(values)[len(values) // 2]
