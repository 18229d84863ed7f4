"""Which changes of a contract break readers, and that they are refused without a new major version."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from platform_assets.contracts.compat import breaking_changes, check_compatible, from_json, to_json
from platform_assets.contracts.errors import ContractError
from platform_assets.contracts.model import Contract, Field, FieldType, Grain, IndexType, InvalidBytes, Mask, Rule
from platform_assets.contracts.read import load_contracts


@pytest.fixture(scope="module")
def logs() -> Contract:
    return with_version(load_contracts()["logs"], "1.0.0")


def with_version(contract: Contract, version: str) -> Contract:
    tables = tuple(replace(table, version=version) for table in contract.tables)
    return replace(contract, version=version, tables=tables)


def with_table(contract: Contract, which: str, /, **values: Any) -> Contract:
    tables = tuple(replace(table, **values) if table.name == which else table for table in contract.tables)
    return replace(contract, tables=tables)


def with_field(contract: Contract, table: str, which: str, /, **values: Any) -> Contract:
    fields = tuple(replace(f, **values) if f.name == which else f for f in contract.table(table).fields)
    return with_table(contract, table, fields=fields)


def with_computed(contract: Contract, expression: str, more: str = "half", **values: Any) -> Contract:
    """Columns `half`, computed so, and `twin`, computed of another."""
    columns = (
        Field(name="half", type=FieldType.INTEGER, computed=expression, index=IndexType.LONG, **values),
        Field(name="twin", type=FieldType.INTEGER, computed=more, index=IndexType.LONG),
    )
    return with_table(contract, "events", fields=contract.table("events").fields + columns)


BREAKING: dict[str, tuple[Any, str]] = {
    "table removed": (lambda c: replace(c, tables=c.tables[:2]), "table broker was removed"),
    "field removed": (
        lambda c: with_table(c, "events", fields=c.table("events").fields[:-1]),
        "events.message was removed",
    ),
    "field renamed": (lambda c: with_field(c, "events", "host", name="machine"), "events.host was removed"),
    "type changed": (
        lambda c: with_field(c, "events", "status", type=FieldType.NUMBER),
        "events.status: the type changed",
    ),
    "mask dropped": (
        lambda c: with_field(c, "events", "message", mask=Mask.NONE),
        "the mask changed from scrub_addresses to none",
    ),
    "mask weaker": (
        lambda c: with_field(c, "events", "message", mask=Mask.SCRUB),
        "events.message: the mask changed from scrub_addresses to scrub",
    ),
    "mask of another kind": (
        lambda c: with_field(c, "broker", "message", mask=Mask.HMAC),
        "broker.message: the mask changed from scrub to hmac",
    ),
    "attributes' mask weaker": (
        lambda c: with_table(c, "events", attributes_mask=Mask.SCRUB),
        "events: the attributes' mask changed from scrub_addresses to scrub",
    ),
    "source changed": (lambda c: with_field(c, "events", "host", source="h"), "the name in the message changed"),
    "time format": (lambda c: with_field(c, "broker", "event_time", time_formats=("%Y",)), "the time formats changed"),
    "made required": (lambda c: with_field(c, "events", "host", required=True), "events.host: became required"),
    "made optional": (lambda c: with_field(c, "events", "service", required=False), "events.service: became optional"),
    "enum lost a value": (lambda c: with_field(c, "events", "level", enum=("INFO",)), "lost the allowed value TRACE"),
    "enum new": (lambda c: with_field(c, "events", "host", enum=("a",)), "limited to an enumeration"),
    "pattern new": (lambda c: with_field(c, "events", "host", pattern="a+"), "must now match a+"),
    "minimum up": (lambda c: with_field(c, "events", "status", minimum=Decimal(200)), "minimum rose from 100 to 200"),
    "bound excluded": (
        lambda c: with_field(c, "events", "latency_ms", minimum=None, exclusive_minimum=Decimal(0)),
        "latency_ms: its minimum rose from 0 to 0 (excluded)",
    ),
    "excluded bound down": (
        lambda c: with_field(c, "events", "status", exclusive_maximum=Decimal(599)),
        "its maximum fell from 599 to 599 (excluded)",
    ),
    "now computed": (
        lambda c: with_field(c, "events", "host", source="", computed="service"),
        "events.host: the name in the message changed from host to none",
    ),
    "checked column": (
        lambda c: with_computed(c, "status", minimum=Decimal(1)),
        "events: rows must now keep the checks of the computed column half",
    ),
    "minimum new": (lambda c: with_field(c, "events", "status", maximum=Decimal(500)), "maximum fell from 599 to 500"),
    "maximum new": (lambda c: with_field(c, "events", "latency_ms", maximum=Decimal(9)), "maximum fell from none to 9"),
    "shorter": (lambda c: with_field(c, "events", "host", max_length=10), "maxLength fell from 255 to 10"),
    "null value new": (lambda c: with_field(c, "access", "agent", null_values=("-", "?")), "'?' now stands for absent"),
    "null value lost": (
        lambda c: with_field(c, "access", "bytes", null_values=()),
        "access.bytes: '-' no longer stands for absent",
    ),
    "no longer searchable": (
        lambda c: with_field(c, "events", "trace_id", index=IndexType.NONE),
        "events.trace_id: the index changed from keyword to none",
    ),
    "searched in another way": (
        lambda c: with_field(c, "events", "message", index=IndexType.KEYWORD),
        "events.message: the index changed from text to keyword",
    ),
    "cut elsewhere": (
        lambda c: with_table(c, "broker", frame_start=r"^\["),
        r"broker: the frameStart changed from ^\[\d{4}-\d{2}-\d{2}[ T] to ^\[",
    ),
    "history sooner": (lambda c: with_table(c, "events", lateness=timedelta(days=1)), "lateness was lowered"),
    "key": (lambda c: with_table(c, "events", key=("trace_id",)), "the key changed from service, event_id to trace_id"),
    "grain": (lambda c: with_table(c, "events", grain=Grain.HOUR), "the partition grain changed from day to hour"),
    "topic": (lambda c: with_table(c, "events", topic="logs.other"), "the topic changed"),
    "event time": (lambda c: with_table(c, "events", event_time="other"), "the event time changed"),
    "pattern": (lambda c: with_table(c, "access", patterns=("^x$",)), "the pattern changed"),
    "invalid bytes": (
        lambda c: with_table(c, "access", invalid_bytes=InvalidBytes.REJECT),
        "the invalidBytes changed from escape to reject",
    ),
    "attributes gone": (lambda c: with_table(c, "events", attributes=None), "the attributes column changed"),
    "limit down": (lambda c: with_table(c, "events", max_bytes=10), "maxBytes was lowered"),
    "forgets sooner": (lambda c: with_table(c, "events", retention=timedelta(days=3)), "retention was lowered"),
    "new and required": (
        lambda c: with_table(
            c, "events", fields=(*c.table("events").fields, Field("x", FieldType.STRING, required=True))
        ),
        "events.x is new and required",
    ),
}


@pytest.mark.parametrize("case", BREAKING)
def test_a_breaking_change_needs_a_major_version(logs: Contract, case: str) -> None:
    change, expected = BREAKING[case]
    new = change(logs)
    assert expected in "\n".join(breaking_changes(logs, new))
    for version in ("1.0.1", "1.1.0"):
        with pytest.raises(ContractError) as caught:
            check_compatible(logs, with_version(new, version))
        assert "2.0.0" in caught.value.hint
    check_compatible(logs, with_version(new, "2.0.0"))


def decimal(contract: Contract, precision: int, scale: int, *, text_too: bool = False) -> Contract:
    """With the field `latency_ms` as a decimal."""
    changed = {"type": FieldType.DECIMAL, "index": IndexType.DECIMAL, "precision": precision, "scale": scale}
    return with_field(contract, "events", "latency_ms", minimum=None, text_too=text_too, **changed)


def test_a_decimal_may_gain_digits_before_the_point_and_nothing_else(logs: Contract) -> None:
    old = decimal(logs, 18, 8, text_too=True)
    assert breaking_changes(old, decimal(logs, 20, 8, text_too=True)) == []
    assert breaking_changes(old, decimal(logs, 17, 8, text_too=True)) == [
        "events.latency_ms: its precision fell from 18 to 17"
    ]
    assert breaking_changes(old, decimal(logs, 20, 10, text_too=True)) == [
        "events.latency_ms: the scale changed from 8 to 10"
    ]
    assert breaking_changes(old, decimal(logs, 18, 8)) == ["events.latency_ms: is no longer read from texts (textToo)"]
    assert "events.latency_ms: the type changed from number to decimal" in breaking_changes(logs, decimal(logs, 18, 8))
    assert from_json(to_json(old)) == old


HARMLESS: dict[str, Any] = {
    "optional field": lambda c: with_table(
        c, "events", fields=(*c.table("events").fields, Field("x", FieldType.STRING, source="x"))
    ),
    "new table": lambda c: replace(c, tables=(*c.tables, replace(c.tables[0], name="more", topic="logs.more"))),
    "the same bound, excluded": lambda c: with_field(
        c, "events", "status", minimum=None, exclusive_minimum=Decimal(99), maximum=None, exclusive_maximum=Decimal(600)
    ),
    "computed": lambda c: with_computed(c, "status // 2"),
    "wider": lambda c: with_field(c, "events", "status", minimum=None, maximum=Decimal(999)),
    "enum grew": lambda c: with_field(c, "events", "level", enum=(*c.table("events").field("level").enum, "PANIC")),
    "enum dropped": lambda c: with_field(c, "events", "level", enum=()),
    "longer": lambda c: with_field(c, "events", "host", max_length=None),
    "field that was an unknown member": lambda c: with_table(
        c, "events", fields=(*c.table("events").fields, Field("route", FieldType.INTEGER, source="route"))
    ),
    "waits longer": lambda c: with_table(c, "events", lateness=timedelta(days=3)),
    "words": lambda c: replace(c, description="Other words."),
    "mask stronger": lambda c: with_field(c, "broker", "message", mask=Mask.SCRUB_ADDRESSES),
    "kept longer": lambda c: with_table(c, "events", retention=timedelta(days=99)),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_a_harmless_change_needs_any_higher_version(logs: Contract, case: str) -> None:
    new = HARMLESS[case](logs)
    assert breaking_changes(logs, new) == []
    with pytest.raises(ContractError, match=r"its version 1\.0\.0 is unchanged"):
        check_compatible(logs, new)
    with pytest.raises(ContractError, match=r"is lower than 1\.0\.0"):
        check_compatible(logs, with_version(new, "0.9.0"))
    check_compatible(logs, with_version(new, "1.1.0"))


def test_a_stronger_mask_of_attributes_needs_any_higher_version(logs: Contract) -> None:
    old = with_table(logs, "events", attributes_mask=Mask.SCRUB)
    check_compatible(old, with_version(logs, "1.1.0"))
    with pytest.raises(ContractError, match=r"its version 1\.0\.0 is unchanged"):
        check_compatible(old, logs)
    # A contract kept by a release that knew no such mask says nothing of it.
    assert from_json(to_json(old).replace('"attributes_mask":"scrub",', "")) == old


def test_a_field_may_become_searchable(logs: Contract) -> None:
    hidden = with_field(logs, "events", "trace_id", index=IndexType.NONE)
    assert breaking_changes(hidden, logs) == []


def test_an_unchanged_contract_is_accepted(logs: Contract) -> None:
    check_compatible(logs, logs)
    check_compatible(from_json(to_json(logs)), logs)


def test_versions_compare_as_numbers(logs: Contract) -> None:
    check_compatible(with_version(logs, "1.9.0"), with_version(logs, "1.10.0"))


def test_the_kept_form_is_exact_and_stable(logs: Contract) -> None:
    assert from_json(to_json(logs)) == logs
    assert to_json(from_json(to_json(logs))) == to_json(logs)
    with pytest.raises(ContractError, match="cannot be read"):
        from_json('{"system": 1}')
    with pytest.raises(ContractError, match="cannot be read"):
        from_json("no json")


def test_another_expression_needs_a_minor_version(logs: Contract) -> None:
    old = with_computed(logs, "status // 2")
    for new in (with_computed(logs, "status // 3"), with_computed(logs, "status // 2", "half + 1")):
        with pytest.raises(ContractError, match=r"is computed in another way, and its version 1\.0\.1 is a patch"):
            check_compatible(old, with_version(new, "1.0.1"))
        check_compatible(old, with_version(new, "1.1.0"))
    check_compatible(logs, with_version(old, "1.0.1"))  # new columns change no value
    assert from_json(to_json(old)) == old


def test_rules_and_checks_on_what_is_computed_in_another_way_break(logs: Contract) -> None:
    rules = (Rule("small", "twin < 100"), Rule("loud", "level <> 'x'"))
    old, new = (with_table(with_computed(logs, e), "events", rules=rules) for e in ("status // 2", "status // 3"))
    assert breaking_changes(old, new) == ["events: the rule small uses twin, which is now computed differently"]
    checked = with_computed(logs, "status // 3", exclusive_minimum=Decimal(1))
    assert breaking_changes(with_computed(logs, "status // 2", exclusive_minimum=Decimal(1)), checked) == [
        "events: rows must now keep the checks of the computed column half"
    ]
    assert breaking_changes(old, logs)[:2] == ["events.half was removed", "events.twin was removed"]
