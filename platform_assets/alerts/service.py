"""One system's alerts as a whole: sightings in, incidents stored, people told, the index kept up.

Belongs here: the order of these, and what a person does to an alert. Does not: each of the parts.
`see` is what matters and is done first; `tell` and `publish` follow the table, whoever wrote it, and may fail and come again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from platform_assets.alerts.incident import ESCALATED, OPEN, RESOLVED, Alert, Sighting, retired, step, unsent
from platform_assets.alerts.index import AlertIndex
from platform_assets.alerts.late import step_past
from platform_assets.alerts.model import AlertError, Severity
from platform_assets.alerts.notify import Target, message, targets
from platform_assets.alerts.store import AlertStore, Incidents, latest
from platform_assets.alerts.text import plain
from platform_assets.core.faultpoints import fault_point
from platform_assets.core.settings import Settings

CLAIM = timedelta(seconds=60)
"""Who sends a message has so long before somebody else takes over: twice is better than never."""
RETRY = timedelta(seconds=5)
RETRY_MOST = timedelta(minutes=5)
MESSAGES = 20
"""Messages at a time."""

Change = Callable[[Alert, str, datetime], Alert | None]


class AlertService:
    """The alerts of one system. Threads may share it, except that one of them publishes."""

    def __init__(self, settings: Settings, system: str, *, index: bool = True) -> None:
        self._settings = settings
        self.store = AlertStore(settings.lake_path, system)
        self._index = AlertIndex(settings, system) if index else None

    def close(self) -> None:
        """End connections."""
        if self._index is not None:
            self._index.close()
        self.store.close()

    # -- what is seen ----------------------------------------------------------------------------------------------------

    def see(self, sightings: Iterable[Sighting], now: datetime | None = None) -> list[Alert]:
        """Store what these sightings change; the versions stored, none when they change nothing."""
        seen = list(sightings)
        if not seen:
            return []
        return self.store.change(lambda known: _changed(self.store.system, known, seen, now or datetime.now(UTC)))

    def retire(self, declared: Collection[str], now: datetime | None = None) -> list[Alert]:
        """End the open incidents of rules that are not among these names; the versions stored."""
        now = now or datetime.now(UTC)
        return self.store.change(
            lambda known: [retired(a, now) for a in known.values() if a.state == OPEN and a.rule not in declared]
        )

    def open_keys(self) -> set[tuple[str, str]]:
        """Rule and group of every open incident."""
        return {alert.key for alert in self.store.load().values() if alert.state == OPEN}

    # -- what follows --------------------------------------------------------------------------------------------------

    def publish(self) -> int:
        """Bring the index up to the table; documents sent. Raises SearchError."""
        return self._index.follow(self.store) if self._index is not None else 0

    def tell(self, now: datetime | None = None, most: int = MESSAGES) -> int:
        """Send what is due, at most so many; messages that reached everybody. What failed is due again later, and says why.

        Raises AlertError when `ASSAY_ALERT_URLS` cannot be understood; then nothing is sent.
        """
        now = now or datetime.now(UTC)
        if not any(_due(alert, now) for alert in self.store.load().values()):
            return 0
        people = targets(self._settings.values)
        claimed = self.store.change(lambda known: _claimed(known, now, most))
        return sum(self._send(alert, people, now) for alert in claimed if alert.notify is not None)

    def _send(self, alert: Alert, people: Mapping[str, Target], now: datetime) -> bool:
        title, body, kind = message(alert, self._settings.values)
        had = set(filter(None, alert.delivered.split(",")))
        failed = []
        for name, target in people.items():
            if name in had:
                continue
            if target.send(title, body, kind):
                had.add(name)
            else:
                failed.append(target.name)
        fault_point("alert_sent")
        self.store.change(lambda known: _recorded(known, alert, had, failed, now))
        return not failed

    # -- what people do ------------------------------------------------------------------------------------------------

    def alerts(self, *, state: str | None = None) -> list[Alert]:
        """Open ones first, the newest first."""
        found = [alert for alert in self.store.load().values() if state in (None, alert.state)]
        return sorted(found, key=lambda alert: (alert.state != OPEN, -alert.opened_at.timestamp()))

    def acknowledge(self, alert_id: str, who: str) -> Alert:
        """Somebody looks after it: no more reminders. A second time changes nothing. Raises AlertError."""
        return self._by_person(
            alert_id, who, lambda a, name, now: None if a.acknowledged_at else replace(
                a, acknowledged_by=name, acknowledged_at=now, updated_at=now
            ),
        )  # fmt: skip

    def mute(self, alert_id: str, who: str, until: datetime) -> Alert:
        """Tell nobody of this alert until then (a moment that is over ends the muting), and once if it is open still.

        Raises AlertError.
        """
        if until.tzinfo is None:
            raise AlertError("until when is not clear", "give the time with its zone")
        return self._by_person(
            alert_id, who, lambda a, name, now: replace(a, muted_by=name, muted_until=until, updated_at=now)
        )

    def _by_person(self, alert_id: str, who: str, change: Change) -> Alert:
        name = plain(who, 100)
        if not name:
            raise AlertError("an alert is acknowledged or muted by somebody", "say who")

        def update(known: Incidents) -> list[Alert]:
            if alert_id not in known:
                raise AlertError(
                    f"{self.store.system} has no alert {plain(alert_id, 40)!r}", "`assay alerts list` shows them"
                )
            changed = change(known[alert_id], name, datetime.now(UTC))
            return [] if changed is None else [changed]

        self.store.change(update)
        return self.store.load()[alert_id]


def _changed(system: str, known: Incidents, seen: list[Sighting], now: datetime) -> list[Alert]:
    last = latest(known)
    changed: dict[str, Alert] = {}
    for sighting in seen:
        if sighting.past:
            after = step_past(system, {**known, **changed}.values(), sighting, now)
        else:
            after = step(system, last.get(sighting.key), sighting, now)
            if after is not None:
                last[sighting.key] = after
        if after is not None:
            changed[after.alert_id] = after
    return list(changed.values())


def _due(alert: Alert, now: datetime) -> bool:
    """A muted alert's message waits for as long as it is open: whoever muted it wants to know what is left of it."""
    if alert.notify is None or (alert.state == OPEN and alert.muted(now)):
        return False
    # Nobody waits longer than that: the clock was ahead when it was written.
    return alert.send_after is None or not now < alert.send_after <= now + RETRY_MOST


