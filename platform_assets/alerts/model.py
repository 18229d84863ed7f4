"""Rules as the platform sees them: plain frozen values.

Belongs here: what a rule says, and the error of this package. Does not: reading it (`read.py`), evaluating it (`buckets.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum

from platform_assets.core.errors import AssayError


class AlertError(AssayError):
    """A rule, a target of notifications or an alert's id that cannot be used as it is."""


class Kind(StrEnum):
    """How a rule is evaluated."""

    WINDOW = "window"  # an aggregate over a sliding window of event time
    SILENCE = "silence"  # nothing came for some time
    PLATFORM = "platform"  # a fact that the platform tells of itself


class Severity(StrEnum):
    """How bad it is, in rising order."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for the least."""
        return list(Severity).index(self)


class Function(StrEnum):
    """Aggregates that can be computed in pieces and merged."""

    COUNT = "count"
    SUM = "sum"
    MAX = "max"


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`count(*)`, `sum(column)` or `max(column)`, over the rows for which the SQL expression `where` holds (empty: all)."""

    function: Function
    column: str = ""
    where: str = ""


@dataclass(frozen=True, slots=True)
class Measure:
    """What is measured: one aggregate, or the ratio of two (`whole` is the divisor)."""

    part: Aggregate
    whole: Aggregate | None = None


@dataclass(frozen=True, slots=True)
class Escalation:
    """From `threshold` on (in the rule's direction) an incident has this severity."""

    threshold: Decimal
    severity: Severity


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. Which of the later members matter depends on the kind."""

    name: str
    kind: Kind
    severity: Severity
    summary: str  # template over the group's columns, value, threshold, window, rule
    runbook: str  # page below the runbooks' folder, or an https address
    resolve_after: timedelta  # the condition is false for so long: resolved
    cool_down: timedelta  # between two notifications of an incident, and between two incidents of a group
    table: str = ""
    where: str = ""  # SQL over silver's columns; empty: every row
    by: tuple[str, ...] = ()
    row_policy: str | None = None  # of `by` the field that limits who sees the table's rows
    measure: Measure | None = None
    window: timedelta = timedelta(0)
    above: Decimal | None = None
    below: Decimal | None = None
    escalate: Escalation | None = None
    at_least: int = 1  # rows in the window, below which nothing is evaluated
    after: timedelta = timedelta(0)  # silence: longer than this without a row
    seen_within: timedelta = timedelta(days=1)  # silence: only of groups that were seen so recently

    @property
    def threshold(self) -> float | None:
        """The limit for people, in the measure's unit (seconds for silence); None where the condition is yes or no."""
        if self.kind is Kind.SILENCE:
            return self.after.total_seconds()
        limit = self.below if self.above is None else self.above
        return None if limit is None else float(limit)

    def breached_by(self, value: Decimal | float) -> bool:
        """Whether a value is beyond the threshold."""
        if self.above is not None:
            return _less(self.above, value)
        return self.below is not None and _less(value, self.below)

    def severity_of(self, value: Decimal | float) -> Severity:
        """The severity that a value has."""
        if self.escalate is None:
            return self.severity
        limit = self.escalate.threshold
        beyond = _less(value, limit) if self.below is not None else _less(limit, value)
        return self.escalate.severity if beyond else self.severity


def _less(first: Decimal | float, second: Decimal | float) -> bool:
    """Whether the first is less: exactly for decimals, as doubles where one of the two is a double."""
    if isinstance(first, Decimal) and isinstance(second, Decimal):
        return first < second
    return float(first) < float(second)


Group = Mapping[str, str | None]


def group_key(group: Group) -> str:
    """The group as text, the same for equal groups."""
    return json.dumps(dict(group), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
