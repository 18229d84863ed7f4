"""Settling: bronze rows become silver rows, rejects or duplicates, each exactly once.

Order of commits: feed (a superset does no harm), quarantine, silver. Silver is the decision: what quarantine holds past
silver's last bronze commit is not yet true, and is replaced by whoever settles that commit.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from platform_assets.contracts.arrow import FEED_SCHEMA, QUARANTINE_SCHEMA, silver_schema
from platform_assets.contracts.model import Table
from platform_assets.core.coordinates import BRONZE_ORDER, COLUMNS
from platform_assets.core.errors import AssayError
from platform_assets.core.faultpoints import fault_point
from platform_assets.core.transactions import CONFLICT_SEQ, CONFLICTS, FENCE, REWRITE, SEQ, app_id
from platform_assets.ingest.keys import KeyIndex
from platform_assets.ingest.report import TableReport
from platform_assets.tables.layout import TableSet
from platform_assets.tables.table import Conflict, LakeTable
from platform_assets.tables.windows import seq_windows
from platform_assets.transform import Transformed, Transformer


@dataclass(frozen=True, slots=True)
class Settled:
    """One silver commit: bronze commits (`after`, `seq`], the rows accepted (silver schema), the table's version.

    `rewrite` is the table's rewrite transaction then: rows of before another one may no longer be in silver.
    """

    after: int
    seq: int
    rows: pa.Table
    version: int
    rewrite: int | None


class Settler:
    """Transforms one table's bronze into silver and quarantine. One per worker and table."""

    def __init__(
        self, contract: Table, tables: TableSet, transformer: Transformer, con: duckdb.DuckDBPyConnection, cache: Path
    ) -> None:
        self._contract = contract
        self._tables = tables
        self._transformer = transformer
        self._con = con
        self._schema = silver_schema(contract)
        self.keys = KeyIndex(contract, tables.silver, con, cache, transformer.key_id) if contract.key else None

    @property
    def seq(self) -> int:
        """The last bronze commit that silver holds, in the snapshot in hand."""
        return self._tables.silver.transaction(SEQ) or 0

    def catch_up(self, report: TableReport) -> Iterator[Settled]:
        """Settle what bronze holds and silver does not (a worker died between the two commits)."""
        self._tables.silver.refresh()
        self._tables.bronze.refresh()
        last = self._tables.bronze.transaction(SEQ) or 0
        if self.seq > last:
            raise AssayError(
                f"{self._contract.qualified_name}: silver holds bronze commit {self.seq}, bronze ends at {last}",
                "bronze was restored from an older copy or damaged; restore the newer one, nothing was written",
            )
        bronze = self._tables.bronze
        for after, upto in seq_windows(bronze, self._con, self.seq, last) if self.seq < last else ():
            rows = bronze.read(
                self._con,
                files=bronze.between("seq", after + 1, upto),
                where=f"seq > {after} AND seq <= {upto}",
                order=BRONZE_ORDER,
            )
            yield self.settle(rows, after, upto, report)

    def transform(self, bronze: pa.Table, report: TableReport) -> Transformed:
        """What transform makes of rows; from any thread, also ahead of their turn."""
        clock = time.perf_counter()
        transformed = self._transformer.transform(bronze)
        report.seconds["transform"] += time.perf_counter() - clock
        return transformed

    def settle(
        self, bronze: pa.Table, after: int, upto: int, report: TableReport, ahead: Future[Transformed] | None = None
    ) -> Settled:
        """Transform and commit the rows of bronze commits (`after`, `upto`], all of them and in bronze order.

        `ahead` is their transforming when that is under way already. Raises `Conflict` when silver has moved on (another worker
        settled some of it): refresh and `catch_up`.
        """
        silver, quarantine = self._tables.silver, self._tables.quarantine
        silver.refresh()
        if self.seq != after:
            raise Conflict(silver.path, {SEQ: self.seq})
        self._continues(bronze)
        rewrite = silver.transaction(REWRITE)
        fence = self._fence(after)
        quarantined = quarantine.transactions((SEQ, FENCE))
        transformed = self.transform(bronze, report) if ahead is None else ahead.result()

        clock = time.perf_counter()
        accepted, conflicts = self._deduplicate(transformed.accepted)
        duplicates = transformed.accepted.num_rows - accepted.num_rows
        self._write_feed(accepted)
        self._write_quarantine(transformed.rejected, after, upto, fence, quarantined)
        fault_point("quarantine_committed")
        rows = accepted.select(self._schema.names)
        adds = silver.write(rows)
        fault_point("silver_file_written")
        version = silver.commit(
            adds,
            advance={**_positions(bronze, "end", "max"), SEQ: upto, **self._conflicted(conflicts, upto)},
            expect={SEQ: after or None, REWRITE: rewrite, FENCE: fence},
        )
        fault_point("silver_committed")
        if self.keys is not None:
            self.keys.committed(accepted, upto)
        report.seconds["silver"] += time.perf_counter() - clock
        report.duplicates += duplicates
        report.conflicts += conflicts
        self._count(report, rows, transformed.rejected)
        return Settled(after, upto, rows, version, rewrite)

    def _continues(self, bronze: pa.Table) -> None:
        """Fail closed when these rows do not begin where silver ended: one of the tables was changed from outside."""
        begins = _positions(bronze, "_position", "min")
        ended = self._tables.silver.transactions(begins)
        for shard, begin in begins.items():
            if ended[shard] is not None and ended[shard] != begin:
                raise AssayError(
                    f"{self._contract.qualified_name}: silver ended at {ended[shard]} of {shard}, bronze goes on at {begin}",
                    "bronze or silver was restored or damaged; `assay prove` tells which, nothing was written",
                )

    def _fence(self, after: int) -> int | None:
        """The fence to settle behind; a new one when quarantine holds what silver has not confirmed."""
        silver, quarantine = self._tables.silver, self._tables.quarantine
        quarantine.refresh()
        fence = silver.transaction(FENCE)
        if (quarantine.transaction(SEQ) or 0) <= after:
            return fence
        raised = (fence or 0) + 1
        silver.commit([], advance={FENCE: raised}, expect={SEQ: after or None, FENCE: fence})
        quarantine.refresh()
        return raised

    def _deduplicate(self, accepted: pa.Table) -> tuple[pa.Table, int]:
        """The rows whose key comes for the first time, and how many of the others have other values than their survivor."""
        if self.keys is None:
            return accepted, 0
        self.keys.catch_up()
        if accepted.num_rows == 0:
            return accepted, 0
        evaluated = self.keys.evaluate(accepted)
        rows = accepted if evaluated.fresh.all() else accepted.filter(pa.array(evaluated.fresh))
        return rows, int(np.count_nonzero(evaluated.conflicting))

    def _conflicted(self, conflicts: int, upto: int) -> dict[str, int]:
        """The application transactions that count `conflicts` more, in the commit that drops those duplicates."""
        if not conflicts:
            return {}
        return {CONFLICTS: (self._tables.silver.transaction(CONFLICTS) or 0) + conflicts, CONFLICT_SEQ: upto}

    def _write_feed(self, accepted: pa.Table) -> None:
        if accepted.num_rows:
            feed = feed_rows(accepted)
            self._tables.feed.commit(self._tables.feed.write(feed))

    def _write_quarantine(
        self, rejected: pa.Table, after: int, upto: int, fence: int | None, found: dict[str, int | None]
    ) -> None:
        """Append rejects, or replace what a worker that died before silver's commit left of these very bronze commits."""
        quarantine: LakeTable = self._tables.quarantine
        before = found[SEQ] or 0
        undecided = quarantine.between("_seq", after + 1) if before > after else []
        if undecided:
            decided = quarantine.read(self._con, files=undecided, where=f"_seq <= {after} OR stage <> 'transform'")
            rejected = pa.concat_tables([decided.cast(QUARANTINE_SCHEMA), rejected.cast(QUARANTINE_SCHEMA)])
        advance = {SEQ: max(upto, before)} | ({} if fence is None else {FENCE: fence})
        quarantine.commit(quarantine.write(rejected), removes=undecided, advance=advance, expect=found)

    def _count(self, report: TableReport, rows: pa.Table, rejected: pa.Table) -> None:
        report.commits += 1
        report.silver.update(counts(rows.column("event_partition")))
        report.rejected.update(counts(rejected.column("reason")))
        history = rows.column("_history")
        report.history += int(pc.sum(history).as_py() or 0)
        current = rows.column(self._contract.event_time).filter(pc.invert(history))
        if len(current):
            newest = pc.max(current).as_py()
            report.watermark = newest if report.watermark is None else max(report.watermark, newest)


