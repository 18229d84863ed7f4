"""A system's lane as Dagster sees it: a multi-asset for all its tables, the job that follows, the job that rebuilds, the sensor.

The same assets are made in two ways, and a run says which in its configuration (`mode`):

- `follow`: the job `<system>_lane`, launched by the sensor once a minute, follows the topics and reports every day it touched.
- by selection, when a person materializes or backfills assets of any day: bronze or quarantine means "land what waits now",
  silver or index means "rebuild that day from bronze". The job `<system>_rebuild` is this for `dagster job backfill`.
"""

# No postponed annotations here: Dagster reads those of the functions that it decorates.
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import Enum

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
    RunConfig,
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
from platform_assets.defs import policies
from platform_assets.defs.checks import check_specs
from platform_assets.defs.partitions import DAYS, day_of
from platform_assets.defs.run import LaneRun, Result
from platform_assets.defs.specs import Layer, lane_specs, topic_spec
from platform_assets.errors import AssayError


class Mode(Enum):
    """What a run does with the assets that it was given."""

    BY_SELECTION = "by_selection"
    FOLLOW = "follow"


class LaneConfig(Config):
    """The configuration of a lane's run."""

    mode: Mode = Field(
        Mode.BY_SELECTION,
        description="FOLLOW: follow the topics until the next run takes over. BY_SELECTION: bronze or quarantine selected: land "
        "and carry on what waits now; silver or index selected: rebuild the run's day from bronze.",
    )
    max_seconds: float = Field(
        policies.FOLLOW_MAX_SECONDS, gt=0, description="FOLLOW ends after so long without a successor."
    )


def lane_definitions(contract: Contract) -> Definitions:
    """A system's topics, assets, checks, jobs and sensor."""
    assets = lane_assets(contract)
    checks = AssetSelection.checks(*assets.check_keys)
    follow = define_asset_job(
        f"{contract.system}_lane",
        AssetSelection.assets(*assets.keys).without_checks() | checks,
        config=RunConfig(ops={assets.op.name: LaneConfig(mode=Mode.FOLLOW, max_seconds=policies.FOLLOW_MAX_SECONDS)}),
        description=f"Follow the topics of {contract.system}. Launched by its sensor once a minute.",
        tags=policies.lane_tags(contract.system),
        executor_def=in_process_executor,
    )
    rebuild = define_asset_job(
        f"{contract.system}_rebuild",
        AssetSelection.assets(*(k for k in assets.keys if k.path[0] in (Layer.SILVER, Layer.INDEX))),
        description=f"Rebuild silver and index of {contract.system} for a day, from bronze, while the lane goes on.",
        tags=policies.BACKGROUND_TAGS,
        executor_def=in_process_executor,
    )

    @sensor(
        name=f"{contract.system}_lane",
        job=follow,
        minimum_interval_seconds=policies.FOLLOW_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        description="Launches the next lane run once a minute; it takes over from the one before at its first commit.",
    )
    def tick(context: SensorEvaluationContext) -> RunRequest | SkipReason:
        return next_lane_run(context, contract.system, datetime.now(UTC))

    return Definitions(
        assets=[assets, *(topic_spec(contract, table) for table in contract.tables)],
        jobs=[follow, rebuild],
        sensors=[tick],
    )


def next_lane_run(context: SensorEvaluationContext, system: str, now: datetime) -> RunRequest | SkipReason:
    """This minute's run, unless so many are in flight that another would only wait behind them."""
    in_flight = context.instance.get_run_records(
        RunsFilter(
            tags={policies.LANE_TAG: system},
            statuses=UNFINISHED,
            created_after=now - timedelta(seconds=policies.IN_FLIGHT_SECONDS),
        ),
        limit=policies.LANE_RUNS,
    )
    if len(in_flight) >= policies.LANE_RUNS:
        return SkipReason(f"{len(in_flight)} runs of this lane are in flight; they do not end as they should")
    return RunRequest(run_key=f"{system}:{now:%Y-%m-%dT%H:%M}", partition_key=day_of(now))


UNFINISHED = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


def lane_assets(contract: Contract) -> AssetsDefinition:
    """All layers of all tables of a system, with the checks that a run reports."""

    @multi_asset(
        name=contract.system,
        specs=list(lane_specs(contract)),
        check_specs=check_specs(contract),
        can_subset=True,
        partitions_def=DAYS,
        backfill_policy=BackfillPolicy.multi_run(max_partitions_per_run=1),
        description="Follows the topics, or lands what waits, or rebuilds a day: see the run's `mode`.",
    )
    def lane(context: AssetExecutionContext, config: LaneConfig) -> Iterator[Result]:
        try:
            run = LaneRun(context, contract)
            if config.mode is Mode.FOLLOW:
                yield from run.follow(config.max_seconds)
            else:
                yield from run.by_selection()
        except AssayError as error:
            raise Failure(str(error), allow_retries=False) from error

    return lane
