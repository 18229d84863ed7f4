"""Rows to `_bulk` bodies: exact text, whole lines, bounded sizes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.contracts.arrow import silver_schema
from platform_assets.contracts.model import Field, FieldType, Format, IndexType, Table
from platform_assets.index.documents import Documents, to_ndjson

TABLE = Table(
    system="shop",
    name="orders",
    version="1.2.0",
    description="",
    topic="shop.orders",
    format=Format.JSON,
    fields=(
        Field("at", FieldType.TIMESTAMP, required=True, index=IndexType.DATE),
        Field("name", FieldType.STRING),
        Field("count", FieldType.INTEGER, index=IndexType.LONG),
        Field("price", FieldType.NUMBER, index=IndexType.DOUBLE),
        Field("paid", FieldType.BOOLEAN, index=IndexType.BOOLEAN),
    ),
    event_time="at",
    attributes="attributes",
)
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def silver(cells: list[dict[str, Any]]) -> pa.Table:
    base = {
        "at": NOON,
        "_source": "abcdefghijkl",
        "_shard": 1,
        "_seq": 4,
        "_landed_at": NOON,
        "_contract_version": "1.2.0",
        "_history": False,
        "_hash": -1,
        "event_partition": "2026-11-21",
    }
    schema = silver_schema(TABLE)
    made = [{**dict.fromkeys(schema.names), **base, "_position": at, **row} for at, row in enumerate(cells)]
    return pa.Table.from_pylist(made, schema=schema)


def read_back(documents: Documents) -> dict[str, list[tuple[dict[str, Any], dict[str, Any]]]]:
    found = {}
    for partition, bodies in documents.bodies.items():
        pairs = []
        for body in bodies:
            lines = body.data.split(b"\n")
            assert lines.pop() == b""
            assert len(lines) == 2 * body.rows
            pairs += [(json.loads(a)["index"], json.loads(d)) for a, d in zip(lines[::2], lines[1::2], strict=True)]
        found[partition] = pairs
    return found


def test_a_document_as_it_is_sent() -> None:
    row = {
        "name": "a",
        "count": 3,
        "price": 0.1,
        "paid": True,
        "attributes": '{"x":[1]}',
        "_key_id": "k",
        "_history": True,
    }
    [body] = to_ndjson(TABLE, silver([row]), 9).bodies["history-2026"]
    assert body.data.decode() == (
        '{"index":{"_id":"abcdefgh.1.0","version":9,"version_type":"external"}}\n'
        '{"_assay":{"seq":4,"shard":1,"position":0,"hash":-1,"contract":"1.2.0","key_id":"k","history":true},'
        '"at":"2026-11-21T12:00:00.000000Z","name":"a","count":3,"price":0.1,"paid":true,"attributes":{"x":[1]}}\n'
    )


def test_nulls_are_absent() -> None:
    [(_, document)] = read_back(to_ndjson(TABLE, silver([{}]), 1))["2026-11"]
    assert set(document) == {"_assay", "at"}
    assert set(document["_assay"]) == {"seq", "shard", "position", "hash", "contract"}


# NUL is the one character that the transform lets into no string; surrogates are no text.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30)
cells = st.fixed_dictionaries(
    {
        "at": st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(lambda at: at.replace(tzinfo=UTC)),
        "name": st.none() | texts,
        "count": st.none() | st.integers(-(2**63), 2**63 - 1),
        "price": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "paid": st.none() | st.booleans(),
        "attributes": st.none()
        | st.dictionaries(texts, texts | st.integers() | st.lists(texts), max_size=3).map(json.dumps),
    }
)


@settings(max_examples=40, deadline=None)
@given(st.lists(cells, min_size=1, max_size=20), st.integers(1, 400))
def test_every_value_survives_whatever_the_body_size(drawn: list[dict[str, Any]], body_bytes: int) -> None:
    found = read_back(to_ndjson(TABLE, silver(drawn), 1, body_bytes=body_bytes))["2026-11"]
    assert len(found) == len(drawn)
    for at, ((action, document), cell) in enumerate(zip(found, drawn, strict=True)):
        assert action["_id"] == f"abcdefgh.1.{at}"
        assert datetime.fromisoformat(document["at"]) == cell["at"]
        for name in ("name", "count", "price", "paid"):
            assert repr(document.get(name)) == repr(cell[name])  # repr tells -0.0 from 0.0 and 1 from 1.0
        assert document.get("attributes") == (None if cell["attributes"] is None else json.loads(cell["attributes"]))


def test_bodies_are_bounded_and_whole() -> None:
    documents = to_ndjson(TABLE, silver([{"name": "n" * 300}] * 100), 1, body_bytes=5000)
    bodies = documents.bodies["2026-11"]
    assert max(len(body.data) for body in bodies) <= 5000
    assert min(len(body.data) for body in bodies[:-1]) > 4000
    assert documents.rows == 100
    assert documents.size == sum(len(body.data) for body in bodies)


def test_a_row_larger_than_a_body_goes_alone() -> None:
    [first, second] = to_ndjson(TABLE, silver([{"name": "n" * 9000}, {}]), 1, body_bytes=1000).bodies["2026-11"]
    assert (first.rows, second.rows) == (1, 1)


def test_rows_are_sorted_to_their_periods_in_order() -> None:
    kinds = [
        ("2026-11-21", False),
        ("2026-10-20", False),
        ("2026-11-02", False),
        ("2026-10-20", True),
        ("2025-01-01", True),
    ]
    found = read_back(to_ndjson(TABLE, silver([{"event_partition": d, "_history": late} for d, late in kinds]), 1))
    offsets = {period: [action["_id"].rpartition(".")[2] for action, _ in pairs] for period, pairs in found.items()}
    assert offsets == {"2026-11": ["0", "2"], "2026-10": ["1"], "history-2026": ["3"], "history-2025": ["4"]}


def test_a_slice_of_a_larger_batch_is_rendered_alone() -> None:
    part = silver([{"name": f"n{i}"} for i in range(100)]).slice(40, 10)
    found = read_back(to_ndjson(TABLE, part, 1, body_bytes=300))["2026-11"]
    assert [document["name"] for _, document in found] == [f"n{i}" for i in range(40, 50)]


def test_no_rows_are_no_bodies() -> None:
    assert to_ndjson(TABLE, silver([]), 1).bodies == {}


@pytest.mark.parametrize(
    ("attributes", "refused"),
    [
        ('{"a":' * 100 + "1" + "}" * 100, False),
        ('{"a":' * 101 + "1" + "}" * 101, True),
        ('{"a":' + "[" * 100 + "]" * 100 + "}", True),
        (json.dumps({"a": "{[" * 200}), False),  # brackets within a string are no depth
        (json.dumps({"a": '\\"{' * 200}), False),
        (json.dumps({f"k{i}": {} for i in range(300)}), False),  # nor are neighbours
    ],
)
def test_too_deep_attributes_never_reach_the_node(attributes: str, refused: bool) -> None:
    documents = to_ndjson(TABLE, silver([{}, {"attributes": attributes}, {}]), 1)
    assert [r.document_id for r in documents.refused] == (["abcdefgh.1.1"] if refused else [])
    assert documents.rows == (2 if refused else 3)


def test_a_raw_newline_between_tokens_stays_on_one_line() -> None:
    documents = to_ndjson(TABLE, silver([{"attributes": '{\n"a":\n1}'}]), 1)
    [(_, document)] = read_back(documents)["2026-11"]
    assert document["attributes"] == {"a": 1}


def test_a_table_without_attributes() -> None:
    table = replace(TABLE, attributes=None)
    batch = silver([{"at": NOON + timedelta(microseconds=1)}]).drop_columns(["attributes"])
    [(_, document)] = read_back(to_ndjson(table, batch, 1))["2026-11"]
    assert document["at"] == "2026-11-21T12:00:00.000001Z"
