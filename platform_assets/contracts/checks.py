"""Whether a contract can be kept: names, keys, event time, expressions, masks.

Belongs here: rules over the model, each told with its place, so that a contract from any source obeys them and all mistakes are
known at once. Does not belong here: ODCS.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc

from platform_assets.contracts.bounds import bound_mistakes
from platform_assets.contracts.errors import at
from platform_assets.contracts.field_roles import role_mistakes
from platform_assets.contracts.formats import format_of
from platform_assets.contracts.model import (
    Contract,
    Field,
    FieldType,
    Grain,
    IndexPeriod,
    IndexType,
    Mask,
    Table,
)
from platform_assets.contracts.periods import MAX_INDICES, indices_needed
from platform_assets.contracts.times import time_mistakes
from platform_assets.contracts.types import TYPES
from platform_assets.core.errors import Mistake, Mistakes

IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,62}")
TOPIC = re.compile(r"[a-z][a-z0-9_.-]{0,248}")
VERSION = re.compile(r"(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})")
RESERVED_COLUMNS = frozenset({"event_partition", "assay", "assay_progress"})
MAX_MESSAGE_BYTES = 10 * 1024 * 1024
"""Topics accept a little more, so that what is too large arrives and is quarantined."""

RESERVED_SYSTEMS = frozenset(
    {
        "assay",
        *("alerts", "reports", "status", "systems"),  # routes of the API beside `/v1/<system>`
        *(
            "asked",
            "audit",
            "built",
            "closed",
            "gold",
            "lake",
            "main",
            "request",
            "steps",
            "touched",
        ),  # schemas of a refresh
        *("information_schema", "pg_catalog", "system", "temp"),  # DuckDB's own
    }
)
RESERVED_TABLES = frozenset({"alerts"})
"""`<system>-alerts` is the index of the system's alerts."""


def mistakes_of(contract: Contract, partial: Collection[str] = ()) -> Iterator[Mistake]:
    """Every rule that the contract breaks. Of the `partial` tables, which are not whole, only single fields are looked at."""
    yield from _identifier(contract.system, "name")
    if contract.system in RESERVED_SYSTEMS:
        yield from _wrong("name", f"'{contract.system}' is reserved", "another name, e.g. my_" + contract.system)
    if not VERSION.fullmatch(contract.version):
        yield from _wrong("version", f"'{contract.version}' is no semantic version", "MAJOR.MINOR.PATCH, e.g. 1.0.0")
    if not contract.tables and not partial:
        yield from _wrong("schema", "has no table", "one or more")
    names = [table.name for table in contract.tables]
    topics = [table.topic for table in contract.tables]
    for what, values in (("table name", names), ("topic", topics)):
        for twice in _twice(values):
            yield from _wrong("schema", f"the {what} '{twice}' is used twice", "distinct ones")
    for table in contract.tables:
        if table.name not in partial:
            yield from _table(table)
        else:
            for field in table.fields:
                yield from _field(table, field, f"schema[{table.name}].properties[{field.name}]")
            yield from _limits(table, f"schema[{table.name}]")


def _identifier(name: str, place: str) -> Iterator[Mistake]:
    if not IDENTIFIER.fullmatch(name):
        yield from _wrong(
            place, f"'{name}' is no identifier", "a lower-case letter, then up to 62 letters, digits or underscores"
        )


