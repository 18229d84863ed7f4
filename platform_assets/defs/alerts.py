"""Alerts as Dagster sees them: what it alone knows is raised, and each minute somebody looks when no worker does.

Belongs here: sensors, the asset `alerts/<system>/alerts`, and turning Dagster's records into sightings. Does not: evaluating
rules, incidents and messages (alerts). Everything goes through the alert service that the worker uses, so that nothing is
told twice.
"""

# No postponed annotations here: Dagster reads those of the functions that it decorates.
import json
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from dagster import (
    AssetCheckKey,
    AssetCheckSeverity,
    AssetMaterialization,
    AssetSpec,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    DefaultSensorStatus,
    Definitions,
    MetadataValue,
    RunFailureSensorContext,
    RunRecord,
    RunsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    run_failure_sensor,
    sensor,
)

from platform_assets.contracts.model import Contract, Table
from platform_assets.core.errors import AssayError
from platform_assets.defs import keys, policies
from platform_assets.defs.checks import LAYER, Check
from platform_assets.defs.specs import Layer, alerts_key, key, owners
from platform_assets.defs.stale import stale_alerts, stale_ingest, stale_marts

if TYPE_CHECKING:
    from platform_assets.alerts.evaluator import Ends
    from platform_assets.alerts.incident import Sighting
    from platform_assets.alerts.service import AlertService
    from platform_assets.core.settings import Settings
    from platform_assets.marts.refresh import RefreshReport

LOOK_SECONDS = 60
FAILED_RUNS_SECONDS = 30
FAILED_LATELY, FAILED_MOST = timedelta(days=1), 500
"""So long, and to so many, a look comes back to failed runs whose job has no alert."""
MESSAGES = 3
"""Messages a tick: a tick is ended after a minute, and a receiver may hang."""
CHECKS = (Check.COMPLETE,)
"""Checks that raise `check_failed`, besides `keys_unique`. The others have rules of their own, which the worker follows live."""
HOUSEKEEPING = "assay"
"""The system of runs that belong to none (`alerts.platform.PLATFORM_SYSTEM`)."""


_log = logging.getLogger("assay.alerts")


def alert_definitions(contracts: Mapping[str, Contract]) -> Definitions:
    """The asset and the sensor of each system, and the sensor of failed runs."""
    looks = [_look_sensor(system, contracts) for system in (HOUSEKEEPING, *contracts)]
    return Definitions(
        assets=[alerts_spec(contract) for contract in contracts.values()],
        sensors=[_failed_runs(tuple(contracts)), *looks],
    )


def alerts_spec(contract: Contract) -> AssetSpec:
    """The table of alerts in the lineage: made from silver, beside any run."""
    return AssetSpec(
        alerts_key(contract.system),
        deps=[key(Layer.SILVER, table) for table in contract.tables],
        description="Incidents: rules over windows of silver, and what the platform tells of itself. Written beside the worker; "
        "reported here whenever the counts change, and every ten minutes.",
        group_name=contract.system,
        owners=owners(contract),
        kinds={"alerts", "delta", "opensearch"},
        tags={"assay/layer": "alerts", "assay/system": contract.system},
        freshness_policy=policies.ALERTS_FRESHNESS.policy,
    )


# -- each minute -----------------------------------------------------------------------------------------------------------


