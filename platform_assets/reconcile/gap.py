"""Gaps: records that the broker deleted before the worker read them. The worker stops there until a person accepts the loss.

Accepting writes one bronze row of kind `gap` over the missing positions, under the same transactions as any landing but without
claiming the worker: a worker at work sees a commit that is not its own, looks again at where bronze ends, and goes on from there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from platform_assets.contracts.arrow import BRONZE_SCHEMA
from platform_assets.contracts.model import Contract, Table
from platform_assets.core.errors import AssayError
from platform_assets.core.settings import Settings
from platform_assets.core.transactions import CLOCK, SEQ
from platform_assets.reconcile.snapshot import Snapshot
from platform_assets.sources.base import Marks, Stream
from platform_assets.sources.connect import ask_source
from platform_assets.tables.clocks import next_clock
from platform_assets.tables.layout import Lake
from platform_assets.tables.table import Conflict, LakeTable

_TRIES = 20


@dataclass(frozen=True, slots=True)
class GapReport:
    """Positions [`expected`, `earliest`) of a shard are gone. `seq` is the bronze commit that accepted them."""

    table: Table
    source: str
    shard: int
    expected: int
    earliest: int
    seq: int | None = None

    @property
    def missing(self) -> int:
        """How many positions are gone. Some may have held no record."""
        return self.earliest - self.expected

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        shown = self.table.shown
        return {
            "table": self.table.name,
            shown.source: self.source,
            shown.shard: self.shard,
            "expected": self.expected,
            "earliest": self.earliest,
            "seq": self.seq,
            "missing": self.missing,
        }


def find_gaps(settings: Settings, contract: Contract) -> list[GapReport]:
    """Every shard whose next position the broker no longer has. Raises SourceError when it cannot be asked."""
    found = ask_source(settings, [t.topic for t in contract.tables])
    lake = Lake(settings.lake_path)
    return [
        gap
        for table in contract.tables
        if table.topic in found
        for gap in _gaps(table, lake.tables(table).bronze, found[table.topic])
    ]


def _gaps(table: Table, bronze: LakeTable, known: Marks) -> list[GapReport]:
    ends = Snapshot.take(bronze, [known.stream.app_id(p) for p in known.marks]).transactions
    return [
        GapReport(table, known.stream.id, partition, end, earliest)
        for partition, (earliest, _) in known.marks.items()
        if (end := ends.get(known.stream.app_id(partition))) is not None and end < earliest
    ]


def accept_gap(settings: Settings, contract: Contract, table: str, partition: int, reason: str, who: str) -> GapReport:
    """Record that the missing offsets of this partition are given up, and let the worker go on behind them.

    Raises AssayError when the table or partition is unknown, no reason is given, or there is no gap.
    """
    if not reason.strip() or not who.strip():
        raise AssayError("a gap is accepted by somebody, for a reason", "give both: they are kept beside the gap")
    chosen = next((t for t in contract.tables if t.name == table), None)
    if chosen is None:
        raise AssayError(
            f"{contract.system} has no table {table}", f"it has {', '.join(t.name for t in contract.tables)}"
        )
    bronze = Lake(settings.lake_path).tables(chosen).bronze
    for _ in range(_TRIES):
        known = ask_source(settings, [chosen.topic]).get(chosen.topic)
        if known is None:
            raise AssayError(f"no such topic: {chosen.topic}", "`assay up` creates the topics of all contracts")
        gap = next((g for g in _gaps(chosen, bronze, known) if g.shard == partition), None)
        if gap is None:
            raise _no_gap(chosen, bronze, known, partition)
        try:
            return _accept(bronze, known.stream, gap, {"who": who, "reason": reason})
        except Conflict:
            continue  # a worker has landed something of another partition meanwhile
    raise AssayError(f"{chosen.qualified_name} is too busy to accept a gap now", "try again")


def _no_gap(table: Table, bronze: LakeTable, known: Marks, partition: int) -> AssayError:
    where = f"{table.topic}[{partition}]"
    if partition not in known.marks:
        return AssayError(f"{table.topic} has no partition {partition}", f"it has {', '.join(map(str, known.marks))}")
    low, high = known.marks[partition]
    end = Snapshot.take(bronze, [known.stream.app_id(partition)]).transactions.get(known.stream.app_id(partition))
    if end is not None and end > high:
        return AssayError(
            f"{where} ends at {high}, before bronze's next offset {end}: the broker has lost what bronze holds",
            "this is no gap; restore the broker's data, or create the topic again",
        )
    return AssayError(
        f"{where} has no gap: the next offset is {low if end is None else end} and the broker has it",
        "nothing to accept",
    )


def _accept(bronze: LakeTable, stream: Stream, gap: GapReport, note: dict[str, str]) -> GapReport:
    """One bronze commit. Raises Conflict when bronze has moved since."""
    bronze.refresh()
    app_id = stream.app_id(gap.shard)
    before = bronze.transaction(SEQ)
    seq = (before or 0) + 1
    clock = next_clock(bronze)
    moment = datetime.fromtimestamp(clock / 1_000_000, UTC)
    value = json.dumps(note | {"when": moment.isoformat(), "missing": gap.missing}, ensure_ascii=False).encode()
    row = {
        "_source": stream.id, "_shard": gap.shard, "_position": gap.expected, "_span": gap.missing, "kind": "gap",
        "record_time": None, "key": None, "value": value, "headers": None,
        "seq": seq, "landed_at": moment, "landed_date": moment.date(),
    }  # fmt: skip
    adds = bronze.write(pa.Table.from_pylist([row], schema=BRONZE_SCHEMA))
    bronze.commit(
        adds, advance={app_id: gap.earliest, SEQ: seq, CLOCK: clock}, expect={app_id: gap.expected, SEQ: before}
    )
    return replace(gap, seq=seq)
