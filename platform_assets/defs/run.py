"""One run of a worker's multi-asset: call the worker or the rebuild, log how it goes, give results and events.

Belongs here: the order of calls and what each selection means. Does not: figures (`reporting`), verdicts (`checks`).
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from dagster import AssetCheckResult, AssetExecutionContext, AssetMaterialization, MaterializeResult

from platform_assets.contracts.model import Contract, Table
from platform_assets.core.errors import AssayError
from platform_assets.core.settings import Settings
from platform_assets.defs import policies
from platform_assets.defs.checks import LAYER, MEASURED_BY_WORKER, report_checks, state_checks
from platform_assets.defs.partitions import by_day, day_of
from platform_assets.defs.reporting import (
    PARTITION_ROWS,
    Metadata,
    ingest_days,
    ingest_events,
    ingest_metadata,
    rebuild_metadata,
    summary,
    topic_event,
)
from platform_assets.defs.specs import Layer, key
from platform_assets.defs.supervise import supervise

if TYPE_CHECKING:
    from platform_assets.ingest.report import IngestReport, TableReport
    from platform_assets.reconcile.state import TableState

Result = MaterializeResult[Any] | AssetMaterialization | AssetCheckResult
IngestWork = Callable[[threading.Event, Callable[["TableReport"], None]], "IngestReport"]

LANDED = (Layer.BRONZE, Layer.QUARANTINE)
"""Layers that only the topic can feed."""
REBUILT = (Layer.SILVER, Layer.INDEX)
"""Layers that bronze can give again."""
LOG_SECONDS = 10.0


class IngestRun:
    """One run over what was selected of one system."""

    def __init__(self, context: AssetExecutionContext, contract: Contract) -> None:
        self._context = context
        self._contract = contract
        self._settings = Settings.load()
        chosen = context.selected_asset_keys
        self._selected = {
            table.name: [layer for layer in Layer if key(layer, table) in chosen] for table in contract.tables
        }

    def follow(self, max_seconds: float) -> Iterator[Result]:
        """The worker, until its successor takes over."""
        from platform_assets.contracts.registry import accept_contract
        from platform_assets.ingest.worker import Worker

        day, now = self._context.partition_key, datetime.now(UTC)
        if day not in (day_of(now), day_of(now - timedelta(hours=1))):  # launched before midnight, at work after it
            raise AssayError(
                f"the worker follows the present, not {day}", f"the job {self._contract.system}_rebuild rebuilds a day"
            )
        accept_contract(self._settings, self._contract)
        worker = Worker(self._settings, self._contract)
        yield from self._worker(
            lambda stop, tell: worker.follow(max_seconds=max_seconds, stop=stop, on_commit=tell), tuple(Layer)
        )

    def by_selection(self) -> Iterator[Result]:
        """What a person asked for by selecting assets: land what waits, rebuild the day, or both in this order."""
        from platform_assets.contracts.registry import accept_contract
        from platform_assets.ingest.worker import Worker

        layers = {layer for chosen in self._selected.values() for layer in chosen}
        if not layers:
            yield from self._checks_alone()
            return
        accept_contract(self._settings, self._contract)
        if layers.intersection(LANDED):
            worker = Worker(self._settings, self._contract)
            yield from self._worker(lambda stop, tell: worker.drain(stop=stop, on_commit=tell), LANDED)
        _behind_the_workers()
        for table in self._contract.tables:
            if set(self._selected[table.name]).intersection(REBUILT):
                yield from self._rebuild(table)

    # -- the worker ----------------------------------------------------------------------------------------------------

    def _worker(self, work: IngestWork, mine: Sequence[Layer]) -> Iterator[Result]:
        """Run the worker and report it, also when it failed or was interrupted: what it committed is there.

        Results are the run's partition of what was selected among `mine`; whatever else was touched are events.
        """
        reports: dict[str, TableReport] = {}

        def tell(report: TableReport) -> None:
            reports[report.table] = report

        def log() -> None:
            landed = ", ".join(f"{name} {report.records:,}" for name, report in sorted(reports.items()))
            self._context.log.info(f"landed so far: {landed or 'nothing'}")

        outcome = supervise(
            lambda stop: work(stop, tell), grace_seconds=policies.STOP_SECONDS, every_seconds=LOG_SECONDS, on_tick=log
        )
        run, day = outcome.value, self._context.partition_key
        for table in self._contract.tables:
            if run is not None:
                chosen = [layer for layer in self._selected[table.name] if layer in mine]
                report = run.tables[table.name]
                self._context.log.info(summary(table, report, run.reason))
                for said in report.trouble.values():
                    self._context.log.warning(f"{table.name}: {said}")
                yield topic_event(table, report)
                yield from ingest_events(table, report, run.reason, day, chosen)
                yield from self._ingest_results(table, report, run.reason, chosen)
            elif table.name in reports:
                yield from ingest_events(table, reports[table.name], "failed", day, ())
        if run is not None and run.alert_error:
            self._context.log.warning(f"alerts: {run.alert_error}")
        if outcome.error is not None:
            raise outcome.error

    def _ingest_results(
        self, table: Table, report: TableReport, reason: str, layers: Sequence[Layer]
    ) -> Iterator[Result]:
        day = self._context.partition_key
        days, state = ingest_days(report, day), self._state(table)
        checks = [*report_checks(table, report), *state_checks(table, state, report)]
        for layer in layers:
            figures = ingest_metadata(table, report, layer, days[layer][day], reason)
            if layer is Layer.SILVER:
                figures[PARTITION_ROWS] = by_day(state.rows_by_partition).get(day, 0)
            yield self._result(table, layer, figures, checks)

    # -- the rebuild -------------------------------------------------------------------------------------------------

    def _rebuild(self, table: Table) -> Iterator[Result]:
        """The run's day of silver with its index; both are reported, whichever of them was selected."""
        from platform_assets.ingest.rebuild import rebuild

        done: Counter[str] = Counter()
        logged = time.monotonic()

        def progress(what: str, count: int) -> None:
            nonlocal logged
            done[what] += count
            if time.monotonic() - logged >= LOG_SECONDS:
                logged = time.monotonic()
                self._context.log.info(f"{table.name}: {', '.join(f'{n:,} {name}' for name, n in done.items())} so far")

        day = self._context.partition_key
        report = rebuild(self._settings, table, date.fromisoformat(day), progress)
        self._context.log.info(
            f"{table.name}: rebuilt {sum(report.partitions.values()):,} rows, {report.documents:,} documents of {day}"
        )
        checks = [*state_checks(table, self._state(table, services=True))]
        for layer in REBUILT:
            figures = rebuild_metadata(table, report, layer)
            if layer in self._selected[table.name]:
                yield self._result(table, layer, figures, checks)
            else:
                yield AssetMaterialization(key(layer, table), partition=day, metadata=figures)

    # -- checks ------------------------------------------------------------------------------------------------------

    def _state(self, table: Table, *, services: bool = False) -> TableState:
        from platform_assets.reconcile.state import table_state

        return table_state(self._settings, table, services=services)

    def _checks_alone(self) -> Iterator[Result]:
        """Checks that were asked for without any asset."""
        asked = {found.name for found in self._context.selected_asset_check_keys}
        if asked.intersection(MEASURED_BY_WORKER):
            names = " and ".join(MEASURED_BY_WORKER)
            raise AssayError(
                f"{names} are measured by the worker as it runs", "see their last results, or materialize bronze"
            )
        for table in self._contract.tables:
            yield from self._wanted(state_checks(table, self._state(table, services=True)))

    def _wanted(self, checks: Iterable[AssetCheckResult], layer: Layer | None = None) -> list[AssetCheckResult]:
        """Those of the selected checks that belong to this layer, or to any."""
        names = [check.value for check, owner in LAYER.items() if layer in (None, owner)]
        selected = {(found.asset_key, found.name) for found in self._context.selected_asset_check_keys}
        return [c for c in checks if (c.asset_key, c.check_name) in selected and c.check_name in names]

    def _result(
        self, table: Table, layer: Layer, figures: Metadata, checks: Iterable[AssetCheckResult]
    ) -> MaterializeResult[Any]:
        return MaterializeResult(
            asset_key=key(layer, table), metadata=figures, check_results=self._wanted(checks, layer)
        )


def _behind_the_workers() -> None:
    """Let the workers have the processor first. Only in a process that Dagster made for this run: it cannot be taken back."""
    if multiprocessing.parent_process() is not None:
        os.nice(10)
