"""The life of an incident, as a pure function: what was known, what is seen now, what is known then.

Belongs here: opening, escalating, reminding, resolving, cool-down, and the id. Does not: storing (`store.py`), sending
(`notify.py`), evaluating a window (`buckets.py`), or incidents that are found afterwards (`late.py`).

Every incident is stored. In the cool-down after one that people were told of, the next is held back (`held_until`) unless it is
worse than what they know; it is told when it gets worse, or when it is still open after the cool-down.

Sightings may come twice, late, and from two workers: a sighting that is already accounted for changes nothing. `at` is a moment
of the rule's own clock (event time for windows); `now` is the wall clock and decides on reminders, bookkeeping, and what cannot
be true: moments that are still to come were written while the clock was ahead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from platform_assets.alerts.model import Group, Kind, Rule, Severity, group_key
from platform_assets.alerts.text import SUMMARY_LENGTH, fill, plain

OPEN, RESOLVED = "open", "resolved"
OPENED, ESCALATED, ONGOING = "opened", "escalated", "ongoing"
"""Why people are told (and `RESOLVED`)."""
TOUCH = timedelta(seconds=30)
"""A value that moves is stored so often at most, and oftener only for rules that resolve sooner."""
AHEAD = timedelta(minutes=15)
"""Farther ahead of the clock is no event's time either (contracts let those be ten minutes ahead, unless they say otherwise)."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What was seen of one rule and group.

    A breach lasted from `since` to `at` at least; without one the condition did not hold at `at`. `severity` replaces the
    rule's; `words` are further values for the summary, written by the platform or neutralised.
    """

    rule: Rule
    group: Group
    at: datetime
    since: datetime
    breach: bool
    value: Decimal | float
    threshold: float | None
    severity: Severity | None = None
    late: bool = False  # the windows had passed when the rows came that filled them
    past: bool = False  # and nobody evaluates them any more: found by reading silver again
    words: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """Rule and group: what there is one open incident of."""
        return self.rule.name, group_key(self.group)


@dataclass(frozen=True, slots=True)
class Alert:
    """One incident. Times are UTC; `opened_at`, `breached_at` and `resolved_at` are of the rule's clock.

    `revision` is the commit that wrote this version. `notify` names what people are still to be told, not before `send_after`;
    `delivered` are the targets that have it already.
    """

    alert_id: str
    revision: int
    ordinal: int  # the how-manieth incident of its rule and group
    rule: str
    system: str
    table: str | None
    visible_to: str | None  # the group's value of the table's row policy; None: only readers without a limit
    group: str  # JSON object of the group's columns
    state: str
    severity: str
    opened_at: datetime
    breached_at: datetime  # the last breach seen
    updated_at: datetime
    resolved_at: datetime | None
    value: float
    threshold: float | None
    summary: str
    runbook: str
    cool_down_s: float
    acknowledged_by: str | None = None
    acknowledged_at: datetime | None = None
    muted_by: str | None = None
    muted_until: datetime | None = None
    notified_at: datetime | None = None
    notify: str | None = None
    notify_error: str | None = None
    send_after: datetime | None = None
    attempts: int = 0
    delivered: str = ""
    late: bool = False  # found when its windows had passed: the rows came late
    held_until: datetime | None = (
        None  # not told before this moment of the rule's clock, unless it is worse than `told`
    )
    told: str | None = None  # of one that is held back: the severity that people know of

    @property
    def key(self) -> tuple[str, str]:
        """Rule and group."""
        return self.rule, self.group

    def muted(self, now: datetime) -> bool:
        """Whether nobody is to be told now."""
        return self.muted_until is not None and now < self.muted_until


def incident_id(system: str, rule: str, group: str, of: str) -> str:
    """The id of an incident of a rule and group, by its ordinal as text: whoever opens it gives it the same."""
    return hashlib.sha256("\0".join((system, rule, group, of)).encode()).hexdigest()[:20]


def step(system: str, before: Alert | None, seen: Sighting, now: datetime) -> Alert | None:
    """The new version of the group's latest incident, or its next incident; None when nothing is to be stored."""
    if before is None:
        return _next(system, None, seen, now)
    right = _put_right(before, now)
    after = _next(system, right, seen, now)
    return right if after is None and right != before and right.state == OPEN else after


def _put_right(before: Alert, now: datetime) -> Alert:
    """Without moments that are still to come: an open one was seen now at the latest; when another ended is not known."""
    until = now + AHEAD
    if before.state == RESOLVED:
        ahead = before.resolved_at is not None and before.resolved_at > until
        return replace(before, resolved_at=None) if ahead else before
    cooled = now + timedelta(seconds=before.cool_down_s)
    if before.held_until is not None and before.held_until > cooled + AHEAD:
        before = replace(before, held_until=cooled)
    told = before.notified_at
    if max(before.breached_at, before.updated_at, told or before.updated_at) <= until:
        return before
    return replace(
        before,
        opened_at=min(before.opened_at, now),
        breached_at=min(before.breached_at, now),
        updated_at=min(before.updated_at, now),
        notified_at=None if told is None else min(told, now),
    )


def _next(system: str, before: Alert | None, seen: Sighting, now: datetime) -> Alert | None:
    if seen.breach:
        if before is None or before.state == RESOLVED:
            return _opened(system, before, seen, now)
        return _ongoing(before, seen, now)
    if before is not None and before.state == OPEN and seen.at - before.breached_at >= seen.rule.resolve_after:
        return _resolved(before, seen, now)
    return None


