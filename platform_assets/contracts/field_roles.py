"""What single fields are for: who may see a row, how severe it is, who wrote it.

Belongs here: reading and checking the table properties `rowPolicy`, `severity` and `origin`, and saying in words who sees a
table. Does not belong here: what index, API and page make of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from platform_assets.contracts.errors import ContractError, at
from platform_assets.contracts.model import Field, FieldType, IndexType, Mask, SeverityField, SeverityRank, Table
from platform_assets.contracts.values import choice, text, texts
from platform_assets.core.errors import Mistake, Mistakes

PROPERTIES = ("rowPolicy", "severity", "origin")
WELL_KNOWN: dict[str, SeverityRank] = {
    **dict.fromkeys(("trace", "debug"), SeverityRank.DEBUG),
    **dict.fromkeys(("info", "information", "informational", "notice"), SeverityRank.INFO),
    **dict.fromkeys(("warn", "warning"), SeverityRank.WARNING),
    **dict.fromkeys(("err", "error", "severe"), SeverityRank.ERROR),
    **dict.fromkeys(("fatal", "critical", "crit", "alert", "emerg", "emergency", "panic"), SeverityRank.CRITICAL),
}
"""The rank of values that need no scale; upper and lower case are the same."""
_SEVERITY = "a field, or {field: …, scale: {VALUE: rank}}"


def read_roles(custom: dict[str, Any], fields: Sequence[Field], place: str, found: Mistakes) -> dict[str, Any]:
    """The members of a table that these properties give; what cannot be read goes to `found`."""
    where = f"{place}.customProperties"
    roles: dict[str, Any] = {}
    if "rowPolicy" in custom:
        roles["row_policy"] = found.get(text, custom["rowPolicy"], f"{where}[rowPolicy]", "the name of a field")
    if "severity" in custom:
        roles["severity"] = found.get(_severity, custom["severity"], fields, f"{where}[severity]")
    if "origin" in custom:
        roles["origin"] = found.get(texts, custom["origin"], f"{where}[origin]") or ()
    return roles


def _severity(value: Any, fields: Sequence[Field], place: str) -> SeverityField:
    """A field whose allowed values have well-known names, or a field with its scale."""
    if isinstance(value, str):
        enum = next((field.enum for field in fields if field.name == value), ())
        return SeverityField(value, tuple((one, WELL_KNOWN[one.lower()]) for one in enum if one.lower() in WELL_KNOWN))
    if not isinstance(value, dict) or set(value) != {"field", "scale"} or not isinstance(value["scale"], dict):
        raise at(place, f"is {value!r}", _SEVERITY)
    found = Mistakes()
    ranks = []
    for name, rank in value["scale"].items():
        where = f"{place}.scale[{name}]"
        told = found.get(text, name, where, "a value of the field as text (quote yes, no, on, off and numbers)")
        ranked = found.get(choice, SeverityRank, rank, where)
        ranks += [(told, ranked)] if told is not None and ranked is not None else []
    if found.found:
        raise ContractError.of(found.found)
    return SeverityField(text(value["field"], place, "the name of a field"), tuple(ranks))


def role_mistakes(table: Table, place: str) -> Iterator[Mistake]:
    """What is wrong with the fields that a table names for these roles."""
    where = f"{place}.customProperties"
    if table.row_policy is not None:
        yield from _keyword(table, table.row_policy, f"{where}[rowPolicy]", clear=True)
    for name in table.origin:
        yield from _keyword(table, name, f"{where}[origin]")
    if table.severity is not None:
        wrong = [*_keyword(table, table.severity.field, f"{where}[severity]", clear=True)]
        yield from wrong or _scale(table, table.severity, f"{where}[severity]")


def _keyword(table: Table, name: str, place: str, *, clear: bool = False) -> Iterator[Mistake]:
    """The field must exist and be a string that the index finds by its whole value; `clear`: one that is not masked."""
    field = next((field for field in table.fields if field.name == name), None)
    if field is None:
        yield from at(place, f"there is no field '{name}'", ", ".join(f.name for f in table.fields)).mistakes
    elif field.type is not FieldType.STRING or field.index is not IndexType.KEYWORD:
        told = f"'{name}' is of type {field.type}, index {field.index}"
        yield from at(place, told, "a string whose index is keyword").mistakes
    elif clear and field.mask is not Mask.NONE:
        yield from at(place, f"'{name}' is masked", "a field whose values stay as they are").mistakes


def _scale(table: Table, severity: SeverityField, place: str) -> Iterator[Mistake]:
    enum, known = table.field(severity.field).enum, dict(severity.ranks)
    if not enum:
        yield from at(
            place, f"'{severity.field}' has no enum", "a field with an enum, whose values have ranks"
        ).mistakes
    if missing := [value for value in enum if value not in known]:
        yield from at(place, f"has no rank for {', '.join(missing)}", _SEVERITY).mistakes
    if enum and (foreign := [value for value in known if value not in enum]):
        allowed = f"values of '{severity.field}': {', '.join(enum)}"
        yield from at(place, f"ranks {', '.join(foreign)}, which the field cannot be", allowed).mistakes


def visibility(row_policy: str | None) -> str:
    """Who sees the rows of a table or mart, in a sentence."""
    if row_policy is None:
        return "Only keys without a limit see its rows: it has no row policy."
    return f"A limited key sees the rows whose `{row_policy}` is one of its values."
