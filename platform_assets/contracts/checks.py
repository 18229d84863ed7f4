"""Whether a contract can be kept: names, keys, event time, expressions, masks.

Belongs here: rules over the model, so that a contract from any source obeys them. Does not belong here: ODCS.
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from platform_assets.contracts.errors import at
from platform_assets.contracts.model import (
    Contract,
    Field,
    FieldType,
    Format,
    Grain,
    IndexType,
    InvalidBytes,
    Mask,
    Table,
)
from platform_assets.contracts.types import NUMERIC, TYPES, type_name

IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,62}")
TOPIC = re.compile(r"[a-z][a-z0-9_.-]{0,248}")
VERSION = re.compile(r"(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})")
RESERVED_COLUMNS = frozenset({"event_partition", "assay", "assay_progress"})
MAX_MESSAGE_BYTES = 10 * 1024 * 1024
"""Topics accept a little more, so that what is too large arrives and is quarantined."""

RESERVED_SYSTEMS = frozenset({"assay"})
RESERVED_TABLES = frozenset({"alerts"})
"""`<system>-alerts` is the index of the system's alerts."""
_INT64 = (Decimal(-(2**63)), Decimal(2**63 - 1))
TIME_SPECIFIERS = frozenset("aAbBdHIjmMpSyYzfgn%-")
"""What DuckDB's strptime reads without a time zone's name (`%Z` is refused: names are ambiguous)."""


def validate(contract: Contract) -> None:
    """Raise ContractError for the first rule that the contract breaks."""
    _identifier(contract.system, "name")
    if contract.system in RESERVED_SYSTEMS:
        raise at("name", f"'{contract.system}' is reserved", "another name")
    if not VERSION.fullmatch(contract.version):
        raise at("version", f"'{contract.version}' is no semantic version", "MAJOR.MINOR.PATCH, e.g. 1.0.0")
    if not contract.tables:
        raise at("schema", "has no table", "one or more")
    names = [table.name for table in contract.tables]
    topics = [table.topic for table in contract.tables]
    for what, values in (("table name", names), ("topic", topics)):
        if twice := next((value for value in values if values.count(value) > 1), None):
            raise at("schema", f"the {what} '{twice}' is used twice", "distinct ones")
    for table in contract.tables:
        _table(table)


def _identifier(name: str, place: str) -> None:
    if not IDENTIFIER.fullmatch(name):
        raise at(
            place, f"'{name}' is no identifier", "a lower-case letter, then up to 62 letters, digits or underscores"
        )


def _table(table: Table) -> None:
    place = f"schema[{table.name}]"
    _identifier(table.name, place)
    if table.name in RESERVED_TABLES:
        raise at(place, f"'{table.name}' is reserved", "another name")
    if not TOPIC.fullmatch(table.topic):
        raise at(
            f"{place}.physicalName", f"'{table.topic}' is no topic name", "lower-case letters, digits, '.', '_', '-'"
        )
    names = [field.name for field in table.fields]
    if table.attributes:
        names.append(table.attributes)
    sources = [field.source for field in table.fields]
    for what, values in (("name", names), ("physicalName", sources)):
        if twice := next((value for value in values if values.count(value) > 1), None):
            raise at(f"{place}.properties[{twice}]", f"this {what} is used twice", "each field its own")
    for name in names:
        _identifier(name, f"{place}.properties[{name}]")
        if name in RESERVED_COLUMNS:
            raise at(f"{place}.properties[{name}]", "this name is reserved", "another name")
    for field in table.fields:
        _field(table, field, f"{place}.properties[{field.name}]")
    if not table.attributes_mask.scrubs:
        raise at(
            f"{place}.properties[{table.attributes}].customProperties[mask]",
            f"is '{table.attributes_mask}', but unknown fields may hold anything",
            ", ".join(mask for mask in Mask if mask.scrubs),
        )
    _event_time(table, place)
    _key(table, place)
    _format(table, place)
    _limits(table, place)
    if missing := [name for name in table.display if name not in names]:
        raise at(f"{place}.customProperties[display]", f"there is no field '{missing[0]}'", ", ".join(names))