def _claimed(known: Incidents, now: datetime, most: int) -> list[Alert]:
    """Messages that this caller sends now. That a muted one is over is not sent at all."""
    due = sorted((alert for alert in known.values() if _due(alert, now)), key=lambda alert: alert.revision)
    return [
        replace(alert, notify=None, notify_error=None)
        if alert.muted(now)
        else replace(alert, send_after=now + CLAIM, attempts=alert.attempts + 1)
        for alert in due[:most]
    ]


def _recorded(known: Incidents, sent: Alert, had: set[str], failed: list[str], now: datetime) -> list[Alert]:
    """The alert as it is by now, with what became of the message. It may have moved on while that was under way."""
    alert = known[sent.alert_id]
    if alert.notify != sent.notify:
        return [] if failed else [replace(alert, notified_at=now)]
    if had and Severity(alert.severity).rank > Severity(sent.severity).rank:  # they were told less than is known now
        worse = unsent(replace(alert, notify=ESCALATED))
        return [worse if failed else replace(worse, notified_at=now)]
    if failed:
        error = f"not sent to {', '.join(sorted(failed))}; tried {alert.attempts} times"
        again = now + min(RETRY_MOST, RETRY * 2 ** min(alert.attempts - 1, 10))
        return [replace(alert, notify_error=error, send_after=again, delivered=",".join(sorted(had)))]
    return [unsent(replace(alert, notify=None, notified_at=now))]


def counts(alerts: Iterable[Alert]) -> dict[str, int]:
    """How many are open, resolved, and could not be told."""
    found = list(alerts)
    return {
        "open": sum(alert.state == OPEN for alert in found),
        "resolved": sum(alert.state == RESOLVED for alert in found),
        "not_sent": sum(alert.notify_error is not None for alert in found),
    }
