"""A small lake with its gold: the real dbt run on hand-made silver."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lakes import SmallLake
from support import event

from platform_assets.contracts.read import load_contracts
from platform_assets.core.settings import Settings
from platform_assets.ingest.settle import Settled
from platform_assets.marts.marts import Mart, load_marts
from platform_assets.marts.project import project_folder
from platform_assets.marts.refresh import RefreshReport, refresh

LOGS = load_contracts()["logs"]
MARTS: dict[str, Mart] = {mart.name: mart for mart in load_marts(project_folder(), "logs")}
NOON = (datetime.now(UTC) - timedelta(days=1)).replace(hour=12, minute=0, second=0, microsecond=0)
"""Noon of yesterday: within the contract's lateness, and far from the turn of a day."""


class GoldLab(SmallLake):
    """`logs.events` by hand, and refreshes without an index."""

    settings: Settings

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.settings = Settings(root, root, {"ASSAY_HMAC_KEY": "MDEyMzQ1Njc4OWFiY2RlZg==", "ASSAY_HMAC_KEY_ID": "k1"})
        self._number = 0

    def log(self, *events: dict[str, Any]) -> Settled:
        """Events through bronze to silver in one commit; each needs an `at`, and has no latency or user unless it says so."""
        return self.settle(self.land([self.event(**changes) for changes in events]))

    def event(self, at: datetime, **changes: Any) -> bytes:
        """One event at a time, from service `shop`, a success unless it says otherwise."""
        self._number += 1
        base = {
            "service": "shop",
            "level": "INFO",
            "status": 200,
            "user_id": None,
            "latency_ms": None,
            "message": "done",
        }
        text = at.isoformat(timespec="microseconds").replace("+00:00", "Z")
        return event(self._number, event_time=text, **(base | changes))

    def refresh(self, **options: Any) -> RefreshReport:
        return refresh(self.settings, LOGS, index=False, **options)

    def rows(self, mart: str, *columns: str) -> list[tuple[Any, ...]]:
        """A mart's rows, sorted; all columns but the histogram unless named."""
        table = MARTS[mart].table(self.root)
        table.refresh()
        names = columns or tuple(c.name for c in MARTS[mart].columns if c.name != "histogram")
        return sorted(table.relation(self.con).project(", ".join(f'"{n}"' for n in names)).fetchall(), key=repr)

    def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        """All rows of all marts."""
        return {name: self.rows(name) for name in MARTS}


def fail(at: datetime, **changes: Any) -> dict[str, Any]:
    """An error at a time."""
    return {"at": at, "level": "ERROR", "status": 500, **changes}
