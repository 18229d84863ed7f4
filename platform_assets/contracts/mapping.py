"""From the standard's model to the platform's: which ODCS property says what, and what is not understood.

Belongs here: reading values of a document and refusing what the platform would not honour. Does not belong here:
loading files, service levels (`service_levels.py`), rules and allowed values (`quality.py`), what fields are for
(`field_roles.py`), how times are written (`times.py`), checks across fields.

Standard properties where there is one: `name` (system), `version`, `team`, `schema` (tables) with
`physicalName` (topic); `properties` with `physicalName` (name in the message), `logicalType` and its options,
`required`, `enum`, `primaryKey`,
`partitioned` (the event time), `classification` (`pii`), a property of type `object` (where unknown fields are kept);
`slaProperties` latency (warn; `valueExt`: fail), retention, errorRate. The rest are the custom properties named below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from open_data_contract_standard.model import (
    CustomProperty,
    OpenDataContractStandard,
    SchemaObject,
    SchemaProperty,
    Team,
)

from platform_assets.contracts.errors import at
from platform_assets.contracts.field_roles import PROPERTIES as ROLE_PROPERTIES
from platform_assets.contracts.field_roles import read_roles
from platform_assets.contracts.formats import format_named
from platform_assets.contracts.logical import stored_type
from platform_assets.contracts.model import (
    Contract,
    Field,
    FieldType,
    Format,
    Grain,
    IndexType,
    Mask,
    Table,
)
from platform_assets.contracts.periods import with_periods
from platform_assets.contracts.quality import allowed_values, rule_of
from platform_assets.contracts.service_levels import ServiceLevels, duration
from platform_assets.contracts.times import PROPERTIES as TIME_PROPERTIES
from platform_assets.contracts.times import read_times
from platform_assets.contracts.types import BOUNDS, TYPES
from platform_assets.contracts.values import block, bound, choice, flag, text, texts, whole
from platform_assets.core.errors import Mistakes

CLASSIFICATIONS = ("public", "internal", "confidential", "restricted", "pii")
PII = "pii"

TABLE_PROPERTIES = (
    "format", "partitionGrain", "maxBytes", "maxAhead", "lateness", "bronzeRetention", "topicPartitions", "display", "sample",
    "dedupeWindow", "nullValues", "indexPeriod", "historyPeriod", *ROLE_PROPERTIES,
)  # fmt: skip
"""Those that a table of any format may have; each format adds its own."""
FIELD_PROPERTIES = ("mask", "index", "nullValues", "textToo", "computed", *TIME_PROPERTIES)
ATTRIBUTES_PROPERTIES = ("maxBytes", "mask")
FIXED_OPTIONS: dict[str, tuple[Any, ...]] = {
    "format": ("i64", "f64"),
    "timezone": (True, False),
}
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


def map_contract(document: OpenDataContractStandard, found: Mistakes) -> tuple[Contract, frozenset[str]]:
    """The model of a document, and the tables of it that are not whole because something of them is wrong.

    What is missing, misunderstood or not supported goes to `found`, all of it.
    """
    system = found.get(text, document.name, "name", "the system's name, e.g. logs") or "unnamed"
    version = found.get(text, document.version, "version", "a semantic version, e.g. 1.0.0") or "0.0.0"
    if not (owner := _owner(document)):
        found.note(at("team.name", "is missing", "the team that answers for this data"))
    for custom in document.customProperties or []:
        what = "the document has none of its own"
        found.note(at(f"customProperties[{custom.property}]", what, "those of tables and properties"))
    if document.slaDefaultElement is not None:
        found.note(at("slaDefaultElement", "is not supported", "element, at each of slaProperties"))
    objects = document.schema_ or []
    levels = found.get(ServiceLevels, document.slaProperties or [], [str(table.name) for table in objects])
    tables, partial = [], set()
    for item in objects:
        inner = Mistakes()
        if (table := inner.get(_table, item, system, version, levels, inner)) is not None:
            tables.append(table)
        if inner.found:
            partial.add(str(item.name))
        found.found += inner.found
    purpose = document.description.purpose if document.description else None
    return Contract(system, version, (purpose or "").strip(), owner, tuple(tables)), frozenset(partial)


def _owner(document: OpenDataContractStandard) -> str:
    if isinstance(document.team, Team):
        return document.team.name or ""
    return next((member.username or member.name or "" for member in document.team or []), "")


def _table(table: SchemaObject, system: str, version: str, levels: ServiceLevels | None, found: Mistakes) -> Table:
    name = text(table.name, "schema[].name", "the table's name")
    place = f"schema[{name}]"
    format_, properties = _format(table, place, found)
    custom = _custom(table.customProperties, (*TABLE_PROPERTIES, *properties), place, found, f" for format {format_}")
    _refuse(table, ("relationships",), place, found)
    rules = [found.get(rule_of, rule, f"{place}.quality") for rule in table.quality or [] if rule.type != "text"]
    where = f"{place}.customProperties[partitionGrain]"
    columns = _columns(table.properties or [], f"{place}.properties", _null_values(custom, place, (), found), found)
    made = Table(
        system=system,
        name=name,
        version=version,
        description=(table.description or "").strip(),
        topic=table.physicalName or f"{system}.{name}",
        format=format_,
        grain=found.get(choice, Grain, custom.get("partitionGrain", Grain.DAY), where) or Grain.DAY,
        **columns,
        rules=tuple(rule for rule in rules if rule is not None),
        **_options(custom, place, found),
        **format_named(format_).read(custom, place, found),
        **read_roles(custom, columns["fields"], place, found),
        **(levels.of(name, found) if levels else {}),
    )
    return with_periods(made, custom, f"{place}.customProperties", found)


def _format(table: SchemaObject, place: str, found: Mistakes) -> tuple[Format, tuple[str, ...]]:
    """The table's format, and the custom properties that it may have for it."""
    given = next((item.value for item in table.customProperties or [] if item.property == "format"), None)
    format_ = found.get(choice, Format, given, f"{place}.customProperties[format]")
    if format_ is not None:
        return format_, tuple(format_named(format_).properties)
    # A text line where the format is not known: what may fit the one that is meant is no mistake yet.
    return Format.REGEX, tuple(name for format_ in Format for name in format_named(format_).properties)


