"""The indices as the settings name them, connected with the role that ingestion writes with."""

from __future__ import annotations

from platform_assets.core.settings import Settings
from platform_assets.index.budget import ShardBudget, shard_budget
from platform_assets.index.client import connect
from platform_assets.index.indices import Indices


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
