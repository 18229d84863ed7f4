"""How many shards the cluster has open, and how many it may have: at its limit no system gets a new index.

Belongs here: asking the cluster, and evaluating its answer. Does not belong here: what is done about it: `indices.py` refuses
indices of history above the share, `defs/alerts.py` raises the alert.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from opensearchpy import OpenSearch
from opensearchpy.exceptions import OpenSearchException

from platform_assets.index.errors import translate

SHARE = 0.8
"""Of the limit, unless the settings declare another share: above it an alert is raised, and history gets no new index."""
_LIMIT = "max_shards_per_node"
_LAYERS = ("transient", "persistent", "defaults")  # the first that says something holds
_OPEN = ("active_shards", "initializing_shards", "unassigned_shards")


@dataclass(frozen=True, slots=True)
class ShardBudget:
    """Shards of open indices, primaries and replicas, and the most that the cluster's data nodes may have together."""

    open: int
    limit: int
    share: float = SHARE

    @property
    def exceeded(self) -> bool:
        """Whether more than the declared share of the limit is open."""
        return self.open > self.share * self.limit

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form with stable names."""
        return {"open": self.open, "limit": self.limit, "share": self.share, "exceeded": self.exceeded}

    def __str__(self) -> str:
        return f"{self.open:,} of {self.limit:,} shards are open"


def shard_budget(client: OpenSearch, share: float = SHARE) -> ShardBudget:
    """The cluster's shards now. Raises SearchError."""
    params = {"include_defaults": "true", "flat_settings": "true", "filter_path": f"**.*{_LIMIT}"}
    try:
        health = client.cluster.health()
        found = client.cluster.get_settings(params=params)
    except OpenSearchException as error:
        raise translate(error, "asking how many shards are open") from error
    name = f"cluster.{_LIMIT}"
    limit = next(int(found[layer][name]) for layer in _LAYERS if name in found.get(layer, {}))
    return ShardBudget(sum(int(health[name]) for name in _OPEN), limit * int(health["number_of_data_nodes"]), share)
