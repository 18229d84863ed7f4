"""The lane's side of its alerts: what is told to the watch, and when.

Belongs here: turning the lane's own figures into the alerts' terms. Does not: judging them (alerts).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from platform_assets.alerts.model import Rule
from platform_assets.alerts.platform import Vitals
from platform_assets.alerts.read import rules_of
from platform_assets.alerts.watch import Watch
from platform_assets.contracts.model import Contract
from platform_assets.lake.layout import Lake
from platform_assets.lane.report import TableReport
from platform_assets.lane.settle import Settled
from platform_assets.settings import Settings

FINISH_SECONDS = 15.0
"""How long an ending lane waits for its last commits to be judged, and for index and people to be told."""


class LaneAlerts:
    """The watch beside one lane run."""

    def __init__(self, settings: Settings, contract: Contract, rules: Sequence[Rule] | None, *, index: bool) -> None:
        """`rules` None: those in the system's folder."""
        # Handles of its own: the settler's must not move to another snapshot under its feet.
        silver = {t.name: Lake(settings.lake_path).tables(t).silver for t in contract.tables}
        self._watch = Watch(
            settings, contract, silver, lambda: rules_of(settings, contract) if rules is None else rules, index=index
        )

    @property
    def error(self) -> str:
        """What does not work, in one line."""
        return self._watch.error

    def start(self) -> None:
        """Begin."""
        self._watch.start()

    def settled(self, report: TableReport, settled: Settled) -> None:
        """A silver commit. Never waits."""
        self._watch.offer(report.table, settled.after, settled.seq, settled.rows, vitals(report))

    def check(self, reports: Mapping[str, TableReport]) -> None:
        """How the tables do between commits. Never waits."""
        for name, report in reports.items():
            self._watch.note(name, vitals(report))

    def finish(self) -> None:
        """Judge what was settled, and end."""
        self._watch.finish(FINISH_SECONDS)


def vitals(report: TableReport) -> Vitals:
    """A table's figures so far. Copied first: another thread may be counting."""
    return Vitals(
        accepted=sum(list(report.silver.values())) + report.duplicates,
        rejected=sum(list(report.rejected.values())),
        gaps=tuple(f"[{gap.partition}] {gap.expected}..{gap.earliest - 1}" for gap in list(report.gaps)),
        index_error=report.index_error,
        index_refused=report.index_refused,
        trouble=tuple(report.trouble.values()),
    )
