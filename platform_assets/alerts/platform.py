"""What the platform tells of itself: one rule for each way in which a table or a run may need a person.

Belongs here: these rules, and turning a worker's figures into sightings. Does not: measuring (ingest, reconcile, defs).
Every table has them by its contract; nothing is declared.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from platform_assets.alerts.incident import Sighting
from platform_assets.alerts.model import Kind, Rule, Severity
from platform_assets.alerts.text import DETAIL_LENGTH, neutral
from platform_assets.contracts.model import Table

PLATFORM_SYSTEM = "assay"
"""Whose alerts those are that belong to no system (housekeeping). Contracts cannot be named so."""
LOUD_REJECTS = 10
"""Fewer refused records in the window are an accident, whatever their share."""
RATE_WINDOW = timedelta(minutes=5)
INDEX_PATIENCE = timedelta(seconds=20)
"""An index that refuses for a moment is asked again; after so long it is worth a person's time."""


def _rule(name: str, severity: Severity, summary: str) -> Rule:
    return Rule(
        name, Kind.PLATFORM, severity, summary, f"{name}.md",
        resolve_after=timedelta(minutes=1), cool_down=timedelta(minutes=30),
    )  # fmt: skip


FRESHNESS = _rule("freshness_late", Severity.CRITICAL, "{subject}: {detail}")
QUARANTINE = _rule("quarantine_rate", Severity.WARNING, "{subject}: {detail}")
POISON = _rule("poison_batch", Severity.CRITICAL, "{subject}: {detail}")
GAP = _rule("gap", Severity.CRITICAL, "{subject}: {detail}")
INDEX = _rule("index_behind", Severity.WARNING, "{subject}: {detail}")
TROUBLE = _rule("ingest_trouble", Severity.WARNING, "{subject}: {detail}")
CONFLICT = _rule("key_conflict", Severity.WARNING, "{subject}: {detail}")
SHARDS = _rule("index_shards", Severity.CRITICAL, "{subject}: {detail}")
RUN_FAILED = _rule("run_failed", Severity.CRITICAL, "{subject}: {detail}")
TAIL = _rule("tail_stopped", Severity.CRITICAL, "{subject}: {detail}")
CHECK_FAILED = _rule("check_failed", Severity.WARNING, "{subject}: {detail}")
DECLARATION = _rule("declaration_wrong", Severity.WARNING, "{subject}: {detail}")

PLATFORM_RULES = {
    rule.name: rule
    for rule in (
        FRESHNESS,
        QUARANTINE,
        POISON,
        GAP,
        INDEX,
        TROUBLE,
        CONFLICT,
        SHARDS,
        RUN_FAILED,
        CHECK_FAILED,
        DECLARATION,
        TAIL,
    )
}
"""By name."""


def sighting(
    rule: Rule, subject: str, at: datetime, *, breach: bool, value: float = 1.0, detail: str = "",
    severity: Severity | None = None,
) -> Sighting:  # fmt: skip
    """What was seen of a platform rule; `subject` is a table, a job, a check or a service.

    Whatever in `detail` comes from data must be neutral.
    """
    words = {"subject": subject, "detail": detail}
    return Sighting(rule, {"subject": subject}, at, at, breach, value, rule.threshold, severity, words=words)


@dataclass(frozen=True, slots=True)
class Vitals:
    """A table's running totals in an ingest run, taken right after a commit or while nothing comes.

    `accepted` counts duplicates too, of which `conflicts` have other values than the row that stays; `gaps` are partitions that
    stand still, `trouble` what else needs a person, in words. `gaps` and `index_error` are None as long as the run has not heard
    from broker and index: that is not the same as none.
    """

    accepted: int
    rejected: int
    gaps: tuple[str, ...] | None = None
    index_error: str | None = None
    index_refused: int = 0
    trouble: tuple[str, ...] = ()
    conflicts: int = 0


@dataclass(frozen=True, slots=True)
class Counted:
    """Records of a bronze commit that was settled before an ingest run; `accepted` counts duplicates too.

    `conflict`: the last commit of all that had a duplicate with other values than the row that stays.
    """

    landed_at: datetime
    accepted: int
    rejected: int
    conflict: bool = False


