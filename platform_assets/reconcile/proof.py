"""What a proof says: checks by table, failures with examples. Values only; how they are found is in the modules beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

EXAMPLES = 5
"""How many examples a failure names; its count says how many there are."""

Progress = Callable[[str, str, int, int], None]
"""Called with (table, phase, done, total); phases are `documents`, `rows` and `keys`, a total of 0 means unknown."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One way in which a check does not hold, or warns. `code` is stable, `examples` are ids with what is wrong about them."""

    code: str
    message: str
    count: int
    examples: tuple[str, ...] = ()


@dataclass
class Check:
    """One claim and whether it holds. `warnings` need a person and break no claim.

    `skipped` says why it was not looked at (then it neither holds nor fails).
    """

    name: str
    claim: str
    facts: dict[str, int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    warnings: list[Failure] = field(default_factory=list)
    skipped: str = ""
    seconds: float = 0.0

    @property
    def holds(self) -> bool | None:
        """True or False; None when it was not looked at."""
        return None if self.skipped else not self.failures

    def fail(self, code: str, message: str, count: int, examples: Sequence[str] = ()) -> None:
        """Record `count` failures; those of one code add up, the first examples are kept."""
        _add(self.failures, code, message, count, examples)

    def warn(self, code: str, message: str, count: int, examples: Sequence[str] = ()) -> None:
        """As `fail`, for what breaks no claim."""
        _add(self.warnings, code, message, count, examples)

    def count(self, fact: str, more: int) -> None:
        """Add to a fact."""
        self.facts[fact] = self.facts.get(fact, 0) + more


def _add(known: list[Failure], code: str, message: str, count: int, examples: Sequence[str]) -> None:
    if count == 0:
        return
    for at, one in enumerate(known):
        if one.code == code:
            kept = (*one.examples, *examples)[:EXAMPLES]
            known[at] = Failure(code, message, one.count + count, kept)
            return
    known.append(Failure(code, message, count, tuple(examples[:EXAMPLES])))


CLAIMS = {
    "broker": "the broker has nothing that bronze cannot still read, and bronze nothing that the broker never had",
    "bronze": "bronze covers each Kafka partition without hole or overlap, up to the offset that it records",
    "exactly_once": "each bronze record is exactly once in silver or quarantine, or repeats a key that silver holds",
    "content": "each silver row has the content that its hash was made of",
    "derivation": "bronze, transformed again, gives the same rows and rejects",
    "keys": "no key is twice in an event partition",
    "index": "the index holds the documents of silver, with silver's content, once each, and no others",
}
"""The checks of a table in the order in which they are shown."""


@dataclass
class TableProof:
    """One table, proved at fixed positions.

    `counts`: records, skipped, gaps (positions), silver, quarantined, duplicates, conflicts (duplicates with
    other values than the row that stays), expired (records whose silver partition
    is beyond retention), beyond_bronze_retention (silver rows), not_rederivable (rows of another contract version or masking
    key), undecided (bronze records that silver has not consumed yet), documents, refused (by the index), lag (records),
    index_behind (bronze commits).
    """

    table: str
    versions: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    checks: dict[str, Check] = field(
        default_factory=lambda: {name: Check(name, claim) for name, claim in CLAIMS.items()}
    )

    @property
    def holds(self) -> bool:
        """Whether no check fails. A check that was skipped on request does not count."""
        return all(check.holds is not False for check in self.checks.values())

    def count(self, name: str, more: int) -> None:
        """Add to a count."""
        self.counts[name] = self.counts.get(name, 0) + more


@dataclass
class Proof:
    """A system's proof. `seconds` is how long it took."""

    system: str
    started: datetime
    deep: bool
    seconds: float = 0.0
    tables: dict[str, TableProof] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether every table's checks hold."""
        return all(table.holds for table in self.tables.values())

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form with stable names."""
        return {
            "system": self.system,
            "holds": self.holds,
            "deep": self.deep,
            "started": self.started.isoformat(),
            "seconds": round(self.seconds, 3),
            "tables": {name: _table(table) for name, table in self.tables.items()},
        }


def _table(table: TableProof) -> dict[str, Any]:
    return {
        "holds": table.holds,
        "versions": table.versions,
        "counts": table.counts,
        "checks": [
            {
                "name": check.name,
                "claim": check.claim,
                "holds": check.holds,
                "skipped": check.skipped or None,
                "seconds": round(check.seconds, 3),
                "facts": check.facts,
                "failures": _listed(check.failures),
                "warnings": _listed(check.warnings),
            }
            for check in table.checks.values()
        ],
    }


def _listed(found: Sequence[Failure]) -> list[dict[str, Any]]:
    return [{"code": f.code, "message": f.message, "count": f.count, "examples": list(f.examples)} for f in found]
