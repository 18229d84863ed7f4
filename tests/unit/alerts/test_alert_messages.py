"""What people read: no mention, link or markup from data, and never a secret."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import START, made_up_rule, private_alert_service
from webhook import TOKEN, receiver

from platform_assets.alerts.incident import Sighting
from platform_assets.alerts.model import AlertError, Escalation, Severity
from platform_assets.alerts.notify import Attached, message, targets
from platform_assets.alerts.text import SUMMARY_LENGTH, VALUE_LENGTH, neutral


def breach(service: str, second: int = 0, value: float = 11.0) -> Sighting:
    at = START + timedelta(seconds=second)
    rule = replace(made_up_rule(), escalate=Escalation(Decimal(100), Severity.CRITICAL))
    return Sighting(rule, {"service": service}, at, at, True, value, 10.0)


@dataclass
class Person:
    """A target in this process, who may take nothing, and during whose reading something may happen."""

    id: str
    takes: bool = True
    meanwhile: Callable[[], object] = lambda: None
    titles: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.id

    def send(self, title: str, body: str, kind: str, attached: Attached | None = None) -> bool:
        self.meanwhile()
        self.titles += [title] if self.takes else []
        return self.takes


@pytest.mark.parametrize(
    "evil",
    [
        "@channel", "@here", "<!here>", "<!channel|x>", "<@U024BE7LH>", "<https://evil.example|click>", "[click](https://evil.example)",
        "**bold**", "`code`", "_emphasis_", "~gone~", "# title", "> quote", "![x](y)", "&lt;!here&gt;", "https://evil.example/x",
        "evil.example", "a\nb\r\nc", "\x1b[31mred", "\u202egnp.exe", "zero\u200bwidth", "\ud83d", "{value.__class__}",
    ],
)  # fmt: skip
def test_data_says_nothing_to_a_receiver(evil: str) -> None:
    said = neutral(f"x {evil} y")
    for sign in (
        "@",
        "<",
        ">",
        "`",
        "*",
        "~",
        "[",
        "]",
        "(",
        ")",
        "&",
        "#",
        "!",
        "{",
        "://",
        "evil.example",
        "\n",
        "\r",
        "\x1b",
    ):
        assert sign not in said
    assert all(sign.isprintable() for sign in said)
    assert " _" not in said and "_ " not in said


@given(st.text())
def test_any_text_is_one_short_printable_line(text: str) -> None:
    said = neutral(text)
    assert len(said) <= VALUE_LENGTH
    assert "\n" not in said and "@" not in said and "<" not in said
    said.encode()


def test_ordinary_names_stay_as_they_are() -> None:
    assert neutral("order_api-2 (v1)".replace("(v1)", "v1")) == "order_api-2 v1"


def test_a_message_is_short_and_says_where_to_look(tmp_path: Path) -> None:
    alert_service = private_alert_service(tmp_path)
    (alert,) = alert_service.see([breach("<!here> " + "x" * 10_000)])
    title, body, kind = message(alert, {"ASSAY_RUNBOOK_URL": "https://example.com/runbooks/"})
    assert title == "[warning] OPEN logs: made_up" and kind == "warning"
    assert "<!here>" not in body and len(alert.summary) < SUMMARY_LENGTH
    assert "runbook: https://example.com/runbooks/made_up.md" in body and alert.alert_id in body
    api = {"ASSAY_API_URL": "https://assay.example/"}
    for values in ({}, api):  # there is no such page: it is named, and no link leads into the void
        assert "\nrunbook: made_up.md\n" in message(alert, values)[1]
    ours, own = replace(alert, runbook="gap.md"), replace(alert, runbook="logs/many.md")
    assert "runbook: docs/runbooks/gap.md" in message(ours, {})[1]
    assert "runbook: https://assay.example/runbooks/gap.md" in message(ours, api)[1]
    assert "runbook: logs/runbooks/many.md" in message(own, {})[1]
    assert "runbook: https://assay.example/runbooks/logs/many.md" in message(own, api)[1]
    assert (
        "runbook: https://wiki.example/made_up.md"
        in message(alert, api | {"ASSAY_RUNBOOK_URL": "https://wiki.example"})[1]
    )


def test_what_is_not_taken_is_sent_again_and_shown_without_the_address(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with receiver(500) as bad, receiver() as good:
        alert_service = private_alert_service(tmp_path, ASSAY_ALERT_URLS=f"{bad.url}, {good.url}")
        (alert,) = alert_service.see([breach("payments")], START)
        assert alert_service.tell(START) == 0
        (kept,) = alert_service.alerts()
        assert kept.notify == "opened" and kept.notified_at is None
        assert kept.notify_error == "not sent to target 1 (json); tried 1 times"
        assert alert_service.tell(START + timedelta(seconds=1)) == 0  # not at once
        bad.status = 200
        assert alert_service.tell(START + timedelta(seconds=6)) == 1
        (kept,) = alert_service.alerts()
        assert (kept.notify, kept.notify_error, kept.notified_at) == (None, None, START + timedelta(seconds=6))
        assert (len(bad.bodies), len(good.bodies)) == (2, 1)  # who had it is not told again
        assert alert.alert_id.encode() in bad.bodies[-1]
    assert TOKEN not in caplog.text
    assert all(TOKEN not in str(value) for value in (kept, alert_service.alerts()))


@pytest.mark.parametrize("second_takes", [True, False])
def test_what_gets_worse_while_it_is_being_told_is_told_as_worse(
    second_takes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Person("a"), Person("b", takes=second_takes)
    monkeypatch.setattr("platform_assets.alerts.service.targets", lambda _: {p.id: p for p in (first, second)})
    alert_service = private_alert_service(tmp_path)
    alert_service.see([breach("payments")], START)
    second.meanwhile = lambda: alert_service.see([breach("payments", 2, 500.0)], START + timedelta(seconds=2))
    alert_service.tell(START)
    (kept,) = alert_service.alerts()
    assert (kept.severity, kept.notify, kept.send_after, kept.delivered) == ("critical", "escalated", None, "")
    second.takes = True
    assert alert_service.tell(START + timedelta(seconds=3)) == 1
    assert first.titles == ["[warning] OPEN logs: made_up", "[critical] WORSE logs: made_up"]
    assert second.titles[-1:] == ["[critical] WORSE logs: made_up"]
    assert alert_service.tell(START + timedelta(hours=1)) == 0


def test_what_gets_worse_before_everybody_has_heard_is_told_to_all_as_worse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Person("a"), Person("b", takes=False)
    monkeypatch.setattr("platform_assets.alerts.service.targets", lambda _: {p.id: p for p in (first, second)})
    alert_service = private_alert_service(tmp_path)
    alert_service.see([breach("payments")], START)
    assert alert_service.tell(START) == 0
    alert_service.see([breach("payments", 2, 500.0)], START + timedelta(seconds=2))
    second.takes = True
    assert alert_service.tell(START + timedelta(seconds=2)) == 1
    assert first.titles == ["[warning] OPEN logs: made_up", "[critical] WORSE logs: made_up"]
    assert second.titles == ["[critical] WORSE logs: made_up"]


def test_what_gets_worse_before_anybody_has_heard_opens_as_bad_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = Person("a", takes=False)
    monkeypatch.setattr("platform_assets.alerts.service.targets", lambda _: {only.id: only})
    alert_service = private_alert_service(tmp_path)
    alert_service.see([breach("payments")], START)
    only.meanwhile = lambda: alert_service.see([breach("payments", 2, 500.0)], START + timedelta(seconds=2))
    assert alert_service.tell(START) == 0
    only.takes = True
    assert alert_service.tell(START + timedelta(seconds=6)) == 1
    assert only.titles == ["[critical] OPEN logs: made_up"]


@pytest.mark.parametrize("url", [f"nonsense://{TOKEN}", f"slack://{TOKEN}", TOKEN])
def test_a_target_that_is_not_understood_is_named_by_its_place(url: str, tmp_path: Path) -> None:
    with pytest.raises(AlertError) as raised:
        targets({"ASSAY_ALERT_URLS": f"json://127.0.0.1:1/,{url}" if "://" in url else url})
    assert TOKEN not in str(raised.value) and "ASSAY_ALERT_URLS" in str(raised.value)
    alert_service = private_alert_service(tmp_path, ASSAY_ALERT_URLS=url)
    alert_service.see([breach("payments")])
    with pytest.raises(AlertError):
        alert_service.tell()
    assert alert_service.alerts()[0].notify == "opened"


def test_a_message_that_waits_by_a_clock_ahead_is_sent_when_the_clock_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = Person("a", takes=False)
    monkeypatch.setattr("platform_assets.alerts.service.targets", lambda _: {only.id: only})
    alert_service = private_alert_service(tmp_path)
    alert_service.see([breach("payments")], START)
    assert alert_service.tell(START + timedelta(days=700)) == 0
    only.takes = True
    assert alert_service.tell(START) == 1


def test_urls_with_commas_and_lines() -> None:
    found = targets({"ASSAY_ALERT_URLS": "json://a.example/x?to=1,2,json://b.example/\njson://c.example/"})
    assert [target.name for target in found.values()] == ["target 1 (json)", "target 2 (json)", "target 3 (json)"]


def test_without_urls_the_log_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    alert_service = private_alert_service(tmp_path)
    alert_service.see([breach("payments")])
    assert alert_service.tell() == 1
    assert "[warning] OPEN logs: made_up: payments: 11.0" in caplog.text


def test_a_muted_alert_is_stored_and_not_sent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    alert_service = private_alert_service(tmp_path)
    (alert,) = alert_service.see([breach("payments")], START)
    alert_service.mute(alert.alert_id, "somebody", START + timedelta(hours=1))
    assert alert_service.tell(START + timedelta(minutes=1)) == 0
    (kept,) = alert_service.alerts()
    assert (kept.state, kept.muted_by, kept.notified_at) == ("open", "somebody", None)
    assert "OPEN" not in caplog.text
    with pytest.raises(AlertError, match="no alert 'nobody'"):
        alert_service.acknowledge("nobody", "somebody")


@pytest.mark.parametrize("told_before", [False, True])
def test_what_is_still_open_when_the_muting_is_over_is_told_once(told_before: bool, tmp_path: Path) -> None:
    with receiver() as people:
        alert_service = private_alert_service(tmp_path, ASSAY_ALERT_URLS=people.url)
        (alert,) = alert_service.see([breach("payments")], START)
        if told_before:
            assert alert_service.tell(START) == 1
        alert_service.mute(alert.alert_id, "somebody", START + timedelta(hours=1))
        for minute in range(1, 60, 10):
            at = START + timedelta(minutes=minute)
            alert_service.see([breach("payments", 60 * minute)], at)
            assert alert_service.tell(at) == 0
        for second in (3601, 3602, 3660):
            alert_service.see([breach("payments", second)], START + timedelta(seconds=second))
            alert_service.tell(START + timedelta(seconds=second))
        words = ["OPEN", "STILL OPEN"] if told_before else ["OPEN"]
        assert people.titles() == [f"[warning] {word} logs: made_up" for word in words]


def test_what_began_and_ended_muted_is_not_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    alert_service = private_alert_service(tmp_path)
    (alert,) = alert_service.see([breach("payments")], START)
    alert_service.mute(alert.alert_id, "somebody", START + timedelta(hours=1))
    at = START + timedelta(minutes=2)
    alert_service.see([replace(breach("payments", 120), breach=False)], at)
    assert alert_service.tell(at) == 0
    assert alert_service.tell(START + timedelta(hours=2)) == 0
    assert alert_service.alerts()[0].state == "resolved" and "made_up" not in caplog.text
