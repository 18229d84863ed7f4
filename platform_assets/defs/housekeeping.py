"""What runs by the clock: retention and vacuum of the lake once a day, purge of Dagster's own records once an hour.

Belongs here: jobs and schedules. Does not: what a table forgets (`worker.maintain`), what Dagster forgets (`purge`).
"""

# No postponed annotations here: Dagster reads those of the functions that it decorates.
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta

from dagster import (
    Config,
    DefaultScheduleStatus,
    Definitions,
    Failure,
    OpExecutionContext,
    Output,
    ScheduleDefinition,
    job,
    op,
)
from pydantic import Field

from platform_assets.contracts.model import Contract
from platform_assets.core.errors import AssayError
from platform_assets.defs import policies
from platform_assets.defs.purge import purge
from platform_assets.marts.project import has_models, project_folder


class PurgeConfig(Config):
    """What the purge keeps."""

    keep_hours: float = Field(24.0, ge=1, description="Records of runs that ended longer ago are deleted.")
    max_runs: int = Field(5000, ge=1, description="Runs deleted at once, the oldest first; the next purge goes on.")


@op(description="Deletes old runs with their events, but never the last run that materialized a partition.")
def purge_runs(context: OpExecutionContext, config: PurgeConfig) -> Output[None]:
    """The hourly purge."""
    done = purge(context.instance, timedelta(hours=config.keep_hours), config.max_runs)
    context.log.info(f"{done.runs} runs deleted, {done.kept} old ones kept for the partitions they made")
    return Output(None, metadata=asdict(done))


def housekeeping_definitions(contracts: Mapping[str, Contract]) -> Definitions:
    """The two jobs and their schedules."""
    tables = [table for contract in contracts.values() for table in contract.tables]
    project = project_folder()
    gold = [contract for contract in contracts.values() if has_models(project, contract.system)]

    @op(
        description="Forgets what the contracts no longer keep, and frees the disk of files that no snapshot refers to."
    )
    def maintain_tables(context: OpExecutionContext) -> Output[None]:
        from platform_assets.alerts.maintain import maintain_alerts
        from platform_assets.alerts.platform import PLATFORM_SYSTEM
        from platform_assets.core.settings import Settings
        from platform_assets.ingest.maintain import maintain

        settings, done, failed = Settings.load(), {}, []

        @contextmanager
        def going_on(what: str) -> Iterator[None]:
            """One table's trouble is not the others': it is told at the end."""
            try:
                yield
            except AssayError as error:
                context.log.error(f"{what}: {error}")
                failed.append(f"{what} ({error.message})")

        for table in tables:
            with going_on(table.qualified_name):
                report = maintain(settings, table)
                done[table.qualified_name] = asdict(report)
                context.log.info(f"{table.qualified_name}: retention counts from {report.clock}")
                if report.held_back:
                    raise AssayError(
                        f"{report.held_back:,} rows of bronze are past their retention, and silver has not consumed them",
                        "nothing of them is dropped; see why the worker does not settle them",
                    )
        for contract in gold:
            from platform_assets.marts.graph import marts_of, read_graph
            from platform_assets.marts.maintain import maintain_gold

            with going_on(f"gold of {contract.system}"):
                marts, kept = marts_of(project, contract), read_graph(project, contract).kept
                done[f"gold.{contract.system}"] = asdict(maintain_gold(settings, contract, marts, kept))
        for system in (*contracts, PLATFORM_SYSTEM):
            with going_on(f"alerts of {system}"):
                done[f"alerts.{system}"] = asdict(maintain_alerts(settings, system))
        if failed:
            raise Failure(f"not maintained: {', '.join(failed)}", metadata=done, allow_retries=False)
        return Output(None, metadata=done)

    @job(description="Retention and vacuum of every table and its indices.", tags=policies.BACKGROUND_TAGS)
    def maintenance() -> None:
        maintain_tables()

    @job(name="purge", description="Deletes what Dagster recorded of old runs.", tags=policies.BACKGROUND_TAGS)
    def purge_job() -> None:
        purge_runs()

    running = DefaultScheduleStatus.RUNNING
    return Definitions(
        jobs=[maintenance, purge_job],
        schedules=[
            ScheduleDefinition(job=maintenance, cron_schedule="30 2 * * *", default_status=running),
            ScheduleDefinition(job=purge_job, cron_schedule="17 * * * *", default_status=running),
        ],
    )
