"""The API on the real node and broker: rights, pages, submissions, reports, and anything that a program may send."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import schemathesis
from caller_requests import faults, recorded
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opensearchpy import OpenSearch
from opensearchpy.exceptions import AuthenticationException, AuthorizationException, NotFoundError
from support import event, private_system, publish

from platform_assets.contracts.model import Contract
from platform_assets.lane.publish import connect_indices
from platform_assets.lane.run import Lane
from platform_assets.lane.sessions import masker
from platform_assets.search.callers import CallerPool, token
from platform_assets.search.client import connect
from platform_assets.search.names import read_alias
from platform_assets.serve.app import create_app
from platform_assets.serve.backend import Backend
from platform_assets.serve.keys import KeyStore, Role
from platform_assets.serve.reporting import IndexMarts
from platform_assets.settings import Settings

pytestmark = pytest.mark.services

EVENTS = 240
START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=6)
HOSTILE = '<script>alert(1)</script> \x01\x1b[2J \u202e \u2028 "quoted" 漢😀'
MINUTES = [
    {
        "minute": f"{START + timedelta(minutes=n):%Y-%m-%dT%H:%M:00Z}",
        "service": service,
        "status": status,
        "events": n + 1,
        "errors": n,
    }
    for n in range(10)
    for service in ("users", "payments", "delivery")
    for status in (200, 500)
]


def written(number: int) -> bytes:
    """Event `number`, a minute after the last; some say what a browser or terminal must not take for its own."""
    at = (START + timedelta(minutes=number, microseconds=number)).isoformat().replace("+00:00", "Z")
    changes = {"message": f"request {number} {HOSTILE}"} if number % 40 == 0 else {}
    return event(number, event_time=at, host=f"h{number % 4}", **changes)


@dataclass
class Api:
    """A system with documents, marts and alerts, and a server for it."""

    settings: Settings
    contract: Contract
    client: TestClient
    keys: KeyStore

    def key(self, role: Role = Role.READER, **rights: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys.add('test', role, **rights)[1]}"}

    def path(self, rest: str) -> str:
        return f"/v1/{self.contract.system}/{rest}"

    def get(self, rest: str, key: dict[str, str], expected: int = 200, /, **params: Any) -> Any:
        answer = self.client.get(rest if rest.startswith("/") else self.path(rest), headers=key, params=params)
        assert answer.status_code == expected, answer.text[:500]
        return answer.json()

    def post(self, rest: str, key: dict[str, str], expected: int, /, **request: Any) -> Any:
        headers = key | request.pop("headers", {})
        answer = self.client.post(self.path(rest), headers=headers, **request)
        assert answer.status_code == expected, answer.text[:500]
        return answer.json()

    def drain(self) -> None:
        Lane(self.settings, self.contract).drain()
        indices = connect_indices(self.settings)
        for table in self.contract.tables:
            indices.refresh(table)
        indices.client.close()

    def pages(self, key: dict[str, str], size: int, **params: Any) -> Iterator[list[dict[str, Any]]]:
        cursor = None
        for _ in range(1000):
            more = {"cursor": cursor} if cursor else {}
            page = self.get("search", key, size=size, **params, **more)
            yield page["hits"]
            cursor = page["cursor"]
            if cursor is None:
                return
        raise AssertionError("the pages do not end")


def index_rows(client: OpenSearch, alias: str, columns: dict[str, str], rows: Sequence[dict[str, Any]]) -> None:
    """Documents of a mart, as its publisher would write them."""
    properties = {name: {"type": kind} for name, kind in columns.items()}
    client.indices.create(
        index=f"{alias}-000001", body={"mappings": {"properties": properties}, "aliases": {alias: {}}}
    )
    lines = [json.dumps(line) for row in rows for line in ({"index": {}}, row)]
    assert not client.bulk(index=alias, body="\n".join(lines) + "\n", params={"refresh": "true"})["errors"]


@pytest.fixture(scope="module")
def api(services: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    home = tmp_path_factory.mktemp("api")
    own = replace(
        services, home=home, lake_path=home / "lake", values={**services.values, "ASSAY_API_RATE": "100000/minute"}
    )
    contract = private_system(own, ("events", "access"))
    publish(own, contract.table("events"), [written(n) for n in range(EVENTS)])
    line = '203.0.113.%d - - [%s] "GET /p/%d HTTP/1.1" 500 1 "-" "-"'
    publish(
        own, contract.table("access"), [(line % (n, f"{START:%d/%b/%Y:%H:%M:%S +0000}", n)).encode() for n in range(9)]
    )
    lane = connect(own.opensearch_url, own.opensearch_auth("lane"), own.opensearch_ca)
    columns = {"minute": "date", "service": "keyword", "status": "integer", "events": "long", "errors": "long"}
    index_rows(lane, f"{contract.system}-errors_minute", columns, MINUTES)
    with TestClient(create_app(own, {contract.system: contract})) as client:
        made = Api(own, contract, client, KeyStore(home))
        made.drain()
        yield made
    lane.indices.delete(index=f"{contract.system}-*")
    lane.close()


@pytest.fixture(scope="module")
def admin(api: Api) -> dict[str, str]:
    return api.key(Role.ADMIN)


def ids(found: dict[str, Any]) -> list[str]:
    return [hit["id"] for hit in found["hits"]]


SERVICES = ("users", "payments", "delivery", "nobody")
PARTS = (
    *(
        "level:ERROR",
        "-level:INFO",
        "status:>=500",
        "host:h1,h2",
        "host:h*",
        "-host:h3",
        "service:users",
        "-service:payments",
    ),
    *(
        "service:*",
        "latency_ms:50..150",
        "request",
        '"done"',
        "-request",
        "user_id:*",
        "attributes.x:*",
        "users",
        "-users",
    ),
    *("offset:>10", "id:nothing"),
)
QUERIES = st.lists(st.sampled_from(PARTS), max_size=3).map(" ".join)


class TestRights:
    @given(allowed=st.sets(st.sampled_from(SERVICES), min_size=1, max_size=3), query=QUERIES, size=st.integers(1, 300))
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    def test_a_limited_reader_sees_what_an_administrator_sees_of_its_services(
        self, api: Api, admin: dict[str, str], allowed: set[str], query: str, size: int
    ) -> None:
        limited = api.key(services=tuple(sorted(allowed)))
        asked = {"last": "24h", "size": size, "histogram": "true", "table": "events"}
        asked["as_of"] = datetime.now(UTC).isoformat()
        wanted = api.get("search", admin, q=f"{query} service:{','.join(sorted(allowed))}", **asked)
        seen = api.get("search", limited, q=query, **asked)
        assert ids(seen) == ids(wanted)
        assert (seen["total"], seen["histogram"]) == (wanted["total"], wanted["histogram"])
        both = api.get("search", limited, q=query, **{**asked, "table": []})
        assert {hit["_table"] for hit in both["hits"]} <= {"events"}  # a table without services shows nothing
        figures = {"by": "status", "sum": ["events", "errors"], "last": "24h"}
        where = [f"service:{name}" for name in sorted(allowed)]
        assert (
            api.get("stats/errors_minute", limited, **figures)["rows"]
            == api.get("stats/errors_minute", admin, where=where, **figures)["rows"]
        )

    def test_the_node_itself_holds_a_limited_token_to_its_documents(self, api: Api) -> None:
        """Whatever is asked: the API never sends such questions, and need not be trusted with it."""
        own, alias = api.settings, read_alias(api.contract.table("events"))
        pool = CallerPool(own.opensearch_url, own.opensearch_ca, timeout_s=10, size=2)
        system = api.contract.system
        limited = pool.client(token(own.opensearch_jwt_key, "t", system, ["payments"]))
        everything = pool.client(token(own.opensearch_jwt_key, "t", system, None))
        total, mine = everything.count(index=alias)["count"], limited.count(index=alias)["count"]
        assert (total, mine) == (EVENTS, EVENTS // 3)
        foreign = everything.search(index=alias, body={"query": {"term": {"service": "users"}}, "size": 1})["hits"][
            "hits"
        ][0]
        everyone = {"term": {"service": "users"}}
        terms = {"terms": {"field": "service"}}
        spread = {"min": {"min": {"field": "latency_ms"}}, "max": {"max": {"field": "latency_ms"}}}
        body = {"size": 500, "aggs": {"s": terms, **spread}, "sort": ["event_time"]}
        found = limited.search(index=alias, body=body)
        assert {hit["_source"]["service"] for hit in found["hits"]["hits"]} == {"payments"}
        assert {one["key"] for one in found["aggregations"]["s"]["buckets"]} == {"payments"}
        ends = [found["aggregations"][end]["value"] for end in ("min", "max")]
        assert ends == [1.0, EVENTS - 2.0]  # every third event, from the second on
        assert (
            limited.search(index=alias, body={"query": everyone, "_source": ["service"]})["hits"]["total"]["value"] == 0
        )
        several = limited.msearch(body=[{"index": alias}, {"query": everyone}, {"index": alias}, {}])["responses"]
        assert [one["hits"]["total"]["value"] for one in several] == [0, mine]
        scrolled = limited.search(index=alias, body={"query": everyone}, params={"scroll": "1m"})
        assert scrolled["hits"]["total"]["value"] == 0
        assert not limited.mget(body={"docs": [{"_index": foreign["_index"], "_id": foreign["_id"]}]})["docs"][0].get(
            "found"
        )
        with pytest.raises(NotFoundError):
            limited.get(index=foreign["_index"], id=foreign["_id"])
        point = limited.create_pit(index=alias, params={"keep_alive": "1m"})
        assert limited.search(body={"query": everyone, "pit": {"id": point["pit_id"]}})["hits"]["total"]["value"] == 0
        pool.close()

    def test_what_a_token_does_not_name_is_closed(self, api: Api) -> None:
        own, alias = api.settings, read_alias(api.contract.table("events"))
        pool = CallerPool(own.opensearch_url, own.opensearch_ca, timeout_s=10, size=2)
        other = pool.client(token(own.opensearch_jwt_key, "t", "othersystem", None))
        every = pool.client(token(own.opensearch_jwt_key, "t", None, None))
        with pytest.raises(AuthorizationException):
            other.search(index=alias)
        for hidden in ("assay-progress", ".opendistro_security"):
            try:
                shown = every.search(index=hidden)["hits"]["total"]["value"]
            except (AuthorizationException, NotFoundError):
                shown = 0
            assert shown == 0, hidden
        for change in (
            lambda: every.index(index=alias, body={}),
            lambda: every.indices.delete(index=f"{alias}-*"),
            lambda: every.delete_by_query(index=alias, body={"query": {"match_all": {}}}),
            lambda: every.cluster.put_settings(body={"transient": {"action.auto_create_index": "true"}}),
        ):
            with pytest.raises(AuthorizationException):
                change()
        nobody = pool.client(token(b"another key that is long enough" * 3, "t", None, None))
        with pytest.raises(AuthenticationException):
            nobody.search(index=alias)
        pool.close()

    def test_every_route_asks_for_a_living_key_of_its_role(self, api: Api) -> None:
        document = ids(api.get("search", api.key(), size=1, last="24h"))[0]
        table = "events"
        routes = [
            ("GET", api.path("search"), {Role.READER}),
            ("GET", api.path(f"context/{document}"), {Role.READER}),
            ("GET", api.path("stats/errors_minute"), {Role.READER}),
            ("GET", "/v1/status", {Role.READER}),
            ("GET", "/metrics", {Role.READER}),
            ("GET", api.path(f"trace/{document}"), set()),
            ("GET", api.path("quarantine"), set()),
            ("POST", api.path(f"{table}/replay"), set()),
            ("POST", api.path(table), {Role.WRITER}),
            ("POST", api.path("search/user"), {Role.READER}),
        ]
        _, expired = api.keys.add("old", Role.ADMIN, lifetime=timedelta(microseconds=1))
        revoked, gone = api.keys.add("gone", Role.ADMIN)
        api.keys.revoke(revoked.id)
        for method, path, roles in routes:
            for header in ({}, {"X-API-Key": expired}, {"X-API-Key": gone}, {"X-API-Key": gone[:-1]}):
                assert api.client.request(method, path, headers=header).status_code == 401, path
            for role in Role:
                status = api.client.request(
                    method, path, headers=api.key(role, personal_data=role is not Role.WRITER)
                ).status_code
                let_in = role is Role.ADMIN or role in roles
                assert status in ({200, 415, 422} if let_in else {403}), (method, path, role, status)
            if path.startswith("/v1/t"):
                foreign = api.key(Role.ADMIN, system="othersystem")
                assert api.client.request(method, path, headers=foreign).status_code == 403, path


class TestSearch:
    def test_pages_hold_every_document_once_while_others_arrive(self, api: Api, admin: dict[str, str]) -> None:
        as_of = datetime.now(UTC)
        before = api.get("search", admin, last="24h", size=1000, as_of=as_of.isoformat())
        assert before["cursor"] is None
        assert before["total"] == {"value": len(before["hits"]), "exact": True}
        seen: list[str] = []
        for number, page in enumerate(api.pages(admin, 37, last="24h", as_of=as_of.isoformat())):
            seen += [hit["id"] for hit in page]
            if number < 3:  # newer ones, and one that belongs where the pages have been
                late = (as_of - timedelta(seconds=5)).isoformat().replace("+00:00", "Z")
                more = [event(10_000 + number * 10 + n) for n in range(3)]
                publish(api.settings, api.contract.table("events"), [*more, event(20_000 + number, event_time=late)])
                api.drain()
        assert seen == ids(before)

    def test_a_cursor_is_for_its_key_and_its_question(self, api: Api, admin: dict[str, str]) -> None:
        cursor = api.get("search", admin, q="level:INFO", size=5, last="24h")["cursor"]
        assert len(api.get("search", admin, q="level:INFO", size=7, last="24h", cursor=cursor)["hits"]) == 7
        api.get("search", admin, 422, q="level:ERROR", size=5, last="24h", cursor=cursor)
        api.get("search", api.key(), 422, q="level:INFO", size=5, last="24h", cursor=cursor)
        api.get("search", admin, 422, q="level:INFO", size=5, last="24h", cursor=cursor[:-3] + "abc")

    def test_filters_are_the_contract_s_fields(self, api: Api, admin: dict[str, str]) -> None:
        found = api.get("search", admin, service=["payments", "users"], level="ERROR", last="24h", size=1000)
        assert {(hit["service"], hit["level"]) for hit in found["hits"]} == {("payments", "ERROR"), ("users", "ERROR")}
        assert found["tables"] == ["events"]  # the others have no such field
        assert api.get("search", admin, service="pay*", last="24h")["hits"] == []
        both = api.get("search", admin, status="500", last="24h", size=1000, histogram="true")
        assert {hit["_table"] for hit in both["hits"]} == {"events", "access"}
        for name in ("events", "access"):
            buckets = both["histogram"][name]["buckets"]
            assert sum(one["total"] for one in buckets) == sum(hit["_table"] == name for hit in both["hits"])
        assert sum(sum(one["levels"].values()) for one in both["histogram"]["events"]["buckets"]) > 0

    def test_stored_text_is_just_text(self, api: Api, admin: dict[str, str]) -> None:
        answer = api.client.get(api.path("search"), headers=admin, params={"q": '"alert(1)"', "last": "24h"})
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert all(32 <= byte < 127 for byte in answer.content)
        assert {hit["message"].split(" ", 2)[2] for hit in answer.json()["hits"]} == {HOSTILE}

    def test_around_a_document_is_what_its_source_wrote(self, api: Api, admin: dict[str, str]) -> None:
        hits = api.get("search", admin, service="users", host="h2", last="24h", size=1000)["hits"]
        middle = hits[len(hits) // 2]
        seen = api.get(f"context/{middle['id']}", admin, size=3)
        assert seen["same"] == {"service": "users", "host": "h2"}
        place = len(hits) // 2
        ordered = [*seen["before"], seen["document"], *seen["behind"]]
        assert [row["id"] for row in ordered] == [hit["id"] for hit in reversed(hits[place - 3 : place + 4])]
        api.get(f"context/{middle['id']}", api.key(services=("payments",)), 404)

    def test_a_person_is_found_by_the_clear_value_and_it_stays_unseen(
        self, api: Api, caplog: pytest.LogCaptureFixture
    ) -> None:
        reader = api.key(personal_data=True)
        body = {"field": "user_id", "value": "u7", "last": "24h", "size": 1000}
        found = api.post("search/user", reader, 200, json=body)
        pseudonym = masker(api.settings).mask("u7", "user_id")
        wanted = api.get("search", reader, user_id=pseudonym, last="24h", size=1000)
        assert ids(found) == ids(wanted) != []
        assert api.get("search", reader, user_id="u7", last="24h")["hits"] == []
        api.post("search/user", api.key(), 403, json=body)
        limited = api.post("search/user", api.key(personal_data=True, services=("users",)), 200, json=body)
        assert {hit["service"] for hit in limited["hits"]} == {"users"}
        trail = "".join(path.read_text() for path in (api.settings.home / "audit").iterdir())
        assert pseudonym in trail
        assert '"u7"' not in trail + json.dumps(found) + caplog.text
        page = api.post("search/user", reader, 200, json=body | {"size": 1})
        next_page = api.post("search/user", reader, 200, json=body | {"size": 1, "cursor": page["cursor"]})
        assert ids(page) + ids(next_page) == ids(found)[:2]
        api.post("search/user", reader, 422, json=body | {"value": "u8", "cursor": page["cursor"]})


class TestSubmit:
    def test_from_submission_to_search_and_back_to_its_offset(self, api: Api, admin: dict[str, str]) -> None:
        writer = api.key(Role.WRITER, services=("payments",))
        name = f"s{time.time_ns()}"
        now = datetime.now(UTC).isoformat()
        events = [json.loads(event(n, event_id=f"{name}-{n}", service="payments", event_time=now)) for n in range(5)]
        told = api.post("events", writer, 201, json=events)["records"]
        one = api.post("events", writer, 201, json=events[0] | {"event_id": f"{name}-x"})["records"]
        api.drain()
        found = api.get("search", admin, q=f"event_id:{name}*", size=100)["hits"]
        assert {hit["id"]: hit["event_id"] for hit in found} == {
            **{record["id"]: f"{name}-{n}" for n, record in enumerate(told)},
            one[0]["id"]: f"{name}-x",
        }
        traced = api.get(f"trace/{told[3]['id']}", admin)
        assert (traced["verdict"], traced["partition"], traced["offset"]) == (
            "silver",
            told[3]["partition"],
            told[3]["offset"],
        )
        assert "value" not in traced["bronze"]
        revealed = api.get(f"trace/{told[3]['id']}/revealed", api.key(Role.ADMIN, personal_data=True))
        assert json.loads(revealed["bronze"]["value"]) == events[3]
        api.get(f"trace/{told[3]['id']}/revealed", admin, 403)
        api.get("trace/AAAAAAAA.0.1", admin, 404)

    def test_lines_are_cut_as_files_are(self, api: Api, admin: dict[str, str]) -> None:
        line = f'198.51.100.7 - - [{datetime.now(UTC):%d/%b/%Y:%H:%M:%S +0000}] "GET /x HTTP/1.1" 200 1 "-" "submitted"'
        request = {"content": f"{line}\r\n{line}\n", "headers": {"Content-Type": "text/plain; charset=utf-8"}}
        told = api.post("access", api.key(Role.WRITER), 201, **request)["records"]
        api.drain()
        found = api.get(
            "search", admin, agent="submitted", as_of=(datetime.now(UTC) + timedelta(minutes=1)).isoformat()
        )
        assert sorted(ids(found)) == sorted(record["id"] for record in told)

    def test_the_same_key_publishes_once_even_after_a_restart(self, api: Api) -> None:
        writer = api.key(Role.WRITER)
        mine = {"Idempotency-Key": f"i{time.time_ns()}"}
        body = json.loads(event(1, event_time=datetime.now(UTC).isoformat()))
        first = api.post("events", writer, 201, json=body, headers=mine)
        assert api.post("events", writer, 201, json=body, headers=mine) == first
        with TestClient(create_app(api.settings, {api.contract.system: api.contract})) as restarted:
            again = restarted.post(api.path("events"), headers=writer | mine, json=body)
            assert (again.status_code, again.json(), again.headers["idempotency-replayed"]) == (201, first, "true")
        api.post("events", writer, 422, json=body | {"host": "other"}, headers=mine)
        other = api.post("events", api.key(Role.WRITER), 201, json=body, headers=mine)
        assert other["records"] != first["records"]
        fresh = api.post("events", writer, 201, json=body)
        assert fresh["records"] != first["records"]


class TestReports:
    def test_stats_are_the_mart_s_rows_and_sums(self, api: Api, admin: dict[str, str]) -> None:
        day = {"last": "24h"}
        rows = api.get("stats/errors_minute", admin, size=1000, **day)["rows"]
        assert sorted(rows, key=str) == sorted(MINUTES, key=str)
        assert [row["minute"] for row in rows] == sorted((row["minute"] for row in rows), reverse=True)
        by = api.get("stats/errors_minute", admin, by=["minute", "service"], sum="errors", where="status:500", **day)[
            "rows"
        ]
        wanted = {(row["minute"], row["service"]): row["errors"] for row in MINUTES if row["status"] == 500}
        assert {(row["minute"], row["service"]): row["errors"] for row in by} == wanted
        [total] = api.get("stats/errors_minute", admin, sum=["events", "errors"], **day)["rows"]
        assert total == {name: sum(row[name] for row in MINUTES) for name in ("events", "errors")}
        for wrong in ({"sum": "service"}, {"by": "nothing", "sum": "errors"}, {"where": "errors:x"}, {"by": "service"}):
            api.get("stats/errors_minute", admin, 422, **wrong)
        assert "no mart" in api.get("stats/latency_hour", admin, 404)["detail"]

    def test_alerts_are_read_with_the_caller_s_rights(self, api: Api, admin: dict[str, str]) -> None:
        assert "no index of alerts" in api.get("/v1/alerts", admin, 404)["detail"]
        now = datetime.now(UTC).isoformat()
        alerts = [
            {
                "alert_id": f"a{n}",
                "service": service,
                "state": state,
                "severity": "high",
                "opened_at": now,
                "updated_at": now,
            }
            for n, (service, state) in enumerate([("users", "open"), ("payments", "open"), ("payments", "resolved")])
        ]
        columns = dict.fromkeys(("alert_id", "service", "state", "severity"), "keyword")
        lane = connect(api.settings.opensearch_url, api.settings.opensearch_auth("lane"), api.settings.opensearch_ca)
        index_rows(lane, f"{api.contract.system}-alerts", columns | {"opened_at": "date", "updated_at": "date"}, alerts)
        lane.close()
        limited = api.key(services=("payments",))
        ahead = {"as_of": (datetime.now(UTC) + timedelta(minutes=1)).isoformat()}
        assert {one["alert_id"] for one in api.get("/v1/alerts", admin, **ahead)["alerts"]} == {"a0", "a1", "a2"}
        assert {one["alert_id"] for one in api.get("/v1/alerts", limited, state="open", **ahead)["alerts"]} == {"a1"}

    def test_rejects_are_listed_and_replayed(self, api: Api, admin: dict[str, str]) -> None:
        publish(api.settings, api.contract.table("events"), [b"{", event(1, level="LOUD", user_id="clear-user")])
        api.drain()
        found = api.get("quarantine", admin, table="events")["tables"]["events"]
        assert {one["reason"]: one["rejects"] for one in found["reasons"]} == {"malformed_json": 1, "enum:level": 1}
        assert "clear-user" not in json.dumps(found)
        [row] = api.get("quarantine", admin, table="events", reason="enum:level")["tables"]["events"]["latest"]
        assert api.get(f"trace/{row['id']}", admin)["verdict"] == "quarantine"
        report = api.post("events/replay", admin, 200, json={"dry_run": True})
        assert report["tables"]["events"]["still_rejected"] == {"malformed_json": 1, "enum:level": 1}

    def test_status_and_figures_tell_the_same(self, api: Api, admin: dict[str, str]) -> None:
        tables = {one["table"]: one for one in api.get("/v1/status", admin)["systems"][0]["tables"]}
        assert tables["access"]["rows"] >= 9
        text = api.client.get("/metrics", headers=admin).text
        labels = f'{{system="{api.contract.system}",table="access"}}'
        assert f"assay_silver_rows{labels} {float(tables['access']['rows'])}" in text
        assert f'assay_api_requests_total{{method="GET",route="{api.path("search")}",status="200"}}' in text
        assert api.client.get("/metrics", headers=api.key(system=api.contract.system)).status_code == 403


ASKS_NOTHING = {  # with the caller's token
    *("trace/{document_id}", "trace/{document_id}/revealed", "quarantine", "events/replay", "access/replay"),
    *("events", "access", "alerts/{alert_id}/acknowledge", "alerts/{alert_id}/mute", "reports"),
    *("/v1/status", "/metrics", "/v1/systems", "/healthz"),
}


def test_no_request_for_a_caller_looks_past_its_documents(api: Api) -> None:
    """Every route, as a caller who is limited to a service uses it; held against what the index is known to filter."""
    key, text = api.keys.add("limited", Role.READER, services=("payments",), personal_data=True)
    limited = {"Authorization": f"Bearer {text}"}
    document = ids(api.get("search", limited, service="payments", size=1, last="24h"))[0]
    stats = [{"size": 5}, {"sum": "errors"}, {"sum": ["events", "errors"], "by": ["minute", "service"]}]
    where = {"where": ["service:payments", "status:500"], "last": "24h"}
    asks: dict[str, list[dict[str, Any]]] = {
        "search": [
            {"params": {"q": q, "last": "24h", "histogram": histogram, "table": table}}
            for q in (*PARTS, " ".join(PARTS[:9]))
            for histogram, table in (("true", "events"), ("false", "access"))
        ],
        "search/user": [{"json": {"field": "user_id", "value": "u7", "last": "24h"}}],
        "context/{id}": [{"params": {"size": 3}}],
        "stats/{mart}": [{"params": one | where} for one in stats],
        "/v1/alerts": [{"params": {"state": "open", "service": "payments", "last": "24h"}}],
    }
    backend = Backend(api.settings, {})
    try:
        for template, operations in api.client.app.openapi()["paths"].items():
            name = template.removeprefix(api.path(""))
            if name in ASKS_NOTHING:
                continue
            with recorded() as asked:
                if name == "reports/{name}/{day}":  # this system declares no report: what one of them would read
                    read = IndexMarts(backend.client(key), api.contract.system).rows
                    assert (
                        read("errors_minute", START - timedelta(minutes=1), START + timedelta(hours=1)).num_rows == 20
                    )
                else:
                    path = template.replace("{id}", document).replace("{mart}", "errors_minute")
                    for request in asks[name]:
                        [method] = operations
                        answer = api.client.request(method, path, headers=limited, **request)
                        assert answer.status_code in (200, 404, 422), answer.text
            assert asked, template
            assert all(one.bearer for one in asked), template  # nothing with the platform's own password
            assert {fault for one in asked for fault in faults(one)} == set(), template
    finally:
        backend.close()


def test_nothing_that_a_program_sends_is_a_fault_of_ours(api: Api, admin: dict[str, str]) -> None:
    """Every route with what its description allows, and what it does not."""
    described = schemathesis.openapi.from_asgi("/openapi.json", api.client.app)
    tried = 0
    for found in described.get_all_operations():
        operation = found.ok()

        @given(
            case=operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE) | operation.as_strategy()
        )
        @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        def run(case: schemathesis.Case) -> None:
            answer = case.call(headers=admin)
            assert answer.status_code < 500, (case.as_curl_command(), answer.text[:500])
            if answer.status_code >= 400:
                assert answer.headers["content-type"] == ["application/problem+json"], answer.text[:500]

        with recorded() as asked:
            run()
        assert {fault for one in asked if one.bearer for fault in faults(one)} == set(), operation.label
        tried += 1
    assert tried == len(api.client.app.openapi()["paths"])


def test_the_command_serves_and_sees_a_revoked_key(services: Settings) -> None:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(*arguments: str) -> Any:
        command = [sys.executable, "-m", "platform_assets.cli", *arguments, "--home", str(services.home), "--json"]
        return json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    made = run("keys", "add", "shell", "--role", "reader", "--system", "logs", "--expires", "1h")
    command = [sys.executable, "-m", "platform_assets.cli", "serve", "--port", str(port), "--home", str(services.home)]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"X-API-Key": made["key"]}) as client:
            until = time.monotonic() + 30
            while time.monotonic() < until:
                try:
                    assert client.get("/healthz").status_code == 200
                    break
                except httpx.ConnectError:
                    time.sleep(0.1)
            answer = client.get("/v1/logs/search", params={"q": "nobody-logs-this"})
            assert (answer.status_code, answer.json()["hits"]) == (200, [])
            assert "server" not in answer.headers
            assert run("keys", "revoke", made["id"])["revoked"] == made["id"]
            assert client.get("/v1/logs/search").status_code == 401
    finally:
        server.send_signal(signal.SIGINT)
        _, log = server.communicate(timeout=30)
    assert server.returncode == 0
    assert "/v1/logs/search 200" in log
    assert "nobody-logs-this" not in log
    assert made["key"] not in log
    assert [one for one in run("keys", "list") if one["id"] == made["id"]] == []
