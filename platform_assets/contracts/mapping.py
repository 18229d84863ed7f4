"""From the standard's model to the platform's: which ODCS property says what, and what is not understood.

Belongs here: reading values of a document and refusing what the platform would not honour. Does not belong here:
loading files, service levels (`service_levels.py`), checks across fields.

Standard properties where there is one: `name` (system), `version`, `team`, `schema` (tables) with
`physicalName` (topic); `properties` with `physicalName` (name in the message), `logicalType` and its options,
`required`, `enum`, `primaryKey`,
`partitioned` (the event time), `classification` (`pii`), a property of type `object` (where unknown fields are kept);
`slaProperties` latency (warn; `valueExt`: fail), retention, errorRate. The rest are the custom properties named below.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from decimal import Decimal, localcontext
from enum import StrEnum
from typing import Any, TypeVar

from open_data_contract_standard.model import (
    CustomProperty,
    DataQuality,
    OpenDataContractStandard,
    SchemaObject,
    SchemaProperty,
    Team,
)

from platform_assets.contracts.errors import at
from platform_assets.contracts.logical import stored_type
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
from platform_assets.contracts.service_levels import MAX_DURATION, ServiceLevels
from platform_assets.contracts.types import TYPES

CLASSIFICATIONS = ("public", "internal", "confidential", "restricted", "pii")
PII = "pii"
EXACT_DIGITS = 15
"""Digits of a number that YAML, which reads it as a float, certainly keeps."""
MAX_BOUND = 80
"""Characters of a bound."""

TABLE_PROPERTIES = (
    "format", "pattern", "frameStart", "partitionGrain", "maxBytes", "maxDepth", "maxFields", "maxAhead", "lateness",
    "bronzeRetention", "topicPartitions", "display", "sample", "dedupeWindow", "nullValues", "invalidBytes",
)  # fmt: skip
FIELD_PROPERTIES = ("mask", "index", "timeFormat", "nullValues", "textToo")
ATTRIBUTES_PROPERTIES = ("maxBytes", "mask")
FIXED_OPTIONS: dict[str, tuple[Any, ...]] = {
    "format": ("i64", "f64"),
    "timezone": (True, False),
    "defaultTimezone": ("UTC", "Etc/UTC"),
}
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]{1,3})?")
_FLAT = "flat fields; what is nested goes into the object property"
_AS_IS = "values as they are in the message; gold's models transform"
UNSUPPORTED: dict[str, str] = {
    "properties": _FLAT,
    "items": _FLAT,
    "map": _FLAT,
    "encryptedName": "the custom property mask",
    "transformLogic": _AS_IS,
    "transformSourceObjects": _AS_IS,
    "unique": "primaryKey: true, which makes rows unique within their dedupeWindow",
    "relationships": "tests in the dbt models",
}
"""Promises of a property that would not be kept, and what there is instead."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
OTHER_BOUNDS = (
    "mustNotBe", "mustBeGreaterThan", "mustBeGreaterOrEqualTo", "mustBeLessThan", "mustBeLessOrEqualTo",
    "mustBeBetween", "mustNotBeBetween",
)  # fmt: skip
_E = TypeVar("_E", bound=StrEnum)
_T = TypeVar("_T")


def map_contract(document: OpenDataContractStandard) -> Contract:
    """The model of a document. Raises ContractError for what is missing, misunderstood or not supported."""
    system = _text(document.name, "name", "the system's name, e.g. logs")
    version = _text(document.version, "version", "a semantic version, e.g. 1.0.0")
    if isinstance(document.team, Team):
        owner = document.team.name or ""
    else:
        owner = next((member.username or member.name or "" for member in document.team or []), "")
    if not owner:
        raise at("team.name", "is missing", "the team that answers for this data")
    for custom in document.customProperties or []:
        raise at(
            f"customProperties[{custom.property}]", "the document has none of its own", "those of tables and properties"
        )
    if document.slaDefaultElement is not None:
        raise at("slaDefaultElement", "is not supported", "element, at each of slaProperties")
    objects = document.schema_ or []
    levels = ServiceLevels(document.slaProperties or [], [str(table.name) for table in objects])
    tables = tuple(_table(table, system, version, levels) for table in objects)
    purpose = document.description.purpose if document.description else None
    return Contract(system=system, version=version, description=(purpose or "").strip(), owner=owner, tables=tables)


