"""How long the API takes to answer: searches and figures at a steady rate, over real HTTP, on a filled index.

Latency counts from the moment at which a request was due, so that a slow answer also delays, and charges, those behind it.
"""

from __future__ import annotations

import itertools
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from bench.common import fill, machine, percentile, private_lake, private_system, services
from platform_assets.contracts.model import Contract
from platform_assets.core.settings import Settings
from platform_assets.index.client import connect
from platform_assets.ingest.worker import Worker
from platform_assets.serve.app import create_app
from platform_assets.serve.keys import KeyStore, Role
from platform_assets.serve.server import make_server

_SEARCHES: tuple[dict[str, str], ...] = (
    {"q": "level:ERROR status:500", "last": "24h"},
    {"q": "service:payments level:ERROR,FATAL", "last": "24h"},
    {"q": "declined", "last": "1h"},
    {"q": "latency_ms:>500", "table": "events", "last": "24h"},
    {"q": "", "last": "15m", "histogram": "true"},
)
_STATS: tuple[dict[str, str], ...] = (
    {"mart": "errors_minute", "last": "24h", "by": "minute", "sum": "errors"},
    {"mart": "errors_minute", "last": "24h", "by": "service", "sum": "errors"},
    {"mart": "errors_minute", "last": "1h"},
)
_LIMITS = {"ASSAY_API_RATE": "1000000/minute", "ASSAY_API_AT_ONCE": "32"}


def run(
    home: Path | None = None, *, documents: int = 20_000_000, rate: float = 20, seconds: float = 60
) -> dict[str, Any]:
    """`api.*`: percentiles in milliseconds at `rate` requests a second of each kind, after five seconds to warm up.

    Filling the index takes a quarter of an hour.
    """
    with services(home) as settings, private_lake(settings) as lake:
        contract = private_system(lake)
        own = replace(lake, home=lake.lake_path.parent, values={**lake.values, **_LIMITS})
        fill(own, contract, documents)
        Worker(own, contract).drain()
        worker = connect(own.opensearch_url, own.opensearch_auth("ingest"), own.opensearch_ca)
        try:
            rows = _mart(worker, contract.system)
            figures: dict[str, Any] = {"api.documents": documents, "api.mart_rows": rows, "api.rate_per_s": rate}
            with _server(own, contract) as client:
                for name, path, asked in (("search", "search", _SEARCHES), ("stats", "stats", _STATS)):
                    ask = _asker(client, f"/v1/{contract.system}/{path}", asked)
                    _load(ask, rate, 5)
                    figures |= _percentiles(name, _load(ask, rate, seconds))
        finally:
            worker.indices.delete(index=f"{contract.system}-*")
            worker.close()
    return {**figures, "machine": machine()}


def _mart(client: Any, system: str) -> int:
    """A day of a mart by minute, service and status; how many rows."""
    columns = {"minute": "date", "service": "keyword", "status": "integer", "events": "long", "errors": "long"}
    alias = f"{system}-errors_minute"
    mapping = {"properties": {name: {"type": kind} for name, kind in columns.items()}}
    client.indices.create(index=f"{alias}-000001", body={"mappings": mapping, "aliases": {alias: {}}})
    now, numbers = datetime.now(UTC), random.Random(1)
    lines = []
    for ago, service, status in itertools.product(range(1440), ("users", "payments", "delivery"), (200, 404, 500)):
        events = numbers.randrange(1000)
        row = {
            "minute": f"{now - timedelta(minutes=ago):%Y-%m-%dT%H:%M:00Z}",
            "service": service,
            "status": status,
            "events": events,
            "errors": events if status == 500 else 0,
        }
        lines += [json.dumps({"index": {}}), json.dumps(row)]
    answer = client.bulk(index=alias, body="\n".join(lines) + "\n", params={"refresh": "true"})
    assert not answer["errors"]
    return len(lines) // 2


@contextmanager
def _server(settings: Settings, contract: Contract) -> Iterator[httpx.Client]:
    """A server of this process's own, and a client with a reader's key."""
    _, key = KeyStore(settings.home).add("bench", Role.READER, system=contract.system)
    listener = socket.create_server(("127.0.0.1", 0))
    server = make_server(create_app(settings, {contract.system: contract}), "127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        with httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


def _asker(client: httpx.Client, path: str, questions: tuple[dict[str, str], ...]) -> Callable[[int], None]:
    def ask(number: int) -> None:
        answer = client.get(path, params=questions[number % len(questions)])
        assert answer.status_code == 200, answer.text

    return ask


def _load(ask: Callable[[int], None], rate: float, seconds: float) -> list[float]:
    """Seconds from when each request was due to its answer, sorted."""
    began = time.perf_counter()

    def one(number: int) -> float:
        due = began + number / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        ask(number)
        return time.perf_counter() - due

    with ThreadPoolExecutor(32) as pool:
        return sorted(pool.map(one, range(int(rate * seconds))))


def _percentiles(name: str, taken: list[float]) -> dict[str, float]:
    return {f"api.{name}_p{p}_ms": round(percentile(taken, p) * 1000, 1) for p in (50, 95, 99)}
