"""A system's tables as they are now, for people, monitors and dashboards.

Belongs here: asking, and a stable JSON shape. Does not: how it looks. Nothing here fails because a service is down: what
cannot be known is null, and why is said beside it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from platform_assets.contracts.model import Contract, Table
from platform_assets.core.errors import AssayError
from platform_assets.core.serialization import plain
from platform_assets.core.settings import Settings
from platform_assets.index.connect import ask_shards
from platform_assets.reconcile.gap import find_gaps
from platform_assets.reconcile.state import table_state

Facts = dict[str, Any]
RECENT_DAYS = 2
"""Landing days (UTC) that count as recent: today and yesterday."""


def system_facts(settings: Settings, contract: Contract) -> Facts:
    """One system: its contract, the gaps that stop a partition (null when the broker does not answer), its tables."""
    reachable = "ASSAY_KAFKA_BOOTSTRAP" in settings.values
    return {
        "system": contract.system,
        "version": contract.version,
        "owner": contract.owner,
        "gaps": _gaps(settings, contract) if reachable else None,
        "tables": [table_facts(settings, table, services=reachable) for table in contract.tables],
    }


def shard_facts(settings: Settings) -> Facts:
    """Shards of the index: how many are `open`, their `limit`, the `share` of it above which it is `exceeded`.

    All null where no index answers, and `unanswered` says why.
    """
    try:
        return {**ask_shards(settings).to_dict(), "unanswered": None}
    except AssayError as error:
        return {**dict.fromkeys(("open", "limit", "share", "exceeded")), "unanswered": error.message}


def table_facts(settings: Settings, table: Table, *, services: bool = True, now: datetime | None = None) -> Facts:
    """One table, from its tables' logs and, with `services`, from the broker and the index.

    `lag` counts records (null: the broker does not answer), `watermark` is ISO 8601, ages are seconds, `rows` is silver's,
    `quarantined` counts records that the transform refused, `quarantined_recent` those that landed today or yesterday,
    `index_refused` documents that the index refused, `conflicts` duplicates ever dropped that had other values than the row
    that stays, `index_behind` bronze commits; `unanswered` says why something is null.
    """
    now = now or datetime.now(UTC)
    facts: Facts = {"table": table.name, "topic": table.topic, "key": list(table.key)}
    try:
        state = table_state(settings, table, services=services)
    except AssayError as error:
        return {**facts, "error": str(error)}
    since = (now - timedelta(days=RECENT_DAYS - 1)).date().isoformat()
    found: Facts = plain(
        {
            "lag": None if state.lag is None else sum(state.lag.values()),
            "lag_by_partition": state.lag,
            "watermark": state.watermark,
            "watermark_age_s": None if state.watermark is None else round((now - state.watermark).total_seconds(), 3),
            "last_commit": state.last_commit,
            "last_commit_age_s": None
            if state.last_commit is None
            else round((now - state.last_commit).total_seconds(), 3),
            "rows": state.rows,
            "rows_by_partition": state.rows_by_partition,
            "quarantined": sum(state.quarantined.values()),
            "quarantined_recent": sum(n for day, n in state.quarantined.items() if str(day) >= since),
            "index_refused": state.index_refused,
            "conflicts": state.conflicts,
            "bronze_seq": state.bronze_seq,
            "silver_seq": state.silver_seq,
            "index_seq": state.index_seq,
            "index_behind": state.index_behind,
            "error": None,
            "unanswered": state.unanswered,
        }
    )
    return {**facts, **found}


def _gaps(settings: Settings, contract: Contract) -> list[Facts] | None:

    try:
        return [gap.to_dict() for gap in find_gaps(settings, contract)]
    except AssayError:
        return None
