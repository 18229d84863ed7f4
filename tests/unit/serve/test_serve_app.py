"""The app without services: who is let in, what is refused before anything is asked, and how a refusal looks."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from platform_assets.contracts.read import load_contracts
from platform_assets.core.settings import Settings
from platform_assets.index.marts import Mart
from platform_assets.serve.app import create_app
from platform_assets.serve.keys import KeyStore, Role
from platform_assets.serve.limits import MAX_BODY_BYTES, MAX_QUESTION_BYTES

KEY = base64.b64encode(b"k" * 64).decode()
ADMIN_ONLY = ("/v1/logs/trace/a.0.1", "/v1/logs/trace/a.0.1/revealed", "/v1/logs/quarantine")
READ = (
    "/v1/logs/search",
    "/v1/logs/context/a.0.1",
    "/v1/logs/stats",
    "/v1/alerts",
    "/v1/status",
    "/metrics",
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def client(home: Path) -> Iterator[TestClient]:
    """Nothing listens where it would look: a request that got through is a 503."""
    values = {
        "ASSAY_OPENSEARCH_URL": "https://127.0.0.1:9",
        "ASSAY_OPENSEARCH_JWT_KEY": KEY,
        "ASSAY_HMAC_KEY": KEY,
        "ASSAY_HMAC_KEY_ID": "k1",
        "ASSAY_API_PERSONAL_RATE": "2/minute",
        "ASSAY_API_REFUSED_RATE": "3/minute",
    }
    with TestClient(create_app(Settings(home, home / "lake", values), load_contracts())) as made:
        yield made


def trail(home: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in (home / "audit").glob("*") for line in path.read_text().splitlines()]


def as_key(home: Path, role: Role, **rights: object) -> dict[str, str]:
    return {"Authorization": f"Bearer {KeyStore(home).add('test', role, **rights)[1]}"}  # type: ignore[arg-type]


def test_nobody_is_let_in_without_a_key_not_even_to_what_is_not_there(client: TestClient) -> None:
    for path in ("/v1/logs/search", "/metrics", "/nothing"):
        answer = client.get(path)
        assert answer.status_code == 401, path
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert client.get("/v1/logs/search", headers={"X-API-Key": "assay_x"}).status_code == 429
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/openapi.json").status_code == client.get("/docs").status_code == 200


def test_roles_reach_their_own_routes_only(client: TestClient, home: Path) -> None:
    reader, writer = as_key(home, Role.READER), as_key(home, Role.WRITER, unlimited=True)
    foreign = as_key(home, Role.READER, system="other")
    for path in ADMIN_ONLY:
        assert client.get(path, headers=reader).status_code == 403, path
    for path in (*ADMIN_ONLY, *READ):
        assert client.get(path, headers=writer).status_code == 403, path
    for path in READ[:3]:
        assert client.get(path, headers=foreign).status_code == 403, path
        assert client.get(path, headers=reader).status_code == 503, path  # let in: only the index is missing
    assert client.post("/v1/logs", json={}, headers=reader).status_code == 403
    assert client.post("/v1/logs/events/replay", headers=reader).status_code == 403
    assert client.get("/v1/status", headers=as_key(home, Role.READER, only=("a",))).status_code == 403
    refused = trail(home)
    assert {entry["action"] for entry in refused} == {"trace", "trace_revealed", "quarantine", "replay"}
    assert all(entry["outcome"].startswith("refused") for entry in refused)


def test_a_clear_value_is_nowhere_but_in_the_request(
    client: TestClient, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "u-very-secret-10042"
    path, body = "/v1/logs/search/user", {"field": "user_id", "value": secret}
    assert client.post(path, json=body, headers=as_key(home, Role.ADMIN)).status_code == 403
    reader = as_key(home, Role.READER, personal_data=True)
    texts = [client.post(path, json=body, headers=reader).text]  # 503: there is no index
    texts += [
        client.post(path, json=body | wrong, headers=reader).text for wrong in ({"size": secret}, {"field": secret})
    ]
    texts += [client.post(path, json=body, headers=reader).text]
    last = client.post(path, json=body, headers=reader)
    assert last.status_code == 429
    assert int(last.headers["retry-after"]) >= 1
    trail = "".join(one.read_text() for one in (home / "audit").iterdir())
    assert '"pseudonym"' in trail
    assert secret not in "".join(texts) + trail + caplog.text


def test_the_trail_tells_each_search_for_a_person_and_each_refusal(client: TestClient, home: Path) -> None:
    secret = "u-very-secret-10042"
    reader = as_key(home, Role.READER, personal_data=True)
    body = {"field": "user_id", "value": "u1", "from": "2026-01-01", "to": "2026-01-02"}

    def lines(changes: dict[str, object], status: int, key: dict[str, str] = reader) -> list[dict[str, Any]]:
        before = len(trail(home))
        answer = client.post("/v1/logs/search/user", json=body | changes, headers=key)
        assert answer.status_code == status, answer.text
        return trail(home)[before:]

    begun, failed = lines({}, 503)  # there is no index
    assert (begun["outcome"], failed["outcome"]) == ("begun", "failed: Unavailable")
    assert begun["what"] == failed["what"]
    found = begun["what"]
    assert (found["from"], found["to"]) == ("2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00")
    assert (found["following"], "narrowed" in found) == (False, False)
    [wrong] = lines({"table": "access"}, 422)
    assert (wrong["outcome"], wrong["what"]["table"]) == ("refused: QueryError", "access")
    for number in range(2):  # the rate of this server is two a minute
        [more] = lines({"value": f"guess{number}"}, 429)
        assert (more["outcome"], more["what"]["field"]) == ("refused: TooMany", "user_id")
        assert more["what"]["pseudonym"] != found["pseudonym"]
    fresh = [as_key(home, Role.READER, personal_data=True) for _ in range(3)]
    narrowings: list[dict[str, object]] = [
        {"q": secret},
        {"q": secret},
        {"q": secret, "service": ["a"]},
        {"host": [secret]},
    ]
    digests = [lines(one, 503, fresh[n // 2])[0]["what"]["narrowed"] for n, one in enumerate(narrowings)]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    [late] = lines({"cursor": secret}, 422, fresh[2])
    [bad] = lines({"from": secret}, 422, fresh[2])
    assert (late["outcome"], late["what"]["following"], bad["outcome"]) == (
        "refused: QueryError",
        True,
        "refused: QueryError",
    )
    admin = as_key(home, Role.ADMIN, personal_data=True)
    for expected in (404, 404, 429):
        assert client.get("/v1/logs/trace/a.0.1/revealed", headers=admin).status_code == expected
    last = trail(home)[-1]
    assert (last["action"], last["outcome"]) == ("trace_revealed", "refused: TooMany")
    assert secret not in json.dumps(trail(home))


def test_a_body_that_is_no_submission_is_small(client: TestClient, home: Path) -> None:
    admin = as_key(home, Role.ADMIN, personal_data=True) | {"Content-Type": "application/json"}
    body = b"x" * (MAX_QUESTION_BYTES + 1)  # no JSON: nobody has read it
    for path in ("search/user", "events/replay", "alerts/a1/mute", "alerts/a1/acknowledge"):
        answer = client.post(f"/v1/logs/{path}", content=body, headers=admin)
        assert answer.status_code == 413, path
    chunked = client.post("/v1/logs/search/user", content=iter([body]), headers=admin)  # no Content-Length
    assert chunked.status_code == 413
    assert client.post("/v1/logs", content=body, headers=admin).status_code == 422


def test_what_cannot_be_audited_is_not_even_looked_for(
    client: TestClient, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, admin = as_key(home, Role.READER, personal_data=True), as_key(home, Role.ADMIN)
    (home / "audit").write_text("a file is where the folder should be")
    asked: list[object] = []
    monkeypatch.setattr("platform_assets.serve.backend.Backend.client", lambda *key: asked.append(key))
    monkeypatch.setattr("platform_assets.serve.operating.trace", lambda *what, **how: asked.append(what))
    person = client.post("/v1/logs/search/user", json={"field": "user_id", "value": "u1"}, headers=reader)
    for answer in (person, client.get("/v1/logs/trace/a.0.1", headers=admin)):
        assert answer.status_code == 503
        assert answer.json()["detail"].startswith("the audit trail cannot be written")
    assert asked == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/logs/search?q=nothing:1", 422),
        ("/v1/logs/search?unknown=1", 422),
        ("/v1/logs/search?size=0", 422),
        ("/v1/logs/search?last=1000d", 422),
        ("/v1/logs/search?last=1h&from=2026-01-01", 422),
        ("/v1/logs/search?from=0001-01-01T00:00:00%2B14:00", 422),
        ("/v1/logs/search?to=9999-12-31T23:59:59-14:00", 422),
        ("/v1/logs/search?last=24h&as_of=20150520", 422),
        ("/v1/logs/search?from=2020-01-01&to=2026-01-01", 422),
        ("/v1/logs/search?cursor=abc", 422),
        ("/v1/logs/search?table=secrets", 422),
        ("/v1/logs/search?q=" + "a" * 5000, 422),
        ("/v1/logs/search?q=" + "a" * 20_000, 414),
        ("/v1/logs/stats?mart=events", 404),
        ("/v1/logs/stats?mart=..%2f_search", 422),
        ("/v1/logs/stats?mart=A*", 422),
        ("/v1/logs/context/nothing", 422),
        ("/v1/nosystem/search", 404),
        ("/v1/logs/search/", 404),
        ("/v1/reports/nothing/2026-01-01", 404),
        ("/v1/reports/errors/2026-01-01?system=other", 404),
        ("/v1/reports/errors/9999-12-31", 404),
        ("/v1/reports/errors/yesterday", 422),
    ],
)
def test_bad_input_is_refused_with_a_reason(client: TestClient, home: Path, path: str, status: int) -> None:
    answer = client.get(path, headers=as_key(home, Role.READER))
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


def test_nobody_is_sent_to_another_address(client: TestClient, home: Path) -> None:
    reader = as_key(home, Role.READER, personal_data=True)
    body = {"field": "user_id", "value": "u1"}
    answer = client.post("/v1/logs/search/user/", json=body, headers=reader, follow_redirects=False)
    assert (answer.status_code, answer.headers.get("location")) == (404, None)
    assert answer.headers["content-type"] == "application/problem+json"


COLUMNS = {"hour": "date", "service": "keyword", "errors": "long", "slow": "boolean"}


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("where=errors:--5", "whole number"),
        ("where=errors:-", "whole number"),
        ("where=errors:1e3", "whole number"),
        ("where=errors:%D9%A3", "whole number"),
        ("where=errors:" + "9" * 19, "whole number"),
        ("where=slow:yes", "true or false"),
        ("where=nothing:1", "no column"),
        ("by=errors&sum=errors&top=5", "either grouped by or summed"),
    ],
)
def test_a_bad_question_to_a_mart_is_refused_with_a_reason(
    client: TestClient, home: Path, monkeypatch: pytest.MonkeyPatch, question: str, words: str
) -> None:
    monkeypatch.setattr("platform_assets.serve.marts.describe", lambda *_: Mart("logs-errors_hour", COLUMNS))
    answer = client.get(f"/v1/logs/stats?{question}", headers=as_key(home, Role.READER))
    assert answer.status_code == 422, answer.text
    assert words in answer.json()["detail"]


def test_the_trail_tells_until_when_an_alert_is_muted(
    client: TestClient, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alert = SimpleNamespace(service="payments")
    alert_service = SimpleNamespace(
        store=SimpleNamespace(load=lambda: {"a1": alert}),
        mute=lambda *_: alert,
        acknowledge=lambda *_: alert,
        publish=lambda: None,
        close=lambda: None,
    )
    monkeypatch.setattr("platform_assets.serve.handling.AlertService", lambda *_: alert_service)
    monkeypatch.setattr("platform_assets.serve.handling.document", vars)
    admin = as_key(home, Role.ADMIN)
    assert client.post("/v1/logs/alerts/a1/acknowledge", headers=admin).status_code == 200
    assert client.post("/v1/logs/alerts/a1/mute", json={"length": "2h"}, headers=admin).status_code == 200
    _, acknowledged, begun, done = trail(home)
    assert acknowledged["what"] == {"system": "logs", "alert": "a1"}
    assert (done["action"], done["outcome"], done["what"]) == ("mute", "done", begun["what"])
    left = datetime.fromisoformat(done["what"]["until"]) - datetime.now(UTC)
    assert timedelta(hours=1, minutes=59) < left <= timedelta(hours=2)


GOOD = json.loads(load_contracts()["logs"].table("events").sample)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 422, "not JSON"),
        (b"[" * 100_000, 422, "deeply"),
        (b"\xff", 422, "UTF-8"),
        (b'{"a": NaN}', 422, "no number"),
        (b'{"a": 1e999}', 422, "too large"),
        (b'{"a": "\\ud800"}', 422, "surrogate"),
        (b'{"service": "payments", "service": "users"}', 422, "twice"),
        (b"[]", 422, "1 to 1000"),
        (b"[" + b",".join([b"{}"] * 1001) + b"]", 422, "1 to 1000"),
        (b"3", 422, "do not keep the contract"),
        (json.dumps(GOOD | {"level": "LOUD"}).encode(), 422, "level"),
        (json.dumps([GOOD, GOOD | {"service": "users"}]).encode(), 403, "payments only"),
        (b" " * (MAX_BODY_BYTES + 1), 413, "larger"),
    ],
)
def test_a_bad_submission_is_refused_before_the_broker_is_asked(
    client: TestClient, home: Path, body: bytes, status: int, words: str
) -> None:
    writer = as_key(home, Role.WRITER, only=("payments",)) | {"Content-Type": "application/json"}
    answer = client.post("/v1/logs", content=body, headers=writer)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]
    chunked = client.post("/v1/logs", content=iter([body]), headers=writer)  # no Content-Length
    assert chunked.status_code == status


def test_a_writer_for_services_cannot_write_where_there_are_none(client: TestClient, home: Path) -> None:
    writer = as_key(home, Role.WRITER, only=("payments",))
    line = load_contracts()["logs"].table("access").sample
    answer = client.post("/v1/logs?table=access", content=line, headers=writer | {"Content-Type": "text/plain"})
    assert answer.status_code == 403, answer.text
    assert client.post("/v1/logs?table=access", json={}, headers=writer).status_code == 415


def test_a_table_is_named_where_several_take_such_a_body(client: TestClient, home: Path) -> None:
    writer = as_key(home, Role.WRITER, unlimited=True)
    several = client.post("/v1/logs", content="a line", headers=writer | {"Content-Type": "text/plain"})
    assert (several.status_code, several.json()["hint"]) == (422, "say which: table=access or table=broker")
    unknown = client.post("/v1/logs?table=secrets", json={}, headers=writer)
    assert (unknown.status_code, unknown.json()["hint"]) == (422, "it has events, access, broker")
    assert client.post("/v1/logs", content="a: 1", headers=writer | {"Content-Type": "text/yaml"}).status_code == 415


def test_a_fault_of_ours_shows_nothing_of_itself(
    client: TestClient, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    inner = "an internal of ours"

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(inner)

    monkeypatch.setattr("platform_assets.serve.marts.describe", broken)
    answer = client.get("/v1/logs/stats", headers=as_key(home, Role.READER))
    assert answer.status_code == 500
    assert answer.json()["detail"] == "a fault of the program"
    assert inner not in answer.text + caplog.text
    assert answer.headers["x-request-id"] in caplog.text


def test_figures_are_a_file_for_whoever_asks_for_one(
    client: TestClient, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"rows": [{"service": "=1+1", "errors": 3}], "columns": {}}
    monkeypatch.setattr("platform_assets.serve.reporting.answer_stats", lambda *_: found)
    reader = as_key(home, Role.READER)
    question = "/v1/logs/stats?mart=errors_hour&by=service&sum=errors"
    for answer in (
        client.get(f"{question}&format=csv", headers=reader),
        client.get(question, headers={**reader, "Accept": "text/csv"}),
    ):
        assert answer.headers["content-type"].startswith("text/csv")
        assert answer.text == "service,errors\r\n'=1+1,3\r\n"
    assert client.get(question, headers=reader).json() == found
    assert client.get(f"{question}&format=xml", headers=reader).status_code == 422


def test_a_page_of_events_is_a_file_with_the_next_cursor(
    client: TestClient, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer: dict[str, Any] = {"hits": [{"id": "a.0.1", "_table": "access", "status": 500}], "cursor": "c2"}
    monkeypatch.setattr("platform_assets.serve.searching._Search.answer", lambda *_: answer)
    file = client.get("/v1/logs/search?table=access&format=csv", headers=as_key(home, Role.READER))
    assert file.headers["x-next-cursor"] == "c2"
    header, row = file.text.splitlines()
    assert dict(zip(header.split(","), row.split(","), strict=True)) | {"id": "a.0.1", "status": "500"} == dict(
        zip(header.split(","), row.split(","), strict=True)
    )


def test_a_figure_that_would_be_wrong_is_400(client: TestClient, home: Path) -> None:
    answer = client.get("/v1/logs/stats?mart=latency_hour&sum=p95_ms", headers=as_key(home, Role.READER))
    assert answer.status_code == 400
    assert "possible: percentile=p95_ms" in answer.json()["hint"]
