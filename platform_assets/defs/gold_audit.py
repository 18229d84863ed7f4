"""The check `recomputed` of every mart: some slots made anew from silver, once a day, and compared with what is published.

Belongs here: the check, its job and schedule. Does not: the audit (`marts/audit.py`).

It costs a pass over the rows of some slots, so it is no part of a refresh.
"""

# No postponed annotations here: Dagster reads those of the functions that it decorates.
from collections.abc import Iterator
from dataclasses import asdict

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckKey,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetSelection,
    DefaultScheduleStatus,
    Definitions,
    Failure,
    MetadataValue,
    ScheduleDefinition,
    define_asset_job,
    multi_asset_check,
)

from platform_assets.contracts.model import Contract
from platform_assets.core.errors import AssayError
from platform_assets.defs import policies
from platform_assets.defs.specs import gold_key, mart_of
from platform_assets.marts.graph import Graph
from platform_assets.marts.marts import Mart

NAME = "recomputed"
SAMPLE = 3
"""Slots of each mart: the newest, and two by chance."""


def audit_definitions(contract: Contract, graph: Graph) -> Definitions:
    """`recomputed` of every mart that can be built, and the schedule that asks each night."""
    checks = audit_checks(contract, graph)
    job = define_asset_job(
        f"{contract.system}_gold_audit",
        AssetSelection.checks(*checks.check_keys),
        description=f"Some slots of each mart of {contract.system}, made anew from silver.",
        tags=policies.BACKGROUND_TAGS,
    )
    nightly = ScheduleDefinition(job=job, cron_schedule="40 3 * * *", default_status=DefaultScheduleStatus.RUNNING)
    return Definitions(asset_checks=[checks], jobs=[job], schedules=[nightly])


def audit_key(contract: Contract, mart: Mart) -> AssetCheckKey:
    """The key of a mart's `recomputed`."""
    return AssetCheckKey(gold_key(contract.system, mart.name), NAME)


def audit_checks(contract: Contract, graph: Graph) -> AssetChecksDefinition:
    """One check a mart, all in one run."""
    specs = [
        AssetCheckSpec(
            NAME,
            asset=gold_key(contract.system, mart.name),
            description="Some slots, made anew from the rows of silver that the mart has taken in, are as published.",
        )
        for mart in graph.marts
    ]

    @multi_asset_check(name=f"{contract.system}_recomputed", specs=specs, can_subset=True)
    def recomputed(context: AssetCheckExecutionContext) -> Iterator[AssetCheckResult]:
        from platform_assets.core.settings import Settings
        from platform_assets.marts.audit import audit

        keys = {mart_of(key.asset_key): key for key in context.selected_asset_check_keys}

        def told(what: str, done: int, total: int) -> None:
            context.log.info(f"{what} ({done} of {total} marts)")

        try:
            report = audit(Settings.load(), contract, only=set(keys), sample=SAMPLE, progress=told)
        except AssayError as error:
            raise Failure(str(error), allow_retries=False) from error
        for name, found in report.marts.items():
            first = found.differences[0] if found.differences else None
            yield AssetCheckResult(
                asset_key=keys[name].asset_key,
                check_name=NAME,
                passed=found.holds,
                severity=AssetCheckSeverity.ERROR,
                description=f"{found.slots} slots compared"
                if first is None
                else f"{found.differing:,} values differ, the first at {first.slot}: {first.column} is {first.published},"
                f" recomputed {first.recomputed}",
                metadata={
                    "slots": found.slots,
                    "rows": found.rows,
                    "left_out": MetadataValue.json(found.left_out),
                    "differing": found.differing,
                    "differences": MetadataValue.json([asdict(one) for one in found.differences]),
                },
            )

    return recomputed
