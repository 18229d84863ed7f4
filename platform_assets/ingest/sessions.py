"""What every piece of the worker opens the same way: a DuckDB session, the masker, the indices."""

from __future__ import annotations

import duckdb

from platform_assets.core.settings import Settings
from platform_assets.index.budget import ShardBudget, shard_budget
from platform_assets.index.client import connect
from platform_assets.index.indices import Indices
from platform_assets.transform import Masker


def session(threads: int = 2, memory_limit: str = "1GB") -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB session in UTC that never spills rows to disk."""
    con = duckdb.connect(config={"threads": threads, "memory_limit": memory_limit, "temp_directory": ""})
    con.execute("SET TimeZone = 'UTC'")
    return con


def masker(settings: Settings) -> Masker:
    """The masking keys that the settings hold; rows are masked with the current one."""
    return Masker(settings.hmac_keys(), settings.hmac_key_id)


def connect_indices(settings: Settings) -> Indices:
    """The indices as the worker's role sees them."""
    share = settings.index_shards_share
    client = connect(settings.opensearch_url, settings.opensearch_auth("ingest"), settings.opensearch_ca)
    return Indices(client, share=share)


def ask_shards(settings: Settings) -> ShardBudget:
    """How many shards the cluster has open, and how many it may have. Raises SearchError."""
    indices = connect_indices(settings)
    try:
        return shard_budget(indices.client, settings.index_shards_share)
    finally:
        indices.client.close()
