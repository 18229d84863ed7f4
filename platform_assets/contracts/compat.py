"""Whether a new contract may follow an accepted one, and the form in which an accepted one is kept.

Belongs here: what breaks readers. Does not belong here: where the accepted contract is stored, who asks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from operator import attrgetter

from pydantic import TypeAdapter, ValidationError

from platform_assets.contracts.bounds import fell, greatest, least, rose, told_greatest, told_least
from platform_assets.contracts.errors import ContractError
from platform_assets.contracts.model import ISO, Contract, Field, IndexType, Mask, Table

_ADAPTER: TypeAdapter[Contract] = TypeAdapter(Contract)

_PROMISES = {
    "topic": "topic",
    "format": "format",
    "patterns": "pattern",
    "invalid_bytes": "invalidBytes",
    "frame_start": "frameStart",
    "csv.columns": "columns",
    "csv.header": "header",
    "csv.delimiter": "delimiter",
    "csv.quote": "quote",
    "csv.decimal_comma": "decimalComma",
    "encoding": "encoding",
    "event_time": "event time",
    "key": "key",
    "dedupe_window": "dedupe window",
    "grain": "partition grain",
    "attributes": "attributes column",
    "row_policy": "row policy",
}
"""What of a table stays as it is within a major version: rows before and after a change must mean the same."""

_LIMITS = {
    "max_bytes": "maxBytes",
    "max_depth": "maxDepth",
    "max_fields": "maxFields",
    "attributes_max_bytes": "attributes' maxBytes",
    "max_ahead": "maxAhead",
    "lateness": "lateness",
    "retention": "retention",
    "bronze_retention": "bronzeRetention",
}
"""What may grow but not shrink within a major version: accepted input, kept rows, or notice of rows would be lost."""

_STRONGER = frozenset({(Mask.SCRUB, Mask.SCRUB_ADDRESSES)})
"""What a mask may become within a major version: a text stays a text, and no reader may rely on personal data in it.

The other way is a breaking change, for it shows what was promised to be hidden; so is every other, for values change their kind.
"""


def to_json(contract: Contract) -> str:
    """The contract as JSON text, for keeping; the same contract always gives the same text."""
    return _ADAPTER.dump_json(contract).decode()


def from_json(text: str) -> Contract:
    """The contract from `to_json`'s text. Raises ContractError when it is no such text."""
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ContractError(f"the kept contract cannot be read: {place}: {first['msg']}") from error


def breaking_changes(old: Contract, new: Contract) -> list[str]:
    """What in `new` would break those who read or write by `old`, one line each; empty when nothing does.

    Removed tables and fields; changed types, keys, event time, grain, topic, format, sources, row policy (limited readers
    would see other rows), masks (save for a stronger one), the severity that a value has, texts that stand for absent, the way
    a field is searched; narrowed values (an enum that lost one, a lower maximum, a field that became required, a new pattern,
    …), checks and rules that use a column which is computed in another way.

    A new optional field breaks nobody by this rule, whatever its name. Where messages have a member of that name already, it
    lay in the attributes column: nothing here can know, and to add a field must stay the light change that it is.
    """
    if old.system != new.system:
        return [f"the system changed from {old.system} to {new.system}"]
    tables = {table.name: table for table in new.tables}
    found: list[str] = []
    for table in old.tables:
        if table.name not in tables:
            found.append(f"table {table.name} was removed")
        else:
            found += [f"{table.name}{change}" for change in _table_changes(table, tables[table.name])]
    return found


