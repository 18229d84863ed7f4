"""What `_bulk` alone reaches: prepared bodies to one index with the table's own mapping, no checks, no progress, no lake.

`python -m bench.bulk` simulates and transforms events and prints the figures as JSON; `bulk_limit` takes the documents of a lake.
Bodies are rendered beforehand, so that this is the node's limit and not ours.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import duckdb
import pyarrow as pa
from opensearchpy import OpenSearch

from bench.common import machine, median
from platform_assets.contracts.model import Table
from platform_assets.contracts.read import load_contracts
from platform_assets.core.settings import Settings
from platform_assets.index.bulk import CONCURRENCY
from platform_assets.index.client import connect, request_text
from platform_assets.index.documents import BODY_BYTES, to_ndjson
from platform_assets.index.mappings import mapping
from platform_assets.index.mappings import settings as index_settings
from platform_assets.systems.logs.simulate import simulate
from platform_assets.tables.layout import Lake
from platform_assets.transform import Masker, Transformer

BATCH_ROWS = 60_000


def run(
    settings: Settings,
    *,
    events: int = 300_000,
    repeats: int = 3,
    concurrency: int = CONCURRENCY,
    body_bytes: int = BODY_BYTES,
    refresh: str = "1s",
) -> dict[str, Any]:
    """`bulk.*` for simulated log events: the median of `repeats` after one run to warm the node up."""
    table = load_contracts()["logs"].table("events")
    rows = _simulated(table, events)
    began = time.perf_counter()
    bodies = _bodies(table, rows, body_bytes)
    rendered = rows.num_rows / (time.perf_counter() - began)
    client = _client(settings)
    try:
        rates = [_send(client, table, bodies, rows.num_rows, concurrency, refresh) for _ in range(repeats + 1)]
    finally:
        client.close()
    return {
        "bulk.documents": rows.num_rows,
        "bulk.limit_per_s": round(median(rates[1:])),
        "bulk.runs_per_s": [round(rate) for rate in rates[1:]],
        "bulk.bytes_per_document": round(sum(map(len, bodies)) / rows.num_rows),
        "bulk.body_bytes": body_bytes,
        "bulk.concurrency": concurrency,
        "bulk.refresh": refresh,
        "bulk.render_per_s": round(rendered),
        "machine": machine(),
    }


def bulk_limit(settings: Settings, table: Table, *, rows: int, repeats: int = 3) -> float:
    """Documents a second for up to `rows` rows of the table's silver, the median of `repeats`. The node should be warm."""
    silver = Lake(settings.lake_path).tables(table).silver
    silver.refresh()
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        batches = islice(silver.batches(con, silver.files(), BATCH_ROWS), -(-rows // BATCH_ROWS))
        documents = pa.concat_tables(list(batches)).slice(0, rows)
    bodies = _bodies(table, documents, BODY_BYTES)
    client = _client(settings)
    try:
        return median([_send(client, table, bodies, documents.num_rows, CONCURRENCY, "1s") for _ in range(repeats)])
    finally:
        client.close()


def _client(settings: Settings) -> OpenSearch:
    return connect(settings.opensearch_url, settings.opensearch_auth("ingest"), settings.opensearch_ca)


def _bodies(table: Table, rows: pa.Table, body_bytes: int) -> list[bytes]:
    made = to_ndjson(table, rows, 1, body_bytes=body_bytes)
    return [body.data for bodies in made.bodies.values() for body in bodies]


def _send(client: OpenSearch, table: Table, bodies: list[bytes], rows: int, concurrency: int, refresh: str) -> float:
    """Documents a second into an index of its own, which is deleted. AssertionError unless every document is in."""
    index = f"assay-bench-{secrets.token_hex(4)}"
    body = {"settings": index_settings(table, refresh=refresh), "mappings": mapping(table)}
    client.indices.create(index=index, body=body)

    def send(data: bytes) -> str:
        return request_text(
            client,
            "POST",
            f"/{index}/_bulk",
            params={"filter_path": "errors"},
            body=data,
            content_type="application/x-ndjson",
        )

    try:
        began = time.perf_counter()
        with ThreadPoolExecutor(concurrency) as pool:
            answers = set(pool.map(send, bodies))
        seconds = time.perf_counter() - began
        assert answers == {'{"errors":false}'}, answers
        client.indices.refresh(index=index)
        assert client.count(index=index)["count"] == rows
    finally:
        client.indices.delete(index=index)
    return rows / seconds


def _simulated(table: Table, events: int) -> pa.Table:
    """Simulated events as silver rows, as the worker would settle them."""
    values: list[bytes | None] = []
    for batch in simulate(None, None, seed=1):
        values += [value for _, value in batch]
        if len(values) >= events:
            break
    at = pa.array(range(events), pa.int64())
    now = pa.scalar(int(time.time() * 1_000_000), pa.timestamp("us", tz="UTC"))

    def same(value: Any, type_: pa.DataType) -> pa.Array:
        return pa.repeat(pa.scalar(value, type_) if not isinstance(value, pa.Scalar) else value, events)

    columns = {
        "_source": same("bench-topic-id-0000000", pa.string()),
        "_shard": same(0, pa.int32()),
        "_position": at,
        "_span": same(1, pa.int64()),
        "kind": same("record", pa.string()),
        "record_time": same(now, now.type),
        "key": pa.nulls(events, pa.binary()),
        "value": pa.array(values[:events], pa.binary()),
        "headers": pa.nulls(events, pa.binary()),
        "seq": same(1, pa.int64()),
        "landed_at": same(now, now.type),
        "landed_date": same(now, now.type).cast(pa.date32()),
    }
    with Transformer(table, Masker({"bench": os.urandom(32)}, "bench")) as transformer:
        return transformer.transform(pa.table(columns)).accepted


def main() -> None:
    """The command line of this benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=CONCURRENCY)
    parser.add_argument("--body-mb", type=float, default=BODY_BYTES / 2**20)
    parser.add_argument("--refresh", default="1s")
    chosen = parser.parse_args()
    figures = run(
        Settings.load(),
        events=chosen.events,
        repeats=chosen.repeats,
        concurrency=chosen.concurrency,
        body_bytes=int(chosen.body_mb * 2**20),
        refresh=chosen.refresh,
    )
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