def _field(table: Table, field: Field, place: str) -> None:
    if not field.source or "\x00" in field.source:
        raise at(f"{place}.physicalName", "is empty or holds a NUL", "the name in the message")
    if field.index not in TYPES[field.type].indexes:
        raise at(
            f"{place}.customProperties[index]",
            f"'{field.index}' does not fit type {field.type}",
            ", ".join(TYPES[field.type].indexes),
        )
    _mask(field, place)
    if field.type is not FieldType.STRING and (field.enum or field.pattern or field.max_length):
        raise at(place, f"enum, pattern and maxLength do not fit type {field.type}", "minimum and maximum for numbers")
    _bounds(table, field, place)
    if field.pattern is not None:
        check_regex(field.pattern, f"{place}.pattern")
    if field.time_format is not None:
        if field.type is not FieldType.TIMESTAMP:
            raise at(f"{place}.customProperties[timeFormat]", f"does not fit type {field.type}", "timestamp")
        _time_format(field.time_format, f"{place}.customProperties[timeFormat]")


def _bounds(table: Table, field: Field, place: str) -> None:
    bounds = {
        name: bound for name, bound in (("minimum", field.minimum), ("maximum", field.maximum)) if bound is not None
    }
    if bounds and field.type not in NUMERIC:
        raise at(place, f"minimum and maximum do not fit type {field.type}", "integer or number")
    least, greatest = value_range(field)
    for name, bound in bounds.items():
        if not least <= bound <= greatest:
            raise at(
                f"{place}.logicalTypeOptions.{name}", f"{bound} is no {type_name(field)}", f"{least} to {greatest}"
            )
    if field.minimum is not None and field.maximum is not None and field.minimum > field.maximum:
        raise at(place, f"minimum {field.minimum} is over maximum {field.maximum}", "minimum <= maximum")
    if field.text_too and (field.type is not FieldType.DECIMAL or table.format is not Format.JSON):
        raise at(f"{place}.customProperties[textToo]", "is for decimals of JSON messages", "physicalType: decimal(p,s)")


def value_range(field: Field) -> tuple[Decimal, Decimal]:
    """The least and the greatest value of a field's type."""
    if field.type is FieldType.INTEGER:
        return _INT64
    if field.type is FieldType.DECIMAL:
        greatest = Decimal((0, (9,) * field.precision, -field.scale))
        return greatest.copy_negate(), greatest
    return Decimal("-1.7976931348623157e308"), Decimal("1.7976931348623157e308")


def _mask(field: Field, place: str) -> None:
    if field.pii and field.mask is Mask.NONE:
        raise at(
            place,
            "is classified as pii and would be stored in clear",
            "the custom property mask: hmac, scrub or scrub_addresses",
        )
    if field.mask is not Mask.NONE and field.type is not FieldType.STRING:
        raise at(
            f"{place}.customProperties[mask]", f"a field of type {field.type} cannot be masked", "logicalType: string"
        )
    if field.mask is Mask.HMAC and field.index is IndexType.TEXT:
        raise at(f"{place}.customProperties[index]", "a masked value is no text", "keyword or none")
    if field.mask is Mask.HMAC and not field.pii:
        raise at(f"{place}.classification", "is masked by HMAC but not classified", "classification: pii")


def _event_time(table: Table, place: str) -> None:
    field = next((field for field in table.fields if field.name == table.event_time), None)
    if (
        field is None
        or field.type is not FieldType.TIMESTAMP
        or not field.required
        or field.index is not IndexType.DATE
    ):
        raise at(
            f"{place}.properties[{table.event_time}]",
            "cannot be the event time",
            "a required, searchable field of type timestamp",
        )


def _key(table: Table, place: str) -> None:
    for name in table.key:
        field = next((field for field in table.fields if field.name == name), None)
        if field is None or not field.required:
            raise at(f"{place}.properties[{name}]", "is part of the key but not required", "required: true")
        if field.mask is not Mask.NONE:
            raise at(
                f"{place}.properties[{name}]",
                "is part of the key and masked",
                "a key that stays the same when the masking key rotates",
            )
    if table.dedupe_window is None:
        return
    where = f"{place}.customProperties[dedupeWindow]"
    if not table.key:
        raise at(where, "a table without a key has no duplicates", "primaryKey: true on a property")
    if timedelta(days=1) / (1 if table.grain is Grain.DAY else 24) % table.dedupe_window:
        raise at(where, f"does not divide the partition's {table.grain}", "e.g. 10m or 1h")


