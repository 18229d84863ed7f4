"""Searching by HTTP: pages, filters, what is around a document, and people by their pseudonym."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from apilab import HOSTILE, Api, ids
from jsonschema import Draft202012Validator
from support import event, publish

from platform_assets.index import words
from platform_assets.transform.masking import masker

pytestmark = pytest.mark.services


class TestSearch:
    def test_pages_hold_every_document_once_while_others_arrive(self, api: Api, admin: dict[str, str]) -> None:
        as_of = datetime.now(UTC)
        before = api.get("search", admin, last="24h", size=1000, as_of=as_of.isoformat())
        assert before["cursor"] is None
        assert before["total"] == {"value": len(before["hits"]), "exact": True}
        described = api.client.app.openapi()["paths"][api.path("search")]["get"]["responses"]["200"]["content"]
        Draft202012Validator(described["application/json"]["schema"]).validate(before)
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
        assert sum(sum(one["severities"].values()) for one in both["histogram"]["events"]["buckets"]) > 0

    def test_a_question_that_is_too_large_is_bad_input(
        self, api: Api, admin: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        values = " ".join(["message:" + ",".join("a" * 100)] * 13)
        assert "1300 values" in api.get("search", admin, 422, q=values)["detail"]
        filters = {
            name: [str(n) for n in range(100)] for name in ("service", "host", "user_id", "trace_id", "event_id")
        }
        assert "501 values" in api.get("search", admin, 422, q="message:a", **filters)["detail"]
        # The node refuses it for the one table that has so many words: the others must not stand for all.
        monkeypatch.setattr(words, "MAX_EXPANSIONS", 2)
        assert "too many parts" in api.get("search", admin, 422, q="message:request.1*", last="24h")["detail"]

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
        api.get(f"context/{middle['id']}", api.key(only=("payments",)), 404)

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
        limited = api.post("search/user", api.key(personal_data=True, only=("users",)), 200, json=body)
        assert {hit["service"] for hit in limited["hits"]} == {"users"}
        trail = "".join(path.read_text() for path in (api.settings.home / "audit").iterdir())
        assert pseudonym in trail
        assert '"u7"' not in trail + json.dumps(found) + caplog.text
        page = api.post("search/user", reader, 200, json=body | {"size": 1})
        next_page = api.post("search/user", reader, 200, json=body | {"size": 1, "cursor": page["cursor"]})
        assert ids(page) + ids(next_page) == ids(found)[:2]
        api.post("search/user", reader, 422, json=body | {"value": "u8", "cursor": page["cursor"]})