def _table(table: SchemaObject, system: str, version: str, levels: ServiceLevels) -> Table:
    name = _text(table.name, "schema[].name", "the table's name")
    place = f"schema[{name}]"
    custom = _custom(table.customProperties, TABLE_PROPERTIES, place)
    _refuse(table, ("relationships",), place)
    for rule in table.quality or []:
        if rule.type != "text":
            raise at(
                f"{place}.quality", "only rules of type 'text' are supported on a table", "put checks on properties"
            )
    return Table(
        system=system,
        name=name,
        version=version,
        description=(table.description or "").strip(),
        topic=table.physicalName or f"{system}.{name}",
        format=_choice(Format, custom.get("format"), f"{place}.customProperties[format]"),
        grain=_choice(Grain, custom.get("partitionGrain", Grain.DAY), f"{place}.customProperties[partitionGrain]"),
        **_columns(table.properties or [], f"{place}.properties", _null_values(custom, place, ())),
        **_options(custom, place),
        **levels.of(name),
    )


def _columns(items: Sequence[SchemaProperty], place: str, absent: tuple[str, ...]) -> dict[str, Any]:
    """The fields, which of them are the event time and the key, and the property that keeps unknown fields.

    `absent`: the texts that stand for "absent" in each optional field that names none of its own.
    """
    named = [(_text(item.name, f"{place}[].name", "the column's name"), item) for item in items]
    flat = [(name, item) for name, item in named if item.logicalType != "object"]
    return {
        "fields": tuple(_field(item, name, f"{place}[{name}]", absent) for name, item in flat),
        "event_time": _event_time(flat, place),
        "key": _key(flat, place),
        **_attributes([(name, item) for name, item in named if item.logicalType == "object"], place),
    }


def _event_time(named: Iterable[tuple[str, SchemaProperty]], place: str) -> str:
    times = [name for name, item in named if item.partitioned]
    if len(times) != 1:
        found = ", ".join(times) or "none"
        raise at(place, f"the event time is not clear (partitioned: {found})", "one timestamp with 'partitioned: true'")
    return times[0]


def _key(named: Iterable[tuple[str, SchemaProperty]], place: str) -> tuple[str, ...]:
    """The primary key in its order; a part without a position has its place among the fields."""
    parts = [
        (item.primaryKeyPosition or number, name) for number, (name, item) in enumerate(named, 1) if item.primaryKey
    ]
    if len({position for position, _ in parts}) != len(parts):
        raise at(place, "two properties have the same primaryKeyPosition", "1, 2, … in the key's order")
    return tuple(name for _, name in sorted(parts))


def _attributes(named: Sequence[tuple[str, SchemaProperty]], place: str) -> dict[str, Any]:
    """The object property's name and limit, where there is one."""
    if not named:
        return {}
    if len(named) > 1:
        (first, _), (second, _), *_ = named
        raise at(
            f"{place}[{second}]", f"a second property of type object ('{first}' is one)", "one, for unknown fields"
        )
    [(name, item)] = named
    place = f"{place}[{name}]"
    _refuse(item, UNSUPPORTED, place)
    if item.required or item.primaryKey or item.partitioned or item.logicalTypeOptions or item.enum or item.quality:
        raise at(
            place, "the object property keeps unknown fields and promises nothing", "name, description, maxBytes, mask"
        )
    custom = _custom(item.customProperties, ATTRIBUTES_PROPERTIES, place)
    found: dict[str, Any] = {"attributes": name}
    if "maxBytes" in custom:
        found["attributes_max_bytes"] = _whole(custom["maxBytes"], f"{place}.customProperties[maxBytes]")
    if "mask" in custom:
        found["attributes_mask"] = _choice(Mask, custom["mask"], f"{place}.customProperties[mask]")
    return found


