"""What operators ask, asked of the API and counted independently: of simulated services, and of a real web server's log.

The answers are compared with what plain Python counts in the bytes that were sent.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from support import no_platform_alerts, private_project, private_system, private_systems, publish

from platform_assets.alerts.platform import PLATFORM_SYSTEM, RUN_FAILED, sighting
from platform_assets.alerts.service import AlertService
from platform_assets.contracts.model import Contract
from platform_assets.core.settings import Settings
from platform_assets.index.client import connect
from platform_assets.ingest.worker import Worker
from platform_assets.local.demo import shared_data
from platform_assets.marts.refresh import refresh
from platform_assets.serve.app import create_app
from platform_assets.serve.keys import KeyStore, Role
from platform_assets.systems.logs.simulate import simulate

pytestmark = pytest.mark.services

ACCESS_LOG = shared_data() / "logs" / "apache_access.log"
COMBINED = re.compile(
    r'(\S+) \S+ \S+ \[([^\]]+)\] "([A-Z]+) (\S+) [^" ]+" (\d{3}) (?:\d+|-) "(?:[^"\\]|\\.)*" "(?:[^"\\]|\\.)*"'
)
HOUR = timedelta(hours=1)
BEGAN = datetime.now(UTC).replace(microsecond=0) - 9 * HOUR


def written() -> list[bytes]:
    """Eight hours of three services, 25 events every five minutes; payments has trouble for the first two hours."""
    clock = itertools.count(BEGAN.timestamp(), 300).__next__
    batches = simulate(250.0, 9.6, seed=7, burst="payments:7200", clock=clock)
    return [value for batch in batches for _, value in batch if value is not None]


@dataclass(frozen=True, slots=True)
class Request:
    """A line of the real log, read by nothing of the platform."""

    client: str
    at: datetime
    method: str
    path: str
    status: int


def read_log(lines: list[bytes]) -> list[Request]:
    """Those lines that have the format: one has not."""
    found = [COMBINED.fullmatch(line.decode()) for line in lines]
    return [Request(m[1], datetime.strptime(m[2], "%d/%b/%Y:%H:%M:%S %z"), m[3], m[4], int(m[5])) for m in found if m]


@dataclass
class Asked:
    """A system with documents, marts and an API; what was sent to it."""

    settings: Settings
    contract: Contract
    client: TestClient
    events: list[dict[str, Any]]
    requests: list[Request]

    @property
    def day(self) -> date:
        """The day of most payment errors: the nine hours of events may lie on two days."""
        errors = (e for e in self.events if e["service"] == "payments" and e["level"] in ("ERROR", "FATAL"))
        return Counter(moment(e).date() for e in errors).most_common(1)[0][0]

    def key(self, role: Role = Role.READER, **rights: Any) -> dict[str, str]:
        return {"X-API-Key": KeyStore(self.settings.home).add("test", role, **rights)[1]}

    def ask(self, path: str, key: dict[str, str] | None = None, expected: int = 200, **params: Any) -> Any:
        place = path if path.startswith("/") else f"/v1/{self.contract.system}/{path}"
        answer = self.client.get(place, headers=key or self.key(), params=params)
        assert answer.status_code == expected, answer.text[:500]
        return answer.json()

    def found(self, **params: Any) -> list[dict[str, Any]]:
        """Every page of a search."""
        key, hits, cursor = self.key(), [], {}
        while True:
            page = self.ask("search", key, size=1000, **params, **cursor)
            hits += page["hits"]
            if page["cursor"] is None:
                assert page["total"] == {"value": len(hits), "exact": True}
                return hits
            cursor = {"cursor": page["cursor"]}

    def sums(self, mart: str, **params: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.ask("stats", mart=mart, **params)["rows"]
        return rows


@pytest.fixture(scope="module")
def asked(services: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    home = tmp_path_factory.mktemp("questions")
    rate = {"ASSAY_API_RATE": "100000/minute"}
    own = replace(services, home=home, lake_path=home / "lake", values={**services.values, **rate})
    contract = private_system(own, ("events", "access", "broker"))
    own = replace(own, values={**own.values, "ASSAY_SYSTEMS": str(private_systems(home, contract.system))})
    events = written()
    lines = ACCESS_LOG.read_bytes().splitlines() if ACCESS_LOG.is_file() else []
    publish(own, contract.table("events"), events)
    publish(own, contract.table("access"), lines)
    Worker(own, contract).drain()
    worker = connect(own.opensearch_url, own.opensearch_auth("ingest"), own.opensearch_ca)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_DBT_PROJECT", str(private_project(home, contract.system)))
        report = refresh(own, contract)
        assert (report.index_error, report.more) == (None, False)
        worker.indices.refresh(index=f"{contract.system}-*")
        with TestClient(create_app(own, {contract.system: contract})) as client:
            yield Asked(own, contract, client, [json.loads(one) for one in events], read_log(lines))
    worker.indices.delete(index=f"{contract.system}-*")
    worker.close()


def moment(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["event_time"])


def failed(event: dict[str, Any]) -> bool:
    return event["level"] in ("ERROR", "FATAL") or event.get("status", 0) >= 500


def hourly(moments: Iterator[datetime]) -> Counter[str]:
    return Counter(f"{at:%Y-%m-%dT%H:00:00Z}" for at in moments)


def ids(events: list[dict[str, Any]]) -> list[str]:
    return sorted(event["event_id"] for event in events)


class TestSimulated:
    def test_all_500_errors_of_the_last_24_hours(self, asked: Asked) -> None:
        wanted = [event for event in asked.events if event.get("status") == 500 and event["level"] == "ERROR"]
        assert len(wanted) > 20
        assert ids(asked.found(status=500, level="ERROR", last="24h")) == ids(wanted)
        assert ids(asked.found(q="status:500 level:ERROR", last="24h")) == ids(wanted)
        before = BEGAN + HOUR
        half = [event for event in wanted if moment(event) < before]
        assert 0 < len(half) < len(wanted)
        assert ids(asked.found(status=500, level="ERROR", last="24h", as_of=before.isoformat())) == ids(half)

    def test_errors_per_hour(self, asked: Asked) -> None:
        wanted = hourly(moment(event) for event in asked.events if failed(event))
        assert len(wanted) >= 7, "eight hours, of which the first and the last may be parts"
        rows = asked.sums("errors_hour", last="24h", by="hour", sum="errors")
        assert {row["hour"]: row["errors"] for row in rows if row["errors"]} == wanted
        chart = asked.ask("search", q="level:ERROR,FATAL", last="24h", histogram="true", size=1)["histogram"]["events"]
        seen: Counter[str] = Counter()
        for bucket in chart["buckets"]:
            seen[f"{bucket['time'][:13]}:00:00Z"] += bucket["total"]
        assert seen == hourly(moment(event) for event in asked.events if event["level"] in ("ERROR", "FATAL"))

    def test_all_logs_of_a_user_by_the_clear_id(self, asked: Asked) -> None:
        [(user, number)] = Counter(event["user_id"] for event in asked.events).most_common(1)
        assert number > 1
        wanted = ids([event for event in asked.events if event["user_id"] == user])
        path = f"/v1/{asked.contract.system}/search/user"
        body = {"field": "user_id", "value": user, "last": "24h", "size": 1000}
        answer = asked.client.post(path, headers=asked.key(personal_data=True), json=body)
        assert ids(answer.json()["hits"]) == wanted
        assert user not in answer.text
        past = asked.client.post(path, headers=asked.key(personal_data=True), json=body | {"as_of": BEGAN.isoformat()})
        assert past.json()["hits"] == []

    def test_payment_errors_of_a_day(self, asked: Asked) -> None:
        day = asked.day
        wanted = [
            event
            for event in asked.events
            if event["service"] == "payments" and event["level"] in ("ERROR", "FATAL") and moment(event).date() == day
        ]
        assert len(wanted) > 5
        q = "service:payments level:ERROR,FATAL"
        assert ids(asked.found(q=q, last="24h", as_of=day.isoformat())) == ids(wanted)
        span = {"from": day.isoformat(), "to": (day + timedelta(days=1)).isoformat()}
        assert ids(asked.found(q=q, **span)) == ids(wanted)

    def test_why_payments_fail(self, asked: Asked) -> None:
        """The messages behind the errors of a service, the most frequent first, each with an event to look at."""
        said = {
            ("/pay", "gateway timed out for "),
            ("/capture", "ledger entry rejected: amount "),
            ("/settlements", "settlement file cannot be written on "),
        }
        wanted: Counter[tuple[str, str]] = Counter()
        for event in asked.events:
            if event["service"] == "payments" and failed(event):
                [why] = [one for one in said if event["route"] == one[0] and event["message"].startswith(one[1])]
                wanted[why] += 1
        assert len(wanted) >= 2
        why: dict[str, Any] = {"where": "service:payments", "by": ["route", "message"], "sum": "errors", "last": "24h"}
        rows = asked.sums("failures_hour", **why, top=10)
        assert [row["errors"] for row in rows] == sorted(wanted.values(), reverse=True)
        for row in rows:
            [begins] = [text for route, text in said if row["route"] == route and row["message"].startswith(text)]
            assert row["errors"] == wanted[row["route"], begins]
            [example] = asked.found(q=f'id:"{row["example"]}"', last="24h")
            assert example["service"] == "payments"
            assert example["message"].startswith(begins)
        assert asked.sums("failures_hour", **why, top=1) == rows[:1]
        assert asked.sums("failures_hour", **why, top=10, as_of=(BEGAN - HOUR).isoformat()) == []
        limited = asked.key(only=("users",))
        assert asked.ask("stats", limited, mart="failures_hour", **why, top=10)["rows"] == []
        asked.ask("stats", expected=422, mart="failures_hour", sum="errors", top=10)

    def test_a_report_of_the_day_with_the_rights_of_its_reader(self, asked: Asked) -> None:
        """A limited reader's is made of what an administrator's says of these services, in every form."""
        path = f"/v1/reports/errors/{asked.day}"
        limited = asked.key(only=("payments",))
        tables = {one["title"]: one["rows"] for one in asked.ask(path)["sections"] if one["kind"] == "table"}
        mine = {one["title"]: one["rows"] for one in asked.ask(path, limited)["sections"] if one["kind"] == "table"}
        assert len(tables["Services"]) > 1
        for title, rows in mine.items():
            theirs = [row for row in tables[title] if row["service"] == "payments"]
            assert rows[: len(theirs)] == theirs  # a limit leaves room for more of mine
            assert {row["service"] for row in rows} == {"payments"}
        wanted = sum(failed(e) for e in asked.events if e["service"] == "payments" and moment(e).date() == asked.day)
        assert [row["errors"] for row in mine["Services"]] == [wanted]
        for form in ("csv", "html"):
            text = asked.client.get(path, headers=limited, params={"format": form}).text
            assert "payments" in text
            assert "delivery" not in text
        foreign = asked.key(system="another")
        asked.ask(path, foreign, 404)
        assert asked.ask("/v1/reports", foreign)["reports"] == []


@pytest.mark.skipif(not ACCESS_LOG.is_file(), reason="the shared data is not here")
class TestRealWebServer:
    @pytest.mark.parametrize("day", ["2015-05-18", "2015-05-20"])
    def test_a_day_that_is_over(self, asked: Asked, day: str) -> None:
        """As of a day: the 24 hours that end with it, though all of it landed today."""
        requests = [one for one in asked.requests if one.at.date() == date.fromisoformat(day)]
        errors = [one for one in requests if one.status >= 500]
        assert errors
        then = {"last": "24h", "as_of": day}
        hits = asked.found(status=500, **then)
        seen = sorted((hit["event_time"], hit["method"], hit["path"], hit["status"]) for hit in hits)
        assert seen == sorted(
            (f"{one.at:%Y-%m-%dT%H:%M:%S}.000000Z", one.method, one.path, one.status) for one in errors
        )
        rows = asked.sums("errors_hour", where="service:web", by="hour", sum=["events", "errors"], **then)
        assert {row["hour"]: row["events"] for row in rows} == hourly(one.at for one in requests)
        assert {row["hour"]: row["errors"] for row in rows if row["errors"]} == hourly(one.at for one in errors)
        found = asked.ask("search", table="access", histogram="true", size=1, **then)
        assert found["total"]["value"] == len(requests)
        assert sum(bucket["total"] for bucket in found["histogram"]["access"]["buckets"]) == len(requests)
        why = asked.sums(
            "failures_hour", where="service:web", by="message", sum="errors", top=5, **then
        )  # fmt: skip
        assert {row["message"]: row["errors"] for row in why} == Counter(
            f"{one.method} {one.path} {one.status}" for one in errors
        )

    def test_a_moment_within_a_day_is_that_moment(self, asked: Asked) -> None:
        noon = datetime(2015, 5, 20, 12, tzinfo=UTC)
        wanted = sum(noon - timedelta(hours=24) <= one.at < noon for one in asked.requests)
        found = asked.ask("search", table="access", last="24h", as_of="2015-05-20T12:00:00Z", size=1)
        assert found["total"]["value"] == wanted

    def test_all_requests_of_a_client_by_its_clear_address(self, asked: Asked) -> None:
        day = date(2015, 5, 20)
        [(client, number)] = Counter(one.client for one in asked.requests if one.at.date() == day).most_common(1)
        body = {"field": "client_ip", "value": client, "last": "24h", "as_of": str(day), "size": 1000}
        path = f"/v1/{asked.contract.system}/search/user"
        answer = asked.client.post(path, headers=asked.key(personal_data=True), json=body)
        assert len(answer.json()["hits"]) == number
        assert client not in answer.text


class TestAlerts:
    def test_as_of_shows_what_was_open_then(self, asked: Asked) -> None:
        alert_service = AlertService(asked.settings, asked.contract.system)
        opened = datetime(2015, 5, 18, 3, 5, tzinfo=UTC)
        alert_service.see([sighting(RUN_FAILED, "then", opened, breach=True, detail="it broke")])
        [resolved] = alert_service.see([sighting(RUN_FAILED, "then", opened + 6 * HOUR, breach=False)])
        [still] = alert_service.see([sighting(RUN_FAILED, "still", opened + 30 * HOUR, breach=True, detail="it broke")])
        alert_service.publish()
        alert_service.close()
        key = asked.key()

        def seen(**params: Any) -> set[str]:
            asked_for = {"system": asked.contract.system, "last": "24h", **params}
            found = asked.ask("/v1/alerts", key, **asked_for)["alerts"]
            # A worker that took long tells of silence too: the simulated events end an hour ago.
            return {alert["alert_id"] for alert in found if alert["rule"] == RUN_FAILED.name}

        assert resolved.state == "resolved"
        assert seen(state="open") == {still.alert_id}, "however long ago it opened"
        assert seen(state="resolved") == seen(as_of="2015-05-17") == set()
        assert seen(state="open", as_of="2015-05-18T04:00:00Z") == {resolved.alert_id}
        assert seen(state="open", as_of="2015-05-18") == set()
        assert seen(state="resolved", as_of="2015-05-18") == seen(as_of="2015-05-18") == {resolved.alert_id}
        assert seen(as_of="2015-05-19") == {still.alert_id}
        assert seen(state="open", as_of="2015-05-20") == {still.alert_id}

    def test_administrators_see_what_the_platform_says_of_itself(self, asked: Asked) -> None:
        admin, reader = asked.key(Role.ADMIN), asked.key()
        foreman = asked.key(Role.ADMIN, system=asked.contract.system)
        with (
            no_platform_alerts(asked.settings),
            closing(AlertService(asked.settings, PLATFORM_SYSTEM)) as alert_service,
        ):
            seen = sighting(RUN_FAILED, "purge", datetime.now(UTC), breach=True, detail="run 1a2b failed")
            [alert] = alert_service.see([seen])
            alert_service.publish()
            for params in ({}, {"system": PLATFORM_SYSTEM}, {"system": [asked.contract.system, PLATFORM_SYSTEM]}):
                found = asked.ask("/v1/alerts", admin, state="open", **params)["alerts"]
                assert [one["summary"] for one in found if one["system"] == PLATFORM_SYSTEM] == [alert.summary]
            path = f"/v1/{PLATFORM_SYSTEM}/alerts/{alert.alert_id}/acknowledge"
            for key in (reader, foreman):
                found = asked.ask("/v1/alerts", key, state="open")["alerts"]
                assert {one["system"] for one in found} == {asked.contract.system}
                asked.ask("/v1/alerts", key, 404, system=PLATFORM_SYSTEM)
                assert asked.client.post(path, headers=key).status_code == 403
            acknowledged = asked.client.post(path, headers=admin).json()["alert"]
            assert acknowledged["acknowledged_by"].startswith("test (")
