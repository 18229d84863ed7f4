"""Times as messages write them, in SQL: formats in turn, epochs, zones whose clocks are changed.

Belongs here: from the text of a field to its moment, and why there is none. Does not belong here: what a contract may say
(`contracts/times.py`), checks that hold for every field (`fields.py`).

A time without a zone is one of the field's zone. When clocks are put back an hour there is twice, and the engine takes the later
one; when they are put forward it goes on as if they had not been, which another conversion back tells.
"""

from __future__ import annotations

from platform_assets.contracts.model import EPOCHS, ISO, AmbiguousTime, Field, SkippedTime
from platform_assets.transform.reasons import FieldFault
from platform_assets.transform.sql import literal

_LOCAL = r"\d{4}-\d{2}-\d{2}[T ](?:[01]\d|2[0-3]):\d{2}:\d{2}(?:\.\d{1,9})?"
_OFFSET = r"(?:Z|[+-](?:0\d|1[0-4])(?::?[0-5]\d)?)"
_EPOCH = r"-?\d{1,19}(?:\.\d{1,9})?"
_MICROS = dict(zip(EPOCHS, ("1000000", "1000", "1", "0.001"), strict=True))
"""Microseconds of a unit, as exact numbers."""
_PARTS = (("", "%Y"), ("-", "%m"), ("-", "%d"), (" ", "%H"), (":", "%M"))
"""What stands before each part of a composed time, and its specifier."""


def moment(field: Field, text: str) -> str:
    """SQL for the TIMESTAMPTZ of a text; NULL where it is in no format, or of a time that the contract refuses."""
    read = [_moment(field, one, text) for one in _formats(field)]
    return read[0] if len(read) == 1 else f"coalesce({', '.join(read)})"


def clock_cases(field: Field, text: str, column: str) -> list[tuple[str, str]]:
    """(condition, reason code as SQL) for times that clocks skipped or showed twice, where the contract refuses those."""
    local = [read for one in _formats(field) if (read := _local(field, one, text)) is not None]
    if not field.has_clock_changes or not local:
        return []
    written = f"coalesce({', '.join(local)})"
    skipped = literal(FieldFault.SKIPPED_TIME.of(field))
    twice = literal(FieldFault.AMBIGUOUS_TIME.of(field))
    reason = f"CASE WHEN {_there_and_back(written, field)} THEN {twice} ELSE {skipped} END"
    return [(f"{text} IS NOT NULL AND {column} IS NULL AND {written} IS NOT NULL", reason)]


def composed_text(parts: list[str]) -> str:
    """SQL for the text of a time from the texts of year, month, day and perhaps hour and minute; NULL where one is absent."""
    return "(" + " || ".join(f"'{sign}' || {part}" for (sign, _), part in zip(_PARTS, parts, strict=False)) + ")"


def _formats(field: Field) -> tuple[str, ...]:
    if field.composed_of:
        return ("".join(sign + part for sign, part in _PARTS[: len(field.composed_of)]),)
    return field.time_formats or (ISO,)


def _moment(field: Field, written: str, text: str) -> str:
    if written in EPOCHS:
        return _epoch(text, _MICROS[written])
    local = _local(field, written, text)
    if written == ISO:
        zoned = (
            f"CASE WHEN regexp_full_match({text}, {literal(_LOCAL + _OFFSET)}) THEN try_cast({text} AS TIMESTAMPTZ) END"
        )
        return zoned if local is None else f"coalesce({zoned}, {_in_zone(field, local)})"
    return _parsed(written, text) if local is None else _in_zone(field, local)


def _local(field: Field, written: str, text: str) -> str | None:
    """SQL for the clock's time of a text without a zone; None for a format that has one."""
    if written in EPOCHS:
        return None
    if written == ISO:
        if field.time_zone is None:
            return None
        return f"CASE WHEN regexp_full_match({text}, {literal(_LOCAL)}) THEN try_cast({text} AS TIMESTAMP) END"
    return None if "%z" in written else _parsed(written, text)


def _parsed(written: str, text: str) -> str:
    """SQL for what strptime makes of a text: a TIMESTAMPTZ with `%z`, else a TIMESTAMP. Nanoseconds are cut to microseconds."""
    parsed = f"try_strptime({text}, {literal(written)})"
    if "%n" not in written:
        return parsed
    kind = "TIMESTAMPTZ" if "%z" in written else "TIMESTAMP"
    return f"CAST({parsed} AS {kind})"


def _epoch(text: str, micros: str) -> str:
    """SQL for the moment so many units after 1970; digits below a microsecond are cut off."""
    units = f"try_cast({text} AS DECIMAL(29,9))"
    whole = f"try_cast(floor({units} * {micros}) AS BIGINT)"
    return f"CASE WHEN regexp_full_match({text}, {literal(_EPOCH)}) THEN try(make_timestamptz({whole})) END"


def _in_zone(field: Field, local: str) -> str:
    """SQL for the moment at which the zone's clocks show a time."""
    zone = literal(field.time_zone or "UTC")
    late = f"({local} AT TIME ZONE {zone})"
    if not field.has_clock_changes:
        return late
    before = f"({late} - INTERVAL 24 HOUR)"
    offset = f"(epoch_us({before} AT TIME ZONE {zone}) - epoch_us({before}))"
    early = f"make_timestamptz(epoch_us({local}) - {offset})"
    twice = f"{early} < {late} AND {early} AT TIME ZONE {zone} = {local}"
    skipped = late if field.skipped_time is SkippedTime.SHIFT else "NULL"
    ambiguous = {AmbiguousTime.EARLIEST: early, AmbiguousTime.LATEST: late, AmbiguousTime.REJECT: "NULL"}
    return (
        f"CASE WHEN {local} IS NULL THEN NULL WHEN NOT {_there_and_back(local, field)} THEN {skipped}"
        f" WHEN {twice} THEN {ambiguous[field.ambiguous_time]} ELSE {late} END"
    )


def _there_and_back(local: str, field: Field) -> str:
    """SQL that is false for a time that the zone's clocks skipped."""
    zone = literal(field.time_zone or "UTC")
    return f"(({local} AT TIME ZONE {zone}) AT TIME ZONE {zone} = {local})"
