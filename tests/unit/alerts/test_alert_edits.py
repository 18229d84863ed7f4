"""Rules that are edited while their incidents are open: from then on the new rule decides, and none stays open for ever."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from lakes import SmallLake
from samples import LOGS, RULES, private_alert_service, rules
from support import event

from platform_assets.alerts.evaluator import look_once
from platform_assets.alerts.incident import ESCALATED, OPENED, RESOLVED, Alert, Sighting
from platform_assets.alerts.model import Escalation, Rule, Severity
from platform_assets.alerts.service import AlertService
from platform_assets.core.settings import Settings
from platform_assets.defs.alerts import _own_rules

[MANY] = rules("many")
MANY = replace(MANY, escalate=None, resolve_after=timedelta(0))


@pytest.fixture
def lake(tmp_path: Path) -> SmallLake:
    """Eleven errors of one service, half a minute ago."""
    found = SmallLake(tmp_path)
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=30)
    stamp = at.isoformat().replace("+00:00", "Z")
    found.settle(found.land([event(n, event_time=stamp, service="payments", level="ERROR") for n in range(11)]))
    newest = (at + timedelta(seconds=20)).isoformat().replace("+00:00", "Z")
    found.settle(found.land([event(99, event_time=newest, service="users", level="INFO")]))
    return found


def looked(lake: SmallLake, *declared: Rule) -> list[Alert]:
    """All incidents after a look by these rules; whoever is to be told is told."""
    with closing(private_alert_service(lake.root)) as service:
        look_once(Settings(lake.root, lake.root, {}), LOGS, declared, service, dict)
        found = service.alerts()
        service.tell()
    return sorted(found, key=lambda alert: (alert.ordinal, alert.group))


EDITS: dict[str, tuple[Rule, str | None]] = {
    "the same": (MANY, None),
    "a higher threshold": (replace(MANY, above=Decimal(11)), RESOLVED),
    "a longer window": (replace(MANY, window=timedelta(minutes=5)), None),
    "a shorter window": (replace(MANY, window=timedelta(seconds=10)), RESOLVED),
    "a condition that excludes it": (replace(MANY, where="level = 'FATAL'"), RESOLVED),
    "a higher severity": (replace(MANY, severity=Severity.CRITICAL), ESCALATED),
    "a lower severity": (replace(MANY, severity=Severity.INFO), None),
    "an escalation": (replace(MANY, escalate=Escalation(Decimal(5), Severity.CRITICAL)), ESCALATED),
    "too little instead": (replace(MANY, above=None, below=Decimal(1)), RESOLVED),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_open_incident_follows_its_rule(lake: SmallLake, edit: str) -> None:
    [opened] = looked(lake, MANY)
    assert (opened.state, opened.notify) == ("open", OPENED)
    after, why = EDITS[edit]
    [changed] = [alert for alert in looked(lake, after) if alert.alert_id == opened.alert_id]
    assert (changed.state, changed.notify) == ("resolved" if why == RESOLVED else "open", why)


def test_what_an_incident_says_of_its_rule_follows_too(lake: SmallLake) -> None:
    looked(lake, MANY)
    after = replace(
        MANY, above=Decimal(3), severity=Severity.CRITICAL, runbook="other.md", cool_down=timedelta(hours=1)
    )
    [alert] = looked(lake, after)
    assert (alert.threshold, alert.runbook, alert.cool_down_s) == (3.0, "other.md", 3600.0)


def test_another_group_is_another_incident_and_the_old_one_ends(lake: SmallLake) -> None:
    looked(lake, MANY)
    found = looked(lake, replace(MANY, by=("level",), summary="{level}"))
    assert {(alert.group, alert.state) for alert in found} == {
        ('{"service":"payments"}', "resolved"), ('{"level":"ERROR"}', "open"),
    }  # fmt: skip


def opened(service: AlertService, rule: Rule) -> None:
    now = datetime.now(UTC)
    service.see([Sighting(rule, {"service": "payments"}, now, now, True, 11.0, 10.0)], now)


def test_incidents_of_a_rule_that_is_removed_end_with_the_next_look(tmp_path: Path) -> None:
    """Not while the file has mistakes: then it is not known which rules there are meant to be."""
    systems = tmp_path / "systems"
    (systems / "logs").mkdir(parents=True)
    file = systems / "logs" / "alerts.yaml"
    file.write_text(RULES)
    settings = Settings(tmp_path, tmp_path / "lake", {"ASSAY_SYSTEMS": str(systems)})
    renamed = RULES.replace("  many:\n", "  plenty:\n")
    with closing(private_alert_service(tmp_path / "lake")) as service:
        opened(service, MANY)

        def look() -> list[str]:
            _own_rules(settings, LOGS, service)
            return [alert.state for alert in service.alerts() if alert.rule == "many"]

        assert look() == ["open"]
        for broken in ("rules: [", renamed.replace("max(latency_ms)", "max(service)")):
            file.write_text(broken)
            assert look() == ["open"]
        file.write_text(renamed)
        assert look() == look() == ["resolved"]
        [alert] = service.alerts()
        assert alert.summary.endswith("(the rule is declared no more)") and alert.resolved_at == alert.breached_at
        file.write_text(RULES)  # it comes back: a new breach is a new incident
        opened(service, MANY)
        assert look() == ["open", "resolved"]
        file.unlink()
        assert look() == ["resolved", "resolved"]


def test_rules_of_a_name_in_two_systems_have_incidents_of_their_own(tmp_path: Path) -> None:
    settings = Settings(tmp_path, tmp_path, {})
    one, other = (AlertService(settings, system, index=False) for system in ("logs", "shop"))
    with closing(one), closing(other):
        opened(one, MANY)
        opened(other, MANY)
        assert one.alerts()[0].alert_id != other.alerts()[0].alert_id
        one.retire(())
        assert (one.alerts()[0].state, other.alerts()[0].state) == ("resolved", "open")
