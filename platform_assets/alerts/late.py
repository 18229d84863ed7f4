"""Incidents that are found afterwards: rows came so late that nobody evaluated their windows any more.

Belongs here: which windows such rows may have filled, and what becomes of what was found. Does not: reading silver
(`buckets.py`), incidents of the present (`incident.py`).

Such an incident is over when it is found (state `resolved`, `late`), has the ordinal 0, and is no part of the sequence of its
group's incidents. No window is told of twice: what an incident has covered that was as bad is left alone, and what goes on where
another late incident ends is added to that one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from itertools import pairwise

from platform_assets.alerts.incident import (
    ESCALATED,
    OPEN,
    OPENED,
    RESOLVED,
    TOUCH,
    Alert,
    Sighting,
    hold,
    incident,
    severity_of,
    summary,
    to_be_sent,
)
from platform_assets.alerts.model import Severity
from platform_assets.alerts.sql import BUCKETS

PAST = 0
"""The ordinal of incidents that were found afterwards."""


def spans(buckets: Iterable[int]) -> list[tuple[int, int]]:
    """The buckets (first, last) that the windows of these buckets reach over, joined where they touch."""
    ordered = sorted(set(buckets))
    if not ordered:
        return []
    cuts = [(a, b) for a, b in pairwise(ordered) if b - a > 2 * BUCKETS]
    begins, ends = [ordered[0], *(b for _, b in cuts)], [*(a for a, _ in cuts), ordered[-1]]
    return [(begin - BUCKETS + 1, end + BUCKETS - 1) for begin, end in zip(begins, ends, strict=True)]


def step_past(system: str, known: Iterable[Alert], seen: Sighting, now: datetime) -> Alert | None:
    """The late incident that a sighting of windows that have passed makes or changes; None when nothing is to be stored."""
    mine = [alert for alert in known if alert.key == seen.key]
    past = [alert for alert in mine if alert.ordinal == PAST]
    joined = next((alert for alert in past if _touches(alert, seen)), None)
    if joined is not None:
        return _extended(joined, seen, now)
    severity = severity_of(seen)
    if any(_covers(alert, seen) and Severity(alert.severity).rank >= severity.rank for alert in mine):
        return None
    made = incident(system, seen, now, PAST, seen.since, f"late {seen.since.isoformat()} {severity}")
    before = max((alert for alert in past if alert.opened_at < seen.at), key=lambda a: a.opened_at, default=None)
    return replace(hold(made, before, seen), state=RESOLVED, resolved_at=seen.at)


def _covers(alert: Alert, seen: Sighting) -> bool:
    """Whether the incident was, or is, open at a time of the sighting."""
    return alert.opened_at <= seen.at and (
        alert.state == OPEN or (alert.resolved_at or alert.breached_at) >= seen.since
    )


def _touches(alert: Alert, seen: Sighting) -> bool:
    """Whether a window lies between the two at most."""
    reach = seen.rule.window
    return alert.opened_at - reach <= seen.at and alert.breached_at + reach >= seen.since


def _extended(before: Alert, seen: Sighting, now: datetime) -> Alert | None:
    """The late incident with more windows; told again only when it is worse than what people know."""
    severity = severity_of(seen)
    worse = severity.rank > Severity(before.severity).rank
    opened, until = min(before.opened_at, seen.since), max(before.breached_at, seen.at)
    longer = (opened, until) != (before.opened_at, before.breached_at)
    if not (worse or (longer and now - before.updated_at >= min(TOUCH, seen.rule.window / 2))):
        return None
    freed = worse and (before.told is None or severity.rank > Severity(before.told).rank)
    notify = before.notify
    if freed:
        notify = OPENED if before.held_until is not None or before.notify == OPENED else ESCALATED
    after = replace(
        before,
        severity=severity.value if worse else before.severity,
        opened_at=opened,
        breached_at=until,
        resolved_at=until,
        updated_at=now,
        value=max(before.value, float(seen.value)),
        summary=summary(before.system, seen) if float(seen.value) >= before.value else before.summary,
        notify=notify,
        held_until=None if freed else before.held_until,
        told=None if freed else before.told,
    )
    return to_be_sent(before, after)
