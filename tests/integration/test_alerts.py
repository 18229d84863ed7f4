"""From a burst of errors to an alert that people can read, and to its end, on the real services."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from beside import background
from click.testing import CliRunner
from opensearchpy import OpenSearch
from opensearchpy.exceptions import ConnectionError
from support import alert_documents as documents
from support import burst_rules, event_now, private_settings, private_system, publish
from waiting import eventually

from platform_assets.alerts.evaluator import keeps_up
from platform_assets.alerts.maintain import maintain_alerts, reindex_alerts
from platform_assets.alerts.platform import POISON, sighting
from platform_assets.alerts.read import parse_rules
from platform_assets.alerts.service import AlertService
from platform_assets.alerts.store import FILES
from platform_assets.backup.backup import backup
from platform_assets.backup.restore import restore
from platform_assets.cli.app import assay
from platform_assets.contracts.model import Contract
from platform_assets.core.settings import Settings
from platform_assets.defs.alerts import broker_ends
from platform_assets.index.errors import SearchError, Unavailable
from platform_assets.index.history import ForeignIndex
from platform_assets.ingest.worker import COMMIT_SECONDS, Worker
from platform_assets.tables.layout import Lake

pytestmark = pytest.mark.services

RULES = burst_rules("6s", resolve_after="3s", cool_down="10m")


@contextmanager
def worker(settings: Settings, contract: Contract, rules: str = RULES) -> Iterator[Worker]:
    """A worker in a thread, for the block."""
    options = {"commit_seconds": COMMIT_SECONDS, "rules": parse_rules(rules, contract)}
    with background(settings, contract, **options) as found:
        yield found.worker


def test_a_burst_opens_an_alert_in_seconds_and_it_resolves(services: Settings, tmp_path: Path) -> None:
    settings = private_settings(services, tmp_path)
    contract = private_system(settings)
    table = contract.tables[0]
    with worker(settings, contract) as running:
        publish(settings, table, [event_now(n, level="INFO") for n in range(30)])
        eventually(
            lambda: "events" in running.report.tables and sum(running.report.tables["events"].silver.values()) == 30
        )
        assert documents(settings, contract) == []
        publish(settings, table, [event_now(n, service="payments", level="ERROR") for n in range(100, 111)])
        (shown,) = eventually(lambda: documents(settings, contract), "the alert")
        assert (shown["rule"], shown["visible_to"], shown["state"], shown["value"]) == (
            "many",
            "payments",
            "open",
            11.0,
        )
        assert shown["summary"] == "payments: 11 errors in 6 s" and shown["runbook"] == "many.md"
        numbers = itertools.count(200)

        def resolved() -> bool:
            publish(settings, table, [event_now(next(numbers), level="INFO")])  # life goes on: event time moves
            return bool(documents(settings, contract)[0]["state"] == "resolved")

        eventually(resolved, "the end of the alert", every_s=0.5)
        (shown,) = documents(settings, contract)
        assert datetime.fromisoformat(shown["resolved_at"]) > datetime.fromisoformat(shown["opened_at"])
        assert running._alerts.error == ""
    alert_service = AlertService(settings, contract.system, index=False)
    (alert,) = alert_service.alerts()
    assert alert.alert_id == shown["alert_id"] and alert.ordinal == 1
    alert_service.close()


def test_poison_is_told_by_the_platform_itself(services: Settings, tmp_path: Path) -> None:
    settings = private_settings(services, tmp_path)
    contract = private_system(settings)
    publish(settings, contract.tables[0], [b"{poison"] * 30)
    Worker(settings, contract, rules=()).drain()
    found = {d["rule"]: d for d in documents(settings, contract)}
    assert set(found) == {"poison_batch", "quarantine_rate"}
    assert found["poison_batch"]["severity"] == "critical" and found["poison_batch"]["visible_to"] is None
    assert f"{contract.system}.events" in found["poison_batch"]["summary"]


def seen(alert_service: AlertService, *subjects: str, breach: bool = True, ago: timedelta = timedelta()) -> None:
    """Sightings of the platform's rules, some time ago."""
    at = datetime.now(UTC) - ago
    alert_service.see([sighting(POISON, subject, at, breach=breach, detail="made up") for subject in subjects], at)


def shown(settings: Settings, contract: Contract) -> set[str]:
    return {document["alert_id"] for document in documents(settings, contract)}


def test_after_a_restore_the_index_is_refused_until_it_is_built_anew(services: Settings, tmp_path: Path) -> None:
    settings = replace(private_settings(services, tmp_path / "first"), home=tmp_path / "first")
    contract = private_system(settings)
    with closing(AlertService(settings, contract.system)) as alert_service:
        seen(alert_service, "a")
        alert_service.publish()
        backup(settings, tmp_path / "copy")
        seen(alert_service, "b", "c")
        alert_service.publish()
        theirs = shown(settings, contract)
        assert len(theirs) == 3

        there = replace(settings, home=tmp_path / "second", lake_path=tmp_path / "second" / "lake")
        restore(there, tmp_path / "copy")
        with closing(AlertService(there, contract.system)) as mine:
            for subject in "defg":  # it overtakes the index's revision, and yet it is another history
                seen(mine, subject)
                with pytest.raises(ForeignIndex, match=f"assay reindex {contract.system} alerts"):
                    mine.publish()
            with pytest.raises(ForeignIndex):
                maintain_alerts(there, contract.system)
            assert shown(there, contract) == theirs  # nothing is mixed
            report = reindex_alerts(there, contract.system)
            assert sum(report.documents.values()) == 5
            assert shown(there, contract) == set(mine.store.load())
            seen(mine, "h")
            assert mine.publish() == 1
            reindex_alerts(there, contract.system)  # while this service's connection knows the index of before
            seen(mine, "i")
            with pytest.raises(SearchError, match="it is sent again"):
                mine.publish()
            mine.publish()
            assert shown(there, contract) == set(mine.store.load())
        seen(alert_service, "j")  # the lake that was lost comes back to life
        with pytest.raises(SearchError):
            alert_service.publish()
        with pytest.raises(ForeignIndex):
            alert_service.publish()
        assert len(shown(there, contract)) == 7
        empty = replace(settings, lake_path=tmp_path / "third")
        assert reindex_alerts(empty, contract.system).deleted  # a lake without alerts has no index of them
        assert documents(settings, contract) == []


