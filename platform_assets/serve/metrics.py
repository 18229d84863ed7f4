"""What Prometheus reads: requests of this server, and how far the platform's tables are.

Belongs here: names and labels of the figures. Does not belong here: finding the facts (`reconcile/overview.py`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from platform_assets.contracts.model import Contract
from platform_assets.core.settings import Settings
from platform_assets.reconcile.overview import Facts, shard_facts, system_facts
from platform_assets.serve.limits import Busy

KEPT_S = 10.0
_FIRST_S = 2.0
"""For so long the first facts of a system are waited for while somebody else asks for them."""
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0)
_AGE = ("assay_facts_age_seconds", "Time since the other figures of the system were found out.")
_SHARDS = {
    "open": ("assay_index_shards", "Shards of open indices."),
    "limit": ("assay_index_shards_limit", "Shards that the cluster may have: at the limit no system gets a new index."),
}
_GAUGES = {
    "lag": ("assay_lag_records", "Records of the topic that bronze does not hold yet."),
    "watermark_age_s": ("assay_freshness_age_seconds", "Age of the newest event in silver."),
    "last_commit_age_s": ("assay_commit_age_seconds", "Time since the worker's last commit."),
    "quarantined": ("assay_quarantined_records", "Records that transform refused."),
    "index_refused": ("assay_index_refused_documents", "Documents that the index refused; their rows are in silver."),
    "conflicts": ("assay_key_conflicts", "Duplicates ever dropped with other values than the row that stays."),
    "index_behind": ("assay_index_behind_commits", "Bronze commits that silver holds and the index does not."),
    "rows": ("assay_silver_rows", "Rows in silver."),
}


class Metrics:
    """The figures of one server."""

    def __init__(self, settings: Settings, contracts: Iterable[Contract]) -> None:
        self.registry = CollectorRegistry()
        self.platform = Platform(settings, contracts)
        labels = ["method", "route"]
        self._requests = Counter(
            "assay_api_requests", "Requests answered.", [*labels, "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "assay_api_request_seconds", "Time to answer.", labels, buckets=_SECONDS, registry=self.registry
        )
        self.registry.register(self.platform)

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """One answered request; `route` is the route's template, never a path that somebody wrote."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def render(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)


class Platform(Collector):
    """The tables' facts, asked for at most once in ten seconds whoever looks, and by one caller at a time."""

    def __init__(self, settings: Settings, contracts: Iterable[Contract]) -> None:
        self._settings = settings
        self._contracts: dict[str, Contract] = {}
        self._asking: dict[str, threading.Lock] = {}
        self._known: dict[str, tuple[float, Facts]] = {}
        self.serve(contracts)
        self._shards: tuple[float, Facts] | None = None
        self._asking_shards = threading.Lock()

    def serve(self, contracts: Iterable[Contract]) -> None:
        """Tell of these systems from now on; what was known of a changed one is asked for anew."""
        before = self._contracts
        found = {contract.system: contract for contract in contracts}
        for system in found:
            self._asking.setdefault(system, threading.Lock())
        self._contracts = found
        for system in [name for name in self._known if before.get(name) != found.get(name)]:
            del self._known[system]

    def shards(self) -> Facts:
        """The index's shards, as `reconcile.overview.shard_facts` tells them, asked for at most once in ten seconds by one
        caller.

        Empty as long as nobody has been told.
        """
        if not _fresh(self._shards) and self._asking_shards.acquire(blocking=False):
            try:
                self._shards = (time.monotonic(), shard_facts(self._settings))
            finally:
                self._asking_shards.release()
        return self._shards[1] if self._shards else {}

    def facts(self, system: str) -> Facts:
        """A system's facts; `age_s` says how many seconds ago they were answered.

        That is ten at most, or more while they are asked for anew: a broker or index that is away takes its time to say so, and
        others must not wait for that. Raises Busy when there are none yet, and somebody else asks for them.
        """
        known = self._known.get(system)
        if not _fresh(known):
            contract, asking = self._contracts.get(system), self._asking.get(system)
            if contract is None or asking is None:  # removed since the request began
                raise Busy(f"{system} is served no more", "ask again")
            if asking.acquire(timeout=0 if known else _FIRST_S):
                try:
                    known = self._known.get(system)  # somebody may have asked meanwhile
                    if not _fresh(known):
                        facts = system_facts(self._settings, contract)
                        self._known[system] = known = (time.monotonic(), facts)
                finally:
                    asking.release()
        if known is None:
            raise Busy(f"the state of {system} is being asked for", "try again soon")
        return {**known[1], "age_s": round(time.monotonic() - known[0], 3)}

    def describe(self) -> Iterator[Metric]:
        """The names, without asking anybody."""
        yield GaugeMetricFamily(*_AGE, labels=["system"])
        for name, text in _SHARDS.values():
            yield GaugeMetricFamily(name, text)
        for name, text in _GAUGES.values():
            yield GaugeMetricFamily(name, text, labels=["system", "table"])

    def collect(self) -> Iterator[Metric]:
        """Every figure that is known now; what a service did not answer, or not yet, is left out."""
        facts = []
        for name in list(self._contracts):
            with suppress(Busy):
                facts.append(self.facts(name))
        age = GaugeMetricFamily(*_AGE, labels=["system"])
        for system in facts:
            age.add_metric([system["system"]], system["age_s"])
        yield age
        shards = self.shards()
        for source, (name, text) in _SHARDS.items():
            if shards.get(source) is not None:
                yield GaugeMetricFamily(name, text, value=float(shards[source]))
        for source, (name, text) in _GAUGES.items():
            gauge = GaugeMetricFamily(name, text, labels=["system", "table"])
            for system in facts:
                for table in system["tables"]:
                    if table.get(source) is not None:
                        gauge.add_metric([system["system"], table["table"]], float(table[source]))
            yield gauge


def _fresh(known: tuple[float, Facts] | None) -> bool:
    return known is not None and time.monotonic() - known[0] < KEPT_S
