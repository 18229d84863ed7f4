"""Pages over several tables: large rows, many tables, charts behind the first page. An index of lists stands for OpenSearch."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from platform_assets.contracts.model import Contract
from platform_assets.contracts.read import load_contracts
from platform_assets.core.settings import Settings
from platform_assets.serve.app import create_app
from platform_assets.serve.keys import KeyStore, Role
from platform_assets.serve.limits import MAX_PAGE_BYTES

LOGS = load_contracts()["logs"]
Ask = Callable[..., Any]


@dataclass
class Lists:
    """Documents by alias, newest first; of a question it knows the position, the size and that it counts."""

    documents: dict[str, list[dict[str, Any]]]
    sizes: list[int] = field(default_factory=list)

    def search(self, index: str, body: dict[str, Any], params: object) -> dict[str, Any]:
        found = self.documents.get(index, [])
        if not body["size"]:
            buckets = [{"key": 0, "doc_count": len(found)}] if found else []
            total = {"value": len(found), "relation": "eq"}
            return {"hits": {"total": total}, "aggregations": {"chart": {"buckets": buckets}, "latest": {}}}
        self.sizes.append(body["size"])
        behind = [one for one in found if "search_after" not in body or one["sort"] < body["search_after"]]
        return {"hits": {"hits": behind[: body["size"]]}}


def document(name: str, number: int, text: str = "") -> dict[str, Any]:
    """The higher its number, the newer it is: by a microsecond."""
    time = f"2026-01-15T09:30:00.{number:06}Z"
    position = [1_768_469_400_000_000_000 + number * 1000, number, 0, number]
    return {"_id": f"{name}.0.{number}", "sort": position, "_source": {"event_time": time, "message": text}}


@contextmanager
def served(home: Path, contract: Contract, lists: Lists) -> Iterator[Ask]:
    values = {"ASSAY_OPENSEARCH_JWT_KEY": base64.b64encode(b"k" * 64).decode()}
    key = KeyStore(home).add("test", Role.READER)[1]
    app = create_app(Settings(home, home / "lake", values), {contract.system: contract})
    with pytest.MonkeyPatch.context() as patch, TestClient(app, headers={"X-API-Key": key}) as client:
        patch.setattr("platform_assets.serve.backend.Backend.client", lambda *_: lists)

        def ask(**params: object) -> Any:
            answer = client.get("/v1/logs/search", params={"last": "24h", "as_of": "2026-01-15", **params})
            assert answer.status_code == 200, answer.text
            return answer.json()

        yield ask


def pages(ask: Ask, **params: object) -> Iterator[dict[str, Any]]:
    page = ask(**params)
    yield page
    while page["cursor"]:
        page = ask(cursor=page["cursor"], **params)
        yield page


def test_a_page_of_large_rows_ends_early_and_no_row_is_lost_or_told_out_of_turn(tmp_path: Path) -> None:
    large = [document("broker", n, "x" * 500_000) for n in range(99, 0, -2)]
    small = [document("events", n) for n in range(100, 0, -1)]
    lists = Lists({"logs-broker": large, "logs-events": small})
    with served(tmp_path, LOGS, lists) as ask:
        found = list(pages(ask, size=1000))
    hits = [hit for page in found for hit in page["hits"]]
    told = [hit["event_time"] for hit in hits]
    assert told == sorted(told, reverse=True)
    assert sorted(hit["id"] for hit in hits) == sorted(one["_id"] for one in large + small)
    assert len(found) > 2
    most = MAX_PAGE_BYTES + 16 * 500_000
    assert all(0 < sum(len(hit["message"]) for hit in page["hits"]) < most for page in found)
    assert max(lists.sizes) <= 256  # however few of them a table had


def test_a_page_of_small_rows_is_as_long_as_was_asked_for(tmp_path: Path) -> None:
    lists = Lists({"logs-broker": [document("broker", n) for n in range(600, 0, -1)]})
    with served(tmp_path, LOGS, lists) as ask:
        assert [len(page["hits"]) for page in pages(ask, size=250)] == [250, 250, 100]


def test_the_cursor_of_many_tables_is_taken(tmp_path: Path) -> None:
    tables = tuple(replace(LOGS.table("events"), name=f"a_table_of_some_name_{n:02}") for n in range(50))
    lists = Lists({f"logs-{table.name}": [document(table.name, n) for n in (9, 8)] for table in tables})
    with served(tmp_path, replace(LOGS, tables=tables), lists) as ask:
        assert [len(page["hits"]) for page in pages(ask, size=60)] == [60, 40]


def test_a_chart_behind_the_first_page_tells_of_every_table(tmp_path: Path) -> None:
    lists = Lists(
        {
            "logs-broker": [document("broker", 9)],
            "logs-events": [document("events", n) for n in range(8, 0, -1)],
        }
    )
    with served(tmp_path, LOGS, lists) as ask:
        first, second, *_ = pages(ask, size=4, histogram=True, q="level:ERROR")
    assert {name: one["buckets"][0]["total"] for name, one in first["histogram"].items()} == {"broker": 1, "events": 8}
    assert second["histogram"] == first["histogram"]