def _opened(system: str, before: Alert | None, seen: Sighting, now: datetime) -> Alert | None:
    """None for whatever the former incident has accounted for already."""
    if before is not None and before.resolved_at is not None and seen.at <= before.resolved_at:
        return None
    ordinal = 1 if before is None else before.ordinal + 1
    since = seen.since if before is None or before.resolved_at is None else max(seen.since, before.resolved_at)
    return hold(incident(system, seen, now, ordinal, since), before, seen)


def hold(made: Alert, before: Alert | None, seen: Sighting) -> Alert:
    """The new incident, held back when it comes in the cool-down of the one before and is not worse than what people know."""
    if before is None or before.resolved_at is None:
        return made
    until, told = before.resolved_at + seen.rule.cool_down, before.severity
    if before.held_until is not None and before.told is not None:  # people were told of an earlier one
        until, told = before.held_until, before.told
    if seen.at >= until or _rank(made.severity) > _rank(told):
        return made
    return replace(made, notify=None, held_until=until, told=told)


def incident(system: str, seen: Sighting, now: datetime, ordinal: int, since: datetime, of: str = "") -> Alert:
    """An open incident; `of` tells its id from those of other incidents with this ordinal."""
    name, group = seen.key
    return Alert(
        alert_id=incident_id(system, name, group, of or str(ordinal)),
        revision=0,
        ordinal=ordinal,
        rule=name,
        system=system,
        table=seen.rule.table or None,
        visible_to=seen.group.get(seen.rule.row_policy) if seen.rule.row_policy else None,
        group=group,
        state=OPEN,
        severity=severity_of(seen).value,
        opened_at=since,
        breached_at=seen.at,
        updated_at=now,
        resolved_at=None,
        value=float(seen.value),
        threshold=seen.threshold,
        summary=summary(system, seen),
        runbook=seen.rule.runbook,
        cool_down_s=seen.rule.cool_down.total_seconds(),
        notify=OPENED,
        late=seen.late,
    )


def _ongoing(before: Alert, seen: Sighting, now: datetime) -> Alert | None:
    severity = severity_of(seen)
    risen = severity.rank > Severity(before.severity).rank
    told = before.notified_at
    reminder = (
        before.notify is None
        and before.acknowledged_at is None
        and told is not None
        and now - told >= seen.rule.cool_down
        and seen.at > before.breached_at
    )
    held = before.held_until is not None
    freed = before.held_until is not None and (
        seen.at >= before.held_until or severity.rank > _rank(before.told or before.severity)
    )
    touch = min(TOUCH, seen.rule.resolve_after / 2)
    if not (risen or freed or reminder or (seen.at > before.breached_at and now - before.updated_at >= touch)):
        return None
    notify = before.notify
    if freed:
        notify = OPENED
    elif not held and risen and (notify != OPENED or before.delivered):
        notify = ESCALATED
    elif reminder:
        notify = ONGOING
    after = replace(
        before,
        severity=severity.value if risen else before.severity,
        breached_at=max(before.breached_at, seen.at),
        updated_at=now,
        value=float(seen.value),
        threshold=seen.threshold,
        summary=summary(before.system, seen),
        runbook=seen.rule.runbook,
        cool_down_s=seen.rule.cool_down.total_seconds(),
        notify=notify,
        held_until=None if freed else before.held_until,
        told=None if freed else before.told,
    )
    return to_be_sent(before, after)


def _resolved(before: Alert, seen: Sighting, now: datetime) -> Alert:
    return _over(before, seen.at, now)


def retired(before: Alert, now: datetime) -> Alert:
    """The open incident of a rule that is declared no more: over since its last breach, as nobody looks any further."""
    words = plain(f"{before.summary} (the rule is declared no more)", SUMMARY_LENGTH)
    return _over(replace(before, summary=words), before.breached_at, now)


def _over(before: Alert, at: datetime, now: datetime) -> Alert:
    notify = RESOLVED if before.held_until is None else None  # who was not told of it need not know that it is over
    return to_be_sent(before, replace(before, state=RESOLVED, resolved_at=at, updated_at=now, notify=notify))


def to_be_sent(before: Alert, after: Alert) -> Alert:
    """A new message starts with fresh bookkeeping; so does one that some have and that says less than is known now."""
    if after.notify == before.notify and not (before.delivered and after.severity != before.severity):
        return after
    return unsent(after)


def unsent(alert: Alert) -> Alert:
    """Its message as nobody has it, to be sent at once."""
    return replace(alert, notify_error=None, send_after=None, attempts=0, delivered="")


def _rank(severity: str) -> int:
    return Severity(severity).rank


def severity_of(seen: Sighting) -> Severity:
    """How bad it is."""
    return seen.severity or seen.rule.severity_of(seen.value)


def summary(system: str, seen: Sighting) -> str:
    """The rule's template, filled."""
    rule = seen.rule
    window = rule.window if rule.kind is Kind.WINDOW else rule.after
    own = {**seen.words, "rule": rule.name, "system": system, "table": rule.table, "window": span(window)}
    data = {} if rule.kind is Kind.PLATFORM else seen.group
    limit = {} if seen.threshold is None else {"threshold": seen.threshold}
    return fill(rule.summary, data, own, {"value": float(seen.value), **limit})


def span(length: timedelta) -> str:
    """`5 min`, `90 s`."""
    seconds = round(length.total_seconds())
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
