"""Rules from `systems/<system>/alerts.yaml`, checked against the system's contract, each by itself.

Belongs here: the file's form, and mistakes that name the place. Does not: whether SQL binds (`sql.py`, which needs the engine).
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from functools import partial
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
from platform_assets.alerts.runbooks import runbooks_of
from platform_assets.contracts.document import Declared, Document, model_mistakes, parse_document, read_text, understood
from platform_assets.contracts.model import Contract, Table
from platform_assets.contracts.read import packaged_systems
from platform_assets.contracts.types import NUMERIC
from platform_assets.core.durations import parse_duration
from platform_assets.core.errors import Mistake, Mistakes, told

FILE_NAME = "alerts.yaml"
WORDS = frozenset({"value", "threshold", "window", "rule", "system", "table"})
"""What a summary may use besides the columns in `by`."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_PAGE = re.compile(r"[a-z0-9][a-z0-9_-]*\.md|https://\S+")
_AGGREGATE = re.compile(
    r"(?is)\s*(count|sum|max)\(\s*(\*|[a-z_][a-z0-9_]*)\s*\)\s*(?:filter\s*\(\s*where\s+(.+?)\s*\))?\s*"
)
_FORMAT = re.compile(r"[,]?(\.\d)?[f%]?")
_LONGEST = timedelta(days=1)
_HINT = "see docs/alerts.md"


def duration(text: Any) -> timedelta:
    """`30s`, `5m`, `2h`, `1d`. ValueError otherwise."""
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is no duration such as 90s, 15m, 24h, 7d or 2w")
    return parse_duration(text)


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


def exact(value: float, written: str | None) -> Decimal:
    """A number with all its digits as they are written, which a double may not hold."""
    try:
        digits = Decimal(written or "")
    except InvalidOperation:  # another notation, such as 0x10, or a value that is merged in
        digits = Decimal(repr(value))
    return digits if float(digits) == value else Decimal(repr(value))


