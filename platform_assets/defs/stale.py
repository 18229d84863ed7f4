"""Assets that were not materialized for too long, as sightings of `freshness_late`.

Belongs here: comparing Dagster's records with what `policies` promises. Does not: whether data is late (`alerts.py`), raising.

Dagster's daemon keeps freshness states, but writes none for assets of a code location that is not loaded: what died last said
that it was well. So the records are compared with the same promises here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

from dagster import AssetKey, DagsterInstance

from platform_assets.contracts.model import Contract
from platform_assets.defs import policies
from platform_assets.defs.specs import Layer, alerts_key, gold_key, key, topic_key

if TYPE_CHECKING:
    from platform_assets.alerts.incident import Sighting


def stale_ingest(instance: DagsterInstance, contract: Contract, now: datetime) -> Iterator[Sighting]:
    """One incident for all that a worker writes."""
    promised = {
        asset: policies.freshness(table)
        for table in contract.tables
        for asset in (topic_key(table), *(key(layer, table) for layer in Layer))
    }
    yield from _stale(instance, f"the worker of {contract.system}", promised, now)


def stale_marts(instance: DagsterInstance, contract: Contract, now: datetime) -> Iterator[Sighting]:
    """One incident for all that a refresh of gold writes; gold that was never refreshed is as old as silver."""
    if marts := mart_keys(contract.system):
        promised = dict.fromkeys(marts, policies.GOLD_FRESHNESS)
        silver = [key(Layer.SILVER, table) for table in contract.tables]
        yield from _stale(instance, f"the marts of {contract.system}", promised, now, behind=silver)


def stale_alerts(instance: DagsterInstance, systems: Iterable[str], now: datetime) -> Iterator[Sighting]:
    """Systems whose alerts nobody has looked at: for the look that belongs to no system."""
    for system in systems:
        promised = {alerts_key(system): policies.ALERTS_FRESHNESS}
        yield from _stale(instance, f"the alerts of {system}", promised, now)


@cache
def mart_keys(system: str) -> tuple[AssetKey, ...]:
    """The assets of a system's valid marts, which are of another code location; none when it has no models."""
    from platform_assets.marts.marts import load_marts
    from platform_assets.marts.project import project_folder

    return tuple(gold_key(system, mart.name) for mart in load_marts(project_folder(), system))


def _stale(
    instance: DagsterInstance,
    subject: str,
    promised: Mapping[AssetKey, policies.Promise],
    now: datetime,
    behind: Iterable[AssetKey] = (),
) -> Iterator[Sighting]:
    """One incident of one subject. New assets are waited for, but where all are new no longer than `behind` has been there."""
    from platform_assets.alerts.model import Severity
    from platform_assets.alerts.platform import FRESHNESS, sighting

    made = {
        record.asset_entry.asset_key: record.asset_entry.last_materialization
        for record in instance.get_asset_records(list(promised))
    }
    times = {asset: _time(event.timestamp) for asset, event in made.items() if event is not None}
    if not times and (begun := _first(instance, behind)) is not None:
        times = dict.fromkeys(promised, begun)
    ages = {asset: now - time for asset, time in times.items()}
    failed = [asset for asset, age in ages.items() if age >= promised[asset].fail]
    warned = [asset for asset, age in ages.items() if (warn := promised[asset].warn) is not None and age >= warn]
    late = sorted(asset.to_user_string() for asset in {*failed, *warned})
    more = f" and {len(late) - 1} more" if len(late) > 1 else ""
    yield sighting(
        FRESHNESS, subject, now, breach=bool(late), value=len(late),
        severity=Severity.CRITICAL if failed else Severity.WARNING,
        detail=f"no materialization for too long of {late[0]}{more}" if late else "",
    )  # fmt: skip


def _first(instance: DagsterInstance, assets: Iterable[AssetKey]) -> datetime | None:
    """When the first of these assets was materialized for the first time that is still recorded."""
    found = [instance.fetch_materializations(asset, limit=1, ascending=True).records for asset in assets]
    return min((_time(record.timestamp) for records in found for record in records), default=None)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
