"""A system's worker as Dagster sees it: a multi-asset for all its tables, the job that follows, the job that rebuilds, the
sensor.

The same assets are made in two ways, and the job says which:

- The job `<system>_ingest`, launched by the sensor once a minute, follows the topics and reports every day it touched.
- In any other run the selection speaks, when a person materializes or backfills assets of any day: bronze or quarantine means
  "land what waits now", silver or index means "rebuild that day from bronze". `<system>_rebuild` is the job of that kind for
  `dagster job backfill`.
"""

# No postponed annotations here: Dagster reads those of the functions that it decorates.
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    AssetSelection,
    BackfillPolicy,
    Config,
    DagsterRunStatus,
    DefaultSensorStatus,
    Definitions,
    Failure,
    RunRequest,
    RunsFilter,
    SensorEvaluationContext,
    SkipReason,
    define_asset_job,
    in_process_executor,
    multi_asset,
    sensor,
)
from pydantic import Field

from platform_assets.contracts.model import Contract
from platform_assets.core.errors import AssayError, Mistake
from platform_assets.defs import policies
from platform_assets.defs.checks import check_specs
from platform_assets.defs.partitions import DAYS, day_of
from platform_assets.defs.run import IngestRun, Result
from platform_assets.defs.specs import Layer, ingest_specs, topic_spec


class IngestConfig(Config):
    """The configuration of a worker's run."""

    max_seconds: float = Field(
        float(policies.FOLLOW_MAX_SECONDS),
        gt=0,
        description="A run that follows ends after so long without a successor.",
    )


def follow_job(system: str) -> str:
    """The name of the job whose runs follow the topics. Not a setting of the run: that could be left out, and is by
    whoever launches without looking at the launchpad; the run would then rebuild."""
    return f"{system}_ingest"


def ingest_definitions(contract: Contract) -> Definitions:
    """A system's topics, assets, checks, jobs and sensor."""
    assets = ingest_assets(contract)
    checks = AssetSelection.checks(*assets.check_keys)
    follow = define_asset_job(
        follow_job(contract.system),
        AssetSelection.assets(*assets.keys).without_checks() | checks,
        description=f"Follow the topics of {contract.system}. Launched by its sensor once a minute.",
        tags=policies.ingest_tags(contract.system),
        executor_def=in_process_executor,
    )
    rebuild = define_asset_job(
        f"{contract.system}_rebuild",
        AssetSelection.assets(*(k for k in assets.keys if k.path[0] in (Layer.SILVER, Layer.INDEX))),
        description=f"Rebuild silver and index of {contract.system} for a day, from bronze, while the worker goes on.",
        tags=policies.BACKGROUND_TAGS,
        executor_def=in_process_executor,
    )

    @sensor(
        name=f"{contract.system}_ingest",
        job=follow,
        minimum_interval_seconds=policies.FOLLOW_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        description="Launches the next ingest run once a minute; it takes over from the one before at its first commit.",
    )
    def tick(context: SensorEvaluationContext) -> RunRequest | SkipReason:
        if mistakes := stopped_now(contract.system):
            return SkipReason(f"the worker stands still, its contract is wrong: {'; '.join(map(str, mistakes))}")
        return next_ingest_run(context, contract.system, datetime.now(UTC))

    return Definitions(
        assets=[assets, *(topic_spec(contract, table) for table in contract.tables)],
        jobs=[follow, rebuild],
        sensors=[tick],
    )


def stopped_now(system: str) -> Sequence[Mistake]:
    """The mistakes of the system's contract as the file is now: a run would load it and find no worker."""
    from platform_assets.core.settings import Settings
    from platform_assets.declarations import stopped

    return stopped(Settings.load(), system)


def next_ingest_run(context: SensorEvaluationContext, system: str, now: datetime) -> RunRequest | SkipReason:
    """This minute's run, unless so many are in flight that another would only wait behind them."""
    in_flight = context.instance.get_run_records(
        RunsFilter(
            job_name=follow_job(system),
            statuses=UNFINISHED,
            created_after=now - timedelta(seconds=policies.IN_FLIGHT_SECONDS),
        ),
        limit=policies.INGEST_RUNS,
    )
    if len(in_flight) >= policies.INGEST_RUNS:
        return SkipReason(f"{len(in_flight)} runs of this worker are in flight; they do not end as they should")
    return RunRequest(run_key=f"{system}:{now:%Y-%m-%dT%H:%M}", partition_key=day_of(now))


UNFINISHED = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


def ingest_assets(contract: Contract) -> AssetsDefinition:
    """All layers of all tables of a system, with the checks that a run reports."""

    @multi_asset(
        name=contract.system,
        specs=list(ingest_specs(contract)),
        check_specs=check_specs(contract),
        can_subset=True,
        partitions_def=DAYS,
        backfill_policy=BackfillPolicy.multi_run(max_partitions_per_run=1),
        description=f"Run by the job {follow_job(contract.system)}: follows the topics. Run in any other way: bronze or "
        "quarantine selected lands what waits; silver or index selected rebuilds the run's day.",
    )
    def worker(context: AssetExecutionContext, config: IngestConfig) -> Iterator[Result]:
        try:
            run = IngestRun(context, contract)
            if context.run.job_name == follow_job(contract.system):
                yield from run.follow(config.max_seconds)
            else:
                yield from run.by_selection()
        except AssayError as error:
            raise Failure(str(error), allow_retries=False) from error

    return worker
