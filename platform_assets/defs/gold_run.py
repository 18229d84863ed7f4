"""One run of a system's marts: refresh, and only then tell Dagster what is published.

Belongs here: what is reported. Does not: any work on data (`marts/`).

dbt runs in the run's own process: dagster-dbt's own way starts it twice (`dbt --version`, `dbt build`), each minute.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetExecutionContext,
    AssetKey,
    AssetMaterialization,
    MaterializeResult,
    MetadataValue,
)

from platform_assets.contracts.model import Contract
from platform_assets.core.errors import AssayError
from platform_assets.core.settings import Settings
from platform_assets.defs.alerts import see_marts
from platform_assets.defs.partitions import known
from platform_assets.defs.specs import mart_of

if TYPE_CHECKING:
    from platform_assets.marts.build import NodeResult
    from platform_assets.marts.refresh import RefreshReport

Result = MaterializeResult[Any] | AssetMaterialization | AssetCheckResult


class GoldRun:
    """One run over what was selected of one system's marts."""

    def __init__(self, context: AssetExecutionContext, contract: Contract) -> None:
        self._context = context
        self._contract = contract
        self._day = context.partition_key

    def run(self, *, new: bool) -> Iterator[Result]:
        """Take in what is `new`, or recompute the run's day. Nothing is reported as made that was not published."""
        from platform_assets.marts.build import BuildFailed
        from platform_assets.marts.refresh import refresh

        selected = self._context.selected_asset_keys
        only = {mart_of(key) for key in selected}
        day = None if new else date.fromisoformat(self._day)
        try:
            report = refresh(Settings.load(), self._contract, day, only=only, progress=self._tell)
        except BuildFailed as failed:
            yield from self._checks(failed.results)
            raise
        for name, why in report.refused.items():
            self._context.log.error(f"{name} is refused and stays as it is: {why}")
        if report.index_error:
            self._context.log.warning(f"the index is behind: {report.index_error}")
        try:
            see_marts(report)
        except AssayError as error:
            self._context.log.warning(f"no alert is raised or ended: {error}")
        days = ", ".join(report.days) or "no day"
        self._context.log.info(f"refresh {report.number}: {report.minutes:,} minutes of {days}")
        # Dagster wants what others are made from first.
        order = TopologicalSorter(self._context.assets_def.asset_deps).static_order()
        for key in (key for key in order if key in selected and mart_of(key) not in report.refused):
            yield MaterializeResult(asset_key=key, metadata=_figures(key, report))
            for other in report.days:
                if other != self._day and known(other):
                    yield AssetMaterialization(key, partition=other, metadata=_figures(key, report))
        yield from self._checks(report.results)
        # Asked for by hand, a refused mart fails its run; what is new of the others does not wait for it.
        if not new and (lost := sorted(only & report.refused.keys())):
            raise AssayError(
                f"refused: {', '.join(f'{name} ({report.refused[name]})' for name in lost)}", "see docs/gold.md"
            )

    def _tell(self, what: str, done: int, total: int) -> None:
        """Progress, in the run's log: what is done of models and marts, not each test."""
        if not what.startswith("test "):
            self._context.log.info(f"{what} ({done} of {total})" if total else what)

    def _checks(self, results: Sequence[NodeResult]) -> Iterator[AssetCheckResult]:
        """dbt's tests, as far as they are checks of this run."""
        selected = {key.name: key for key in self._context.selected_asset_check_keys}
        for result in results:
            if result.is_test and result.ran and result.name in selected:
                key = selected[result.name]
                yield AssetCheckResult(
                    asset_key=key.asset_key,
                    check_name=key.name,
                    passed=result.passed,
                    severity=AssetCheckSeverity.ERROR,
                    description=None if result.passed else result.message,
                    metadata={"rows": result.rows, "seconds": round(result.seconds, 3)},
                )


def _figures(key: AssetKey, report: RefreshReport) -> dict[str, Any]:
    """The figures of one mart after a refresh."""
    name = mart_of(key)
    figures: dict[str, Any] = {
        "refresh": report.number,
        "rows": report.rows.get(name, 0),
        "slots": report.slots.get(name, 0),
        "seconds": MetadataValue.json({step: round(took, 3) for step, took in report.seconds.items()}),
    }
    if name in report.documents:
        figures["documents"] = report.documents[name]
    if trouble := report.index_errors.get(name, "" if report.index_errors else report.index_error):
        figures["index_trouble"] = trouble
    return figures
