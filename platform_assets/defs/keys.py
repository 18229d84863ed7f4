"""The check that reads rows: no key occurs twice within an event partition.

The worker drops duplicates by what it remembers of silver; this asks silver itself. It costs a pass over a day, so it is no
part of an ingest run: a schedule asks for yesterday, and after a rebuild it runs for the rebuilt day.
"""

# No postponed annotations here: Dagster reads those of the functions that it decorates.
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetSelection,
    DefaultScheduleStatus,
    Definitions,
    MetadataValue,
    ScheduleDefinition,
    asset_check,
    define_asset_job,
)

from platform_assets.contracts.model import Contract, Table
from platform_assets.defs import policies
from platform_assets.defs.partitions import day_of
from platform_assets.defs.specs import Layer, key

NAME = "keys_unique"
COUNTS = "count(*) AS rows, count(*) - count(DISTINCT (_key_hi, _key_lo)) AS surplus"


def key_check_definitions(contracts: Mapping[str, Contract]) -> Definitions:
    """`keys_unique` of every table that has a key, and the schedule that asks each night."""
    checks = [key_check(table) for contract in contracts.values() for table in contract.tables if table.key]
    if not checks:
        return Definitions()
    job = define_asset_job(
        "keys_unique",
        AssetSelection.checks(*(found for check in checks for found in check.check_keys)),
        description="No key twice: yesterday's partition of every table with a key.",
        tags=policies.BACKGROUND_TAGS,
    )
    nightly = ScheduleDefinition(job=job, cron_schedule="30 1 * * *", default_status=DefaultScheduleStatus.RUNNING)
    return Definitions(asset_checks=checks, jobs=[job], schedules=[nightly])


def key_check(table: Table) -> AssetChecksDefinition:
    """`keys_unique` of one table: of the run's day, or of yesterday (UTC) when the run has none."""

    @asset_check(
        name=NAME,
        asset=key(Layer.SILVER, table),
        description=f"No two rows of a partition have the same {', '.join(table.key)}.",
    )
    def keys_unique(context: AssetCheckExecutionContext) -> AssetCheckResult:
        run = context.op_execution_context
        day = run.partition_key if run.has_partition_key else day_of(datetime.now(UTC) - timedelta(days=1))
        rows, surplus = count_surplus(table, day)
        return AssetCheckResult(
            passed=surplus == 0,
            severity=AssetCheckSeverity.ERROR,
            description=f"{surplus:,} of {rows:,} rows of {day} repeat a key",
            metadata={"day": day, "rows": MetadataValue.int(rows), "surplus_rows": MetadataValue.int(surplus)},
        )

    return keys_unique


def count_surplus(table: Table, day: str) -> tuple[int, int]:
    """(rows, rows that repeat a key within their event partition) of a day of silver."""
    import duckdb

    from platform_assets.core.settings import Settings
    from platform_assets.tables.layout import Lake
    from platform_assets.tables.table import select_from
    from platform_assets.transform.hashing import key_select

    silver = Lake(Settings.load().lake_path).tables(table).silver
    if not silver.exists():
        return 0, 0
    rows = surplus = 0
    sql = f"SELECT {COUNTS} FROM ({key_select(table)})"  # noqa: S608 (compiled from the contract)
    with (
        tempfile.TemporaryDirectory() as spill,
        duckdb.connect(config={"memory_limit": "1GB", "temp_directory": spill}) as con,
    ):
        con.execute("SET TimeZone = 'UTC'")
        for partition in (p for p in silver.partitions() if p.startswith(day)):
            relation = silver.relation(con, silver.files(partition))
            answer = select_from(relation, "silver", sql).to_pylist()[0]
            rows, surplus = rows + answer["rows"], surplus + answer["surplus"]
    return rows, surplus
