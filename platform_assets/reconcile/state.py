"""Where a table stands, cheaply: from the Delta logs alone, and from broker and index when they are asked and answer.

Belongs here: facts for status and asset checks. Does not belong here: whether they are good (contract, defs), proof.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from platform_assets.contracts.model import Table
from platform_assets.core.errors import AssayError
from platform_assets.core.settings import Settings
from platform_assets.core.transactions import CLOCK, CONFLICTS, RESTORED, SEQ
from platform_assets.index.checkpoints import read_checkpoint
from platform_assets.index.connect import connect_indices
from platform_assets.index.history import ForeignIndex, foreign
from platform_assets.index.names import layout
from platform_assets.reconcile.snapshot import Snapshot
from platform_assets.sources.connect import ask_source
from platform_assets.tables.archive import history_of
from platform_assets.tables.files import DataFile
from platform_assets.tables.layout import Lake
from platform_assets.tables.session import session
from platform_assets.transform.sql import identifier


@dataclass(frozen=True)
class TableState:
    """A table's facts. Counts are rows, `*_seq` are bronze commits, times are UTC.

    `watermark` is the greatest event time of rows that are not history. `index_*` and `lag` (records by Kafka partition) are
    None when the service was not asked or did not answer; `unanswered` says why.
    """

    table: str
    rows_by_partition: dict[str, int]
    bronze_by_date: dict[str, int]
    quarantined: dict[str, int]  # records that the transform refused, by landing date
    bronze_seq: int
    silver_seq: int
    last_commit: datetime | None
    watermark: datetime | None
    conflicts: int = 0  # duplicates that a worker dropped and that had other values than the row that stays, ever
    index_refused: int = 0  # documents that the index refused for good: their rows are in silver
    index_seq: int | None = None
    lag: dict[int, int] | None = None
    unanswered: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Rows in silver."""
        return sum(self.rows_by_partition.values())

    @property
    def index_behind(self) -> int | None:
        """Bronze commits that silver holds and the index does not."""
        return None if self.index_seq is None else max(0, self.silver_seq - self.index_seq)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form with stable names."""
        return {
            "table": self.table,
            "rows": self.rows,
            "rows_by_partition": self.rows_by_partition,
            "bronze_by_date": self.bronze_by_date,
            "quarantined": self.quarantined,
            "index_refused": self.index_refused,
            "conflicts": self.conflicts,
            "bronze_seq": self.bronze_seq,
            "silver_seq": self.silver_seq,
            "index_seq": self.index_seq,
            "index_behind": self.index_behind,
            "last_commit": self.last_commit.isoformat() if self.last_commit else None,
            "watermark": self.watermark.isoformat() if self.watermark else None,
            "lag": self.lag,
            "unanswered": self.unanswered,
        }


def table_state(settings: Settings, contract: Table, *, services: bool = False) -> TableState:
    """The table's state; with `services` the broker and the index are asked too (a second or so when they are up)."""
    tables = Lake(settings.lake_path).tables(contract)
    silver = Snapshot.take(tables.silver, [SEQ, CONFLICTS])
    bronze = Snapshot.take(tables.bronze, [SEQ, CLOCK])
    clock = bronze.transaction(CLOCK)
    unanswered: list[str] = []
    rejects = _rejects(Snapshot.take(tables.quarantine), silver.transaction(SEQ))
    return TableState(
        table=contract.name,
        rows_by_partition=_rows(silver.files),
        bronze_by_date=_rows(bronze.files),
        quarantined=dict(sorted(rejects["transform"].items())),
        index_refused=rejects["index"].total(),
        bronze_seq=bronze.transaction(SEQ),
        silver_seq=silver.transaction(SEQ),
        conflicts=silver.transaction(CONFLICTS),
        last_commit=datetime.fromtimestamp(clock / 1_000_000, UTC) if clock else None,
        watermark=_watermark(contract, silver),
        index_seq=_index_seq(settings, contract, silver, unanswered) if services else None,
        lag=_lag(settings, contract, bronze, unanswered) if services else None,
        unanswered=unanswered,
    )


