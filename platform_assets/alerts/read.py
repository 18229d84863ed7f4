"""Rules from `systems/<system>/alerts.yaml`, checked against the system's contract.

Belongs here: the file's form, and errors that name the place. Does not: whether SQL binds (`sql.py`, which needs the engine).
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from platform_assets.alerts.model import (
    Aggregate,
    AlertError,
    Escalation,
    Function,
    Kind,
    Measure,
    Rule,
    Severity,
)
from platform_assets.alerts.platform import PLATFORM_RULES
from platform_assets.contracts.errors import ContractError
from platform_assets.contracts.model import Contract, Table
from platform_assets.contracts.read import strict_yaml
from platform_assets.contracts.types import NUMERIC
from platform_assets.settings import Settings

FILE_NAME = "alerts.yaml"
WORDS = frozenset({"value", "threshold", "window", "rule", "system", "table"})
"""What a summary may use besides the columns in `by`."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_PAGE = re.compile(r"[a-z0-9][a-z0-9_-]*\.md|https://\S+")
_DURATION = re.compile(r"([1-9]\d{0,5})(s|m|h|d)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_AGGREGATE = re.compile(
    r"(?is)\s*(count|sum|max)\(\s*(\*|[a-z_][a-z0-9_]*)\s*\)\s*(?:filter\s*\(\s*where\s+(.+?)\s*\))?\s*"
)
_FORMAT = re.compile(r"[,]?(\.\d)?[f%]?")
_LONGEST = timedelta(days=1)


def duration(text: Any) -> timedelta:
    """`30s`, `5m`, `2h`, `1d`. ValueError otherwise."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} is no duration such as 30s, 5m, 2h or 1d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def aggregate(text: str) -> Aggregate:
    """`count(*)`, `sum(column)` or `max(column)`, with `filter (where …)` or without. ValueError otherwise."""
    match = _AGGREGATE.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r} is none of count(*), sum(column), max(column), each with `filter (where …)` or without"
        )
    function, column = Function(match[1].lower()), match[2].lower()
    if (function is Function.COUNT) != (column == "*"):
        raise ValueError(f"{text!r}: count takes *, sum and max take a column")
    return Aggregate(function, "" if column == "*" else column, match[3] or "")


Duration = Annotated[timedelta, BeforeValidator(duration)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Ratio(_Strict):
    ratio: tuple[str, str]


class _Escalate(_Strict):
    threshold: float
    severity: Severity


class _Common(_Strict):
    table: str
    where: str = ""
    by: tuple[str, ...] = ()
    severity: Severity = Severity.WARNING
    cool_down: Duration = timedelta(minutes=30)
    resolve_after: Duration = timedelta(minutes=2)
    summary: str
    runbook: str = ""


class _Window(_Common):
    kind: Literal["window"]
    measure: str | _Ratio
    window: Duration
    above: float | None = None
    below: float | None = None
    escalate: _Escalate | None = None
    at_least: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _judged(self) -> _Window:
        if (self.above is None) == (self.below is None):
            raise ValueError("needs one of above and below")
        if not timedelta(seconds=1) <= self.window <= _LONGEST:
            raise ValueError("window: between 1s and 1d")
        return self


class _Silence(_Common):
    kind: Literal["silence"]
    after: Duration
    seen_within: Duration = _LONGEST

    @model_validator(mode="after")
    def _possible(self) -> _Silence:
        if self.after >= self.seen_within:
            raise ValueError("after: must be shorter than seen_within")
        return self


class _File(_Strict):
    rules: dict[str, Annotated[_Window | _Silence, Field(discriminator="kind")]]


def load_rules(contract: Contract, root: Path | None = None) -> tuple[Rule, ...]:
    """The system's own rules from `<root>/<system>/alerts.yaml`, by default the packaged one; none when there is no file.

    Raises AlertError naming file, place, problem and what is allowed.
    """
    base: Path | Traversable = root if root is not None else files("platform_assets.systems")
    path = base / contract.system / FILE_NAME
    if not path.is_file():
        return ()
    try:
        return parse_rules(path.read_text(encoding="utf-8"), contract)
    except (OSError, UnicodeDecodeError) as error:
        raise AlertError(f"{path}: cannot be read ({error})", "rules are a UTF-8 YAML file") from error
    except AlertError as error:
        raise AlertError(f"{path}: {error.message}", error.hint) from error


def rules_of(settings: Settings, contract: Contract) -> tuple[Rule, ...]:
    """The system's rules, from the folder of systems that `$ASSAY_SYSTEMS` names if it does. Raises AlertError."""
    return load_rules(contract, settings.systems)