def _columns(items: Sequence[SchemaProperty], place: str, absent: tuple[str, ...], found: Mistakes) -> dict[str, Any]:
    """The fields, which of them are the event time and the key, and the property that keeps unknown fields.

    `absent`: the texts that stand for "absent" in each optional field that names none of its own.
    """
    what = "the column's name"
    read = [(found.get(text, item.name, f"{place}[].name", what), item) for item in items]
    named = [(name, item) for name, item in read if name is not None]
    flat = [(name, item) for name, item in named if item.logicalType != "object"]
    fields = [_field(item, name, f"{place}[{name}]", absent, found) for name, item in flat]
    objects = [(name, item) for name, item in named if item.logicalType == "object"]
    return {
        "fields": tuple(field for field in fields if field is not None),
        "event_time": found.get(_event_time, flat, place) or "",
        "key": found.get(_key, flat, place) or (),
        **(found.get(_attributes, objects, place, found) or {}),
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


def _attributes(named: Sequence[tuple[str, SchemaProperty]], place: str, found: Mistakes) -> dict[str, Any]:
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
    _refuse(item, UNSUPPORTED, place, found)
    if item.required or item.primaryKey or item.partitioned or item.logicalTypeOptions or item.enum or item.quality:
        raise at(
            place, "the object property keeps unknown fields and promises nothing", "name, description, maxBytes, mask"
        )
    custom = _custom(item.customProperties, ATTRIBUTES_PROPERTIES, place, found)
    kept: dict[str, Any] = {"attributes": name}
    if "maxBytes" in custom:
        kept["attributes_max_bytes"] = whole(custom["maxBytes"], f"{place}.customProperties[maxBytes]")
    if "mask" in custom:
        kept["attributes_mask"] = choice(Mask, custom["mask"], f"{place}.customProperties[mask]")
    return kept


def _options(custom: dict[str, Any], place: str, found: Mistakes) -> dict[str, Any]:
    """The table's custom properties that are values of their own, where given."""
    readers: dict[str, tuple[str, Callable[[Any, str], Any]]] = {
        "maxBytes": ("max_bytes", whole),
        "topicPartitions": ("topic_partitions", whole),
        "maxAhead": ("max_ahead", duration),
        "lateness": ("lateness", duration),
        "bronzeRetention": ("bronze_retention", duration),
        "dedupeWindow": ("dedupe_window", duration),
        "sample": ("sample", block),
        "display": ("display", texts),
    }
    values = {
        attribute: found.get(read, custom[name], f"{place}.customProperties[{name}]")
        for name, (attribute, read) in readers.items()
        if name in custom
    }
    return {attribute: value for attribute, value in values.items() if value is not None}


def _field(item: SchemaProperty, name: str, place: str, absent: tuple[str, ...], found: Mistakes) -> Field | None:
    """The field; None when its type is not known."""
    _refuse(item, UNSUPPORTED, place, found)
    custom = _custom(item.customProperties, FIELD_PROPERTIES, place, found)
    if item.classification is not None and item.classification not in CLASSIFICATIONS:
        found.note(at(f"{place}.classification", f"is {item.classification!r}", ", ".join(CLASSIFICATIONS)))
    mask = found.get(choice, Mask, custom.get("mask", Mask.NONE), f"{place}.customProperties[mask]")
    enum, pattern = found.get(allowed_values, item, place) or ((), None)
    if (stored := found.get(stored_type, item, place)) is None:
        return None
    type_, precision, scale = stored
    scrubbed = mask is not None and mask.scrubs and type_ is FieldType.STRING
    index = custom.get("index", IndexType.TEXT if scrubbed else TYPES[type_].indexes[0])
    limits = _limits(item.logicalTypeOptions or {}, type_, place, found)
    times = read_times(custom, (item.logicalTypeOptions or {}).get("defaultTimezone"), place, found)
    made = "computed" in custom or "composedOf" in custom
    if "composedOf" in custom and item.physicalName is not None:
        found.note(at(f"{place}.physicalName", "is given, but the time is composed of other fields", "leave it out"))
    computed = (found.get(_computed, custom, item, place) or "") if "computed" in custom else None
    return Field(
        name=name,
        type=type_,
        description=(item.description or "").strip(),
        required=bool(item.required),
        source="" if made else item.physicalName or name,
        # Not understood is no mask, and what should have one is a mistake already.
        mask=mask or (Mask.HMAC if item.classification == PII else Mask.NONE),
        pii=item.classification == PII,
        index=found.get(choice, IndexType, index, f"{place}.customProperties[index]") or TYPES[type_].indexes[0],
        enum=enum,
        pattern=pattern,
        precision=precision,
        scale=scale,
        text_too=found.get(flag, custom.get("textToo", False), f"{place}.customProperties[textToo]") or False,
        null_values=_null_values(custom, place, () if item.required or made else absent, found),
        examples=tuple(v if isinstance(v, str | int | float | bool) else str(v) for v in item.examples or []),
        computed=computed,
        **times,
        **limits,
    )


def _computed(custom: dict[str, Any], item: SchemaProperty, place: str) -> str:
    """The expression of a computed column, which has no name in the message."""
    if item.physicalName is not None:
        raise at(f"{place}.physicalName", "is given, but a computed column is in no message", "leave it out")
    where = f"{place}.customProperties[computed]"
    return text(custom["computed"], where, "an expression in SQL over other fields").strip()


def _null_values(custom: dict[str, Any], place: str, default: tuple[str, ...], found: Mistakes) -> tuple[str, ...]:
    if "nullValues" not in custom:
        return default
    return found.get(texts, custom["nullValues"], f"{place}.customProperties[nullValues]") or ()


def _limits(options: dict[str, Any], type_: FieldType, place: str, found: Mistakes) -> dict[str, Any]:
    """Bounds and length of a field; all of its options are looked at."""
    for option, value in options.items():
        where = f"{place}.logicalTypeOptions.{option}"
        if option not in TYPES[type_].options:
            allowed = ", ".join(TYPES[type_].options) or "none for this type"
            found.note(at(where, f"is not supported for {type_}", allowed))
        elif option in FIXED_OPTIONS and value not in FIXED_OPTIONS[option]:
            found.note(at(where, f"is {value!r}", ", ".join(map(str, FIXED_OPTIONS[option]))))
    attributes = ("minimum", "maximum", "exclusive_minimum", "exclusive_maximum")
    limits: dict[str, Any] = {
        attribute: found.get(bound, options.get(name), f"{place}.logicalTypeOptions.{name}")
        for attribute, name in zip(attributes, BOUNDS, strict=True)
        if name in TYPES[type_].options
    }
    if "maxLength" in TYPES[type_].options and (length := options.get("maxLength")) is not None:
        limits["max_length"] = found.get(whole, length, f"{place}.logicalTypeOptions.maxLength")
    return limits


def _refuse(item: SchemaProperty | SchemaObject, unsupported: Iterable[str], place: str, found: Mistakes) -> None:
    for name in unsupported:
        if getattr(item, name) not in (None, False):
            found.note(at(f"{place}.{name}", "is not supported", UNSUPPORTED[name]))


def _custom(
    properties: Sequence[CustomProperty] | None, allowed: Sequence[str], place: str, found: Mistakes, among: str = ""
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for item in properties or []:
        where = f"{place}.customProperties[{item.property}]"
        if item.property is None or item.property not in allowed:
            found.note(at(where, f"is not known{among}", ", ".join(allowed)))
        elif item.property in values:
            found.note(at(where, "is given twice", "once"))
        else:
            values[item.property] = item.value
    return values