def test_what_the_table_forgets_goes_from_the_index_too(
    services: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform_assets.alerts.store.STEP", timedelta(days=365))  # nothing happens between them
    settings = private_settings(services, tmp_path)
    contract = private_system(settings)
    with closing(AlertService(settings, contract.system)) as alert_service:
        for days in (120, 119, 95):  # three incidents of each; the last says how it is
            seen(alert_service, "a", "b", ago=timedelta(days=days, minutes=120))
            seen(alert_service, "a", "b", breach=False, ago=timedelta(days=days))
        seen(alert_service, "open for long", ago=timedelta(days=100))
        seen(alert_service, "now")
        every = set(alert_service.store.load())
        assert len(every) == 8
        assert alert_service.tell() == 8
        alert_service.publish()
        assert maintain_alerts(settings, contract.system).documents == 0  # the table has all of them
        [recent] = [alert for alert in alert_service.alerts() if alert.summary.startswith("now")]
        for n in range(FILES):  # it is written together, and forgets
            alert_service.mute(recent.alert_id, "somebody", datetime.now(UTC) + timedelta(minutes=n))
        alert_service.publish()
        kept = set(alert_service.store.load())
        assert len(kept) == 4
        assert shown(settings, contract) == every

    real, calls = OpenSearch.delete_by_query, iter([True])

    def once(self: OpenSearch, **request: Any) -> Any:
        if next(calls, False):
            return real(self, **request)
        raise ConnectionError("N/A", "away", Exception("away"))

    monkeypatch.setattr("platform_assets.alerts.index.BATCH", 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OpenSearch, "delete_by_query", once)
        with pytest.raises(Unavailable):
            maintain_alerts(settings, contract.system)
    left = shown(settings, contract)
    assert kept < left < every
    assert maintain_alerts(settings, contract.system).documents == len(left - kept)  # it goes on where it ended
    assert shown(settings, contract) == kept
    assert maintain_alerts(settings, contract.system).documents == 0


def test_what_waits_on_the_broker_is_known(services: Settings, tmp_path: Path) -> None:
    settings = private_settings(services, tmp_path)
    contract = private_system(settings)
    table = contract.tables[0]
    silver, later = Lake(settings.lake_path).tables(table).silver, datetime.now(UTC) + timedelta(hours=1)
    publish(settings, table, [event_now(n) for n in range(20)])
    Worker(settings, contract, rules=(), index=False).drain()
    silver.refresh()
    assert keeps_up(silver, broker_ends(settings, contract)["events"], later)
    publish(settings, table, [event_now(20)])
    assert not keeps_up(silver, broker_ends(settings, contract)["events"], later)
    away = replace(settings, values={**settings.values, "ASSAY_KAFKA_BOOTSTRAP": "127.0.0.1:1"})
    assert broker_ends(away, contract) == {}


def test_rules_that_do_not_bind_stop_no_worker(services: Settings, tmp_path: Path) -> None:
    settings = private_settings(services, tmp_path)
    contract = private_system(settings)
    publish(settings, contract.tables[0], [event_now(n) for n in range(20)])
    wrong = parse_rules(RULES.replace("level = 'ERROR'", "levl = 'ERROR'"), contract)
    report = Worker(settings, contract, rules=wrong).drain()
    assert sum(report.tables["events"].silver.values()) == 20
    assert "rules.many.where" in report.alert_error


def test_the_commands_list_acknowledge_and_mute(
    services: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(private_settings(services, tmp_path), home=services.home)
    monkeypatch.setenv("ASSAY_LAKE", str(settings.lake_path))
    logs = replace(private_system(settings), system="logs")
    logs = replace(logs, tables=tuple(replace(t, system="logs") for t in logs.tables))
    publish(settings, logs.tables[0], [b"{poison"] * 30)
    Worker(settings, logs, rules=(), index=False).drain()

    def run(*words: str) -> str:
        done = CliRunner().invoke(assay, list(words), standalone_mode=False)
        return done.output

    listed = run("alerts", "list", "logs")
    assert "poison_batch" in listed and "critical" in listed
    alert_service = AlertService(settings, "logs", index=False)
    (poison,) = [a for a in alert_service.alerts() if a.rule == "poison_batch"]
    assert "acknowledged by" in run("alerts", "ack", "logs", poison.alert_id)
    assert "muted until" in run("alerts", "mute", "logs", poison.alert_id, "--for", "2h")
    assert alert_service.store.load()[poison.alert_id].acknowledged_at is not None
    assert "logs: 3 rules of its own are valid" in run("alerts", "test", "logs")
    alert_service.close()
