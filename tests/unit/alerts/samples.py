"""Rules and sightings that several tests use."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from platform_assets.alerts.model import Kind, Rule, Severity
from platform_assets.alerts.read import parse_rules
from platform_assets.alerts.service import AlertService
from platform_assets.contracts.read import load_contracts
from platform_assets.core.settings import Settings

LOGS = load_contracts()["logs"]
START = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
RULES = """
rules:
  many:
    kind: window
    table: events
    where: level IN ('ERROR', 'FATAL')
    by: [service]
    measure: count(*)
    window: 1m
    above: 10
    escalate: {threshold: 100, severity: critical}
    resolve_after: 30s
    cool_down: 5m
    summary: "{service}: {value:,.0f} errors in {window}"
  ratio:
    kind: window
    table: events
    measure: {ratio: ["count(*) filter (where level = 'ERROR')", count(*)]}
    window: 1m
    above: 0.5
    at_least: 20
    summary: "{value:.0%}"
  slow:
    kind: window
    table: events
    by: [service]
    measure: max(latency_ms)
    window: 1m
    above: 900
    summary: "{service}: {value} ms"
  few:
    kind: window
    table: events
    by: [service]
    measure: count(*)
    window: 1m
    below: 5
    summary: "{service}: only {value:.0f}"
  silent:
    kind: silence
    table: events
    by: [service]
    after: 5m
    summary: "{service}: silent for {window}"
"""


def rules(*names: str) -> tuple[Rule, ...]:
    """Those of `RULES` with these names, in this order; all without names."""
    found = {rule.name: rule for rule in parse_rules(RULES, LOGS)}
    return tuple(found[name] for name in names) if names else tuple(found.values())


def made_up_rule() -> Rule:
    """A rule for the state machine alone."""
    return Rule(
        "made_up", Kind.WINDOW, Severity.WARNING, "{service}: {value}", "made_up.md",
        resolve_after=timedelta(seconds=60), cool_down=timedelta(seconds=300), by=("service",), row_policy="service",
        above=Decimal(10),
    )  # fmt: skip


def private_alert_service(lake: Path, **values: str) -> AlertService:
    """An alert service of the logs system in a lake of its own, without an index."""
    return AlertService(Settings(lake, lake, values), "logs", index=False)