Finite = Annotated[float, Field(allow_inf_nan=False)]
Duration = Annotated[timedelta, BeforeValidator(duration)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Ratio(_Strict):
    ratio: tuple[str, str]


class _Escalate(_Strict):
    threshold: Finite
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
    above: Finite | None = None
    below: Finite | None = None
    escalate: _Escalate | None = None
    at_least: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _evaluated(self) -> _Window:
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


_KINDS: dict[str, type[_Window | _Silence]] = {"window": _Window, "silence": _Silence}


def rules_file(system: str, root: Path | None = None) -> Path:
    """Where a system's rules are, if it has any."""
    return (root or packaged_systems()) / system / FILE_NAME


def declared_rules(contract: Contract, root: Path | None = None) -> Declared[Rule]:
    """The rules in `<root>/<system>/alerts.yaml`, by default the packaged one; none when there is no file.

    A rule that is wrong is left out; the mistakes name file, line, place, problem and what is allowed.
    """
    path = rules_file(contract.system, root)
    if not (path.exists() or path.is_symlink()):
        return Declared()
    found = Mistakes()
    text = found.get(read_text, path, "a file of rules")
    rules = _declared(text, contract) if text is not None else Declared[Rule]()
    named = tuple(replace(mistake, file=str(path)) for mistake in (*found.found, *rules.mistakes))
    # A page of the system's own folder comes before one of the platform.
    pages = {page.partition("/")[2]: page for page in (runbooks_of(contract.system, root) if rules.valid else ())}
    valid = {name: replace(rule, runbook=pages.get(rule.runbook, rule.runbook)) for name, rule in rules.valid.items()}
    return Declared(valid, named)


def load_rules(contract: Contract, root: Path | None = None) -> tuple[Rule, ...]:
    """The system's own rules, for whom all of them must hold. Raises AlertError with every mistake."""
    return _all(declared_rules(contract, root))


def parse_rules(text: str, contract: Contract) -> tuple[Rule, ...]:
    """The rules in this YAML text, checked. Raises AlertError with every mistake."""
    return _all(_declared(text, contract))


def _all(rules: Declared[Rule]) -> tuple[Rule, ...]:
    if rules.mistakes:
        raise AlertError(*told(rules.mistakes), mistakes=rules.mistakes)
    return tuple(rules.valid.values())


def _declared(text: str, contract: Contract) -> Declared[Rule]:
    found = Mistakes()
    document = parse_document(text, found)
    if document is None:
        return Declared(mistakes=tuple(found.found))
    raw = document.value
    entries = raw.get("rules") if isinstance(raw, dict) else None
    if not isinstance(entries, dict):
        found.found.append(Mistake("rules: is no mapping of rules by name", _HINT, "rules"))
        entries = {}
    for key in raw if isinstance(raw, dict) else ():
        if key != "rules":
            found.found.append(Mistake(f"{key}: is not known", "rules, by name", str(key)))
    rules = {}
    for name, entry in entries.items():
        before = len(found.found)
        rule = found.get(understood, partial(_entry, str(name), entry, contract, document, found))
        of_it = re.compile(re.escape(f"rules.{name}") + r"([.\[].*)?")
        if rule is not None and before == len(found.found) and not any(of_it.fullmatch(m.place) for m in found.found):
            rules[rule.name] = rule
    mistakes = dict.fromkeys(document.located(mistake) for mistake in found.found)
    return Declared(rules, tuple(sorted(mistakes, key=lambda mistake: mistake.line or 0)))


def _entry(name: str, entry: Any, contract: Contract, document: Document, found: Mistakes) -> Rule | None:
    """One rule; its mistakes go to `found`, and then it may be None."""
    kind = entry.get("kind") if isinstance(entry, dict) else None
    model = _KINDS.get(kind) if isinstance(kind, str) else None
    if model is None:
        place = f"rules.{name}.kind"
        found.note(_at(place, f"is {kind!r}" if kind else "is missing", " or ".join(_KINDS)))
        return None
    try:
        valid = model.model_validate(entry)
    except ValidationError as error:
        for mistake, _ in model_mistakes(error, entry, _HINT):
            place = f"rules.{name}.{mistake.place}" if mistake.place else f"rules.{name}"
            said = mistake.message.removeprefix(f"{mistake.place or 'the document'}: ")
            found.found.append(replace(mistake, message=f"{place}: {said}", place=place))
        return None
    return _rule(name, valid, contract, document, found)


def _rule(name: str, entry: _Window | _Silence, contract: Contract, document: Document, found: Mistakes) -> Rule | None:
    place = f"rules.{name}"
    if not _NAME.fullmatch(name):
        hint = "a lower-case letter, then letters, digits or underscores"
        found.note(_at(place, "no name for a rule", hint))
    if name in PLATFORM_RULES:
        found.note(_at(place, "the platform has a rule of that name", "another name"))
    found.get(_template, entry.summary, WORDS | set(entry.by), f"{place}.summary")
    page = entry.runbook or f"{name}.md"
    if not _PAGE.fullmatch(page):
        found.note(
            _at(f"{place}.runbook", f"{page!r} is no page", "a file name such as errors.md, or an https address")
        )
    table = next((t for t in contract.tables if t.name == entry.table), None)
    if table is None:
        known = ", ".join(t.name for t in contract.tables)
        problem = f"{contract.system} has no table {entry.table!r}"
        found.note(_at(f"{place}.table", problem, f"it has {known}"))
        return None
    for column in entry.by:
        found.get(_column, table, column, f"{place}.by")
    rule = Rule(
        name, Kind(entry.kind), entry.severity, entry.summary, page, entry.resolve_after, entry.cool_down,
        table=table.name, where=entry.where.strip(), by=entry.by,
        row_policy=table.row_policy if table.row_policy in entry.by else None,
    )  # fmt: skip
    if isinstance(entry, _Silence):
        return _silence(rule, entry)
    return found.get(_window, rule, entry, table, document)


def _at(place: str, problem: str, hint: str) -> AlertError:
    message = f"{place}: {problem}"
    return AlertError(message, hint, mistakes=[Mistake(message, hint, place)])


def _window(rule: Rule, entry: _Window, table: Table, document: Document) -> Rule:
    place = f"rules.{rule.name}"

    def limit(value: float | None, name: str) -> Decimal | None:
        return None if value is None else exact(value, document.written(f"{place}.{name}"))

    escalate = None
    if entry.escalate is not None:
        threshold = exact(entry.escalate.threshold, document.written(f"{place}.escalate.threshold"))
        escalate = Escalation(threshold, entry.escalate.severity)
    return replace(
        rule,
        measure=_measure(entry.measure, table, f"{place}.measure"),
        window=entry.window,
        above=limit(entry.above, "above"),
        below=limit(entry.below, "below"),
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
        raise _at(place, str(error), _HINT) from error
    for part in parts:
        if part.column:
            _column(table, part.column, place, numeric=True)
        if len(parts) == 2 and part.function is Function.MAX:
            raise _at(place, "a ratio is of counts or sums", "count(*) or sum(column)")
    return Measure(parts[0], parts[1] if len(parts) == 2 else None)


def _column(table: Table, name: str, place: str, *, numeric: bool = False) -> None:
    known = [f.name for f in table.fields if not numeric or f.type in NUMERIC]
    if name not in known:
        what = "numeric column" if numeric else "column"
        raise _at(place, f"{table.qualified_name} has no {what} {name!r}", f"it has {', '.join(known)}")


def _template(text: str, allowed: set[str] | frozenset[str], place: str) -> None:
    """Names only: `{value.__class__}` and nested formats would let a template reach into the program."""
    try:
        pieces = list(Formatter().parse(text))
    except ValueError as error:
        raise _at(place, str(error), "double braces that are meant as text") from error
    for _, name, form, conversion in pieces:
        if name is None:
            continue
        if name not in allowed:
            raise _at(place, f"{{{name}}} is not known", f"known: {', '.join(sorted(allowed))}")
        numeric = name in ("value", "threshold")
        if conversion or (form and not (numeric and _FORMAT.fullmatch(form))):
            raise _at(place, f"{{{name}}} has a format that is not allowed", "e.g. {value:,.0f} or {value:.1%}")
