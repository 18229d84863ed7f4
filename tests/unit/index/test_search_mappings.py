"""Templates and names, from the contract."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from platform_assets.contracts.model import Field, FieldType, Format, IndexType, Table
from platform_assets.contracts.read import load_contracts
from platform_assets.core.coordinates import document_id, parse_document_id
from platform_assets.index.indices import auto_creates
from platform_assets.index.mappings import index_template, mapping, mapping_version
from platform_assets.index.names import DOCUMENT_LAYOUT

EVENTS = load_contracts()["logs"].table("events")


def small(*fields: Field) -> Table:
    return Table("s", "t", "1.0.0", "", "s.t", Format.JSON, fields, event_time="at", attributes="attributes")


def test_every_contract_field_is_mapped_and_nothing_else() -> None:
    for contract in load_contracts().values():
        for table in contract.tables:
            names = (
                {f.name for f in table.fields}
                | {"_assay", "_assay_row", "_assay_progress"}
                | ({table.attributes} - {None})
            )
            assert set(mapping(table)["properties"]) == names
            assert mapping(table)["dynamic"] == "strict"
            assert mapping(table)["properties"]["_assay"]["dynamic"] == "strict"


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (Field("f", FieldType.STRING), {"type": "keyword", "ignore_above": 8191}),
        (
            Field("f", FieldType.STRING, index=IndexType.TEXT),
            {"type": "text", "analyzer": "assay_text", "search_analyzer": "assay_words", "norms": False},
        ),
        (Field("f", FieldType.INTEGER, index=IndexType.LONG), {"type": "long"}),
        (Field("f", FieldType.NUMBER, index=IndexType.DOUBLE), {"type": "double"}),
        (Field("f", FieldType.BOOLEAN, index=IndexType.BOOLEAN), {"type": "boolean"}),
        (
            Field("f", FieldType.TIMESTAMP, index=IndexType.DATE),
            {"type": "date_nanos", "format": "rfc3339_lenient", "ignore_malformed": True},
        ),
        (Field("f", FieldType.STRING, index=IndexType.NONE), {"type": "keyword", "index": False, "doc_values": False}),
        (Field("f", FieldType.INTEGER, index=IndexType.NONE), {"type": "long", "index": False, "doc_values": False}),
    ],
)
def test_types(field: Field, expected: dict[str, object]) -> None:
    assert mapping(small(field))["properties"]["f"] == expected


def test_attributes_too_large_or_deep_for_a_flat_object_are_only_stored() -> None:
    # A longer value refuses the document, a deeper one ends the node.
    assert mapping(EVENTS)["properties"]["attributes"] == {"type": "flat_object"}
    for wide in (replace(EVENTS, attributes_max_bytes=32_001), replace(EVENTS, max_depth=101)):
        assert mapping(wide)["properties"]["attributes"] == {"type": "object", "enabled": False}


def test_an_acknowledged_bulk_is_durable_and_half_built_indices_do_not_serve() -> None:
    template = index_template(EVENTS, shards=2, replicas=1, refresh="5s")
    settings = template["template"]["settings"]["index"]
    assert settings["translog.durability"] == "request"
    assert (settings["number_of_shards"], settings["number_of_replicas"], settings["refresh_interval"]) == (2, 1, "5s")
    assert "aliases" not in template["template"]
    assert template["index_patterns"] == ["logs-events-*"]


def test_the_mapping_version_tells_a_changed_mapping_and_only_that() -> None:
    assert mapping_version(EVENTS) == mapping_version(replace(EVENTS, version="9.9.9", retention=timedelta(1)))
    assert mapping_version(EVENTS) != mapping_version(replace(EVENTS, fields=EVENTS.fields[1:]))


def test_another_system_object_is_another_layout_of_documents() -> None:
    """An index of another layout is built anew. Whoever changes this object raises `DOCUMENT_LAYOUT`, and then this test."""
    assert list(mapping(EVENTS)["properties"]["_assay"]["properties"]) == [
        *("seq", "shard", "position", "hash", "contract", "key_id", "history", "unlimited_only"),
    ]
    assert DOCUMENT_LAYOUT == 1


def test_document_ids() -> None:
    # A topic's id may hold the separators of base64url.
    name = document_id("-_Ab12cdEFGH", 7, 12345678901)
    assert name == "-_Ab12cd.7.12345678901"
    found = parse_document_id(name)
    assert (found.source, found.shard, found.position) == ("-_Ab12cd", 7, 12345678901)
    for wrong in ("", "a.b.c", "a.1", "a.1.2.3", "a/b.1.2"):
        with pytest.raises(ValueError, match="not a document id"):
            parse_document_id(wrong)


@pytest.mark.parametrize(
    ("found", "creates"),
    [
        ({"defaults": {"action": {"auto_create_index": "false"}}}, False),
        (
            {
                "persistent": {"action": {"auto_create_index": False}},
                "defaults": {"action": {"auto_create_index": "true"}},
            },
            False,
        ),
        (
            {
                "transient": {"action": {"auto_create_index": "true"}},
                "persistent": {"action": {"auto_create_index": "false"}},
            },
            True,
        ),
        ({"persistent": {"action": {"auto_create_index": "-logs-*,+*"}}}, True),
        ({}, True),  # OpenSearch's own default
    ],
)
def test_a_node_that_creates_indices_by_itself_is_noticed(found: dict[str, object], creates: bool) -> None:
    assert auto_creates(found) is creates
