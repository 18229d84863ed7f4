"""Who may ask what, by the API's own rules and by the node's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from apilab import EVENTS, PARTS, Api, ids
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opensearchpy.exceptions import AuthenticationException, AuthorizationException, NotFoundError

from platform_assets.alerts.platform import PLATFORM_SYSTEM
from platform_assets.index.callers import CallerPool, token
from platform_assets.index.names import read_alias
from platform_assets.serve.keys import Role

pytestmark = pytest.mark.services


READERS, WRITERS, ADMINS = {Role.READER}, {Role.WRITER}, set[Role]()
LET_IN = {  # beside administrators; every route but those that ask for no key
    **dict.fromkeys(("search", "search/user", "context/{id}", "stats", "alerts/{alert_id}/acknowledge"), READERS),
    **dict.fromkeys(("/v1/alerts", "/v1/reports", "/v1/reports/{name}/{day}", "/v1/status", "/metrics"), READERS),
    **dict.fromkeys(("trace/{document_id}", "trace/{document_id}/revealed", "quarantine"), ADMINS),
    **dict.fromkeys(("events/replay", "access/replay", "alerts/{alert_id}/mute"), ADMINS),
    f"/v1/{PLATFORM_SYSTEM}/alerts/{{alert_id}}/acknowledge": ADMINS,
    f"/v1/{PLATFORM_SYSTEM}/alerts/{{alert_id}}/mute": ADMINS,
    "/v1/systems": READERS | WRITERS,
    "": WRITERS,
}
OPEN = {"/healthz"}
SERVICES = ("users", "payments", "delivery", "nobody")
QUERIES = st.lists(st.sampled_from(PARTS), max_size=3).map(" ".join)


class TestRights:
    @given(allowed=st.sets(st.sampled_from(SERVICES), min_size=1, max_size=3), query=QUERIES, size=st.integers(1, 300))
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    def test_a_limited_reader_sees_what_an_administrator_sees_of_its_services(
        self, api: Api, admin: dict[str, str], allowed: set[str], query: str, size: int
    ) -> None:
        limited = api.key(only=tuple(sorted(allowed)))
        asked = {"last": "24h", "size": size, "histogram": "true", "table": "events"}
        asked["as_of"] = datetime.now(UTC).isoformat()
        wanted = api.get("search", admin, q=f"{query} service:{','.join(sorted(allowed))}", **asked)
        seen = api.get("search", limited, q=query, **asked)
        assert ids(seen) == ids(wanted)
        assert (seen["total"], seen["histogram"]) == (wanted["total"], wanted["histogram"])
        both = api.get("search", limited, q=query, **{**asked, "table": []})
        assert {hit["_table"] for hit in both["hits"]} <= {"events"}  # a table without services shows nothing
        figures = {"mart": "errors_minute", "by": "status", "sum": ["events", "errors"], "last": "24h"}
        where = [f"service:{name}" for name in sorted(allowed)]
        assert api.get("stats", limited, **figures)["rows"] == api.get("stats", admin, where=where, **figures)["rows"]

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
        filled = {"id": document, "document_id": document, "alert_id": "abc", "name": "errors", "day": "2026-01-15"}
        own = api.path("")
        routes = [
            (method.upper(), template, template.removeprefix(own).removeprefix("/") if own in template else template)
            for template, operations in api.client.app.openapi()["paths"].items()
            for method in operations
        ]
        assert {name for _, _, name in routes} == LET_IN.keys() | OPEN
        _, expired = api.keys.add("old", Role.ADMIN, lifetime=timedelta(microseconds=1))
        revoked, gone = api.keys.add("gone", Role.ADMIN)
        api.keys.revoke(revoked.id)
        for method, template, name in routes:
            path = template.format(**filled)
            if name in OPEN:
                assert api.client.request(method, path).status_code == 200, path
                continue
            for header in ({}, {"X-API-Key": expired}, {"X-API-Key": gone}, {"X-API-Key": gone[:-1]}):
                assert api.client.request(method, path, headers=header).status_code == 401, path
            for role in Role:
                status = api.client.request(
                    method, path, headers=api.key(role, personal_data=role is not Role.WRITER)
                ).status_code
                let_in = role is Role.ADMIN or role in LET_IN[name]
                assert status in ({200, 404, 415, 422} if let_in else {403}), (method, path, role, status)
            foreign = api.client.request(method, path, headers=api.key(Role.ADMIN, system="othersystem"))
            if own in template or PLATFORM_SYSTEM in template:
                assert foreign.status_code == 403, path
            else:
                assert api.contract.system not in foreign.text, path
