"""How messages write times: formats, zones, epochs, and times that are composed of several fields.

Belongs here: reading and checking what a contract says of it. Does not belong here: the SQL that reads times
(`transform/times.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from zoneinfo import available_timezones

from platform_assets.contracts.errors import at
from platform_assets.contracts.model import (
    EPOCHS,
    ISO,
    AmbiguousTime,
    Field,
    FieldType,
    SkippedTime,
    Table,
)
from platform_assets.contracts.values import choice, text, texts
from platform_assets.core.errors import Mistake, Mistakes

PROPERTIES = ("timeFormat", "ambiguousTime", "skippedTime", "composedOf")
_SPECIFIERS = frozenset("aAbBdHIjmMpSyYzfgn%-")
"""What DuckDB's strptime reads without a time zone's name (`%Z` is refused: names are ambiguous)."""
_WORDS = f"'{ISO}', {', '.join(repr(name) for name in EPOCHS)}"
_SYSTEMS_OWN = "localtime"  # is of the machine, and the engine does not know it
_PARTS = ("year", "month", "day", "hour", "minute")


def read_times(custom: dict[str, Any], zone: Any, place: str, found: Mistakes) -> dict[str, Any]:
    """The members of a field that these properties give, with the zone of `logicalTypeOptions`; mistakes go to `found`."""
    where = f"{place}.customProperties"
    times: dict[str, Any] = {}
    if "timeFormat" in custom:
        times["time_formats"] = found.get(_formats, custom["timeFormat"], f"{where}[timeFormat]") or ()
    if zone is not None:
        times["time_zone"] = found.get(_zone, zone, f"{place}.logicalTypeOptions.defaultTimezone")
    if "ambiguousTime" in custom:
        read = found.get(choice, AmbiguousTime, custom["ambiguousTime"], f"{where}[ambiguousTime]")
        times["ambiguous_time"] = read or AmbiguousTime.EARLIEST
    if "skippedTime" in custom:
        read_skipped = found.get(choice, SkippedTime, custom["skippedTime"], f"{where}[skippedTime]")
        times["skipped_time"] = read_skipped or SkippedTime.REJECT
    if "composedOf" in custom:
        times["composed_of"] = found.get(texts, custom["composedOf"], f"{where}[composedOf]") or ()
    return times


def _formats(value: Any, place: str) -> tuple[str, ...]:
    formats = (text(value, place, "a strptime format"),) if isinstance(value, str) else texts(value, place)
    if not formats:
        raise at(place, "is an empty list", f"formats of strptime, {_WORDS}")
    return formats


def _zone(value: Any, place: str) -> str:
    if value not in available_timezones() - {_SYSTEMS_OWN}:
        raise at(place, f"is {value!r}", "a zone of the IANA database, e.g. Europe/Berlin")
    return str(value)


def time_mistakes(table: Table, field: Field, place: str) -> Iterator[Mistake]:
    """What is wrong with how a field's times are written."""
    where = f"{place}.customProperties"
    told = {
        "timeFormat": bool(field.time_formats),
        "ambiguousTime": field.ambiguous_time is not AmbiguousTime.EARLIEST,
        "skippedTime": field.skipped_time is not SkippedTime.REJECT,
        "composedOf": bool(field.composed_of),
    }
    if field.type is not FieldType.TIMESTAMP:
        for name in (name for name, given in told.items() if given):
            yield from at(f"{where}[{name}]", f"does not fit type {field.type}", "timestamp").mistakes
        return
    for name in ("ambiguousTime", "skippedTime"):
        if told[name] and not field.has_clock_changes:
            hint = "logicalTypeOptions.defaultTimezone: a zone whose clocks are changed"
            yield from at(f"{where}[{name}]", "is given, but no such times exist in UTC", hint).mistakes
    for one in field.time_formats:
        yield from _format(one, f"{where}[timeFormat]")
    if field.composed_of:
        yield from _composed(table, field, where)


def _format(written: str, place: str) -> Iterator[Mistake]:
    if written in (ISO, *EPOCHS):
        return
    used = re.findall(r"%(-?.|$)", written, re.DOTALL)
    names = {specifier.lstrip("-") for specifier in used}
    foreign = next((one for one in used if one.lstrip("-") not in _SPECIFIERS), None)
    if foreign is not None:
        allowed = "DuckDB's strptime: %Y %m %d %H %M %S %f %g %z %b …"
        yield from at(place, f"'%{foreign}' is not supported", allowed).mistakes
    elif not {"Y", "d"} <= names and "j" not in names:
        yield from at(place, f"'{written}' does not give a full date", f"%Y, %m or %b, %d; or {_WORDS}").mistakes


def _composed(table: Table, field: Field, where: str) -> Iterator[Mistake]:
    place = f"{where}[composedOf]"
    if not 3 <= len(field.composed_of) <= len(_PARTS):
        told = f"has {len(field.composed_of)} fields"
        yield from at(
            place, told, f"the fields of {', '.join(_PARTS)}, in this order; hour and minute may be left out"
        ).mistakes
    for name in field.composed_of:
        part = next((one for one in table.sent if one.name == name), None)
        if part is None or part.type is not FieldType.INTEGER:
            yield from at(place, f"'{name}' is no field of type integer in the message", "such a field").mistakes
        elif field.required and not part.required:
            yield from at(
                place, f"'{name}' is not required, and the composed time is", "required: true for both"
            ).mistakes
    if field.time_formats:
        yield from at(
            f"{where}[timeFormat]", "says how a message writes a time, and this one is composed", "leave it out"
        ).mistakes
