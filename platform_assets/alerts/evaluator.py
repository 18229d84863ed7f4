"""One table's rules evaluated against silver: buckets, windows, what follows for the incidents.

Belongs here: when buckets are asked what, for the worker and for whoever looks in between. Does not: threads (`monitor.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pyarrow as pa

from platform_assets.alerts.buckets import FOLDER, Buckets
from platform_assets.alerts.incident import Alert
from platform_assets.alerts.model import Rule
from platform_assets.alerts.platform import CHECK_FAILED, sighting
from platform_assets.alerts.service import AlertService
from platform_assets.contracts.model import Contract, Table
from platform_assets.core.settings import Settings
from platform_assets.tables.layout import Lake
from platform_assets.tables.table import LakeTable

SAVE_S = 10.0
IDLE = timedelta(seconds=60)
"""Nothing but history has landed for so long, and nothing waits: the wall clock takes over from event time, so that windows run
empty. While broker or worker are in trouble it is not known what happens: what is open stays so."""

_NEVER = datetime.min.replace(tzinfo=UTC)

Ends = Mapping[str, Mapping[str, tuple[int, int]]]
"""By table: the broker's (earliest, next) offset of each Kafka partition, by its application transaction."""


class Evaluator:
    """One table's own rules; what they find goes to the alert service. Not for several threads."""

    def __init__(
        self, table: Table, rules: Sequence[Rule], silver: LakeTable, lake: Path, alert_service: AlertService
    ) -> None:
        mine = [rule for rule in rules if rule.table == table.name]
        self._alert_service = alert_service
        self._silver = silver
        self._buckets = Buckets(table, mine, silver, lake / FOLDER) if mine else None
        self._saved = time.monotonic()

    def close(self) -> None:
        """End the sessions."""
        if self._buckets is not None:
            self._buckets.close()

    def silent(self, now: datetime) -> bool:
        """Whether it has rules, and nothing but history has landed for `IDLE`."""
        if self._buckets is None:
            return False
        heard = self._buckets.heard
        return heard is None or abs(now - heard) > IDLE

    @property
    def crowded(self) -> set[str]:
        """Rules with more groups than are followed."""
        return set() if self._buckets is None else self._buckets.crowded

    @property
    def broken(self) -> dict[str, str]:
        """Rules that are left out because their SQL failed on data, and what kind of error it was."""
        return {} if self._buckets is None else self._buckets.broken

    def offer(self, after: int, seq: int, rows: pa.Table | None) -> list[Alert]:
        """A silver commit; without `rows` it is read from silver. What it changed."""
        if self._buckets is None:
            return []
        with self._forgetting(self._buckets):
            if rows is None:
                self._buckets.catch_up()
            else:
                self._buckets.offer(after, seq, rows)
        return self._breaches()

    def look(self, now: datetime, *, idle: bool) -> list[Alert]:
        """What has changed by time alone: silence, windows that ran empty, incidents that are over."""
        if (
            self._buckets is None or self._buckets.covered is None
        ):  # nothing loaded: that is not the same as nothing there
            return []
        with self._forgetting(self._buckets):
            changed = self._alert_service.see(self._buckets.past(), now)
            self._buckets.evaluated_past()
        changed += self._alert_service.see(self._buckets.standing(self._alert_service.open_keys(), now, idle=idle), now)
        if time.monotonic() - self._saved >= SAVE_S:
            self.save()
        return changed

    def catch_up(self) -> list[Alert]:
        """Read what silver has and was not evaluated yet."""
        if self._buckets is None or not self._silver.exists():
            return []
        with self._forgetting(self._buckets):
            self._buckets.catch_up()
        return self._breaches()

    @contextmanager
    def _forgetting(self, buckets: Buckets) -> Iterator[None]:
        """Whatever fails half-way: start again from the snapshot and silver, rather than count a row twice."""
        try:
            yield
        except BaseException:
            buckets.forget()
            raise

    def save(self) -> None:
        """Leave a snapshot for whoever comes next."""
        if self._buckets is not None:
            self._buckets.save()
            self._saved = time.monotonic()

    def _breaches(self) -> list[Alert]:
        if self._buckets is None:
            return []
        changed = self._alert_service.see(self._buckets.breaches())
        self._buckets.evaluated()
        return changed


def look_once(
    settings: Settings,
    contract: Contract,
    rules: Sequence[Rule],
    alert_service: AlertService,
    ends: Callable[[], Ends],
) -> list[Alert]:
    """Evaluate every table's own rules as silver is now, beside a worker or without one; what that changed.

    `ends` asks the broker, at most once and only when a table is silent; what it does not tell of is not known. A rule that fails
    on data is an alert of its own.
    """
    lake, now, changed = Lake(settings.lake_path), datetime.now(UTC), []
    broken: dict[str, str] = {}
    asked = cache(ends)
    for table in contract.tables:
        silver = lake.tables(table).silver
        if not silver.exists():
            continue
        evaluate = Evaluator(table, rules, silver, settings.lake_path, alert_service)
        try:
            changed += evaluate.catch_up()
            changed += evaluate.look(now, idle=evaluate.silent(now) and keeps_up(silver, asked().get(table.name), now))
            evaluate.save()
            broken |= evaluate.broken
        finally:
            evaluate.close()
    seen = sighting(
        CHECK_FAILED, f"alerts/{contract.system}:rules", now, breach=bool(broken), value=len(broken),
        detail=failing(broken),
    )  # fmt: skip
    return changed + alert_service.see([seen], now)


def keeps_up(silver: LakeTable, ends: Mapping[str, tuple[int, int]] | None, now: datetime) -> bool:
    """Whether no more waits than has landed in the last `IDLE` (an archive that comes leaves some), in the snapshot in hand."""
    if ends is None:
        return False
    done = silver.transactions(ends)
    waiting = sum(max(0, end - max(begin, done[app_id] or 0)) for app_id, (begin, end) in ends.items())
    return waiting <= sum(f.rows for f in silver.files() if abs(now - f.low.get("_landed_at", _NEVER)) <= IDLE)


def failing(broken: Mapping[str, str]) -> str:
    """Rules that are left out, in words; empty when there are none."""
    names = ", ".join(f"{name} ({why})" for name, why in sorted(broken.items()))
    return f"rules that fail on data are not evaluated: {names}" if broken else ""
