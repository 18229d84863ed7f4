"""From the standard's model to the platform's: which ODCS property says what, and what is not understood.

Belongs here: reading values of a document and refusing what the platform would not honour. Does not belong here:
loading files, checks across fields.

Standard properties where there is one: `name` (system), `version`, `team`, `schema` (tables) with
`physicalName` (topic); `properties` with `physicalName` (name in the message), `logicalType` and its options,
`required`, `enum`, `primaryKey`,
`partitioned` (the event time), `classification` (`pii`), a property of type `object` (where unknown fields are kept);
`slaProperties` latency (warn; `valueExt`: fail), retention, errorRate. The rest are the custom properties named below.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypeVar

from open_data_contract_standard.model import (
    CustomProperty,
    DataQuality,
    OpenDataContractStandard,
    SchemaObject,
    SchemaProperty,
    ServiceLevelAgreementProperty,
    Team,
)

from platform_assets.contracts.errors import at
from platform_assets.contracts.model import Contract, Field, FieldType, Format, Grain, IndexType, Mask, Table

CLASSIFICATIONS = ("public", "internal", "confidential", "restricted", "pii")
PII = "pii"
MAX_EXACT = 2**53
"""Bounds are doubles in the model; beyond this an integer bound would not be exact."""

TABLE_PROPERTIES = (
    "format", "pattern", "frameStart", "partitionGrain", "maxBytes", "maxDepth", "maxFields", "maxAhead", "lateness",
    "bronzeRetention", "topicPartitions", "display", "sample", "dedupeWindow",
)  # fmt: skip
FIELD_PROPERTIES = ("mask", "index", "timeFormat", "nullValues")
ATTRIBUTES_PROPERTIES = ("maxBytes",)
OPTIONS: dict[FieldType, tuple[str, ...]] = {
    FieldType.STRING: ("maxLength", "pattern"),
    FieldType.INTEGER: ("minimum", "maximum", "format"),
    FieldType.NUMBER: ("minimum", "maximum", "format"),
    FieldType.BOOLEAN: (),
    FieldType.TIMESTAMP: ("timezone", "defaultTimezone"),
}
FIXED_OPTIONS: dict[str, tuple[Any, ...]] = {
    "format": ("i64", "f64"),
    "timezone": (True, False),
    "defaultTimezone": ("UTC", "Etc/UTC"),
}
DEFAULT_INDEX: dict[FieldType, IndexType] = {
    FieldType.STRING: IndexType.KEYWORD,
    FieldType.INTEGER: IndexType.LONG,
    FieldType.NUMBER: IndexType.DOUBLE,
    FieldType.BOOLEAN: IndexType.BOOLEAN,
    FieldType.TIMESTAMP: IndexType.DATE,
}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_UNIT_NAMES = {
    **dict.fromkeys(("s", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86_400),
}
_E = TypeVar("_E", bound=StrEnum)


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
    objects = document.schema_ or []
    names = [table.name for table in objects]
    for index, sla in enumerate(document.slaProperties or []):
        if sla.property not in ("latency", "retention", "errorRate"):
            raise at(f"slaProperties[{index}]", f"'{sla.property}' is not supported", "latency, retention, errorRate")
        for element in _elements(sla):
            if element not in names:
                raise at(
                    f"slaProperties[{index}].element", f"there is no table '{element}'", ", ".join(map(str, names))
                )
    tables = tuple(_table(table, system, version, document.slaProperties or []) for table in objects)
    purpose = document.description.purpose if document.description else None
    return Contract(system=system, version=version, description=(purpose or "").strip(), owner=owner, tables=tables)


def _table(table: SchemaObject, system: str, version: str, slas: Sequence[ServiceLevelAgreementProperty]) -> Table:
    name = _text(table.name, "schema[].name", "the table's name")
    place = f"schema[{name}]"
    custom = _custom(table.customProperties, TABLE_PROPERTIES, place)
    for rule in table.quality or []:
        if rule.type != "text":
            raise at(
                f"{place}.quality", "only rules of type 'text' are supported on a table", "put checks on properties"
            )
    fields: list[Field] = []
    keys: list[tuple[int, str]] = []
    event_times: list[str] = []
    attributes: tuple[str, int] | None = None
    for item in table.properties or []:
        item_name = _text(item.name, f"{place}.properties[].name", "the column's name")
        item_place = f"{place}.properties[{item_name}]"
        if item.logicalType == "object":
            if attributes is not None:
                raise at(
                    item_place,
                    f"a second property of type object ('{attributes[0]}' is one)",
                    "one, for unknown fields",
                )
            attributes = (item_name, _attributes_max_bytes(item, item_place))
            continue
        fields.append(_field(item, item_name, item_place))
        if item.primaryKey:
            keys.append((item.primaryKeyPosition or len(fields), item_name))
        if item.partitioned:
            event_times.append(item_name)
    if len(event_times) != 1:
        found = ", ".join(event_times) or "none"
        raise at(
            f"{place}.properties",
            f"the event time is not clear (partitioned: {found})",
            "one timestamp with 'partitioned: true'",
        )
    positions = [position for position, _ in keys]
    if len(set(positions)) != len(positions):
        raise at(f"{place}.properties", "two properties have the same primaryKeyPosition", "1, 2, … in the key's order")
    sla = _Sla(slas, name)
    given: dict[str, Any] = {}
    for key, attribute in (
        ("maxBytes", "max_bytes"),
        ("maxDepth", "max_depth"),
        ("maxFields", "max_fields"),
        ("topicPartitions", "topic_partitions"),
    ):
        if key in custom:
            given[attribute] = _whole(custom[key], f"{place}.customProperties[{key}]")
    for key, attribute in (
        ("maxAhead", "max_ahead"),
        ("lateness", "lateness"),
        ("bronzeRetention", "bronze_retention"),
        ("dedupeWindow", "dedupe_window"),
    ):
        if key in custom:
            given[attribute] = _duration(custom[key], f"{place}.customProperties[{key}]")
    for key, attribute in (("pattern", "pattern"), ("frameStart", "frame_start"), ("sample", "sample")):
        if key in custom:
            given[attribute] = _text(custom[key], f"{place}.customProperties[{key}]", "a text").rstrip("\n")
    if "display" in custom:
        given["display"] = _texts(custom["display"], f"{place}.customProperties[display]")
    if attributes is not None:
        given["attributes"], given["attributes_max_bytes"] = attributes
    given |= sla.values()
    return Table(
        system=system,
        name=name,
        version=version,
        description=(table.description or "").strip(),
        topic=table.physicalName or f"{system}.{name}",
        format=_choice(Format, custom.get("format"), f"{place}.customProperties[format]"),
        fields=tuple(fields),
        event_time=event_times[0],
        key=tuple(key for _, key in sorted(keys)),
        grain=_choice(Grain, custom.get("partitionGrain", Grain.DAY), f"{place}.customProperties[partitionGrain]"),
        **given,
    )


def _field(item: SchemaProperty, name: str, place: str) -> Field:
    type_ = _choice(FieldType, item.logicalType, f"{place}.logicalType")
    for unsupported in ("properties", "items", "map", "encryptedName", "transformLogic"):
        if getattr(item, unsupported) is not None:
            raise at(
                f"{place}.{unsupported}",
                "is not supported",
                "flat fields; what is nested goes into the object property",
            )
    custom = _custom(item.customProperties, FIELD_PROPERTIES, place)
    options = item.logicalTypeOptions or {}
    for option, value in options.items():
        if option not in OPTIONS[type_]:
            allowed = ", ".join(OPTIONS[type_]) or "none for this type"
            raise at(f"{place}.logicalTypeOptions.{option}", f"is not supported for {type_}", allowed)
        if option in FIXED_OPTIONS and value not in FIXED_OPTIONS[option]:
            raise at(
                f"{place}.logicalTypeOptions.{option}", f"is {value!r}", ", ".join(map(str, FIXED_OPTIONS[option]))
            )
    if item.classification is not None and item.classification not in CLASSIFICATIONS:
        raise at(f"{place}.classification", f"is {item.classification!r}", ", ".join(CLASSIFICATIONS))
    mask = _choice(Mask, custom.get("mask", Mask.NONE), f"{place}.customProperties[mask]")
    scrubbed_text = mask is Mask.SCRUB and type_ is FieldType.STRING
    default_index = IndexType.TEXT if scrubbed_text else DEFAULT_INDEX[type_]
    enum, pattern = _quality(item.quality or [], place)
    if item.enum is not None:
        enum = _texts([entry.value for entry in item.enum], f"{place}.enum")
    if "pattern" in options:
        pattern = _text(options["pattern"], f"{place}.logicalTypeOptions.pattern", "an RE2 expression")
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
        max_length=None if max_length is None else _whole(max_length, f"{place}.logicalTypeOptions.maxLength"),
        time_format=_text(custom["timeFormat"], f"{place}.customProperties[timeFormat]", "a strptime format")
        if "timeFormat" in custom
        else None,
        null_values=_texts(custom.get("nullValues", []), f"{place}.customProperties[nullValues]"),
        examples=tuple(
            value if isinstance(value, str | int | float | bool) else str(value) for value in item.examples or []
        ),
    )


def _attributes_max_bytes(item: SchemaProperty, place: str) -> int:
    if (
        item.properties
        or item.required
        or item.primaryKey
        or item.partitioned
        or item.logicalTypeOptions
        or item.quality
    ):
        raise at(place, "the object property keeps unknown fields and promises nothing", "name, description, maxBytes")
    custom = _custom(item.customProperties, ATTRIBUTES_PROPERTIES, place)
    return _whole(
        custom.get("maxBytes", Table.__dataclass_fields__["attributes_max_bytes"].default),
        f"{place}.customProperties[maxBytes]",
    )


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
            or not arguments
            or set(arguments) - {"validValues", "pattern"}
        ):
            raise at(
                f"{place}.quality",
                "this rule is not supported",
                "invalidValues with validValues or pattern, mustBe: 0; text",
            )
        if "validValues" in arguments:
            enum = _texts(arguments["validValues"], f"{place}.quality.arguments.validValues")
        if "pattern" in arguments:
            pattern = _text(arguments["pattern"], f"{place}.quality.arguments.pattern", "an RE2 expression")
    return enum, pattern


class _Sla:
    """The service levels of one table; what names the table wins over what names none."""

    def __init__(self, slas: Sequence[ServiceLevelAgreementProperty], table: str) -> None:
        common = {str(sla.property): (index, sla) for index, sla in enumerate(slas) if not sla.element}
        own = {str(sla.property): (index, sla) for index, sla in enumerate(slas) if table in _elements(sla)}
        self._slas = common | own

    def values(self) -> dict[str, Any]:
        """Values of the table's freshness, retention and quarantine rate, where given."""
        found: dict[str, Any] = {}
        for name, (index, sla) in self._slas.items():
            place = f"slaProperties[{index}]"
            if name == "errorRate":
                if (
                    sla.unit not in ("percent", "%")
                    or not isinstance(sla.value, int | float)
                    or not 0 < sla.value <= 100
                ):
                    raise at(
                        place, f"errorRate {sla.value!r} {sla.unit or ''}", "a value over 0 up to 100 with unit percent"
                    )
                found["quarantine_rate"] = sla.value / 100
                continue
            value = _amount(sla.value, sla.unit, place)
            if name == "retention":
                found["retention"] = value
            else:
                found["freshness_warn"] = value
                found["freshness_fail"] = _amount(sla.valueExt, sla.unit, f"{place}.valueExt")
        return found


def _elements(sla: ServiceLevelAgreementProperty) -> list[str]:
    """Tables named by a service level: `events`, `events.event_time`, or several with commas."""
    return [part.strip().split(".")[0] for part in (sla.element or "").split(",") if part.strip()]


def _amount(value: Any, unit: str | None, place: str) -> timedelta:
    seconds = _UNIT_NAMES.get(unit or "")
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0 or seconds is None:
        raise at(place, f"{value!r} {unit or 'without a unit'} is no duration", "a positive value; unit s, m, h or d")
    return timedelta(seconds=value * seconds)


def _duration(value: Any, place: str) -> timedelta:
    match = re.fullmatch(r"([1-9][0-9]{0,8})([smhd])", value) if isinstance(value, str) else None
    if match is None:
        raise at(place, f"{value!r} is no duration", "a whole number with s, m, h or d, e.g. 10m or 2d")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


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


def _bound(value: Any, place: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_EXACT:
        raise at(place, f"{value!r} is no bound", "a number between -2^53 and 2^53")
    return float(value)


def _choice(kind: type[_E], value: Any, place: str) -> _E:
    try:
        return kind(value)
    except ValueError as error:
        raise at(place, "is missing" if value is None else f"is {value!r}", ", ".join(kind)) from error
