"""What each run checks, and how bad it is when it fails.

Evaluated here are figures that others measured: an ingest run's report, and the state of the tables' logs. No check reads rows,
except `keys_unique`, which has its own module and runs beside the worker.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from dagster import AssetCheckResult, AssetCheckSeverity, AssetCheckSpec, MetadataValue, PreviewWarning

from platform_assets.contracts.model import Contract, Table
from platform_assets.defs.partitions import DAYS
from platform_assets.defs.specs import Layer, key

if TYPE_CHECKING:
    from platform_assets.ingest.report import TableReport
    from platform_assets.reconcile.state import TableState

LOUD_REJECTS = 10
"""So many records refused and none accepted is a broken producer or contract, not an accident: an error."""


class Check(StrEnum):
    """The checks of a worker. Each belongs to one layer."""

    NO_GAP = "no_gap"
    REJECTS = "reject_rate"
    CONFLICTS = "key_conflicts"
    WATERMARK = "watermark"
    COMPLETE = "complete"
    INDEXED = "indexed"


LAYER = {
    Check.NO_GAP: Layer.BRONZE,
    Check.REJECTS: Layer.QUARANTINE,
    Check.CONFLICTS: Layer.SILVER,
    Check.WATERMARK: Layer.SILVER,
    Check.COMPLETE: Layer.SILVER,
    Check.INDEXED: Layer.INDEX,
}
MEASURED_BY_WORKER = (Check.NO_GAP, Check.REJECTS, Check.CONFLICTS)
"""Only a run that reads the topic can tell; the others can be asked at any time."""


def _description(check: Check, table: Table) -> str:
    return {
        Check.NO_GAP: "The broker still had every offset that was due. A gap stops its partition until `assay accept-gap`.",
        Check.REJECTS: f"At most {table.quarantine_rate:.1%} of a run's records are refused; all of them refused is an error.",
        Check.CONFLICTS: f"No dropped duplicate has other values than the row with its {', '.join(table.key)} that stays.",
        Check.WATERMARK: f"The newest event is at most {table.freshness_warn} old (an error after {table.freshness_fail}).",
        Check.COMPLETE: "All that landed in bronze is in silver or quarantine; tells up to which day nothing is missing.",
        Check.INDEXED: "Search has what silver has, save for what is on its way.",
    }[check]


def check_specs(contract: Contract) -> list[AssetCheckSpec]:
    """The checks that an ingest run reports, for the run's day.

    Without partitions of their own Dagster would plan them for the run's day and record them for none: two entries a run,
    one of them never fulfilled.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PreviewWarning)
        return [
            AssetCheckSpec(
                check.value, asset=key(layer, table), description=_description(check, table), partitions_def=DAYS
            )
            for table in contract.tables
            for check, layer in LAYER.items()
            if table.key or check is not Check.CONFLICTS
        ]


def _result(
    table: Table, check: Check, failure: AssetCheckSeverity | None, description: str, **metadata: MetadataValue
) -> AssetCheckResult:
    return AssetCheckResult(
        asset_key=key(LAYER[check], table),
        check_name=check.value,
        passed=failure is None,
        severity=failure or AssetCheckSeverity.ERROR,
        description=description,
        metadata=metadata,
    )