def _rows(files: Iterable[DataFile]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for f in files:
        counts[str(f.partition)] = counts.get(str(f.partition), 0) + f.rows
    return dict(sorted(counts.items()))


def _rejects(quarantine: Snapshot, decided: int) -> dict[str, Counter[str]]:
    """Rows by stage and landing date. What lies past `decided`, silver's last bronze commit, is not yet true: nobody counts it.

    From file statistics; a file that mixes stages, or reaches past that commit, is looked into.
    """
    found: dict[str, Counter[str]] = {"transform": Counter(), "index": Counter()}
    mixed = []
    for f in quarantine.files:
        stage = f.low.get("stage")
        if stage is not None and stage == f.high["stage"] and f.high["_seq"] <= decided:
            found[stage][str(f.partition)] += f.rows
        else:
            mixed.append(f)
    if mixed:
        with session(threads=1) as con:
            rows = quarantine.table.relation(con, mixed).filter(f"_seq <= {decided}")
            counted = rows.aggregate("stage, CAST(landed_date AS VARCHAR), count(*)", "stage, landed_date").fetchall()
        for stage, day, n in counted:
            found[stage][day] += n
    return found


def _watermark(contract: Table, silver: Snapshot) -> datetime | None:
    """From file statistics. A file's newest row is no history for sure if its event time is within lateness of the file's
    last landing, and history for sure if it is older than that of its first; only what lies between is read.
    """
    best: datetime | None = None
    unsure: list[DataFile] = []
    for f in silver.files:
        newest = f.high.get(contract.event_time)
        if newest is None or "_landed_at" not in f.high:
            unsure.append(f)
        elif newest >= f.high["_landed_at"] - contract.lateness:
            best = newest if best is None else max(best, newest)
        elif newest >= f.low["_landed_at"] - contract.lateness:
            unsure.append(f)
    for newest in _read_newest(contract, silver, unsure, best):
        best = newest if best is None else max(best, newest)
    return None if best is None else best.astimezone(UTC)


def _read_newest(
    contract: Table, silver: Snapshot, unsure: list[DataFile], best: datetime | None
) -> Iterable[datetime]:
    """The greatest event time that is no history in those files that may hold a newer one than `best`: the newest partition's."""
    floor = best.date().isoformat() if best else ""
    wanted = [
        f
        for f in unsure
        if str(f.partition) >= floor and (best is None or f.high.get(contract.event_time, best) >= best)
    ]
    if not wanted:
        return
    with session(threads=1) as con:
        for partition in sorted({str(f.partition) for f in wanted}, reverse=True):
            rows = silver.table.relation(con, [f for f in wanted if str(f.partition) == partition])
            newest = rows.filter("NOT _history").aggregate(f"max({identifier(contract.event_time)})").fetchall()[0][0]
            if newest is not None:
                yield newest
                return


def _index_seq(settings: Settings, contract: Table, silver: Snapshot, unanswered: list[str]) -> int | None:
    """The checkpoint of the index; None too when it belongs to another lake, and then `unanswered` says what to do."""
    try:
        indices = connect_indices(settings)
        try:
            checkpoint = read_checkpoint(indices.client, contract)
        finally:
            indices.client.close()
    except AssayError as error:
        unanswered.append(error.message)
        return None
    if silver.version >= 0:
        # Silver again: the checkpoint may be of a commit that came after the snapshot.
        now = Snapshot.take(silver.table, [SEQ, RESTORED])
        mine = history_of(now.table.identity, now.transactions.get(RESTORED))
        if (why := foreign(checkpoint, mine, now.transaction(SEQ), layout(contract))) is not None:
            unanswered.append(str(ForeignIndex(contract.system, contract.name, why)))
            return None
    return checkpoint.seq


def _lag(settings: Settings, contract: Table, bronze: Snapshot, unanswered: list[str]) -> dict[int, int] | None:
    try:
        known = ask_source(settings, [contract.topic]).get(contract.topic)
    except AssayError as error:
        unanswered.append(error.message)
        return None
    if known is None:
        unanswered.append(f"no such topic: {contract.topic}")
        return None
    ends = bronze.look_up(known.stream.app_id(p) for p in known.marks)
    return {p: max(0, high - max(low, ends[known.stream.app_id(p)] or 0)) for p, (low, high) in known.marks.items()}
