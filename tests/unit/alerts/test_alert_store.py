"""The table of alerts: two writers make one incident, and the files stay few."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

from samples import START, made_up_rule, private_alert_service

from platform_assets.alerts.incident import Sighting
from platform_assets.alerts.platform import Counted, TableHealth, Vitals
from platform_assets.alerts.store import FILES
from platform_assets.contracts.read import load_contracts
from platform_assets.core.faultpoints import ALERT_POINTS


def breaches(services: int) -> list[Sighting]:
    return [Sighting(made_up_rule(), {"service": f"s{n}"}, START, START, True, 11.0, 10.0) for n in range(services)]


def test_two_workers_that_see_the_same_make_one_incident_each(tmp_path: Path) -> None:
    alert_services = [private_alert_service(tmp_path) for _ in range(4)]
    start = threading.Barrier(len(alert_services))
    stored: list[int] = []

    def see(number: int) -> None:
        start.wait()
        for one in breaches(5):
            stored.append(len(alert_services[number].see([one])))

    threads = [threading.Thread(target=see, args=(n,)) for n in range(len(alert_services))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alerts = private_alert_service(tmp_path).alerts()
    assert len(alerts) == 5 and all(alert.ordinal == 1 for alert in alerts)
    assert sum(stored) == 5


def test_files_stay_few_and_nothing_is_forgotten(tmp_path: Path) -> None:
    alert_service = private_alert_service(tmp_path)
    (*_, alert) = alert_service.see(breaches(3))
    for hour in range(2 * FILES):
        alert_service.mute(alert.alert_id, f"person {hour}", START + timedelta(hours=hour))
    assert len(alert_service.store.table.files()) <= FILES
    assert private_alert_service(tmp_path).store.load() == alert_service.store.load()
    assert alert_service.store.load()[alert.alert_id].muted_by == f"person {2 * FILES - 1}"
    assert alert_service.store.load()[alert.alert_id].revision == 2 * FILES + 1


def test_nothing_is_made_where_nothing_was_seen(tmp_path: Path) -> None:
    alert_service = private_alert_service(tmp_path / "lake")
    assert alert_service.alerts() == [] and alert_service.see([]) == [] and alert_service.tell() == 0
    assert not list((tmp_path / "lake").iterdir())
    assert len(set(ALERT_POINTS)) == 3


def test_what_a_worker_tells_of_itself() -> None:
    table = load_contracts()["logs"].table("events")
    health = TableHealth(table)

    def found(vitals: Vitals, second: int) -> set[str]:
        return {s.rule.name for s in health.evaluate(vitals, START + timedelta(seconds=second)) if s.breach}

    assert found(Vitals(1000, 5), 0) == set()
    assert found(Vitals(1000, 105), 2) == {"quarantine_rate", "poison_batch"}
    assert found(Vitals(1000, 105), 4) == {"quarantine_rate"}
    assert found(Vitals(9000, 105), 6) == set()
    assert found(Vitals(9000, 105, gaps=("[0] 1..9",)), 8) == {"gap"}
    assert found(Vitals(9000, 105, index_error="away"), 10) == set()
    assert found(Vitals(9000, 105, index_error="away"), 31) == {"index_behind"}
    assert found(Vitals(9000, 105, index_refused=2), 33) == {"index_behind"}
    assert found(Vitals(9000, 105, index_refused=2, conflicts=1), 34) == {"key_conflict"}
    assert found(Vitals(9000, 105, index_refused=2, conflicts=1, trouble=("small files are not merged",)), 35) == {
        "ingest_trouble"
    }


def test_what_is_not_known_is_neither_bad_nor_good() -> None:
    health = TableHealth(load_contracts()["logs"].table("events"))

    def said(second: int, **known: Any) -> dict[str, bool]:
        seen = health.evaluate(Vitals(0, 0, **known), START + timedelta(seconds=second))
        return {
            s.rule.name: s.breach
            for s in seen
            if s.rule.name not in ("quarantine_rate", "ingest_trouble", "key_conflict")
        }

    assert said(0) == {}
    assert said(1, gaps=()) == {"gap": False}
    assert said(2, index_error="") == {"index_behind": False}
    assert said(3, index_error="away") == {}  # it may be back in a moment
    assert said(23, index_error="away") == {"index_behind": True}


def test_the_rate_is_that_of_five_minutes_across_runs() -> None:
    health = TableHealth(load_contracts()["logs"].table("events"))
    health.begin([Counted(START - timedelta(seconds=s), 100, 50) for s in (400, 200, 100)])

    def rate(vitals: Vitals, second: int) -> float:
        seen = {s.rule.name: s for s in health.evaluate(vitals, START + timedelta(seconds=second))}
        return seen["quarantine_rate"].value

    assert rate(Vitals(0, 0), 0) == 100 / 300  # the first of the three is out of the window
    assert rate(Vitals(50, 0), 1) == 100 / 350
    assert rate(Vitals(50, 0), 150) == 50 / 200
    assert rate(Vitals(50, 0), 300) == 0