def report_checks(table: Table, report: TableReport) -> Iterator[AssetCheckResult]:
    """What an ingest run's report tells: gaps and the share of rejects."""
    gaps = ", ".join(f"[{gap.shard}] {gap.expected}..{gap.earliest}" for gap in report.gaps)
    yield _result(
        table,
        Check.NO_GAP,
        AssetCheckSeverity.ERROR if report.gaps else None,
        f"the broker lost {gaps}; these partitions stand still until the gap is accepted" if gaps else "no gap",
        blocked_partitions=MetadataValue.int(len(report.gaps)),
    )
    rejects, accepted = sum(report.rejected.values()), sum(report.silver.values()) + report.duplicates
    failure = None
    if report.quarantine_rate > table.quarantine_rate:
        failure = AssetCheckSeverity.ERROR if not accepted and rejects >= LOUD_REJECTS else AssetCheckSeverity.WARN
    yield _result(
        table,
        Check.REJECTS,
        failure,
        f"{rejects:,} of {rejects + accepted:,} records refused",
        rate=MetadataValue.float(report.quarantine_rate),
        allowed=MetadataValue.float(table.quarantine_rate),
        reasons=MetadataValue.json(dict(report.rejected.most_common(20))),
    )
    if table.key:
        yield _result(
            table,
            Check.CONFLICTS,
            AssetCheckSeverity.WARN if report.conflicts else None,
            f"{report.conflicts:,} of {report.duplicates:,} duplicates have other values than the row that stays",
            conflicts=MetadataValue.int(report.conflicts),
            duplicates=MetadataValue.int(report.duplicates),
        )


def state_checks(
    table: Table, state: TableState, report: TableReport | None = None, now: datetime | None = None
) -> Iterator[AssetCheckResult]:
    """What the tables' logs tell: how late the data is, and how far each hop has come.

    An ingest run's own `report` says what waits before and behind it; without one the state must have asked the services.
    """
    lag = report.lag if report else state.lag
    yield _watermark(table, state.watermark, None if lag is None else sum(lag.values()), now or datetime.now(UTC))
    whole = {} if state.watermark is None else _whole_days(table, state.watermark)
    yield _hop(table, Check.COMPLETE, state.bronze_seq - state.silver_seq, whole)
    trouble = report.index_error if report else ""
    yield _hop(table, Check.INDEXED, report.index_behind if report else state.index_behind, {}, trouble)


def _hop(
    table: Table, check: Check, behind: int | None, metadata: dict[str, MetadataValue], trouble: str = ""
) -> AssetCheckResult:
    """How far one hop is behind bronze, in commits; `trouble` is what keeps it from going on."""
    from platform_assets.reconcile.documents import ON_ITS_WAY

    goal = "silver" if check is Check.COMPLETE else "the index"
    if behind is None:
        return _result(
            table, check, AssetCheckSeverity.WARN, f"how far {goal} is, is not known: {trouble or 'no answer'}"
        )
    failure = AssetCheckSeverity.WARN if trouble or behind > ON_ITS_WAY else None
    if behind > 10 * ON_ITS_WAY:
        failure = AssetCheckSeverity.ERROR
    description = f"{behind:,} bronze commits wait for {goal}" if behind else f"every bronze commit is in {goal}"
    if trouble:
        description += f": {trouble}"
    return _result(table, check, failure, description, waiting_commits=MetadataValue.int(behind), **metadata)


def _watermark(table: Table, watermark: datetime | None, waiting: int | None, now: datetime) -> AssetCheckResult:
    if watermark is None:
        return _result(table, Check.WATERMARK, None, "no live event yet (history moves no watermark)")
    late = max(now - watermark, timedelta(0))
    failure = None
    if late > table.freshness_warn:
        failure = AssetCheckSeverity.ERROR if late > table.freshness_fail else AssetCheckSeverity.WARN
    cause = (
        ""
        if waiting is None
        else f"; {waiting:,} records wait in the topic"
        if waiting
        else "; the topic holds nothing newer"
    )
    return _result(
        table,
        Check.WATERMARK,
        failure,
        f"the newest event is {timedelta(seconds=round(late.total_seconds()))} old{cause}",
        watermark=MetadataValue.timestamp(watermark),
        late_seconds=MetadataValue.float(late.total_seconds()),
    )


def _whole_days(table: Table, watermark: datetime) -> dict[str, MetadataValue]:
    """The last day that the watermark has passed, and the last to which not even a late row that counts can come."""
    day = timedelta(days=1)
    return {
        "passed_through": MetadataValue.text((watermark - day).date().isoformat()),
        "final_through": MetadataValue.text((watermark - table.lateness - day).date().isoformat()),
    }