def check_compatible(old: Contract, new: Contract) -> None:
    """Raise ContractError unless `new` may follow `old`.

    Any change needs a higher version; another expression of a computed column a higher minor version; a breaking change a higher
    major version. Texts for people are changes too, for the version stands on each row and says which contract it obeyed.
    """
    if to_json(old) == to_json(new):
        return
    before, after = _version(old), _version(new)
    if after <= before:
        what = "is unchanged" if after == before else f"is lower than {old.version}"
        raise ContractError(
            f"contract {new.system}: it differs from the accepted one but its version {new.version} {what}",
            f"raise it above {old.version}",
        )
    breaking = breaking_changes(old, new)
    if breaking and after[0] == before[0]:
        more = f" (and {len(breaking) - 1} more)" if len(breaking) > 1 else ""
        raise ContractError(
            f"contract {new.system}: {old.version} to {new.version} breaks readers: {breaking[0]}{more}",
            f"undo it, or say so with version {before[0] + 1}.0.0",
        )
    if after[:2] == before[:2] and (changed := _recomputed(old, new)):
        raise ContractError(
            f"contract {new.system}: {changed[0]} is computed in another way, and its version {new.version} is a patch",
            f"raise it to {before[0]}.{before[1] + 1}.0 or above",
        )


def _recomputed(old: Contract, new: Contract) -> list[str]:
    """The computed columns that both contracts have and whose values may differ, as `table.column`."""
    before = {table.name: table for table in old.tables}
    return [
        f"{table.name}.{name}"
        for table in new.tables
        if table.name in before
        for name in _changed_columns(before[table.name], table)
        if name in {field.name for field in before[table.name].fields}
    ]


def _changed_columns(old: Table, new: Table) -> list[str]:
    """Computed columns that are new, have another expression, or use such a column, in their order."""
    before = {field.name: expression for field, expression in old.computed}
    found: list[str] = []
    for field, expression in new.computed:
        if before.get(field.name) != expression or any(_names(expression, name) for name in found):
            found.append(field.name)
    return found


def _names(expression: str, column: str) -> bool:
    """Whether an expression may use a column: its name occurs in it."""
    return re.search(rf"\b{re.escape(column)}\b", expression) is not None


def _computed_changes(old: Table, new: Table) -> Iterator[str]:
    """Checks and rules that use values which writers cannot foresee: those of columns that are computed in another
    way.
    """
    changed = _changed_columns(old, new)
    for field in (new.field(name) for name in changed):
        bounds = least(field) is not None or greatest(field) is not None
        if field.required or field.enum or field.pattern is not None or field.max_length is not None or bounds:
            yield f": rows must now keep the checks of the computed column {field.name}"
    known = {rule.name: rule.expression for rule in old.rules}
    for rule in (rule for rule in new.rules if known.get(rule.name) == rule.expression):
        if name := next((name for name in changed if _names(rule.expression, name)), None):
            yield f": the rule {rule.name} uses {name}, which is now computed differently"


def _version(contract: Contract) -> tuple[int, ...]:
    return tuple(int(part) for part in contract.version.split("."))


def _table_changes(old: Table, new: Table) -> Iterator[str]:
    for attribute, name in _PROMISES.items():
        value = attrgetter(attribute)
        before, after = value(old), value(new)
        if before != after and not (attribute == "attributes" and before is None):
            yield f": the {name} changed from {_say(before)} to {_say(after)}"
    for attribute, name in _LIMITS.items():
        before, after = getattr(old, attribute), getattr(new, attribute)
        if after < before:
            yield f": {name} was lowered from {before} to {after}"
    masks = (old.attributes_mask, new.attributes_mask)
    if old.attributes and masks[0] is not masks[1] and masks not in _STRONGER:
        yield f": the attributes' mask changed from {masks[0]} to {masks[1]}"
    rules = {rule.name: rule.expression for rule in old.rules}
    for rule in new.rules:
        if rules.get(rule.name) != rule.expression:
            yield f": rows must now keep the rule {rule.name}"
    yield from _computed_changes(old, new)
    yield from _severity_changes(old, new)
    fields = {field.name: field for field in new.fields}
    for field in old.fields:
        if field.name not in fields:
            yield f".{field.name} was removed"
        else:
            for change in _field_changes(field, fields[field.name]):
                yield f".{field.name}: {change}"
    names = {field.name for field in old.fields}
    for field in new.fields:
        if field.name not in names and field.required and field.computed is None:
            yield f".{field.name} is new and required"
        if field.name not in names and field.name == old.attributes:
            yield f".{field.name} takes the name of the attributes column"