@dataclass
class TableHealth:
    """Evaluates one table's vitals; one for each table and ingest run."""

    table: Table
    _past: deque[tuple[datetime, Vitals]] = field(default_factory=deque)
    _index_since: datetime | None = None
    _conflict_before: datetime | None = None

    def begin(self, before: Sequence[Counted]) -> None:
        """Know what was settled in the rate's window before this run's figures begin, in its order."""
        accepted, rejected = -sum(c.accepted for c in before), -sum(c.rejected for c in before)
        self._past = deque((c.landed_at, Vitals(accepted, rejected)) for c in before[:1])
        self._conflict_before = max((c.landed_at for c in before if c.conflict), default=None)
        for counted in before:
            accepted, rejected = accepted + counted.accepted, rejected + counted.rejected
            self._past.append((counted.landed_at, Vitals(accepted, rejected)))

    def evaluate(self, vitals: Vitals, now: datetime) -> Iterator[Sighting]:
        """What these vitals say, compared with those before."""
        name = self.table.qualified_name
        if not self._past:
            self._past.append((now, Vitals(0, 0)))
        before = self._past[-1][1]
        self._past.append((now, vitals))
        while len(self._past) > 1 and self._past[1][0] <= now - RATE_WINDOW:
            self._past.popleft()
        if vitals.gaps is not None:
            yield self._gap(name, vitals.gaps, now)
        yield from self._index(name, vitals, before, now)
        yield self._rate(name, vitals, now)
        detail = neutral("; ".join(vitals.trouble), DETAIL_LENGTH)
        yield sighting(TROUBLE, name, now, breach=bool(vitals.trouble), value=len(vitals.trouble), detail=detail)
        if self.table.key:
            yield from self._conflicts(name, vitals.conflicts - before.conflicts, now)
        refused = vitals.rejected - before.rejected
        if refused or vitals.accepted != before.accepted:
            poison = refused >= LOUD_REJECTS and vitals.accepted == before.accepted
            detail = f"all {refused:,} records of a batch were refused"
            yield sighting(POISON, name, now, breach=poison, value=refused, detail=detail)

    def _gap(self, name: str, gaps: Sequence[str], now: datetime) -> Sighting:
        detail = f"the worker stands still at lost offsets: {', '.join(gaps)}"
        return sighting(GAP, name, now, breach=bool(gaps), value=len(gaps), detail=detail)

    def _conflicts(self, name: str, more: int, now: datetime) -> Iterator[Sighting]:
        """A worker may have died before it told of its last one: that is seen again, at its own time."""
        told = "repeat a key with other values and were dropped; the first stays"
        if self._conflict_before is not None:
            yield sighting(CONFLICT, name, self._conflict_before, breach=True, detail=f"records {told}")
            self._conflict_before = None
        yield sighting(CONFLICT, name, now, breach=more > 0, value=more, detail=f"{more:,} records {told}")

    def _index(self, name: str, vitals: Vitals, before: Vitals, now: datetime) -> Iterator[Sighting]:
        """Nothing as long as it is not known, or may be a moment's trouble: neither opens an incident nor ends one."""
        self._index_since = (self._index_since or now) if vitals.index_error else None
        late = self._index_since is not None and now - self._index_since >= INDEX_PATIENCE
        refused = vitals.index_refused - before.index_refused
        if late or refused > 0:
            error = neutral(vitals.index_error, DETAIL_LENGTH)
            detail = f"the index refused {refused:,} documents" if refused > 0 else error
            yield sighting(INDEX, name, now, breach=True, value=max(refused, int(late)), detail=detail)
        elif vitals.index_error == "":
            yield sighting(INDEX, name, now, breach=False)

    def _rate(self, name: str, vitals: Vitals, now: datetime) -> Sighting:
        base = self._past[0][1]
        rejected, accepted = vitals.rejected - base.rejected, vitals.accepted - base.accepted
        rate = rejected / (rejected + accepted) if rejected + accepted else 0.0
        breach = rejected >= LOUD_REJECTS and rate > self.table.quarantine_rate
        detail = (
            f"{rate:.1%} of {rejected + accepted:,} records were refused ({self.table.quarantine_rate:.1%} are allowed)"
        )
        return sighting(QUARANTINE, name, now, breach=breach, value=rate, detail=detail)
