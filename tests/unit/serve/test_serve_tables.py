"""Answers as CSV: who gets one, which columns it has, and that data stays data."""

from __future__ import annotations

import csv
import io
from types import SimpleNamespace
from typing import Any

import pytest

from platform_assets.contracts.read import load_contracts
from platform_assets.core.serialization import csv_text
from platform_assets.marts.marts import load_marts
from platform_assets.marts.project import project_folder
from platform_assets.serve.reporting import StatsParams, stats_columns
from platform_assets.serve.tables import csv_response, search_columns, wants_csv

LOGS = load_contracts()["logs"]
MARTS = {mart.name: mart for mart in load_marts(project_folder(), "logs")}


@pytest.mark.parametrize(
    ("form", "accept", "wanted"),
    [
        (None, "", False), (None, "*/*", False), (None, "text/csv", True), (None, "text/csv; charset=utf-8", True),
        (None, "application/json, text/csv", False), ("csv", "application/json", True), ("json", "text/csv", False),
    ],
)  # fmt: skip
def test_the_parameter_decides_and_else_the_header(form: Any, accept: str, wanted: bool) -> None:
    assert wants_csv(SimpleNamespace(headers={"accept": accept}), form) is wanted  # type: ignore[arg-type]


def test_cells_are_quoted_and_harmless() -> None:
    values = {
        "text": 'two\r\nlines, "quoted"', "formula": "=1+1", "at": "@x", "minus": "-1+cmd", "amount": "-12.50", "number": -3,
        "none": None, "yes": True, "object": {"a": [1, "é"]},
    }  # fmt: skip
    text = csv_text(list(values), [values], {"amount"})
    assert text.endswith("\r\n")
    [header, row] = csv.reader(io.StringIO(text, newline=""))
    assert header == list(values)
    assert row == [
        'two\r\nlines, "quoted"', "'=1+1", "'@x", "'-1+cmd", "-12.50", "-3", "", "true", '{"a":[1,"é"]}',
    ]  # fmt: skip


def test_columns_do_not_depend_on_what_is_found() -> None:
    names = list(search_columns(LOGS, None))
    assert names[:2] == ["id", "_table"]
    assert len(names) == len(set(names))
    assert {field.name for table in LOGS.tables for field in table.fields} < set(names)
    only = list(search_columns(LOGS, "access"))
    assert only == ["id", "_table", *(field.name for field in LOGS.table("access").fields)]
    latency = MARTS["latency_hour"]
    assert list(stats_columns(latency, StatsParams())) == [column.name for column in latency.columns]
    asked = StatsParams(by=["route"], max=["max_ms"], percentile=["p95_ms"])
    assert stats_columns(latency, asked) == {"route": False, "max_ms": False, "p95_ms": False}


def test_the_next_page_is_named_in_a_header() -> None:
    answer = csv_response({"id": False}, [{"id": "\ud800", "more": 1}], "logs-search", "c1")
    assert answer.headers["x-next-cursor"] == "c1"
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.body == b"id\r\n\\ud800\r\n"
    assert "x-next-cursor" not in csv_response({"id": False}, [], "logs-search").headers