def _severity_changes(old: Table, new: Table) -> Iterator[str]:
    """A severity that is gone, of another field, or of another rank: counts by severity would mean something else."""
    if old.severity is None:
        return
    if new.severity is None or new.severity.field != old.severity.field:
        now = new.severity.field if new.severity else None
        yield f": the severity changed from {old.severity.field} to {_say(now)}"
        return
    ranks = dict(new.severity.ranks)
    for value, rank in old.severity.ranks:
        if ranks.get(value) is not rank:
            yield f": the severity of {value} changed from {rank} to {_say(ranks.get(value))}"


def _field_changes(old: Field, new: Field) -> Iterator[str]:
    if old.mask is not new.mask and (old.mask, new.mask) not in _STRONGER:
        yield f"the mask changed from {old.mask} to {new.mask}"
    for attribute, name in (
        ("type", "type"),
        ("source", "name in the message"),
        ("ambiguous_time", "moment of times that clocks show twice"),
        ("skipped_time", "treatment of times that clocks skip"),
        ("composed_of", "fields that it is composed of"),
    ):
        before, after = getattr(old, attribute), getattr(new, attribute)
        if before != after:
            yield f"the {name} changed from {_say(before)} to {_say(after)}"
    yield from _time_changes(old, new)
    if old.mask is not Mask.NONE and old.pii and not new.pii:
        yield "is no longer classified as pii"
    if new.required and not old.required:
        yield "became required"
    if old.required and not new.required:
        yield "became optional: readers rely on it"
    if new.enum and (gone := [value for value in old.enum if value not in new.enum]):
        yield f"lost the allowed value {gone[0]}"
    if new.enum and not old.enum:
        yield "is now limited to an enumeration"
    if new.pattern is not None and new.pattern != old.pattern:
        yield f"must now match {new.pattern}"
    if new.type is old.type and new.scale != old.scale:
        yield f"the scale changed from {old.scale} to {new.scale}"
    if new.type is old.type and new.precision < old.precision:
        yield f"its precision fell from {old.precision} to {new.precision}"
    if old.text_too and not new.text_too:
        yield "is no longer read from texts (textToo)"
    if rose(old, new):
        yield f"its minimum rose from {_say(told_least(old))} to {told_least(new)}"
    if fell(old, new):
        yield f"its maximum fell from {_say(told_greatest(old))} to {told_greatest(new)}"
    if new.max_length is not None and (old.max_length is None or new.max_length < old.max_length):
        yield f"its maxLength fell from {_say(old.max_length)} to {new.max_length}"
    if gained := [value for value in new.null_values if value not in old.null_values]:
        yield f"{gained[0]!r} now stands for absent"
    if lost := [value for value in old.null_values if value not in new.null_values]:
        yield f"{lost[0]!r} no longer stands for absent"
    if old.index is not IndexType.NONE and new.index is not old.index:
        yield f"the index changed from {old.index} to {new.index}"


def _time_changes(old: Field, new: Field) -> Iterator[str]:
    """A zone or formats by which the same text would be another time, or none. Formats may be added behind the others."""
    before, after = old.time_formats or (ISO,), new.time_formats or (ISO,)
    if after[: len(before)] != before:
        yield f"the time formats changed from {_say(before)} to {_say(after)}"
    zones = [field.time_zone if field.has_clock_changes else "UTC" for field in (old, new)]
    if zones[0] != zones[1]:
        yield f"the time zone changed from {zones[0]} to {zones[1]}"
    elif old.time_zone is not None and new.time_zone is None:
        yield "times without a zone are no longer read"


def _say(value: object) -> str:
    if value is None or value in ((), ""):
        return "none"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value)
