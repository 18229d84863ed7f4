"""What is sent to the index with a caller's token: nothing that document-level security does not filter."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from apilab import PARTS, START, Api, ids
from caller_requests import faults, recorded

from platform_assets.alerts.platform import PLATFORM_SYSTEM
from platform_assets.index.asking import Deadline
from platform_assets.index.marts import describe
from platform_assets.index.stats import Figure, Function, Question, add_examples, figures
from platform_assets.serve.backend import Backend
from platform_assets.serve.keys import Role
from platform_assets.serve.marts import IndexMarts

pytestmark = pytest.mark.services

ASKS_NOTHING = {  # with the caller's token
    *("trace/{document_id}", "trace/{document_id}/revealed", "quarantine", "events/replay", "access/replay"),
    *("", "alerts/{alert_id}/acknowledge", "alerts/{alert_id}/mute"),
    *(f"/v1/{PLATFORM_SYSTEM}/alerts/{{alert_id}}/acknowledge", f"/v1/{PLATFORM_SYSTEM}/alerts/{{alert_id}}/mute"),
    *("/v1/reports", "/v1/status", "/metrics", "/v1/systems", "/healthz"),
}
ALSO = {  # what an answer may be where it need not be 200
    "access": {200, 422},  # fields that this table has not
    "/v1/alerts": {200, 404},  # no index of alerts yet
}


def test_no_request_for_a_caller_looks_past_its_documents(api: Api) -> None:
    """Every route, as a caller who is limited to a service uses it; held against what the index is known to filter."""
    key, text = api.keys.add("limited", Role.READER, only=("payments",), personal_data=True)
    limited = {"Authorization": f"Bearer {text}"}
    document = ids(api.get("search", limited, service="payments", size=1, last="24h"))[0]
    stats = [
        *({"size": 5}, {"sum": "errors"}, {"sum": ["events", "errors"], "by": ["minute", "service"]}),
        {"count": "service", "distinct": "status", "by": "minute", "every": "5m"},
    ]
    where = {"mart": "errors_minute", "where": ["service:payments", "status:500"], "last": "24h"}
    asks: dict[str, list[dict[str, Any]]] = {
        "search": [
            {"params": {"q": q, "last": "24h", "histogram": histogram, "table": table}}
            for q in (*PARTS, " ".join(PARTS[:9]))
            for histogram, table in (("true", "events"), ("false", "access"))
        ],
        "search/user": [{"json": {"field": "user_id", "value": "u7", "last": "24h"}}],
        "context/{id}": [{"params": {"size": 3}}],
        "stats": [{"params": one | where} for one in stats],
        "/v1/alerts": [{"params": {"state": "open", "visible_to": "payments", "last": "24h"}}],
    }
    backend = Backend(api.settings, {})
    try:
        for template, operations in api.client.app.openapi()["paths"].items():
            name = (
                template.removeprefix(api.path("")).removeprefix("/") if template.startswith(api.path("")) else template
            )
            if name in ASKS_NOTHING:
                continue
            with recorded() as asked:
                if name == "/v1/reports/{name}/{day}":  # this system declares no report: what one of them would read
                    read = IndexMarts(backend.client(key), api.declared(), Deadline()).rows
                    assert (
                        read("errors_minute", START - timedelta(minutes=1), START + timedelta(hours=1)).num_rows == 20
                    )
                else:
                    path = template.replace("{id}", document)
                    for request in asks[name]:
                        [method] = operations
                        answer = api.client.request(method, path, headers=limited, **request)
                        allowed = ALSO.get(request.get("params", {}).get("table", name), {200})
                        assert answer.status_code in allowed, answer.text
                if name == "stats":  # this system declares no mart with an example: what one of them would read
                    client = backend.client(key)
                    mart = describe(client, f"{api.contract.system}-messages_minute")
                    assert mart is not None
                    begin, end = START - timedelta(minutes=1), START + timedelta(minutes=1)
                    asked_of = Question(replace(mart, time="minute"), begin, end, {}, ["topic"], Deadline())
                    groups = figures(client, asked_of, [Figure("errors", Function.SUM, "errors")])
                    told = add_examples(client, asked_of, groups, "errors", "example")
                    assert told == [
                        {"topic": topic, "errors": 2, "example": f"{topic}: told by payments"}
                        for topic in ("refused", "timeout")
                    ]
            assert asked, template
            assert all(one.bearer for one in asked), template  # nothing with the platform's own password
            assert {fault for one in asked for fault in faults(one)} == set(), template
    finally:
        backend.close()
