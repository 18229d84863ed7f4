"""What a contract's `quality` and `enum` say: rules of a table, allowed values and patterns of a field.

Belongs here: reading them from the standard's model, in whichever of its ways they are written. Does not belong here: whether
the engine can run a rule (`transform/expressions.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from open_data_contract_standard.model import DataQuality, SchemaProperty

from platform_assets.contracts.errors import at
from platform_assets.contracts.model import Rule
from platform_assets.contracts.values import text, texts

OTHER_BOUNDS = (
    "mustNotBe", "mustBeGreaterThan", "mustBeGreaterOrEqualTo", "mustBeLessThan", "mustBeLessOrEqualTo",
    "mustBeBetween", "mustNotBeBetween",
)  # fmt: skip
_T = TypeVar("_T")


def rule_of(rule: DataQuality, place: str) -> Rule:
    """The rule in an entry of a table's `quality`. Raises ContractError for any other kind of entry."""
    if (
        rule.type != "custom"
        or rule.engine != "assay"
        or any(getattr(rule, one) is not None for one in ("mustBe", *OTHER_BOUNDS))
    ):
        allowed = "type: text; or type: custom, engine: assay, implementation: a condition in SQL"
        raise at(f"{place}[{rule.name or ''}]", "this rule is not supported", allowed)
    name = text(rule.name, f"{place}[].name", "the rule's name")
    place = f"{place}[{name}]"
    if rule.severity not in (None, "reject"):
        raise at(f"{place}.severity", f"is {rule.severity!r}", "reject")
    condition = text(rule.implementation, f"{place}.implementation", "a condition in SQL over the fields")
    return Rule(name, condition.strip(), (rule.description or "").strip())


def allowed_values(item: SchemaProperty, place: str) -> tuple[tuple[str, ...], str | None]:
    """(allowed values, pattern) of a field, in whichever of the standard's ways they are said. Raises ContractError."""
    enum, pattern = _quality(item.quality or [], place)
    if item.enum is not None:
        enum = _only(enum, texts([entry.value for entry in item.enum], f"{place}.enum"), f"{place}.enum")
    if "pattern" in (options := item.logicalTypeOptions or {}):
        where = f"{place}.logicalTypeOptions.pattern"
        pattern = _only(pattern, text(options["pattern"], where, "an RE2 expression"), where)
    return enum, pattern


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
            enum = _only(enum, texts(arguments["validValues"], where), where)
        if "pattern" in arguments:
            where = f"{place}.quality.arguments.pattern"
            pattern = _only(pattern, text(arguments["pattern"], where, "an RE2 expression"), where)
    return enum, pattern


def _only(before: _T | None, now: _T, place: str) -> _T:
    """A check that may be said in several ways, but not with several meanings: a field keeps one."""
    if before and before != now:
        raise at(place, f"is {now!r}, and {before!r} elsewhere", "one of them")
    return now
