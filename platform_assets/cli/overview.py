"""The facts behind `assay status` and the demo's live view: services and tables as they are now.

Belongs here: asking, and a stable JSON shape. Does not: how it looks (`status.py`). Nothing here fails because a service is
down: what cannot be known is null, and why is said beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from platform_assets.contracts.model import Contract, Table
    from platform_assets.core.settings import Settings
    from platform_assets.declarations import Problem

Facts = dict[str, Any]


def overview(settings: Settings, contracts: Iterable[Contract], problems: Iterable[Problem] = ()) -> Facts:
    """Services, the index's shards, every system's tables, and what is wrong with declarations.

    `{home, phase, healthy, services: [{name, state, address, pid, restarts, detail, log}], shards: {open, limit, share, exceeded,
    unanswered}, systems: [{system, version, owner, gaps: [...], tables: [...]}], mistakes: [{system, part, file, line, place,
    message, hint}]}`; for `shards` see `reconcile.overview.shard_facts`, for a table `reconcile.overview.table_facts`.
    """
    from platform_assets.core.serialization import plain
    from platform_assets.local import lifecycle
    from platform_assets.reconcile.overview import shard_facts, system_facts

    status = lifecycle.status(settings.home)
    return {
        "home": status.home,
        "lake": str(settings.lake_path),
        "phase": status.phase,
        "healthy": status.healthy,
        "services": plain(status.services),
        "shards": shard_facts(settings),
        "systems": [system_facts(settings, contract) for contract in contracts],
        "mistakes": [problem.facts() for problem in problems],
    }


def searchable_age(settings: Settings, table: Table) -> float | None:
    """Seconds since the newest event that search finds; None when there is none. Raises AssayError."""
    from platform_assets.index.client import connect
    from platform_assets.index.query import search
    from platform_assets.index.times import parse_time

    client = connect(settings.opensearch_url, settings.opensearch_auth("reader"), settings.opensearch_ca, check=False)
    try:
        rows = search(client, table, limit=1).rows
    finally:
        client.close()
    if not rows:
        return None
    return max(0.0, (datetime.now(UTC) - parse_time(str(rows[0][table.event_time]))).total_seconds())