def _options(custom: dict[str, Any], place: str) -> dict[str, Any]:
    """The table's custom properties that are values of their own, where given."""
    readers: dict[str, tuple[str, Callable[[Any, str], Any]]] = {
        "maxBytes": ("max_bytes", _whole),
        "maxDepth": ("max_depth", _whole),
        "maxFields": ("max_fields", _whole),
        "topicPartitions": ("topic_partitions", _whole),
        "maxAhead": ("max_ahead", _duration),
        "lateness": ("lateness", _duration),
        "bronzeRetention": ("bronze_retention", _duration),
        "dedupeWindow": ("dedupe_window", _duration),
        "pattern": ("patterns", _blocks),
        "invalidBytes": ("invalid_bytes", lambda value, where: _choice(InvalidBytes, value, where)),
        "frameStart": ("frame_start", _block),
        "sample": ("sample", _block),
        "display": ("display", _texts),
    }
    return {
        attribute: read(custom[name], f"{place}.customProperties[{name}]")
        for name, (attribute, read) in readers.items()
        if name in custom
    }


def _field(item: SchemaProperty, name: str, place: str, absent: tuple[str, ...]) -> Field:
    type_, precision, scale = stored_type(item, place)
    _refuse(item, UNSUPPORTED, place)
    custom = _custom(item.customProperties, FIELD_PROPERTIES, place)
    options = item.logicalTypeOptions or {}
    for option, value in options.items():
        if option not in TYPES[type_].options:
            allowed = ", ".join(TYPES[type_].options) or "none for this type"
            raise at(f"{place}.logicalTypeOptions.{option}", f"is not supported for {type_}", allowed)
        if option in FIXED_OPTIONS and value not in FIXED_OPTIONS[option]:
            raise at(
                f"{place}.logicalTypeOptions.{option}", f"is {value!r}", ", ".join(map(str, FIXED_OPTIONS[option]))
            )
    if item.classification is not None and item.classification not in CLASSIFICATIONS:
        raise at(f"{place}.classification", f"is {item.classification!r}", ", ".join(CLASSIFICATIONS))
    mask = _choice(Mask, custom.get("mask", Mask.NONE), f"{place}.customProperties[mask]")
    default_index = IndexType.TEXT if mask.scrubs and type_ is FieldType.STRING else TYPES[type_].indexes[0]
    enum, pattern = _quality(item.quality or [], place)
    if item.enum is not None:
        enum = _only(enum, _texts([entry.value for entry in item.enum], f"{place}.enum"), f"{place}.enum")
    if "pattern" in options:
        where = f"{place}.logicalTypeOptions.pattern"
        pattern = _only(pattern, _text(options["pattern"], where, "an RE2 expression"), where)
    max_length = options.get("maxLength")
    return Field(
        name=name,
        type=type_,
        description=(item.description or "").strip(),
        required=bool(item.required),
        source=item.physicalName or name,
        mask=mask,
        pii=item.classification == PII,
        index=_choice(IndexType, custom.get("index", default_index), f"{place}.customProperties[index]"),
        enum=enum,
        pattern=pattern,
        minimum=_bound(options.get("minimum"), f"{place}.logicalTypeOptions.minimum"),
        maximum=_bound(options.get("maximum"), f"{place}.logicalTypeOptions.maximum"),
        precision=precision,
        scale=scale,
        text_too=_flag(custom.get("textToo", False), f"{place}.customProperties[textToo]"),
        max_length=None if max_length is None else _whole(max_length, f"{place}.logicalTypeOptions.maxLength"),
        time_format=_text(custom["timeFormat"], f"{place}.customProperties[timeFormat]", "a strptime format")
        if "timeFormat" in custom
        else None,
        null_values=_null_values(custom, place, () if item.required else absent),
        examples=tuple(
            value if isinstance(value, str | int | float | bool) else str(value) for value in item.examples or []
        ),
    )


def _null_values(custom: dict[str, Any], place: str, default: tuple[str, ...]) -> tuple[str, ...]:
    if "nullValues" not in custom:
        return default
    return _texts(custom["nullValues"], f"{place}.customProperties[nullValues]")


def _refuse(item: SchemaProperty | SchemaObject, unsupported: Iterable[str], place: str) -> None:
    for name in unsupported:
        if getattr(item, name) not in (None, False):
            raise at(f"{place}.{name}", "is not supported", UNSUPPORTED[name])


