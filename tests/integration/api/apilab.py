"""A system with documents, marts and alerts, and a server for it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi.testclient import TestClient
from opensearchpy import OpenSearch
from support import event

from platform_assets.contracts.model import Contract
from platform_assets.core.settings import Settings
from platform_assets.index.connect import connect_indices
from platform_assets.index.mappings import NO_ROW, ROW, SYSTEM, row_alias
from platform_assets.ingest.worker import Worker
from platform_assets.marts.marts import Mart, load_marts
from platform_assets.marts.project import project_folder
from platform_assets.serve.keys import KeyStore, Role

EVENTS = 240
START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=6)
HOSTILE = '<script>alert(1)</script> \x01\x1b[2J \u202e \u2028 "quoted" 漢😀'
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

WHEN = {"minute": MINUTES[0]["minute"]}
MESSAGES = [  # each topic once for each service; what others say of it is said more often
    {"topic": topic, "service": service, "errors": errors, "example": f"{topic}: told by {service}", **WHEN}
    for topic in ("timeout", "refused")
    for service, errors in (("payments", 2), ("users", 9))
]
MESSAGE_COLUMNS = {"minute": "date", "service": "keyword", "topic": "keyword", "errors": "long", "example": "keyword"}


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
        rights.setdefault("unlimited", role is Role.WRITER and "only" not in rights)
        return {"Authorization": f"Bearer {self.keys.add('test', role, **rights)[1]}"}

    def path(self, rest: str) -> str:
        """The address of one of the system's routes; with nothing or a question, the system's own."""
        return f"/v1/{self.contract.system}{rest if not rest or rest.startswith('?') else '/' + rest}"

    def get(self, rest: str, key: dict[str, str], expected: int = 200, /, **params: Any) -> Any:
        answer = self.client.get(rest if rest.startswith("/") else self.path(rest), headers=key, params=params)
        assert answer.status_code == expected, answer.text[:500]
        return answer.json()

    def post(self, rest: str, key: dict[str, str], expected: int, /, **request: Any) -> Any:
        headers = key | request.pop("headers", {})
        answer = self.client.post(self.path(rest), headers=headers, **request)
        assert answer.status_code == expected, answer.text[:500]
        return answer.json()

    def declared(self) -> list[Mart]:
        """The system's marts: those of `logs`."""
        return list(load_marts(project_folder(), self.contract.system))

    def drain(self) -> None:
        Worker(self.settings, self.contract).drain()
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


def index_rows(
    client: OpenSearch,
    alias: str,
    columns: dict[str, str],
    rows: Sequence[dict[str, Any]],
    *,
    row_policy: str | None = "service",
) -> None:
    """Documents of a mart, as its publisher would write them."""
    properties: dict[str, Any] = {name: {"type": kind} for name, kind in columns.items()}
    properties |= {SYSTEM: {"properties": {NO_ROW: {"type": "keyword"}}}, ROW: row_alias(row_policy)}
    client.indices.create(
        index=f"{alias}-000001", body={"mappings": {"properties": properties}, "aliases": {alias: {}}}
    )
    lines = [json.dumps(line) for row in rows for line in ({"index": {}}, row)]
    assert not client.bulk(index=alias, body="\n".join(lines) + "\n", params={"refresh": "true"})["errors"]


def ids(found: dict[str, Any]) -> list[str]:
    return [hit["id"] for hit in found["hits"]]
