"""Where incidents are kept: the Delta table `alerts/<system>`, one row a version, the latest of an alert is its state.

Belongs here: reading them, and changing them under compare-and-set. Does not: how an incident changes (`incident.py`).
Each commit is numbered (`revision`) by an application transaction that it expects and advances, so that of two workers that
saw the same thing one stores it, and the other looks again and finds nothing left to do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from platform_assets.alerts.buckets import session
from platform_assets.alerts.incident import RESOLVED, Alert
from platform_assets.alerts.late import PAST
from platform_assets.alerts.model import AlertError
from platform_assets.contracts.types import UTC_MICROS
from platform_assets.core.faultpoints import fault_point
from platform_assets.core.lake import require_layout
from platform_assets.core.transactions import REVISION
from platform_assets.tables.table import Conflict, LakeTable

FILES = 32
"""Past so many files a commit writes all latest versions into one."""
KEPT = timedelta(days=90)
"""Resolved incidents are forgotten after so long, save the latest of each group; the index follows (`maintain.py`)."""
STEP = timedelta(days=1)
"""So much time passes between two changes at most, for forgetting: a clock that is years ahead forgets next to nothing."""
TRIES = 20

_TYPES = {
    "bool": pa.bool_(), "str": pa.string(), "str | None": pa.string(), "int": pa.int64(), "float": pa.float64(),
    "float | None": pa.float64(), "datetime": UTC_MICROS, "datetime | None": UTC_MICROS,
}  # fmt: skip
SCHEMA: pa.Schema = pa.schema(
    [pa.field(f.name, _TYPES[str(f.type)], nullable="None" in str(f.type)) for f in fields(Alert)]
)

Incidents = Mapping[str, Alert]
"""Latest versions by id."""


class AlertStore:
    """The incidents of one system. Threads may share it."""

    def __init__(self, lake: Path, system: str) -> None:
        require_layout(lake).mkdir(parents=True, exist_ok=True, mode=0o700)
        self.system = system
        self.table = LakeTable(lake / "alerts" / system, SCHEMA, lake=lake)
        self._con: duckdb.DuckDBPyConnection = session(files=True)
        self._lock = threading.RLock()
        self._known: dict[str, Alert] = {}
        self._version = -1

    def close(self) -> None:
        """End the session."""
        self._con.close()

    def load(self) -> Incidents:
        """Every incident as it is now; nothing is created where none was ever opened."""
        with self._lock:
            if not self.table.exists():
                return {}
            version = self.table.refresh()
            if version != self._version:
                self._known = {alert.alert_id: alert for alert in self._read()}
                self._version = version
            return dict(self._known)

    def _read(self) -> Iterable[Alert]:
        relation = self.table.relation(self._con)
        newest = relation.query(
            "versions", "FROM versions QUALIFY row_number() OVER (PARTITION BY alert_id ORDER BY revision DESC) = 1"
        )
        for row in newest.to_arrow_table().to_pylist() if newest is not None else ():
            values: dict[str, Any] = {k: v.astimezone(UTC) if isinstance(v, datetime) else v for k, v in row.items()}
            yield Alert(**values)

    def change(self, update: Callable[[Incidents], list[Alert]]) -> list[Alert]:
        """Store the versions that `update` makes of the present ones; as stored, empty when there is nothing to change.

        `update` is called again whenever somebody else was faster. Raises AlertError under endless contention.
        """
        for _ in range(TRIES):
            with self._lock:
                known = self.load()
                changed = update(known)
                if not changed:
                    return []
                if self._version < 0:
                    self.table.refresh()  # creates it; somebody else may have done so, and more: look again
                    continue
                before = self.table.transaction(REVISION)
                stored = [replace(alert, revision=(before or 0) + 1) for alert in changed]
                after = {**known, **{alert.alert_id: alert for alert in stored}}
                try:
                    version = self._commit(after, stored, before)
                except Conflict:
                    continue
                if (
                    self.table.transaction(REVISION) == (before or 0) + 1
                ):  # nobody has written since: no need to read it back
                    self._known = after
                    self._version = version
            fault_point("alert_stored")
            return stored
        raise AlertError(f"the alerts of {self.system} are too busy to be changed", "another process never pauses")

    def _commit(self, after: dict[str, Alert], stored: list[Alert], before: int | None) -> int:
        """Store the versions; with many files all of `after`, which then loses what is forgotten."""
        rows, removes = stored, self.table.files()
        if len(removes) < FILES:
            removes = []
        else:
            rows = list(_kept(after.values()))
            for alert_id in after.keys() - {alert.alert_id for alert in rows}:
                del after[alert_id]
        written = pa.Table.from_pylist([asdict(alert) for alert in rows], schema=SCHEMA)
        return self.table.commit(
            self.table.write(written),
            removes=removes,
            advance={REVISION: (before or 0) + 1},
            expect={REVISION: before},
        )


def latest(incidents: Incidents) -> dict[tuple[str, str], Alert]:
    """The last incident of each rule and group, those left out that were found afterwards."""
    found: dict[tuple[str, str], Alert] = {}
    for alert in incidents.values():
        if alert.ordinal == PAST:
            continue
        if alert.key not in found or found[alert.key].ordinal < alert.ordinal:
            found[alert.key] = alert
    return found


def kept_since(incidents: Iterable[Alert], now: datetime) -> datetime:
    """Resolved incidents that were last changed before may be forgotten. By the table's own clock: change by change, to `now`."""
    changes = sorted(min(alert.updated_at, now) for alert in incidents)
    clock = changes[0] if changes else now
    for change in changes:
        clock = min(change, clock + STEP)
    return clock - KEPT


def _kept(incidents: Iterable[Alert]) -> Iterable[Alert]:
    alerts = {alert.alert_id: alert for alert in incidents}
    last = {alert.alert_id for alert in latest(alerts).values()}
    until = kept_since(alerts.values(), datetime.now(UTC))
    for alert in alerts.values():
        if alert.state != RESOLVED or alert.notify or alert.updated_at >= until or alert.alert_id in last:
            yield alert