def _look_sensor(system: str, contracts: Mapping[str, Contract]) -> SensorDefinition:
    @sensor(
        name=f"{system}_alerts",
        minimum_interval_seconds=LOOK_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        description="Silence, windows that ran empty, freshness, checks, runs that succeed again; then index and messages.",
    )
    def look(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        now = datetime.now(UTC)
        figures, problems = look_now(context.instance, system, contracts, now)
        if problems:
            raise AssayError("; ".join(problems), "the next tick tries again")
        told = json.dumps([figures, now.timestamp() // policies.ALERTS_IDLE_SECONDS], sort_keys=True)
        if system not in contracts or told == context.cursor:
            return SkipReason(", ".join(f"{name} {number}" for name, number in figures.items()))
        event = AssetMaterialization(
            alerts_key(system), metadata={name: MetadataValue.int(number) for name, number in figures.items()}
        )
        return SensorResult(asset_events=[event], cursor=told)

    return look


def look_now(
    instance: DagsterInstance, system: str, contracts: Mapping[str, Contract], now: datetime
) -> tuple[dict[str, int], Sequence[str]]:
    """One look: counts of alerts by state, and what did not work (the rest was done all the same).

    The look of `HOUSEKEEPING` sees whether those of the systems still happen.
    """
    from platform_assets.alerts.service import AlertService, counts
    from platform_assets.alerts.text import plain
    from platform_assets.core.settings import Settings

    settings, contract = Settings.load(), contracts.get(system)
    alert_service = AlertService(settings, system)
    works: list[Callable[[], object]] = [
        partial(_see, alert_service, partial(_recovered, instance, alert_service, now)),
        partial(_see, alert_service, partial(_failed, instance, system, contracts, alert_service, now)),
    ]
    if contract is None:
        works.append(partial(_see, alert_service, partial(stale_alerts, instance, contracts, now)))
        works.append(partial(_see, alert_service, partial(_shards, settings, now)))
    else:
        works += [
            partial(_own_rules, settings, contract, alert_service),
            partial(_see, alert_service, partial(_late_data, settings, contract, now)),
            partial(_see, alert_service, partial(stale_ingest, instance, contract, now)),
            partial(_see, alert_service, partial(stale_marts, instance, contract, now)),
            partial(_see, alert_service, partial(_failed_checks, instance, contract, now)),
        ]
    works += [alert_service.publish, lambda: alert_service.tell(most=MESSAGES)]
    problems = []
    try:
        for work in works:
            try:
                work()
            except AssayError as error:
                problems.append(str(error))
            except Exception as error:  # whatever it is, what comes behind it is done all the same
                _log.exception("a part of the look at the alerts of %s failed", system)
                problems.append(plain(f"{type(error).__name__}: {error}"))
        return counts(alert_service.alerts()), problems
    finally:
        alert_service.close()


def _see(alert_service: "AlertService", sightings: Callable[[], Iterator["Sighting"]]) -> None:
    alert_service.see(sightings())


def _own_rules(settings: "Settings", contract: Contract, alert_service: "AlertService") -> None:
    from platform_assets.alerts.declared import rules_of
    from platform_assets.alerts.evaluator import look_once
    from platform_assets.alerts.platform import PLATFORM_RULES

    rules = rules_of(settings, contract)
    look_once(settings, contract, tuple(rules.valid.values()), alert_service, partial(broker_ends, settings, contract))
    if not rules.mistakes:  # else it is not known which rules there are meant to be
        alert_service.retire({*rules.valid, *PLATFORM_RULES})


def broker_ends(settings: "Settings", contract: Contract) -> "Ends":
    """What the broker holds; nothing when it does not answer."""
    from platform_assets.sources.connect import ask_source

    try:
        found = ask_source(settings, [table.topic for table in contract.tables])
    except AssayError as error:
        _log.warning("whether %s has all that its topics hold is not known: %s", contract.system, error)
        return {}
    return {
        table.name: {marks.stream.app_id(partition): bounds for partition, bounds in marks.marks.items()}
        for table in contract.tables
        if (marks := found.get(table.topic)) is not None
    }


def _shards(settings: "Settings", now: datetime) -> Iterator["Sighting"]:
    """Whether the index comes near its limit of shards. One that does not answer is told by the workers."""
    from platform_assets.alerts.platform import SHARDS, sighting
    from platform_assets.index.connect import ask_shards
    from platform_assets.index.errors import Unavailable

    try:
        budget = ask_shards(settings)
    except Unavailable as error:
        _log.warning("how many shards are open is not known: %s", error)
        return
    yield sighting(
        SHARDS, "opensearch", now, breach=budget.exceeded, value=budget.open / budget.limit, detail=str(budget)
    )


def _late_data(settings: "Settings", contract: Contract, now: datetime) -> Iterator["Sighting"]:
    """Each table's newest event against the contract: whether the data is late, or dated where no clock has been yet."""
    from platform_assets.alerts.model import Severity
    from platform_assets.alerts.platform import FRESHNESS, sighting
    from platform_assets.reconcile.state import table_state

    for table in contract.tables:
        watermark = table_state(settings, table).watermark
        if watermark is None:
            continue
        late = now - watermark
        severity = Severity.CRITICAL if late > table.freshness_fail else Severity.WARNING
        ahead = -late > table.max_ahead
        minutes = f"{abs(late.total_seconds()) / 60:,.0f} minutes"
        place = f"{minutes} ahead of this machine's clock" if ahead else f"{minutes} old"
        yield sighting(
            FRESHNESS, table.qualified_name, now, breach=ahead or late > table.freshness_warn, severity=severity,
            value=late.total_seconds(), detail=f"the newest event is {place}",
        )  # fmt: skip


def _failed_checks(instance: DagsterInstance, contract: Contract, now: datetime) -> Iterator["Sighting"]:
    from platform_assets.alerts.model import Severity
    from platform_assets.alerts.platform import CHECK_FAILED, sighting
    from platform_assets.alerts.text import DETAIL_LENGTH, neutral

    for table in contract.tables:
        for check in checks_of(table):
            record = instance.get_latest_asset_check_evaluation_record(check)
            found = None if record is None or record.event is None else record.event.asset_check_evaluation
            if found is None:
                continue
            severity = Severity.CRITICAL if found.severity is AssetCheckSeverity.ERROR else Severity.WARNING
            yield sighting(
                CHECK_FAILED, f"{check.asset_key.to_user_string()}:{check.name}", now, breach=not found.passed,
                severity=severity, detail=neutral(found.description or "failed", DETAIL_LENGTH),
            )  # fmt: skip


def checks_of(table: Table) -> list[AssetCheckKey]:
    """The checks whose failure is an alert by itself."""
    own = [AssetCheckKey(key(LAYER[check], table), check.value) for check in CHECKS]
    return [*own, AssetCheckKey(key(Layer.SILVER, table), keys.NAME)] if table.key else own


# -- after a refresh of gold -----------------------------------------------------------------------------------------------


def see_marts(report: "RefreshReport") -> None:
    """Raise or end the alert of each mart whose index was tried.

    That there is no index at all the worker tells, of its tables. Whoever looks next tells people. Raises AssayError.
    """
    from platform_assets.alerts.platform import INDEX, sighting
    from platform_assets.alerts.service import AlertService
    from platform_assets.alerts.text import DETAIL_LENGTH, neutral
    from platform_assets.core.settings import Settings

    now = datetime.now(UTC)
    tried = {**dict.fromkeys(report.documents, ""), **report.index_errors}
    if not tried:
        return
    alert_service = AlertService(Settings.load(), report.system, index=False)
    try:
        alert_service.see(
            sighting(INDEX, f"{report.system}.{mart}", now, breach=bool(error), detail=neutral(error, DETAIL_LENGTH))
            for mart, error in tried.items()
        )
    finally:
        alert_service.close()


# -- failed runs -----------------------------------------------------------------------------------------------------------


def _failed_runs(systems: Collection[str]) -> SensorDefinition:
    @run_failure_sensor(
        name="failed_runs",
        minimum_interval_seconds=FAILED_RUNS_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        monitor_all_code_locations=True,
        description="An alert for each job whose run failed. A tick looks at DAGSTER_RUN_STATUS_SENSOR_PROCESS_LIMIT runs.",
    )
    def failed_runs(context: RunFailureSensorContext) -> None:
        raise_failed_run(context, systems)

    return failed_runs


def raise_failed_run(context: RunFailureSensorContext, systems: Collection[str]) -> None:
    """Store that a run failed. What cannot be stored or told now is by the next look."""
    from platform_assets.alerts.service import AlertService
    from platform_assets.core.settings import Settings

    run = context.dagster_run
    alert_service = AlertService(Settings.load(), system_of(run, systems))
    try:
        alert_service.see([_failure(context.instance, run, datetime.now(UTC))])
    finally:
        alert_service.close()


def _failure(instance: DagsterInstance, run: DagsterRun, at: datetime) -> "Sighting":
    from platform_assets.alerts.platform import RUN_FAILED, sighting

    detail = f"run {run.run_id[:8]} failed: {_cause(instance, run)}"
    return sighting(RUN_FAILED, run.job_name, at, breach=True, detail=detail)


def _cause(instance: DagsterInstance, run: DagsterRun) -> str:
    """What the first failed step said, or the run; neutral: an error's text may quote data."""
    from platform_assets.alerts.text import DETAIL_LENGTH, neutral

    said = "no reason given"
    for entry in instance.all_logs(run.run_id, of_type={DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE}):
        event = entry.get_dagster_event()
        if event.event_type is DagsterEventType.RUN_FAILURE:
            said = event.message or said
        elif (user := event.step_failure_data.user_failure_data) is not None and user.description:
            return neutral(user.description, DETAIL_LENGTH)
        elif (error := event.step_failure_data.error) is not None:
            return neutral(error.message, DETAIL_LENGTH)
    return neutral(said, DETAIL_LENGTH)


def system_of(run: DagsterRun, systems: Collection[str]) -> str:
    """The system that a run worked for: by the worker's tag, its assets, or its job's name."""
    tagged = run.tags.get(policies.INGEST_TAG, "")
    chosen = {asset.path[1] for asset in run.asset_selection or () if len(asset.path) > 1}
    named = {system for system in systems if run.job_name.startswith(f"{system}_")}
    return next((s for s in (tagged, *sorted(chosen), *sorted(named)) if s in systems), HOUSEKEEPING)


def _recovered(instance: DagsterInstance, alert_service: "AlertService", now: datetime) -> Iterator["Sighting"]:
    """Jobs with an open alert whose last finished run is a success."""
    from platform_assets.alerts.platform import RUN_FAILED, sighting

    for job in sorted(_jobs_told(alert_service)):
        last = _last_finished(instance, job)
        if last is not None and last.dagster_run.status is DagsterRunStatus.SUCCESS:
            yield sighting(RUN_FAILED, job, now, breach=False)


def _failed(
    instance: DagsterInstance, system: str, systems: Collection[str], alert_service: "AlertService", now: datetime
) -> Iterator["Sighting"]:
    """Jobs without an open alert whose last finished run has failed lately: the sensor of failed runs looks at each run once.

    Seen at the end of the run, so that an alert that has been resolved since is not opened again.
    """
    lately = RunsFilter(statuses=[DagsterRunStatus.FAILURE], updated_after=now - FAILED_LATELY)
    jobs = {run.job_name for run in instance.get_runs(lately, limit=FAILED_MOST) if system_of(run, systems) == system}
    for job in sorted(jobs - _jobs_told(alert_service)):
        last = _last_finished(instance, job)
        if last is None or last.end_time is None or last.dagster_run.status is not DagsterRunStatus.FAILURE:
            continue
        if system_of(last.dagster_run, systems) == system:
            yield _failure(instance, last.dagster_run, datetime.fromtimestamp(last.end_time, UTC))


def _jobs_told(alert_service: "AlertService") -> set[str]:
    """Jobs with an open alert."""
    from platform_assets.alerts.platform import RUN_FAILED

    return {json.loads(group)["subject"] for rule, group in alert_service.open_keys() if rule == RUN_FAILED.name}


def _last_finished(instance: DagsterInstance, job: str) -> RunRecord | None:
    ended = RunsFilter(job_name=job, statuses=[DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE])
    return next(iter(instance.get_run_records(ended, limit=1)), None)
