"""From event to searchable, with everything on this machine: broker, OpenSearch, Dagster with its sensor, the worker, the
producer.

One event in each tenth of a second is a probe: its age when a search first finds it is the latency. The probe asks five times a
second, so the figures are up to 0.2 s too high.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from opensearchpy.exceptions import TransportError

from bench.behind import gold_behind
from bench.common import machine, percentile, services
from bench.processes import Monitor, tick_to_step
from platform_assets.contracts.model import Contract
from platform_assets.contracts.read import load_contracts
from platform_assets.core.settings import Settings
from platform_assets.index.connect import connect_indices
from platform_assets.index.names import read_alias
from platform_assets.local.dagster import start_dagster
from platform_assets.local.prepare import prepare
from platform_assets.marts.marts import load_marts
from platform_assets.marts.project import project_folder
from platform_assets.sources.kafka.produce import Record, RecordProducer, send_paced
from platform_assets.systems.logs.simulate import simulate

POLL_S = 0.2
GRACE_S = 60.0
"""A probe is lost when none has been found for so long."""


def run(home: Path | None = None, *, rate: float = 10_000, seconds: float = 600) -> dict[str, Any]:
    """`live.*`: latency percentiles in seconds at `rate` events a second for `seconds`, after a minute to warm up.

    `gold.behind_*`: how long gold took to take in what silver committed in that time.
    """
    with services(home) as settings:
        contracts = load_contracts()
        prepare(settings, contracts.values())
        dagster = start_dagster(settings.home)
        try:
            with Monitor(dagster) as watch:
                flow = _Flow(settings, contracts["logs"], rate, seconds + 60)
                ages = flow.measure(warm=60)
            marts = load_marts(project_folder(), "logs")
            lags = gold_behind(settings.lake_path, contracts["logs"], marts, flow.began + 60)
            ticks = tick_to_step(settings.home)
        finally:
            dagster.stop()
    ages.sort()
    return {
        "live.rate": rate,
        "live.achieved_rate": round(flow.sent / flow.took),
        "live.seconds": seconds,
        "live.probes": len(ages),
        "live.probes_lost": flow.lost,
        **{f"live.p{p}_s": round(percentile(ages, p), 2) for p in (50, 95, 99) if ages},
        "live.max_s": round(ages[-1], 2) if ages else None,
        "gold.behind_p95_s": round(percentile(lags, 95), 1) if lags else None,
        "gold.behind_max_s": round(lags[-1], 1) if lags else None,
        "worker.rss_mb": round(max(watch.largest) / 1e6),
        "worker.rss_mb_by_tenth": [round(size / 1e6) for size in watch.by_tenth()],
        "tick_to_step_s": ticks,
        "machine": machine(),
    }


class _Flow:
    """The producer, and the search for its probes."""

    def __init__(self, settings: Settings, contract: Contract, rate: float, seconds: float) -> None:
        self._settings = settings
        self._table = contract.table("events")
        self._rate = rate
        self._seconds = seconds
        self._waiting: dict[str, float] = {}
        self._guard = threading.Lock()
        self._done = threading.Event()
        self.sent = 0
        self.began = 0.0
        self.took = 0.0
        self.lost = 0

    def measure(self, warm: float) -> list[float]:
        """Ages in seconds of the probes that were sent after `warm` seconds."""
        began = self.began = time.time()
        ages: list[float] = []
        sender = threading.Thread(target=self._send, daemon=True)
        sender.start()
        indices = connect_indices(self._settings)
        until = None
        while until is None or (self._waiting and time.time() < until):
            if self._done.is_set() and until is None:
                until = time.time() + GRACE_S
            found = self._found(indices.client)
            if found and until is not None:
                until = time.time() + GRACE_S  # they still come
            for name, sent in found:
                if sent >= began + warm:
                    ages.append(time.time() - sent)
                with self._guard:
                    self._waiting.pop(name, None)
            time.sleep(POLL_S)
        sender.join()
        indices.client.close()
        self.lost = len(self._waiting)
        return ages

    def _found(self, client: Any) -> list[tuple[str, float]]:
        with self._guard:
            asked = dict(list(self._waiting.items())[:1000])
        if not asked:
            return []
        body = {"size": 1000, "_source": ["event_id"], "query": {"terms": {"event_id": list(asked)}}}
        try:
            found = client.search(index=read_alias(self._table), body=body, params={"ignore_unavailable": "true"})
        except TransportError as error:
            if error.status_code == 503:  # the index has just been made, its shard is not there yet
                return []
            raise
        names = [hit["_source"]["event_id"] for hit in found["hits"]["hits"]]
        return [(name, asked[name]) for name in names]

    def _send(self) -> None:
        producer = RecordProducer(self._settings.kafka_conf("producer"), self._table.topic)
        started = time.monotonic()
        self.sent = send_paced(producer, self._batches(), self._rate)
        self.took = time.monotonic() - started
        self._done.set()

    def _batches(self) -> Iterator[Sequence[Record]]:
        for batch in simulate(self._rate, self._seconds):
            probe = json.loads(batch[0][1] or b"{}")
            with self._guard:
                self._waiting[probe["event_id"]] = datetime.fromisoformat(probe["event_time"]).timestamp()
            yield batch