def counts(column: pa.ChunkedArray) -> Counter[str]:
    """How often each text occurs."""
    return Counter({str(e["values"]): int(e["counts"]) for e in pc.value_counts(column).to_pylist()})


def feed_rows(accepted: pa.Table) -> pa.Table:
    """Which bronze commits and positions feed which silver partition, one row for each partition and shard."""
    grouped = accepted.group_by(["event_partition", "_source", "_shard"]).aggregate(
        [("_seq", "min"), ("_seq", "max"), ("_position", "min"), ("_position", "max"), ("_position", "count")]
    )
    names = {
        "seq_min": "_seq_min", "seq_max": "_seq_max", "event_partition": "event_partition", "rows": "_position_count",
        "_shard": "_shard", "_source": "_source", "position_min": "_position_min", "position_max": "_position_max",
    }  # fmt: skip
    return pa.table([grouped.column(names[f.name]).cast(f.type) for f in FEED_SCHEMA], schema=FEED_SCHEMA)


def _positions(bronze: pa.Table, column: Literal["_position", "end"], how: Literal["min", "max"]) -> dict[str, int]:
    """Where each shard's range in these rows begins or ends, by application transaction."""
    if bronze.num_rows == 0:
        return {}
    ends = pc.add(bronze.column("_position"), bronze.column("_span"))
    rows = bronze.select(COLUMNS).append_column("end", ends)
    grouped = rows.group_by(["_source", "_shard"]).aggregate([(column, how)]).to_pylist()
    return {app_id(g["_source"], g["_shard"]): int(g[f"{column}_{how}"]) for g in grouped}
