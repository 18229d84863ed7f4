"""Submitted events, from the answer to the search and back to their offsets."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from apilab import Api, ids
from fastapi.testclient import TestClient
from support import event

from platform_assets.serve.app import create_app
from platform_assets.serve.keys import Role

pytestmark = pytest.mark.services


class TestSubmit:
    def test_from_submission_to_search_and_back_to_its_offset(self, api: Api, admin: dict[str, str]) -> None:
        writer = api.key(Role.WRITER, only=("payments",))
        name = f"s{time.time_ns()}"
        now = datetime.now(UTC).isoformat()
        events = [json.loads(event(n, event_id=f"{name}-{n}", service="payments", event_time=now)) for n in range(5)]
        told = api.post("", writer, 201, json=events)["records"]
        one = api.post("", writer, 201, json=events[0] | {"event_id": f"{name}-x"})["records"]
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
        told = api.post("?table=access", api.key(Role.WRITER), 201, **request)["records"]
        api.drain()
        found = api.get(
            "search", admin, agent="submitted", as_of=(datetime.now(UTC) + timedelta(minutes=1)).isoformat()
        )
        assert sorted(ids(found)) == sorted(record["id"] for record in told)

    def test_the_same_key_publishes_once_even_after_a_restart(self, api: Api) -> None:
        writer = api.key(Role.WRITER)
        mine = {"Idempotency-Key": f"i{time.time_ns()}"}
        body = json.loads(event(1, event_time=datetime.now(UTC).isoformat()))
        first = api.post("", writer, 201, json=body, headers=mine)
        assert api.post("", writer, 201, json=body, headers=mine) == first
        with TestClient(create_app(api.settings, {api.contract.system: api.contract})) as restarted:
            again = restarted.post(api.path(""), headers=writer | mine, json=body)
            assert (again.status_code, again.json(), again.headers["idempotency-replayed"]) == (201, first, "true")
        api.post("", writer, 422, json=body | {"host": "other"}, headers=mine)
        other = api.post("", api.key(Role.WRITER), 201, json=body, headers=mine)
        assert other["records"] != first["records"]
        fresh = api.post("", writer, 201, json=body)
        assert fresh["records"] != first["records"]