def _table(table: Table) -> Iterator[Mistake]:
    place = f"schema[{table.name}]"
    yield from _identifier(table.name, place)
    if table.name in RESERVED_TABLES:
        yield from _wrong(place, f"'{table.name}' is reserved", "another name")
    if not TOPIC.fullmatch(table.topic):
        yield from _wrong(
            f"{place}.physicalName", f"'{table.topic}' is no topic name", "lower-case letters, digits, '.', '_', '-'"
        )
    names = [field.name for field in table.fields]
    if table.attributes:
        names.append(table.attributes)
    sources = [field.source for field in table.sent]
    for what, values in (("name", names), ("physicalName", sources)):
        for twice in _twice(values):
            yield from _wrong(f"{place}.properties[{twice}]", f"this {what} is used twice", "each field its own")
    for name in names:
        yield from _identifier(name, f"{place}.properties[{name}]")
        if name in RESERVED_COLUMNS:
            yield from _wrong(f"{place}.properties[{name}]", "this name is reserved", "another name")
    for field in table.fields:
        yield from _field(table, field, f"{place}.properties[{field.name}]")
    if not table.attributes_mask.scrubs:
        yield from _wrong(
            f"{place}.properties[{table.attributes}].customProperties[mask]",
            f"is '{table.attributes_mask}', but unknown fields may hold anything",
            ", ".join(mask for mask in Mask if mask.scrubs),
        )
    yield from _event_time(table, place)
    yield from _key(table, place)
    yield from format_of(table).check(table, place)
    yield from _limits(table, place)
    for rule in table.rules:
        yield from _identifier(rule.name, f"{place}.quality[{rule.name}]")
    for twice in _twice([rule.name for rule in table.rules]):
        yield from _wrong(f"{place}.quality[{twice}]", "this name is used twice", "each rule its own")
    yield from _periods(table, place)
    yield from role_mistakes(table, place)
    for name in (name for name in table.display if name not in names):
        yield from _wrong(f"{place}.customProperties[display]", f"there is no field '{name}'", ", ".join(names))


def _field(table: Table, field: Field, place: str) -> Iterator[Mistake]:
    if field.computed is not None:
        yield from _computed(table, field, place)
    elif not field.composed_of and (not field.source or "\x00" in field.source):
        yield from _wrong(f"{place}.physicalName", "is empty or holds a NUL", "the name in the message")
    if field.index not in TYPES[field.type].indexes:
        yield from _wrong(
            f"{place}.customProperties[index]",
            f"'{field.index}' does not fit type {field.type}",
            ", ".join(TYPES[field.type].indexes),
        )
    yield from _mask(field, place)
    if field.type is not FieldType.STRING and (field.enum or field.pattern or field.max_length):
        yield from _wrong(
            place, f"enum, pattern and maxLength do not fit type {field.type}", "minimum and maximum for numbers"
        )
    yield from bound_mistakes(table, field, place)
    if field.pattern is not None:
        yield from _found(check_regex, field.pattern, f"{place}.pattern")
    yield from time_mistakes(table, field, place)


def _computed(table: Table, field: Field, place: str) -> Iterator[Mistake]:
    """What a computed column cannot be. What its expression may use is asked of the engine (`transform/expressions.py`)."""
    where = f"{place}.customProperties[computed]"
    roles = {
        "the event time": field.name == table.event_time,
        "part of the key": field.name in table.key,
    }
    for role in (role for role, taken in roles.items() if taken):
        yield from _wrong(where, f"a computed column cannot be {role}", "a field of the message")
    if field.mask is not Mask.NONE or field.pii:
        yield from _wrong(where, "a computed column cannot be personal or masked", "one that is made of public fields")
    words = {
        "timeFormat": bool(field.time_formats),
        "composedOf": bool(field.composed_of),
        "nullValues": field.null_values,
        "textToo": field.text_too,
    }
    for name in (name for name, given in words.items() if given):
        said = "says how a message writes a value, and a computed column is in no message"
        yield from _wrong(f"{place}.customProperties[{name}]", said, "leave it out")


def _mask(field: Field, place: str) -> Iterator[Mistake]:
    if field.pii and field.mask is Mask.NONE:
        yield from _wrong(
            place,
            "is classified as pii and would be stored in clear",
            "the custom property mask: hmac, scrub or scrub_addresses",
        )
    if field.mask is not Mask.NONE and field.type is not FieldType.STRING:
        yield from _wrong(
            f"{place}.customProperties[mask]", f"a field of type {field.type} cannot be masked", "logicalType: string"
        )
    if field.mask is Mask.HMAC and field.index is IndexType.TEXT:
        yield from _wrong(f"{place}.customProperties[index]", "a masked value is no text", "keyword or none")
    if field.mask is Mask.HMAC and not field.pii:
        yield from _wrong(f"{place}.classification", "is masked by HMAC but not classified", "classification: pii")


def _event_time(table: Table, place: str) -> Iterator[Mistake]:
    field = next((field for field in table.fields if field.name == table.event_time), None)
    if (
        field is None
        or field.type is not FieldType.TIMESTAMP
        or not field.required
        or field.index is not IndexType.DATE
    ):
        yield from _wrong(
            f"{place}.properties[{table.event_time}]",
            "cannot be the event time",
            "a required, searchable field of type timestamp",
        )


