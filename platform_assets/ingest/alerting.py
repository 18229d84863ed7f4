"""The worker's side of its alerts: what is told to the monitor, and when.

Belongs here: turning the worker's own figures into the alerts' terms. Does not: evaluating them (alerts).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from platform_assets.alerts.declared import bound_rules, rules_of
from platform_assets.alerts.model import Rule
from platform_assets.alerts.monitor import Monitor
from platform_assets.alerts.platform import RATE_WINDOW, Counted, Vitals
from platform_assets.contracts.model import Contract
from platform_assets.core.settings import Settings
from platform_assets.core.transactions import CONFLICT_SEQ, SEQ
from platform_assets.ingest.report import TableReport
from platform_assets.ingest.settle import Settled
from platform_assets.tables.layout import Lake, TableSet
from platform_assets.tables.session import session
from platform_assets.tables.table import LakeTable

FINISH_SECONDS = 15.0
"""How long an ending worker waits for its last commits to be evaluated, and for index and people to be told."""


class IngestAlerts:
    """The monitor beside one ingest run."""

    def __init__(self, settings: Settings, contract: Contract, rules: Sequence[Rule] | None, *, index: bool) -> None:
        """`rules` None: those in the system's folder."""
        # Handles of its own: the settler's must not move to another snapshot under its feet.
        tables = {t.name: Lake(settings.lake_path).tables(t) for t in contract.tables}
        self._monitor = Monitor(
            settings,
            contract,
            {name: found.silver for name, found in tables.items()},
            lambda: rules_of(settings, contract) if rules is None else bound_rules(contract, rules),
            lambda table, upto: settled_before(tables[table], upto, datetime.now(UTC) - RATE_WINDOW),
            index=index,
        )

    @property
    def error(self) -> str:
        """What does not work, in one line."""
        return self._monitor.error

    def start(self) -> None:
        """Begin."""
        self._monitor.start()

    def settled(self, report: TableReport, settled: Settled) -> None:
        """A silver commit. Never waits."""
        self._monitor.offer(report.table, settled.after, settled.seq, settled.rows, vitals(report))

    def check(self, reports: Mapping[str, TableReport]) -> None:
        """How the tables do between commits. Never waits."""
        for name, report in reports.items():
            self._monitor.note(name, vitals(report))

    def finish(self) -> None:
        """Evaluate what was settled, and end."""
        self._monitor.finish(FINISH_SECONDS)


def settled_before(tables: TableSet, upto: int | None, since: datetime) -> list[Counted]:
    """What landed since then and was settled up to bronze commit `upto` (None: all that silver holds), commit by commit."""
    if not tables.silver.exists():
        return []
    for table in (tables.silver, tables.bronze, tables.quarantine):
        table.refresh()
    last = (tables.silver.transaction(SEQ) or 0) if upto is None else upto
    with session(threads=1) as con:

        def count(table: LakeTable, mark: str, only: str) -> dict[int, tuple[datetime, int]]:
            recent = [f for f in table.files() if f.high.get(f"{mark}landed_at", since) >= since]
            rows = table.relation(con, recent).filter(
                f"{only} AND {mark}seq <= {last} AND {mark}landed_at >= TIMESTAMPTZ '{since.isoformat()}'"
            )
            found = rows.aggregate(f"{mark}seq, max({mark}landed_at), count(*)", f"{mark}seq").fetchall()
            return {seq: (landed_at.astimezone(UTC), n) for seq, landed_at, n in found}

        landed = count(tables.bronze, "", "kind = 'record'")
        refused = count(tables.quarantine, "_", "stage = 'transform'")
    none = (since, 0)
    conflict = tables.silver.transaction(CONFLICT_SEQ)
    return [
        Counted(at, n - refused.get(seq, none)[1], refused.get(seq, none)[1], conflict=seq == conflict)
        for seq, (at, n) in sorted(landed.items())
    ]


def vitals(report: TableReport) -> Vitals:
    """A table's figures so far. Copied first: another thread may be counting; what is known is asked before what it says."""
    gaps_asked, index_asked = report.gaps_asked, report.index_asked
    gaps = tuple(f"[{gap.shard}] {gap.expected}..{gap.earliest - 1}" for gap in list(report.gaps))
    return Vitals(
        accepted=sum(list(report.silver.values())) + report.duplicates,
        rejected=sum(list(report.rejected.values())),
        gaps=gaps if gaps_asked else None,
        index_error=report.index_error if index_asked else None,
        index_refused=report.index_refused,
        trouble=tuple(report.trouble.values()),
        conflicts=report.conflicts,
    )
