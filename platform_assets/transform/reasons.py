"""Why a record is refused: the machine codes, and the sentence that a person reads.

Belongs here: codes and their wording. Does not belong here: the tests that lead to them (`select.py` and what it uses).
Codes are stable, they are searched and counted; those about a field carry its name after a colon.
"""

from __future__ import annotations

from enum import StrEnum

from platform_assets.contracts.bounds import told_greatest, told_least
from platform_assets.contracts.model import Field, FieldType, Table
from platform_assets.contracts.types import type_name


class Reason(StrEnum):
    """A record's first fault."""

    TOMBSTONE = "tombstone"
    EMPTY = "empty"
    TOO_LARGE = "too_large"
    INVALID_UTF8 = "invalid_utf8"
    NUL_BYTE = "nul_byte"
    MALFORMED_JSON = "malformed_json"
    LONE_SURROGATE = "lone_surrogate"
    NOT_AN_OBJECT = "not_an_object"
    TOO_MANY_FIELDS = "too_many_fields"
    TOO_DEEP = "too_deep"
    NON_FINITE = "non_finite"
    DUPLICATE_FIELD = "duplicate_field"
    UNKNOWN_FIELD = "unknown_field"
    ATTRIBUTES_TOO_LARGE = "attributes_too_large"
    NO_MATCH = "no_match"
    MALFORMED_CSV = "malformed_csv"
    COLUMN_COUNT = "column_count"
    FUTURE = "future"
    BEFORE_1970 = "before_1970"
    UNDECODABLE = "undecodable"


_RULE = "rule"


class FieldFault(StrEnum):
    """A field's fault; the code is `<fault>:<field name>`."""

    MISSING = "missing"
    TYPE = "type"
    RANGE = "range"
    ENUM = "enum"
    PATTERN = "pattern"
    LENGTH = "length"
    TIME = "time"
    SKIPPED_TIME = "skipped_time"
    AMBIGUOUS_TIME = "ambiguous_time"
    SCALE = "scale"
    COMPUTED = "computed"

    def of(self, field: Field) -> str:
        """The code for that field."""
        return f"{self.value}:{field.name}"


def rule_code(name: str) -> str:
    """The code of a row that breaks a rule of its table."""
    return f"{_RULE}:{name}"


def describe(table: Table, reason: str) -> str:
    """A sentence for a reason code of that table, without any of the record's data."""
    fault, _, name = reason.partition(":")
    if fault == _RULE:
        rule = next(rule for rule in table.rules if rule.name == name)
        return f"the rule {name} does not hold: {' '.join(rule.expression.split())}"
    if name:
        return _describe_field(FieldFault(fault), table.field(name))
    return _sentences(table)[Reason(reason)]


def _sentences(table: Table) -> dict[Reason, str]:
    return {
        Reason.TOMBSTONE: "the record has no value",
        Reason.EMPTY: "the value is empty",
        Reason.TOO_LARGE: f"the value is larger than {table.max_bytes} bytes",
        Reason.INVALID_UTF8: f"the value is not valid {table.encoding.upper()}",
        Reason.NUL_BYTE: "the value holds a NUL character",
        Reason.MALFORMED_JSON: "the value is not JSON",
        Reason.LONE_SURROGATE: "a \\u escape is half of a surrogate pair",
        Reason.NOT_AN_OBJECT: "the value is JSON but not an object",
        Reason.TOO_MANY_FIELDS: f"the value has more than {table.max_fields} members",
        Reason.TOO_DEEP: f"the value nests deeper than {table.max_depth} levels",
        Reason.NON_FINITE: "the value holds NaN or an infinity",
        Reason.DUPLICATE_FIELD: "an object has a member name twice, or a name occurs both beside and within the attributes",
        Reason.UNKNOWN_FIELD: "the value has members that the contract does not name",
        Reason.ATTRIBUTES_TOO_LARGE: f"unknown members take more than {table.attributes_max_bytes} bytes",
        Reason.NO_MATCH: "the text does not match the contract's pattern",
        Reason.MALFORMED_CSV: "the value is no row of separated values: a quote is not closed, or a text stands behind one",
        Reason.COLUMN_COUNT: "the value has more or fewer columns than the contract",
        Reason.FUTURE: f"{table.event_time} lies more than {table.max_ahead} after the record landed",
        Reason.BEFORE_1970: f"{table.event_time} lies before 1970",
        Reason.UNDECODABLE: "the record made the engine fail; it was set aside alone",
    }


def _describe_field(fault: FieldFault, field: Field) -> str:
    written = f"by {' or '.join(field.time_formats)}" if field.time_formats else "as ISO 8601"
    time = written if field.time_formats or field.time_zone else f"{written} with a zone"
    if field.composed_of:
        time = f"from {', '.join(field.composed_of)}"
    article = "an" if field.type is FieldType.INTEGER else "a"
    return {
        FieldFault.MISSING: f"{field.name} is required and is absent or null",
        FieldFault.TYPE: f"{field.name} is not {article} {type_name(field)}",
        FieldFault.RANGE: f"{field.name} is outside {_bounds(field)}",
        FieldFault.ENUM: f"{field.name} is none of {', '.join(field.enum)}",
        FieldFault.PATTERN: f"{field.name} does not match {field.pattern}",
        FieldFault.LENGTH: f"{field.name} is longer than {field.max_length} characters",
        FieldFault.SCALE: f"{field.name} has more than {field.scale} digits after the point",
        FieldFault.TIME: f"{field.name} cannot be read {time}",
        FieldFault.SKIPPED_TIME: f"{field.name} is a time that the clocks of {field.time_zone} skipped",
        FieldFault.AMBIGUOUS_TIME: f"{field.name} is a time that the clocks of {field.time_zone} showed twice",
        FieldFault.COMPUTED: f"{field.name} cannot be computed: its expression fails on the record's values",
    }[fault]


def _bounds(field: Field) -> str:
    low = told_least(field) or "its type's least value"
    high = told_greatest(field) or "its type's greatest value"
    return f"{low} to {high}"
