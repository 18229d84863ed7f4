"""From the event that completes a breach to the alert that people can read, beside a flow, with a hand-over every 20 s.

Each probe is a service of its own that logs one error more than the rule allows, all at once. Its latency is the age of
its last event when a search for alerts first finds it. The search asks five times a second.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.common import machine, percentile, private_lake, private_system, services
from platform_assets.alerts.index import alerts_alias
from platform_assets.alerts.read import parse_rules
from platform_assets.contracts.model import Contract
from platform_assets.core.settings import Settings
from platform_assets.index.connect import connect_indices
from platform_assets.ingest.worker import Worker
from platform_assets.sources.kafka.produce import Record, RecordProducer, send_paced
from platform_assets.systems.logs.simulate import simulate

ERRORS = 10
POLL_S = 0.2
TURN_S = 20.0
GRACE_S = 60.0
RULES = f"""
rules:
  many:
    kind: window
    table: events
    where: level = 'ERROR' AND starts_with(service, 'probe-')
    by: [service]
    measure: count(*)
    window: 5m
    above: {ERRORS}
    summary: "{{service}}: {{value:.0f}} errors"
"""


def run(home: Path | None = None, *, rate: float = 2000, seconds: float = 100) -> dict[str, Any]:
    """`alert.*`: latency percentiles in seconds at `rate` events a second, one probe a second for `seconds`."""
    with services(home) as settings, private_lake(settings) as own:
        contract = private_system(own)
        probes = _Probes(own, contract, rate, seconds)
        ages = sorted(probes.measure())
    return {
        "alert.rate": rate,
        "alert.probes": len(ages),
        "alert.probes_lost": probes.lost,
        **{f"alert.p{p}_s": round(percentile(ages, p), 2) for p in (50, 95) if ages},
        "alert.max_s": round(ages[-1], 2) if ages else None,
        "alert.hand_overs": probes.turns - 1,
        "machine": machine(),
    }


class _Probes:
    """The flow, workers that take over from each other, and the search for alerts."""

    def __init__(self, settings: Settings, contract: Contract, rate: float, seconds: float) -> None:
        self._settings = settings
        self._contract = contract
        self._rate = rate
        self._seconds = seconds
        self._sent: dict[str, float] = {}
        self._stop = threading.Event()
        self._errors: list[Exception] = []
        self.turns = 0
        self.lost = 0

    def measure(self) -> list[float]:
        """Ages in seconds. Raises what a worker or the producer raised."""
        threads = [threading.Thread(target=self._guarded, args=(work,)) for work in (self._workers, self._send)]
        for thread in threads:
            thread.start()
        found: dict[str, float] = {}
        indices = connect_indices(self._settings)
        until = time.time() + self._seconds + GRACE_S
        try:
            while time.time() < until and not self._errors and (threads[1].is_alive() or len(found) < len(self._sent)):
                for service in self._alerts(indices.client) - set(found):
                    found[service] = time.time() - self._sent[service]
                time.sleep(POLL_S)
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
            indices.client.close()
        if self._errors:
            raise self._errors[0]
        self.lost = len(self._sent) - len(found)
        return list(found.values())

    def _alerts(self, client: Any) -> set[str]:
        body = {"size": 10_000, "_source": ["visible_to"], "query": {"term": {"rule": "many"}}}
        alias = alerts_alias(self._contract.system)
        found = client.search(index=alias, body=body, params={"ignore_unavailable": "true", "ignore": (404, 503)})
        hits = found.get("hits", {}).get("hits", [])  # none while the index is being made
        return {str(hit["_source"]["visible_to"]) for hit in hits}

    def _guarded(self, work: Any) -> None:
        try:
            work()
        except Exception as error:  # raised by `measure`
            self._errors.append(error)
            self._stop.set()

    def _workers(self) -> None:
        rules = parse_rules(RULES, self._contract)
        running: list[threading.Thread] = []
        while not self._stop.is_set():
            worker = Worker(self._settings, self._contract, rules=rules)
            follow = lambda worker=worker: worker.follow(max_seconds=3 * TURN_S, stop=self._stop)  # noqa: E731
            running.append(threading.Thread(target=self._guarded, args=(follow,)))
            running[-1].start()
            self.turns += 1
            self._stop.wait(TURN_S)
        for thread in running:
            thread.join()

    def _send(self) -> None:
        producer = RecordProducer(self._settings.kafka_conf("producer"), self._contract.tables[0].topic)
        send_paced(producer, self._batches(), self._rate)

    def _batches(self) -> Iterator[Sequence[Record]]:
        began, number = time.time(), 0
        for batch in simulate(self._rate, self._seconds):
            if self._stop.is_set():
                return
            if time.time() - began >= number + 1:
                number += 1
                yield [*batch, *self._probe(f"probe-{number}")]
            else:
                yield batch

    def _probe(self, service: str) -> list[Record]:
        now = datetime.now(UTC)
        self._sent[service] = now.timestamp()
        same = {"event_time": now.isoformat(), "service": service, "level": "ERROR", "message": "probe"}
        return [(None, json.dumps({"event_id": uuid.uuid4().hex, **same}).encode()) for _ in range(ERRORS + 1)]
