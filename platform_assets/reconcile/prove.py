"""Prove: reconcile broker, bronze, silver, quarantine and index at fixed offsets, by ids and content hashes.

Snapshots are taken most downstream first, so that what a worker adds meanwhile is never taken for a loss. A rebuild or replay
that rewrites silver meanwhile shows in the table's `rewrite` transaction: the table is looked at again. So it is when it looks
as it does between the steps of one that is under way.

Belongs here: the order of checks. Does not belong here: a check.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from platform_assets.contracts.model import Contract, Table
from platform_assets.core.errors import AssayError
from platform_assets.core.settings import Settings
from platform_assets.core.transactions import REWRITE, SEQ
from platform_assets.reconcile.coverage import check_broker, unreachable
from platform_assets.reconcile.documents import DocumentProof
from platform_assets.reconcile.duplicates import check_duplicates
from platform_assets.reconcile.job import Job, bounded_session
from platform_assets.reconcile.proof import Check, Progress, Proof, TableProof
from platform_assets.reconcile.rows import RowProof
from platform_assets.reconcile.snapshot import Snapshot
from platform_assets.sources.base import Marks
from platform_assets.sources.connect import ask_source
from platform_assets.tables.layout import Lake
from platform_assets.transform import Transformer
from platform_assets.transform.masking import masker

_TRIES = 3
PAUSE_SECONDS = 3.0
"""How long the steps of a replay or rebuild are given before the table is looked at again."""
_UNDER_WAY = frozenset({"both", "missing"})
"""How a table fails between the steps: a record in silver and still in quarantine, a row without its document."""


def prove(
    settings: Settings,
    contract: Contract,
    tables: Sequence[str] | None = None,
    progress: Progress | None = None,
    deep: bool = True,
    *,
    broker: bool = True,
    index: bool = True,
) -> Proof:
    """Prove the system's tables (default: all). Changes nothing.

    With `deep`, bronze is transformed again and compared row by row. Without `broker` or `index` those are not asked, and say
    so. A service that does not answer is a failure: what could not be looked at is not proved. Raises AssayError for an
    unknown table and when a table never stands still.
    """
    chosen = [t for t in contract.tables if tables is None or t.name in tables]
    if unknown := set(tables or ()) - {t.name for t in contract.tables}:
        known = ", ".join(t.name for t in contract.tables)
        raise AssayError(f"{contract.system} has no table {', '.join(sorted(unknown))}", f"it has {known}")
    started = time.perf_counter()
    proof = Proof(contract.system, datetime.now(UTC), deep)
    for table in chosen:
        proof.tables[table.name] = _Prover(settings, table, progress or _quiet, deep, broker, index).run()
    proof.seconds = time.perf_counter() - started
    return proof


def _quiet(_table: str, _phase: str, _done: int, _total: int) -> None:
    """Nobody watches."""


class _Prover:
    """One table."""

    def __init__(
        self, settings: Settings, contract: Table, tell: Progress, deep: bool, broker: bool, index: bool
    ) -> None:
        self._settings = settings
        self._contract = contract
        self._tell = tell
        self._deep = deep
        self._broker = broker
        self._index = index

    def run(self) -> TableProof:
        """The table's proof, from snapshots that no rewrite came between."""
        proof, seen = None, -1
        for _ in range(_TRIES):
            found = self._once()
            if found is None:
                continue
            if not _under_way(found) or self._rewrite() == seen:
                return found
            proof, seen = found, self._rewrite()
            time.sleep(PAUSE_SECONDS)
        if proof is not None:
            return proof
        raise AssayError(
            f"{self._contract.qualified_name} was rewritten again and again while it was proved",
            "prove it when replay is done",
        )

    def _once(self) -> TableProof | None:
        proof = TableProof(self._contract.name)
        tables = Lake(self._settings.lake_path).tables(self._contract)
        key = masker(self._settings)
        before = Snapshot.take(tables.silver, [REWRITE]).transaction(REWRITE)
        with bounded_session(self._settings.lake_path) as con:
            documents = DocumentProof(self._settings, self._contract, tables, con, self._tell) if self._index else None
            if documents is not None:
                _timed(proof.checks["index"], documents.read)
            marks = documents.marks() if documents is not None else []
            silver = Snapshot.take(tables.silver, [SEQ, REWRITE, *marks])
            quarantine = Snapshot.take(tables.quarantine)
            bronze = Snapshot.take(tables.bronze, [SEQ])
            job = Job(
                self._contract, key, bronze, silver, quarantine, con, proof, self._tell, datetime.now(UTC), self._deep
            )
            if silver.transaction(REWRITE) != before or self._rewrite() != before:
                return None
            proof.versions = {
                name: s.version for name, s in (("silver", silver), ("quarantine", quarantine), ("bronze", bronze))
            }
            proof.versions |= {"bronze_seq": job.bronze_seq, "silver_seq": job.silver_seq}
            self._look_at_broker(job)
            with Transformer(self._contract, key) as transformer:
                _timed(proof.checks["exactly_once"], RowProof(job, transformer).run)
            _timed(proof.checks["keys"], lambda: check_duplicates(job))
            if documents is None:
                proof.checks["index"].skipped = "not asked for"
            else:
                _timed(proof.checks["index"], lambda: documents.compare(job))
        return proof

    def _rewrite(self) -> int:
        """Silver's newest rewrite: quarantine was read after silver, and both must be of one time."""
        return Snapshot.take(Lake(self._settings.lake_path).tables(self._contract).silver, [REWRITE]).transaction(
            REWRITE
        )

    def _look_at_broker(self, job: Job) -> None:
        check = job.proof.checks["broker"]
        if not self._broker:
            check.skipped = "not asked for"
            return
        try:
            found: dict[str, Marks] = ask_source(self._settings, [self._contract.topic])
        except AssayError as error:
            unreachable(job, "broker", error)
        else:
            _timed(check, lambda: check_broker(job, found.get(self._contract.topic)))


def _under_way(proof: TableProof) -> bool:
    """Whether it may be that a replay or rebuild was in the middle of something."""
    return any(failure.code in _UNDER_WAY for check in proof.checks.values() for failure in check.failures)


def _timed(check: Check, work: Callable[[], None]) -> None:
    started = time.perf_counter()
    work()
    check.seconds += time.perf_counter() - started