def parse_rules(text: str, contract: Contract) -> tuple[Rule, ...]:
    """The rules in this YAML text, checked. Raises AlertError."""
    try:
        raw = strict_yaml(text)
    except ContractError as error:
        raise AlertError(error.message, error.hint) from error
    try:
        document = _File.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(
            str(part) for part in first["loc"] if part not in ("window", "silence") or first["loc"][-1] == part
        )
        raise AlertError(f"{place or 'the document'}: {first['msg']}", "see docs/alerts.md") from error
    return tuple(_rule(name, entry, contract) for name, entry in document.rules.items())


def _rule(name: str, entry: _Window | _Silence, contract: Contract) -> Rule:
    place = f"rules.{name}"
    if not _NAME.fullmatch(name):
        raise AlertError(f"{place}: no name for a rule", "a lower-case letter, then letters, digits or underscores")
    if name in PLATFORM_RULES:
        raise AlertError(f"{place}: the platform has a rule of that name", "another name")
    table = next((t for t in contract.tables if t.name == entry.table), None)
    if table is None:
        known = ", ".join(t.name for t in contract.tables)
        raise AlertError(f"{place}.table: {contract.system} has no table {entry.table!r}", f"it has {known}")
    for column in entry.by:
        _column(table, column, f"{place}.by")
    _template(entry.summary, WORDS | set(entry.by), f"{place}.summary")
    page = entry.runbook or f"{name}.md"
    if not _PAGE.fullmatch(page):
        raise AlertError(f"{place}.runbook: {page!r} is no page", "a file name such as errors.md, or an https address")
    rule = Rule(
        name, Kind(entry.kind), entry.severity, entry.summary, page, entry.resolve_after, entry.cool_down,
        table=table.name, where=entry.where.strip(), by=entry.by,
    )  # fmt: skip
    return _window(rule, entry, table) if isinstance(entry, _Window) else _silence(rule, entry)


def _window(rule: Rule, entry: _Window, table: Table) -> Rule:
    escalate = None if entry.escalate is None else Escalation(entry.escalate.threshold, entry.escalate.severity)
    return replace(
        rule,
        measure=_measure(entry.measure, table, f"rules.{rule.name}.measure"),
        window=entry.window,
        above=entry.above,
        below=entry.below,
        escalate=escalate,
        at_least=entry.at_least,
    )


def _silence(rule: Rule, entry: _Silence) -> Rule:
    return replace(rule, after=entry.after, seen_within=entry.seen_within)


def _measure(given: str | _Ratio, table: Table, place: str) -> Measure:
    texts = (given,) if isinstance(given, str) else given.ratio
    try:
        parts = [aggregate(text) for text in texts]
    except ValueError as error:
        raise AlertError(f"{place}: {error}", "see docs/alerts.md") from error
    for part in parts:
        if part.column:
            _column(table, part.column, place, numeric=True)
        if len(parts) == 2 and part.function is Function.MAX:
            raise AlertError(f"{place}: a ratio is of counts or sums", "count(*) or sum(column)")
    return Measure(parts[0], parts[1] if len(parts) == 2 else None)


def _column(table: Table, name: str, place: str, *, numeric: bool = False) -> None:
    known = [f.name for f in table.fields if not numeric or f.type in NUMERIC]
    if name not in known:
        what = "numeric column" if numeric else "column"
        raise AlertError(f"{place}: {table.qualified_name} has no {what} {name!r}", f"it has {', '.join(known)}")


def _template(text: str, allowed: set[str] | frozenset[str], place: str) -> None:
    """Names only: `{value.__class__}` and nested formats would let a template reach into the program."""
    try:
        pieces = list(Formatter().parse(text))
    except ValueError as error:
        raise AlertError(f"{place}: {error}", "double braces that are meant as text") from error
    for _, name, form, conversion in pieces:
        if name is None:
            continue
        if name not in allowed:
            raise AlertError(f"{place}: {{{name}}} is not known", f"known: {', '.join(sorted(allowed))}")
        numeric = name in ("value", "threshold")
        if conversion or (form and not (numeric and _FORMAT.fullmatch(form))):
            raise AlertError(
                f"{place}: {{{name}}} has a format that is not allowed", "e.g. {value:,.0f} or {value:.1%}"
            )
