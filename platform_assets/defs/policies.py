"""The one home of policies: what runs before what, how many at once, how long, and when an asset is stale.

Limits that tags refer to are enforced by the instance (`deploy/dagster/dagster.yaml`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from dagster import FreshnessPolicy

from platform_assets.contracts.model import Table


@dataclass(frozen=True, slots=True)
class Promise:
    """How old an asset's last materialization may become: a warning after `warn`, a failure after `fail`.

    Beside Dagster's policy, whose states are written only for assets of code locations that are loaded.
    """

    fail: timedelta
    warn: timedelta | None = None

    @property
    def policy(self) -> FreshnessPolicy:
        """The same for Dagster."""
        return FreshnessPolicy.time_window(fail_window=self.fail, warn_window=self.warn)


INGEST_TAG = "assay/ingest"
"""On every run that follows a worker; its value is the system. The instance limits runs by value."""

FOLLOW_SECONDS = 60
"""An ingest run follows for this long, then until its successor's first commit."""
FOLLOW_MAX_SECONDS = 180
"""... and for this long when no successor comes."""
INGEST_RUNS = 3
"""Ingest runs of one system in flight at most: one at work, one taking over, one that does not end as it should."""
IN_FLIGHT_SECONDS = 300
"""An ingest run older than this cannot be at work (`FOLLOW_MAX_SECONDS`); whatever its status says, it blocks nobody."""
SHORTEST_FRESHNESS = timedelta(seconds=2 * FOLLOW_SECONDS)
STOP_SECONDS = 20
"""How long a terminated run waits for the work in hand to be committed or given up."""


GOLD_SECONDS = 30
"""How often gold is compared with silver."""
GOLD_IDLE_SECONDS = 600
"""Gold reports at least this often, even that nothing is new."""
GOLD_RETRY_SECONDS = 300
"""How long after a failed refresh the next one is tried: what failed is a test or a model, and waits for a person."""
GOLD_FRESHNESS = Promise(fail=timedelta(seconds=6 * GOLD_IDLE_SECONDS), warn=timedelta(seconds=2 * GOLD_IDLE_SECONDS))
GOLD_TAGS = {"dagster/priority": "5", "dagster/max_runtime": "3600"}
"""Tags of refreshes: behind the workers, before what people start."""

ALERTS_IDLE_SECONDS = 600
"""The look at a system's alerts reports at least this often, even that nothing has changed."""
ALERTS_FRESHNESS = Promise(
    fail=timedelta(seconds=6 * ALERTS_IDLE_SECONDS), warn=timedelta(seconds=2 * ALERTS_IDLE_SECONDS)
)


def ingest_tags(system: str) -> dict[str, str]:
    """Tags of an ingest run: first in the queue, and ended by run monitoring if it hangs."""
    return {INGEST_TAG: system, "dagster/priority": "10", "dagster/max_runtime": "600"}


BACKGROUND_TAGS = {"dagster/priority": "-5"}
"""Tags of rebuilds and housekeeping: behind the workers."""


def freshness(table: Table) -> Promise:
    """How old the last materialization may be, from the contract, but never under a run's length: runs report at their end.

    An empty minute materializes too: this tells whether the worker is alive. Whether the *data* is late is told by the check
    `watermark`.
    """
    fail = max(table.freshness_fail, SHORTEST_FRESHNESS)
    warn = max(table.freshness_warn, SHORTEST_FRESHNESS)
    return Promise(fail, warn if warn < fail else None)
