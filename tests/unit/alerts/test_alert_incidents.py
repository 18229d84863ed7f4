"""The life of an incident: whatever comes, in whatever order and how often, there is one at a time and it ends."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from samples import START, made_up_rule

from platform_assets.alerts.incident import ESCALATED, ONGOING, OPEN, OPENED, RESOLVED, Alert, Sighting, step
from platform_assets.alerts.model import Escalation, Severity
from platform_assets.alerts.store import KEPT, kept_since

RULE = made_up_rule()
Moves = Sequence[tuple[int, bool]]
MOVES = st.lists(st.tuples(st.integers(0, 120), st.booleans()), max_size=60)


def sighting(second: float, breach: bool, value: float = 11.0, rule=RULE) -> Sighting:  # type: ignore[no-untyped-def]
    at = START + timedelta(seconds=second)
    return Sighting(rule, {"service": "payments"}, at, at, breach, value if breach else 0.0, 10.0)


class Life:
    """The incidents of one group, fed one sighting after the other, messages sent at once."""

    def __init__(self, *, sends: bool = True) -> None:
        self.alerts: dict[str, Alert] = {}
        self.last: Alert | None = None
        self.told: list[tuple[str, str, float]] = []  # id, why, second
        self.sends = sends

    def see(self, seen: Sighting, second: float | None = None) -> Alert | None:
        now = seen.at if second is None else START + timedelta(seconds=second)
        after = step("logs", self.last, seen, now)
        if after is not None:
            if self.sends and after.notify is not None:
                self.told.append((after.alert_id, after.notify, (now - START).total_seconds()))
                after = replace(after, notify=None, notified_at=now)
            self.alerts[after.alert_id] = self.last = after
        return after


def fed(moves: Moves) -> tuple[Life, list[Sighting]]:
    life, second, seen = Life(), 0, []
    for pause, breach in moves:
        second += pause
        seen.append(sighting(second, breach))
        life.see(seen[-1])
    return life, seen


@settings(deadline=None)
@given(MOVES)
def test_one_at_a_time_with_cool_down_between(moves: Moves) -> None:
    life, _ = fed(moves)
    alerts = sorted(life.alerts.values(), key=lambda alert: alert.ordinal)
    assert [alert.ordinal for alert in alerts] == list(range(1, len(alerts) + 1))
    assert all(alert.state == RESOLVED for alert in alerts[:-1])
    for alert, following in itertools.pairwise(alerts):
        assert alert.resolved_at is not None
        assert following.opened_at >= alert.resolved_at + RULE.cool_down
    for alert in alerts:
        if alert.resolved_at is not None:
            assert alert.resolved_at - alert.breached_at >= RULE.resolve_after


@settings(deadline=None)
@given(MOVES, st.randoms(use_true_random=False))
def test_what_was_seen_already_makes_nothing_new(moves: Moves, chance: object) -> None:
    """Another lane, or the same after a kill, sees some of it again."""
    life, seen = fed(moves)
    known, told = set(life.alerts), len(life.told)
    state = None if life.last is None else life.last.state
    again = list(seen)
    chance.shuffle(again)  # type: ignore[attr-defined]
    end = (seen[-1].at - START).total_seconds() if seen else 0
    for one in again:
        life.see(one, end)
    assert set(life.alerts) == known
    # One that came too soon after another to be stored is news when it comes again: a reminder that has become due since.
    assert [why for _, why, _ in life.told[told:]] in ([], [ONGOING])
    assert (None if life.last is None else life.last.state) == state


@settings(deadline=None)
@given(MOVES)
def test_people_are_told_once_and_again_after_the_cool_down_only(moves: Moves) -> None:
    life, _ = fed(moves)
    for alert_id, alert in life.alerts.items():
        reasons = [why for told, why, _ in life.told if told == alert_id]
        assert reasons[0] == OPENED
        assert reasons.count(OPENED) == 1
        assert reasons.count(RESOLVED) == (alert.state == RESOLVED)
        assert RESOLVED not in reasons[:-1]
        moments = [second for told, why, second in life.told if told == alert_id and why != RESOLVED]
        assert all(b - a >= RULE.cool_down.total_seconds() for a, b in itertools.pairwise(moments))


def test_the_same_incident_has_the_same_id_everywhere() -> None:
    one, other = Life().see(sighting(0, True)), Life().see(sighting(3, True))
    assert one is not None and other is not None
    assert one.alert_id == other.alert_id


def test_worse_is_told_at_once_and_better_is_not() -> None:
    rule = replace(RULE, escalate=Escalation(100, Severity.CRITICAL))
    life = Life()
    for second, value in ((0, 11), (1, 101), (2, 500), (3, 11)):
        life.see(sighting(second, True, value, rule))
    assert [why for _, why, _ in life.told] == [OPENED, ESCALATED]
    assert life.last is not None and life.last.severity == "critical"


def test_an_acknowledged_alert_sends_no_reminders() -> None:
    life = Life()
    life.see(sighting(0, True))
    life.see(sighting(301, True))
    assert [why for _, why, _ in life.told] == [OPENED, ONGOING]
    assert life.last is not None
    life.last = replace(life.last, acknowledged_by="somebody", acknowledged_at=START)
    life.see(sighting(900, True))
    assert len(life.told) == 2
    life.see(sighting(961, False))
    assert life.told[-1][1] == RESOLVED


YEARS = 2 * 365 * 86_400


def test_what_a_clock_ahead_has_opened_resolves_when_the_clock_is_right() -> None:
    life = Life()
    life.see(sighting(YEARS, True))
    life.see(sighting(10, False))
    assert life.last is not None and life.last.opened_at == sighting(10, False).at  # nothing is seen in the future
    assert life.see(sighting(40, False)) is None
    life.see(sighting(70, False))
    assert life.last.state == RESOLVED
    assert [why for _, why, _ in life.told] == [OPENED, RESOLVED]


def test_what_a_clock_ahead_has_opened_and_lasts_is_reminded_of() -> None:
    life = Life()
    life.see(sighting(YEARS, True))
    for second in range(0, 400, 10):
        life.see(sighting(second, True))
    assert [(why, second) for _, why, second in life.told] == [(OPENED, YEARS), (ONGOING, 300)]


def test_what_a_clock_ahead_has_resolved_may_open_again() -> None:
    life = Life()
    life.see(sighting(0, True))
    life.see(sighting(YEARS, False))
    assert life.see(sighting(110, False)) is None
    again = life.see(sighting(120, True))
    assert again is not None and (again.ordinal, again.opened_at) == (2, sighting(120, True).at)


def test_a_clock_ahead_forgets_next_to_nothing() -> None:
    one = Life().see(sighting(0, True))
    assert one is not None
    daily = [replace(one, updated_at=START + timedelta(days=day)) for day in range(100)]
    today, ahead = daily[-1].updated_at, daily[-1].updated_at + timedelta(days=700)
    assert kept_since(daily, today) == today - KEPT
    wrong = [replace(one, updated_at=ahead + timedelta(minutes=n)) for n in range(5)]
    assert kept_since([*daily, *wrong], ahead + timedelta(hours=1)) == today + timedelta(days=5) - KEPT
    assert kept_since([*daily, *wrong], today) == today - KEPT


def test_a_message_that_nobody_got_is_replaced_by_a_truer_one() -> None:
    life = Life(sends=False)
    opened = life.see(sighting(0, True))
    resolved = life.see(sighting(61, False))
    assert opened is not None and resolved is not None
    assert (opened.state, opened.notify, resolved.notify) == (OPEN, OPENED, RESOLVED)
