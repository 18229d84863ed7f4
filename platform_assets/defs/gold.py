"""A system's marts as Dagster sees them: dbt's models as assets, its tests as checks, the job that refreshes, the sensor.

As with the worker, the job says what a run does: `<system>_gold`, launched by the sensor when silver is ahead, takes in what is
new and reports every day it touched; any other run, such as a backfill, recomputes the run's day.
"""

# No postponed annotations here: Dagster reads those of the functions that it decorates.
import json
import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from dagster import (
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    AssetSelection,
    AssetSpec,
    BackfillPolicy,
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
    sensor,
)
from dagster_dbt import DagsterDbtTranslator, dbt_assets

from platform_assets.contracts.model import Contract
from platform_assets.core.errors import AssayError
from platform_assets.defs import policies
from platform_assets.defs.gold_audit import audit_definitions, audit_key
from platform_assets.defs.gold_run import GoldRun, Result
from platform_assets.defs.ingest import UNFINISHED, stopped_now
from platform_assets.defs.partitions import DAYS, day_of
from platform_assets.defs.specs import Layer, gold_key, mart_of, owners, table_key
from platform_assets.marts.graph import Graph, read_graph
from platform_assets.marts.project import has_models, manifest_path, project_folder, selection

_log = logging.getLogger("assay.gold")
_HOW = (
    "Made by refreshes, which read only what silver has gained. Materialize by hand or backfill: recompute the day from "
    "silver; refreshes go on meanwhile."
)


def gold_job(system: str) -> str:
    """The name of the job whose runs take in what is new."""
    return f"{system}_gold"


def gold_definitions(contracts: Mapping[str, Contract]) -> Definitions:
    """Marts, job and sensor of every system that has models. dbt reads its project first, if it has changed since."""
    project = project_folder()
    chosen = [contract for contract in contracts.values() if has_models(project, contract.system)]
    if not chosen:
        return Definitions()
    manifest = json.loads(manifest_path(project).read_text(encoding="utf-8"))
    known = {node["fqn"][1] for node in manifest["nodes"].values() if node["resource_type"] == "model"}
    systems = []
    for contract in chosen:
        try:
            systems += [_system(contract, manifest)] if contract.system in known else []
        except AssayError as error:  # of this system alone; the sensor `assay_declarations` tells it too
            _log.error("gold of %s is left out: %s", contract.system, error)
    return Definitions.merge(Definitions(executor=in_process_executor), *systems)


def _system(contract: Contract, manifest: Mapping[str, Any]) -> Definitions:
    graph = read_graph(project_folder(), contract)
    assets = gold_assets(contract, manifest, graph)
    # The audit reads whole slots anew: it has a schedule of its own, and is no part of a refresh.
    audits = AssetSelection.checks(*(audit_key(contract, mart) for mart in graph.marts))
    job = define_asset_job(
        gold_job(contract.system),
        AssetSelection.assets(*assets.keys) - audits,
        description=f"Take in what silver of {contract.system} has gained. Launched by its sensor.",
        tags=policies.GOLD_TAGS,
        executor_def=in_process_executor,
    )

    @sensor(
        name=gold_job(contract.system),
        job=job,
        minimum_interval_seconds=policies.GOLD_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        description="Launches a refresh when silver is ahead of gold and none is at work.",
    )
    def tick(context: SensorEvaluationContext) -> RunRequest | SkipReason:
        if mistakes := stopped_now(contract.system):
            return SkipReason(f"gold stands still, the contract is wrong: {'; '.join(map(str, mistakes))}")
        return next_refresh(context, contract, datetime.now(UTC))

    own = Definitions(assets=[assets], jobs=[job], sensors=[tick])
    return Definitions.merge(own, audit_definitions(contract, graph)) if graph.marts else own


def next_refresh(context: SensorEvaluationContext, contract: Contract, now: datetime) -> RunRequest | SkipReason:
    """The next refresh, unless one is at work, the last one has just failed, or gold is up to date and has just said so."""
    mine = RunsFilter(job_name=gold_job(contract.system))
    last = next(iter(context.instance.get_run_records(mine, limit=1)), None)
    idle = True
    if last is not None:
        age = now - last.create_timestamp.astimezone(UTC)
        if last.dagster_run.status in UNFINISHED and age < timedelta(hours=1):
            return SkipReason("a refresh is at work")
        if last.dagster_run.status is DagsterRunStatus.FAILURE and age < timedelta(seconds=policies.GOLD_RETRY_SECONDS):
            return SkipReason("the last refresh failed; it is tried again in some minutes")
        idle = age >= timedelta(seconds=policies.GOLD_IDLE_SECONDS)
    if not idle and not _behind(contract):
        return SkipReason("gold is up to date")
    return RunRequest(partition_key=day_of(now))


def _behind(contract: Contract) -> bool:
    """Whether silver is ahead, by the Delta logs."""
    from platform_assets.core.settings import Settings
    from platform_assets.marts.plan import consumed

    marts = read_graph(project_folder(), contract).marts
    return any(found.behind for found in consumed(Settings.load().lake_path, contract, marts).values())


def gold_assets(contract: Contract, manifest: Mapping[str, Any], graph: Graph) -> AssetsDefinition:
    """The system's models, each with its tests as checks."""

    @dbt_assets(
        name=f"{contract.system}_marts",
        manifest=manifest,
        select=selection(contract.system),
        exclude="source:*",
        partitions_def=DAYS,
        dagster_dbt_translator=Translator(contract, graph.refused),
        backfill_policy=BackfillPolicy.multi_run(max_partitions_per_run=1),
    )
    def marts(context: AssetExecutionContext) -> Iterator[Result]:
        try:
            yield from GoldRun(context, contract).run(new=context.run.job_name == gold_job(contract.system))
        except AssayError as error:
            raise Failure(str(error), allow_retries=False) from error

    return marts


class Translator(DagsterDbtTranslator):
    """How a node of dbt is shown: sources are silver's assets, models are `gold/<system>/gold_<model>`."""

    def __init__(self, contract: Contract, refused: Mapping[str, str]) -> None:
        super().__init__()
        self._contract = contract
        self._refused = refused

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> AssetKey:
        """`silver/<system>/silver_<table>`, or `gold/<system>/gold_<model>`."""
        if dbt_resource_props["resource_type"] == "source":
            return table_key(Layer.SILVER, dbt_resource_props["source_name"], dbt_resource_props["name"])
        return gold_key(self._contract.system, dbt_resource_props["name"])

    def get_description(self, dbt_resource_props: Mapping[str, Any]) -> str:
        """What the properties file says, and what a click on Materialize does; of a refused mart the reason."""
        why = self._refused.get(dbt_resource_props["name"])
        how = _HOW if why is None else f"**Refused**: {why}. It stays as it is until its model is corrected."
        return f"{dbt_resource_props['description']}\n\n{how}"

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str:
        """Beside the system's other layers."""
        return self._contract.system

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> list[str]:
        """The contract's."""
        return owners(self._contract)

    def get_tags(self, dbt_resource_props: Mapping[str, Any]) -> dict[str, str]:
        """What people filter by."""
        return {"assay/layer": "gold", "assay/system": self._contract.system}

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: Any) -> AssetSpec:
        """As dbt's, with the freshness that refreshes promise."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        if unique_id.startswith("model"):
            made = spec.replace_attributes(
                kinds={"gold", "dbt", "delta"}, freshness_policy=policies.GOLD_FRESHNESS.policy
            )
            why = self._refused.get(mart_of(made.key))
            return (
                made
                if why is None
                else made.merge_attributes(tags={"assay/refused": "true"}, metadata={"refused": why})
            )
        return spec