def _format(table: Table, place: str) -> None:
    if table.frame_start is not None:
        check_regex(table.frame_start, f"{place}.customProperties[frameStart]")
        if not table.frame_start.startswith("^"):
            raise at(f"{place}.customProperties[frameStart]", "is not anchored", "begin with ^, the start of a line")
    if table.format is Format.JSON:
        if table.patterns or table.frame_start is not None or table.invalid_bytes is not InvalidBytes.REJECT:
            raise at(
                f"{place}.customProperties",
                "pattern, frameStart and invalidBytes do not fit format json",
                "format: regex",
            )
        return
    if table.attributes is not None:
        raise at(f"{place}.properties[{table.attributes}]", "a text line has no unknown fields to keep", "format: json")
    where = f"{place}.customProperties[pattern]"
    if not table.patterns:
        raise at(where, "is missing", "an RE2 expression with named groups, or a list of them")
    compiled = [_line_pattern(pattern, where) for pattern in table.patterns]
    sources = {field.source for field in table.fields}
    found = {group for one in compiled for group in one.groupindex}
    if missing := sorted(sources - found):
        raise at(where, f"has no group '{missing[0]}'", f"a group for each field; found {', '.join(sorted(found))}")
    if unused := sorted(found - sources):
        raise at(where, f"no field takes the group '{unused[0]}'", "(?:…) for what is not kept")
    required = sorted({field.source for field in table.fields if field.required})
    if missing := [name for name in required if not all(name in one.groupindex for one in compiled)]:
        raise at(where, f"one of the list has no group '{missing[0]}'", "every required field in each of the list")
    if table.sample and not any(one.search(table.sample) for one in compiled):
        raise at(f"{place}.customProperties[sample]", "does not match the pattern", "a message as it arrives")


def _line_pattern(pattern: str, where: str) -> re.Pattern[str]:
    """One pattern of a text line, apart from which fields it gives."""
    compiled = check_regex(pattern, where)
    if not re.match(r"(\(\?[a-z]+\))?\^", pattern) or not pattern.endswith("$") or pattern.endswith("\\$"):
        raise at(where, "is not anchored", "begin with ^ (flags before it) and end with $")
    if compiled.groups != len(compiled.groupindex):
        raise at(where, "has a group without a name", "(?P<name>…) or (?:…)")
    if len({name.lower() for name in compiled.groupindex}) != len(compiled.groupindex):
        raise at(where, "has two groups whose names differ by case only", "names that the engine can tell apart")
    return compiled


def _limits(table: Table, place: str) -> None:
    if not table.freshness_warn <= table.freshness_fail:
        raise at(
            "slaProperties[latency]", f"valueExt is below value for {table.name}", "value (warn) <= valueExt (fail)"
        )
    if table.retention < table.lateness:
        raise at("slaProperties[retention]", f"is shorter than the lateness of {table.name}", "at least the lateness")
    if table.bronze_retention < table.lateness:
        raise at(f"{place}.customProperties[bronzeRetention]", "is shorter than the lateness", "at least the lateness")
    if table.max_bytes > MAX_MESSAGE_BYTES:
        raise at(f"{place}.customProperties[maxBytes]", f"is {table.max_bytes}", f"at most {MAX_MESSAGE_BYTES}")
    if not table.topic_partitions <= 1024:
        raise at(f"{place}.customProperties[topicPartitions]", f"is {table.topic_partitions}", "1 to 1024")


def _time_format(text: str, place: str) -> None:
    used = re.findall(r"%(-?.|$)", text, re.DOTALL)
    for specifier in used:
        if not specifier or specifier.lstrip("-") not in TIME_SPECIFIERS:
            raise at(place, f"'%{specifier}' is not supported", "DuckDB's strptime: %Y %m %d %H %M %S %f %g %z %b …")
    if not {"Y", "d"} <= {specifier.lstrip("-") for specifier in used} and "j" not in used:
        raise at(place, f"'{text}' does not give a full date", "%Y, %m or %b, %d")


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
