"""Alerts when something dies: one incident each, told, and the same in table and index."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from beside import background
from support import alert_documents, burst_rules, event_now, publish
from test_outages import service_pid
from waiting import eventually
from webhook import Receiver, receiver
from worker_runs import ready, reason, stopped, worker_process

from platform_assets.alerts.service import AlertService
from platform_assets.contracts.model import Contract
from platform_assets.core.faultpoints import ALERT_POINTS
from platform_assets.core.settings import Settings
from platform_assets.ingest.worker import Worker
from platform_assets.local import lifecycle
from platform_assets.reconcile.prove import prove

pytestmark = [pytest.mark.services, pytest.mark.faults, pytest.mark.timeout(1800)]


@pytest.fixture
def systems(contract: Contract, tmp_path: Path) -> Path:
    """A folder of systems with this one's rules."""
    folder = tmp_path / "systems"
    (folder / contract.system).mkdir(parents=True)
    (folder / contract.system / "alerts.yaml").write_text(
        burst_rules("5m", resolve_after="5s", cool_down="1h"), encoding="utf-8"
    )
    return folder


def told(settings: Settings, systems: Path, target: Receiver) -> Settings:
    """The same settings with rules and a receiver."""
    more = {"ASSAY_SYSTEMS": str(systems), "ASSAY_ALERT_URLS": target.url}
    return replace(settings, values={**settings.values, **more})


def errors(first: int, count: int, service: str) -> list[bytes]:
    return [event_now(n, service=service, level="ERROR") for n in range(first, first + count)]


def incidents(settings: Settings, contract: Contract) -> list[tuple[str, str | None, int]]:
    alert_service = AlertService(settings, contract.system, index=False)
    try:
        return sorted((a.rule, a.visible_to, a.ordinal) for a in alert_service.alerts())
    finally:
        alert_service.close()


def test_a_kill_at_any_moment_leaves_one_incident(
    settings: Settings, contract: Contract, systems: Path, described: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiver() as people:
        settings = told(settings, systems, people)
        monkeypatch.setenv("ASSAY_SYSTEMS", str(systems))
        monkeypatch.setenv("ASSAY_ALERT_URLS", people.url)
        for number, point in enumerate((*ALERT_POINTS, "silver_committed")):
            publish(settings, contract.tables[0], errors(100 * number, 12, f"service-{number}"))
            process = worker_process(described, settings.lake_path, f"{point}:1", seconds=600)
            output = process.communicate()[0]
            assert process.returncode == -signal.SIGKILL, f"{point}: ended by itself\n{output}"
        Worker(settings, contract).drain()
        expected = [("many", f"service-{n}", 1) for n in range(len(ALERT_POINTS) + 1)]
        assert incidents(settings, contract) == expected
        # Who had claimed a message when it died may hold it for a minute; it is told then.
        alert_service = AlertService(settings, contract.system)
        alert_service.tell(datetime.now(UTC) + timedelta(days=365))
        alert_service.publish()
        assert all(a.notify is None and a.notified_at is not None for a in alert_service.alerts())
        assert {d["alert_id"] for d in alert_documents(settings, contract)} == set(alert_service.store.load())
        for alert in alert_service.alerts():
            assert any(alert.alert_id.encode() in body for body in people.bodies)
        alert_service.close()
    assert prove(settings, contract).holds


def test_two_workers_at_once_make_one_incident(
    settings: Settings, contract: Contract, systems: Path, described: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiver() as people:
        settings = told(settings, systems, people)
        monkeypatch.setenv("ASSAY_SYSTEMS", str(systems))
        monkeypatch.setenv("ASSAY_ALERT_URLS", people.url)
        workers = [worker_process(described, settings.lake_path, "", seconds=120) for _ in range(3)]
        for number, worker in enumerate(workers):  # twelve errors a service in all
            ready(worker)
            values = [
                event_now(50 * number + s * 10 + i, service=f"s{s}", level="ERROR") for s in range(4) for i in range(4)
            ]
            publish(settings, contract.tables[0], values)
        eventually(lambda: sum(worker.poll() is not None for worker in workers) == 2)
        eventually(lambda: len(people.titles()) == 4)
        [last] = [worker for worker in workers if worker.poll() is None]
        assert stopped(last) == "stopped"
        assert [reason(worker) for worker in workers if worker is not last] == ["handed_over"] * 2
        Worker(settings, contract).drain()
        assert incidents(settings, contract) == [("many", f"s{n}", 1) for n in range(4)]
        assert len(people.titles()) == 4
        assert {d["visible_to"]: d["state"] for d in alert_documents(settings, contract)} == dict.fromkeys(
            ("s0", "s1", "s2", "s3"), "open"
        )


def test_without_index_and_receiver_the_table_holds_and_both_follow(
    settings: Settings, contract: Contract, systems: Path
) -> None:
    table = contract.tables[0]
    with receiver(status=503) as people:
        settings = told(settings, systems, people)
        with background(settings, contract):
            publish(settings, table, errors(0, 12, "before"))
            eventually(lambda: bool(_by_service(settings, contract).get("before")))
            os.kill(service_pid(settings, "opensearch"), signal.SIGKILL)
            publish(settings, table, errors(100, 12, "during"))
            eventually(lambda: ("many", "during", 1) in incidents(settings, contract))
            shown = {a.visible_to: a.notify_error for a in _alerts(settings, contract)}
            assert any(error and "not sent to target 1 (json)" in error for error in shown.values()), shown
            people.status = 200
            eventually(lambda: sum("OPEN" in title for title in people.titles()) >= 3)  # refused ones among them
            eventually(lambda: all(a.notified_at for a in _alerts(settings, contract) if a.rule == "many"))
            eventually(lambda: lifecycle.status(settings.home).healthy)
            eventually(_documents_say(settings, contract, "during"))
    assert prove(settings, contract).holds


def _alerts(settings: Settings, contract: Contract) -> list[Any]:
    alert_service = AlertService(settings, contract.system, index=False)
    try:
        return alert_service.alerts()
    finally:
        alert_service.close()


def _by_service(settings: Settings, contract: Contract) -> dict[str, dict[str, Any]]:
    return {d["visible_to"]: d for d in alert_documents(settings, contract)}


def _documents_say(settings: Settings, contract: Contract, service: str) -> Callable[[], bool]:
    return lambda: service in _by_service(settings, contract)