def _quality(rules: Iterable[DataQuality], place: str) -> tuple[tuple[str, ...], str | None]:
    """(allowed values, pattern) from `invalidValues` rules, the way of ODCS before 3.2; text rules are for people."""
    enum: tuple[str, ...] = ()
    pattern: str | None = None
    for rule in rules:
        if rule.type == "text":
            continue
        arguments = rule.arguments or {}
        if (
            (rule.metric or rule.rule) != "invalidValues"
            or rule.mustBe != 0
            or any(getattr(rule, other) is not None for other in OTHER_BOUNDS)
            or not arguments
            or set(arguments) - {"validValues", "pattern"}
        ):
            raise at(
                f"{place}.quality",
                "this rule is not supported",
                "invalidValues with validValues or pattern, mustBe: 0; text",
            )
        if "validValues" in arguments:
            where = f"{place}.quality.arguments.validValues"
            enum = _only(enum, _texts(arguments["validValues"], where), where)
        if "pattern" in arguments:
            where = f"{place}.quality.arguments.pattern"
            pattern = _only(pattern, _text(arguments["pattern"], where, "an RE2 expression"), where)
    return enum, pattern


def _only(before: _T | None, now: _T, place: str) -> _T:
    """A check that may be said in several ways, but not with several meanings: a field keeps one."""
    if before and before != now:
        raise at(place, f"is {now!r}, and {before!r} elsewhere", "one of them")
    return now


def _duration(value: Any, place: str) -> timedelta:
    match = re.fullmatch(r"([1-9][0-9]{0,8})([smhd])", value) if isinstance(value, str) else None
    if match is None:
        raise at(place, f"{value!r} is no duration", "a whole number with s, m, h or d, e.g. 10m or 2d")
    duration = timedelta(seconds=int(match[1]) * _UNITS[match[2]])
    if duration > MAX_DURATION:
        raise at(place, f"is {value}", f"at most {MAX_DURATION.days}d")
    return duration


def _custom(properties: Sequence[CustomProperty] | None, allowed: Sequence[str], place: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in properties or []:
        if item.property is None or item.property not in allowed:
            raise at(f"{place}.customProperties[{item.property}]", "is not known", ", ".join(allowed))
        if item.property in found:
            raise at(f"{place}.customProperties[{item.property}]", "is given twice", "once")
        found[item.property] = item.value
    return found


def _text(value: Any, place: str, allowed: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise at(place, "is missing" if value in (None, "") else f"{value!r} is no text", allowed)
    return value


def _block(value: Any, place: str) -> str:
    """A text that YAML may end with a line break of its own."""
    return _text(value, place, "a text").rstrip("\n")


def _blocks(value: Any, place: str) -> tuple[str, ...]:
    """One text, or a list of them."""
    return (_block(value, place),) if isinstance(value, str) else _texts(value, place)


def _texts(value: Any, place: str) -> tuple[str, ...]:
    if (
        not isinstance(value, list)
        or not all(isinstance(entry, str) for entry in value)
        or len(set(value)) != len(value)
    ):
        raise at(
            place, f"{value!r} is no list of distinct texts", "a list of texts (quote yes, no, on, off and numbers)"
        )
    return tuple(value)


def _whole(value: Any, place: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
        raise at(place, f"{value!r} is not a positive whole number", "1 to 2147483647")
    return int(value)


def _bound(value: Any, place: str) -> Decimal | None:
    """A bound, exactly as it is written."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise at(place, f"{value!r} is no bound", "a number, or a number in quotes")
    text = value.strip() if isinstance(value, str) else repr(value)
    # The length bounds what `Decimal` has to hold.
    if len(text) > MAX_BOUND or not _NUMBER.fullmatch(text):
        raise at(place, f"{value!r} is no bound", f"a number of at most {MAX_BOUND} characters")
    with localcontext(prec=MAX_BOUND):
        bound = Decimal(text).normalize()
    if isinstance(value, float) and len(bound.as_tuple().digits) > EXACT_DIGITS:
        raise at(place, f"{value!r} may not be what was written: YAML rounds so many digits", "the number in quotes")
    return Decimal(f"{bound:f}")


def _flag(value: Any, place: str) -> bool:
    if not isinstance(value, bool):
        raise at(place, f"is {value!r}", "true, false")
    return value


def _choice(kind: type[_E], value: Any, place: str) -> _E:
    try:
        return kind(value)
    except ValueError as error:
        raise at(place, "is missing" if value is None else f"is {value!r}", ", ".join(kind)) from error
