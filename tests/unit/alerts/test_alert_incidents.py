"""The life of an incident: whatever comes, in whatever order and how often, there is one at a time and it ends."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from samples import START, made_up_rule, private_alert_service

from platform_assets.alerts.incident import ESCALATED, ONGOING, OPEN, OPENED, RESOLVED, Alert, Sighting, step
from platform_assets.alerts.late import step_past
from platform_assets.alerts.model import Escalation, Severity
from platform_assets.alerts.store import KEPT, kept_since, latest

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
def test_one_at_a_time_and_every_one_is_stored(moves: Moves) -> None:
    """In the cool-down of one that people were told of, others are stored and held back."""
    life, _ = fed(moves)
    alerts = sorted(life.alerts.values(), key=lambda alert: alert.ordinal)
    assert [alert.ordinal for alert in alerts] == list(range(1, len(alerts) + 1))
    assert all(alert.state == RESOLVED for alert in alerts[:-1])
    for alert, following in itertools.pairwise(alerts):
        assert alert.resolved_at is not None
        assert following.opened_at >= alert.resolved_at
    told = [alert for alert in alerts if any(alert_id == alert.alert_id for alert_id, _, _ in life.told)]
    assert all(alert.held_until is not None for alert in alerts if alert not in told)
    firsts = {alert_id: second for alert_id, why, second in reversed(life.told) if why == OPENED}
    for alert, following in itertools.pairwise(told):
        assert alert.resolved_at is not None
        assert firsts[following.alert_id] >= (alert.resolved_at - START + RULE.cool_down).total_seconds()
    for alert in alerts:
        if alert.resolved_at is not None:
            assert alert.resolved_at - alert.breached_at >= RULE.resolve_after


@settings(deadline=None)
@given(MOVES, st.randoms(use_true_random=False))
def test_what_was_seen_already_makes_nothing_new(moves: Moves, chance: object) -> None:
    """Another worker, or the same after a kill, sees some of it again."""
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
        if alert.held_until is not None:
            assert reasons == []
            continue
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
    rule = replace(RULE, escalate=Escalation(Decimal(100), Severity.CRITICAL))
    life = Life()
    for second, value in ((0, 11), (1, 101), (2, 500), (3, 11)):
        life.see(sighting(second, True, value, rule))
    assert [why for _, why, _ in life.told] == [OPENED, ESCALATED]
    assert life.last is not None and life.last.severity == "critical"


WORSE = replace(RULE, escalate=Escalation(Decimal(100), Severity.CRITICAL))
"""Resolves after 60 s, cools down for 300 s; from 100 on it is critical."""


def story(*moves: tuple[int, int]) -> tuple[Life, list[tuple[str, float]], list[tuple[str, bool]]]:
    """(second, value; 0: no breach) to: the life, what was told and when, severity and whether it was held back of each incident.

    Each step is seen twice.
    """
    life = Life()
    for second, value in moves:
        seen = sighting(second, value > 0, value, WORSE)
        life.see(seen)
        life.see(seen)
    alerts = sorted(life.alerts.values(), key=lambda alert: alert.ordinal)
    return life, [(why, at) for _, why, at in life.told], [(a.severity, a.held_until is not None) for a in alerts]


def test_critical_in_the_cool_down_of_a_warning_is_told_at_once() -> None:
    _, told, alerts = story((0, 11), (60, 0), (100, 500))
    assert told == [(OPENED, 0), (RESOLVED, 60), (OPENED, 100)]
    assert alerts == [("warning", False), ("critical", False)]


def test_the_same_in_the_cool_down_is_stored_and_held_back() -> None:
    _, told, alerts = story((0, 11), (60, 0), (100, 12), (160, 0), (200, 13), (260, 0))
    assert told == [(OPENED, 0), (RESOLVED, 60)]
    assert alerts == [("warning", False), ("warning", True), ("warning", True)]


def test_held_back_and_then_worse_is_told_at_once() -> None:
    """What people know of in the cool-down is what counts: critical after critical is held back, also behind a warning."""
    _, told, alerts = story((0, 11), (10, 500), (20, 11), (80, 0), (100, 12), (110, 600), (170, 0))
    assert told == [(OPENED, 0), (ESCALATED, 10), (RESOLVED, 80)]
    assert alerts == [("critical", False), ("critical", True)]
    life, told, alerts = story((0, 11), (60, 0), (100, 12), (110, 600), (170, 0), (200, 700), (260, 0))
    assert told == [(OPENED, 0), (RESOLVED, 60), (OPENED, 110), (RESOLVED, 170)]
    assert alerts == [("warning", False), ("critical", False), ("critical", True)]
    assert life.last is not None and life.last.held_until == START + timedelta(seconds=170 + 300)


def test_what_lasts_beyond_the_cool_down_is_told() -> None:
    _, told, alerts = story((0, 11), (60, 0), (100, 12), *((second, 12) for second in range(110, 400, 10)), (460, 0))
    assert told == [(OPENED, 0), (RESOLVED, 60), (OPENED, 360), (RESOLVED, 460)]
    assert alerts == [("warning", False)] * 2


def test_those_held_back_do_not_lengthen_the_cool_down() -> None:
    """A rule that comes and goes for ever is told of once in a cool-down, not never."""
    _, told, _ = story(*((at, 11 if at % 100 == 0 else 0) for at in range(0, 1000, 20)))
    assert [at for why, at in told if why == OPENED] == [0, 400, 800]


def test_groups_have_a_cool_down_each(tmp_path: Path) -> None:
    """And what is stored is all that a restarted process needs."""

    def seen(service: str, second: int, value: float) -> Sighting:
        return replace(sighting(second, value > 0, value, WORSE), group={"service": service})

    moves = (
        ("a", 0, 11), ("a", 60, 0), ("b", 70, 11), ("a", 80, 500), ("b", 130, 0), ("b", 140, 12), ("a", 150, 0), ("a", 160, 9)
    )  # fmt: skip
    for move in moves:
        with closing(private_alert_service(tmp_path)) as alert_service:
            alert_service.see([seen(*move)], seen(*move).at)
    with closing(private_alert_service(tmp_path)) as alert_service:
        found = sorted(
            (a.visible_to or "", a.ordinal, a.severity, a.notify, a.held_until is not None)
            for a in alert_service.alerts()
        )
    assert found == [
        ("a", 1, "warning", RESOLVED, False),
        ("a", 2, "critical", RESOLVED, False),
        ("a", 3, "warning", None, True),
        ("b", 1, "warning", RESOLVED, False),
        ("b", 2, "warning", None, True),
    ]


def late(
    since: float, until: float, value: float = 11.0, *, more: Sequence[Alert] = (), now: float = 9000
) -> Alert | None:
    """What a sighting of windows that have passed makes."""
    rule = replace(WORSE, window=timedelta(seconds=60))
    seen = replace(sighting(until, True, value, rule), since=START + timedelta(seconds=since), late=True, past=True)
    return step_past("logs", more, seen, START + timedelta(seconds=now))


def test_a_late_incident_is_over_and_marked() -> None:
    made = late(0, 20)
    assert made is not None
    assert (made.state, made.late, made.notify, made.ordinal) == (RESOLVED, True, OPENED, 0)
    assert latest({made.alert_id: made}) == {}  # no cool-down of the present begins with it


def test_no_late_window_is_told_of_twice() -> None:
    made = late(0, 20)
    assert made is not None
    sent = replace(made, notify=None, notified_at=START)
    assert late(0, 20, more=[sent]) is None
    assert late(5, 15, 12, more=[sent]) is None
    longer = late(15, 60, 12, more=[replace(sent, updated_at=START)])
    assert longer is not None
    assert (longer.alert_id, longer.notify, longer.breached_at) == (made.alert_id, None, START + timedelta(seconds=60))
    worse = late(5, 15, 500, more=[sent])
    assert worse is not None and (worse.alert_id, worse.notify, worse.severity) == (
        made.alert_id,
        ESCALATED,
        "critical",
    )


def test_what_was_told_in_its_time_is_not_told_late_unless_it_was_worse() -> None:
    life, _, _ = story((0, 11), (30, 11), (100, 0))
    known = list(life.alerts.values())
    assert late(20, 25, more=known) is None
    assert late(20, 25, 500, more=known) is not None
    assert late(200, 210, more=known) is not None


def test_late_incidents_close_together_are_one_message() -> None:
    first = late(0, 20)
    assert first is not None
    second = late(120, 140, more=[first])
    assert second is not None and (second.notify, second.held_until) == (None, first.breached_at + WORSE.cool_down)
    third = late(220, 240, 500, more=[first, second])
    assert third is not None and third.notify == OPENED
    far = late(3000, 3020, more=[first, second])
    assert far is not None and far.notify == OPENED


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


def test_a_clock_ahead_holds_nothing_back_for_years() -> None:
    life = Life()
    for second, value in ((YEARS, 11), (YEARS + 60, 0), (YEARS + 100, 12)):
        life.see(sighting(second, value > 0, value))
    assert life.last is not None and life.last.held_until is not None
    life.see(sighting(10, True))
    assert life.last.held_until is not None and life.last.held_until <= START + timedelta(seconds=310)


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