def _key(table: Table, place: str) -> Iterator[Mistake]:
    for name in table.key:
        field = next((field for field in table.fields if field.name == name), None)
        if field is None or not field.required:
            yield from _wrong(f"{place}.properties[{name}]", "is part of the key but not required", "required: true")
        if field is not None and field.mask is not Mask.NONE:
            yield from _wrong(
                f"{place}.properties[{name}]",
                "is part of the key and masked",
                "a key that stays the same when the masking key rotates",
            )
    if table.dedupe_window is None:
        return
    where = f"{place}.customProperties[dedupeWindow]"
    if not table.key:
        yield from _wrong(where, "a table without a key has no duplicates", "primaryKey: true on a property")
    if timedelta(days=1) / (1 if table.grain is Grain.DAY else 24) % table.dedupe_window:
        yield from _wrong(where, f"does not divide the partition's {table.grain}", "e.g. 10m or 1h")


def _limits(table: Table, place: str) -> Iterator[Mistake]:
    if not table.freshness_warn <= table.freshness_fail:
        yield from _wrong(
            "slaProperties[latency]", f"valueExt is below value for {table.name}", "value (warn) <= valueExt (fail)"
        )
    if table.retention < table.lateness:
        yield from _wrong(
            "slaProperties[retention]", f"is shorter than the lateness of {table.name}", "at least the lateness"
        )
    if table.bronze_retention < table.lateness:
        yield from _wrong(
            f"{place}.customProperties[bronzeRetention]", "is shorter than the lateness", "at least the lateness"
        )
    if table.max_bytes > MAX_MESSAGE_BYTES:
        yield from _wrong(
            f"{place}.customProperties[maxBytes]", f"is {table.max_bytes}", f"at most {MAX_MESSAGE_BYTES}"
        )
    if not table.topic_partitions <= 1024:
        yield from _wrong(f"{place}.customProperties[topicPartitions]", f"is {table.topic_partitions}", "1 to 1024")


def _wrong(place: str, problem: str, allowed: str = "") -> tuple[Mistake, ...]:
    return at(place, problem, allowed).mistakes


def _found(check: Callable[[str, str], object], text: str, place: str) -> list[Mistake]:
    """The mistakes of a check that raises them."""
    found = Mistakes()
    found.get(check, text, place)
    return found.found


def _twice(values: Iterable[str]) -> list[str]:
    """The values that are there more than once."""
    return [value for value, number in Counter(values).items() if number > 1]


def _periods(table: Table, place: str) -> Iterator[Mistake]:
    """Periods of the index: no shorter than a partition, and not so short that the table takes the node's shards."""
    order, where = list(IndexPeriod), f"{place}.customProperties[indexPeriod]"
    if order.index(table.index_period) < order.index(IndexPeriod(table.grain)):
        yield from _wrong(where, f"is '{table.index_period}', shorter than a partition", f"{table.grain} or longer")
    if order.index(table.history_period) < order.index(table.index_period):
        yield from _wrong(
            f"{place}.customProperties[historyPeriod]",
            f"is '{table.history_period}', shorter than the indexPeriod",
            f"{table.index_period} or longer",
        )
    indices = indices_needed(table.index_period, table.retention + table.lateness + table.max_ahead)
    if indices > MAX_INDICES:
        yield from _wrong(
            where,
            f"'{table.index_period}' would make {indices:,} indices within retention and lateness",
            f"a longer period: {MAX_INDICES} are allowed",
        )


def check_regex(pattern: str, place: str) -> re.Pattern[str]:
    """The expression as Python reads it, if RE2 takes it too and reads it alike.

    The engine that will run it is DuckDB, whose RE2 is asked by way of Arrow's: that is loaded anyway.
    """
    bare = re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "_", pattern, flags=re.DOTALL)
    if foreign := re.search(r"\{,\d*\}", bare):
        raise at(place, f"'{foreign[0]}' is a text in RE2, no repetition", "{0,n} for at most n")
    try:
        pc.match_substring_regex(pa.scalar(""), pattern)
        return re.compile(pattern, re.ASCII)
    except (pa.ArrowInvalid, re.error) as error:
        raise at(
            place,
            f"is no regular expression ({error})",
            "RE2 syntax with (?P<name>…) groups; no look-around, back references or possessive repetitions",
        ) from error
