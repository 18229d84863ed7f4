"""Settling: bronze rows become silver rows, rejects or duplicates, each exactly once.

Order of commits: ledger (a superset does no harm), quarantine, silver. Silver is the decision: what quarantine holds past
silver's last bronze commit is not yet true, and is replaced by whoever settles that commit.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from platform_assets.contracts.arrow import LEDGER_SCHEMA, QUARANTINE_SCHEMA, silver_schema
from platform_assets.contracts.model import Table
from platform_assets.faultpoints import fault_point
from platform_assets.lake.layout import TableSet
from platform_assets.lake.table import Conflict, LakeTable
from platform_assets.lane.keys import KeyIndex
from platform_assets.lane.report import TableReport
from platform_assets.refine import Refinery

SEQ = "seq"
REWRITE = "rewrite"
CATCH_UP_ROWS = 200_000
CATCH_UP_BYTES = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Settled:
    """One silver commit: bronze commits (`after`, `seq`], the rows accepted (silver schema), the table's version."""

    after: int
    seq: int
    rows: pa.Table
    version: int


class Settler:
    """Refines one table's bronze into silver and quarantine. One per lane and table."""

    def __init__(
        self, contract: Table, tables: TableSet, refinery: Refinery, con: duckdb.DuckDBPyConnection, cache: Path
    ) -> None:
        self._contract = contract
        self._tables = tables
        self._refinery = refinery
        self._con = con
        self._schema = silver_schema(contract)
        self.keys = KeyIndex(contract, tables.silver, con, cache) if contract.key else None

    @property
    def seq(self) -> int:
        """The last bronze commit that silver holds, in the snapshot in hand."""
        return self._tables.silver.transaction(SEQ) or 0

    def catch_up(self, report: TableReport) -> Iterator[Settled]:
        """Settle what bronze holds and silver does not (a lane died between the two commits)."""
        self._tables.silver.refresh()
        self._tables.bronze.refresh()
        last = self._tables.bronze.transaction(SEQ) or 0
        bronze = self._tables.bronze
        for after, upto in seq_windows(bronze, self._con, self.seq, last) if self.seq < last else ():
            rows = bronze.read(
                self._con,
                files=bronze.between("seq", after + 1, upto),
                where=f"seq > {after} AND seq <= {upto}",
                order='seq, kafka_partition, "offset"',
            )
            yield self.settle(rows, after, upto, report)

    def settle(self, bronze: pa.Table, after: int, upto: int, report: TableReport) -> Settled:
        """Refine and commit the rows of bronze commits (`after`, `upto`], all of them and in bronze order.

        Raises `Conflict` when silver has moved on (another lane settled some of it): refresh and `catch_up`.
        """
        silver, quarantine = self._tables.silver, self._tables.quarantine
        clock = time.perf_counter()
        quarantine.refresh()
        before = quarantine.transaction(SEQ)
        silver.refresh()
        if self.seq != after:
            raise Conflict(silver.path, {SEQ: self.seq})
        rewrite = silver.transaction(REWRITE)
        refined = self._refinery.refine(bronze)
        accepted, duplicates = self._deduplicate(refined.accepted)
        report.seconds["refine"] += time.perf_counter() - clock

        clock = time.perf_counter()
        self._write_ledger(accepted)
        self._write_quarantine(refined.rejected, after, upto, before)
        fault_point("quarantine_committed")
        rows = accepted.select(self._schema.names)
        adds = silver.write(rows)
        fault_point("silver_file_written")
        offsets = _next_offsets(bronze)
        version = silver.commit(
            adds, advance={**self._raised(offsets), SEQ: upto}, expect={SEQ: after or None, REWRITE: rewrite}
        )
        fault_point("silver_committed")
        if self.keys is not None:
            self.keys.committed(accepted, upto)
        report.seconds["silver"] += time.perf_counter() - clock
        self._count(report, rows, refined.rejected, duplicates)
        return Settled(after, upto, rows, version)

    def _raised(self, offsets: dict[str, int]) -> dict[str, int]:
        """A replaying broker or an old zombie can never lower what silver says it consumed."""
        known = self._tables.silver.transactions(offsets)
        return {app_id: max(offset, known[app_id] or 0) for app_id, offset in offsets.items()}

    def _deduplicate(self, accepted: pa.Table) -> tuple[pa.Table, int]:
        if self.keys is None:
            return accepted, 0
        self.keys.catch_up()
        if accepted.num_rows == 0:
            return accepted, 0
        keep = self.keys.first_seen(accepted)
        dropped = int(np.count_nonzero(~keep))
        return (accepted.filter(pa.array(keep)), dropped) if dropped else (accepted, 0)

    def _write_ledger(self, accepted: pa.Table) -> None:
        if accepted.num_rows:
            ledger = ledger_rows(accepted)
            self._tables.ledger.commit(self._tables.ledger.write(ledger))

    def _write_quarantine(self, rejected: pa.Table, after: int, upto: int, before: int | None) -> None:
        """Append rejects, or replace what a lane that died before silver's commit left of these very bronze commits."""
        quarantine: LakeTable = self._tables.quarantine
        undecided = quarantine.between("_seq", after + 1, 2**63 - 1) if (before or 0) > after else []
        if undecided:
            decided = quarantine.read(self._con, files=undecided, where=f"_seq <= {after}")
            rejected = pa.concat_tables([decided.cast(QUARANTINE_SCHEMA), rejected.cast(QUARANTINE_SCHEMA)])
        quarantine.commit(
            quarantine.write(rejected), removes=undecided, advance={SEQ: max(upto, before or 0)}, expect={SEQ: before}
        )

    def _count(self, report: TableReport, rows: pa.Table, rejected: pa.Table, duplicates: int) -> None:
        report.commits += 1
        report.duplicates += duplicates
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


def ledger_rows(accepted: pa.Table) -> pa.Table:
    """Which bronze commits and offsets feed which silver partition, one row for each partition and Kafka partition."""
    grouped = accepted.group_by(["event_partition", "_topic_id", "_kafka_partition"]).aggregate(
        [("_seq", "min"), ("_seq", "max"), ("_offset", "min"), ("_offset", "max"), ("_offset", "count")]
    )
    names = {
        "seq_min": "_seq_min", "seq_max": "_seq_max", "event_partition": "event_partition", "rows": "_offset_count",
        "kafka_partition": "_kafka_partition", "topic_id": "_topic_id", "offset_min": "_offset_min", "offset_max": "_offset_max",
    }  # fmt: skip
    return pa.table([grouped.column(names[f.name]).cast(f.type) for f in LEDGER_SCHEMA], schema=LEDGER_SCHEMA)


def _next_offsets(bronze: pa.Table) -> dict[str, int]:
    """The end of each Kafka partition's range in these rows, by application transaction."""
    if bronze.num_rows == 0:
        return {}
    ends = bronze.select(["topic_id", "kafka_partition"]).append_column(
        "end", pc.add(bronze.column("offset"), bronze.column("span"))
    )
    grouped = ends.group_by(["topic_id", "kafka_partition"]).aggregate([("end", "max")]).to_pylist()
    return {f"{g['topic_id']}:{g['kafka_partition']}": int(g["end_max"]) for g in grouped}


def seq_windows(
    table: LakeTable,
    con: duckdb.DuckDBPyConnection,
    after: int,
    last: int,
    column: str = "seq",
    rows: int = CATCH_UP_ROWS,
) -> Iterator[tuple[int, int]]:
    """Cut the bronze commits (`after`, `last`] into windows (a, b] of near `rows` rows of the table, one commit at least.

    Windows of bronze are bounded in message bytes too: a few commits may hold thousands of large messages.
    """
    files = table.between(column, after + 1, last)
    inside = table.relation(con, files).filter(f"{column} > {after} AND {column} <= {last}")
    size = "sum(coalesce(octet_length(value), 0))" if "value" in table.schema.names else "0"
    total = weight = 0
    start = end = after
    for seq, n, heavy in inside.aggregate(f"{column}, count(*), {size}", column).order(column).fetchall():
        if total and (total + n > rows or weight + heavy > CATCH_UP_BYTES):
            yield start, end
            total, weight, start = 0, 0, end
        total, weight, end = total + n, weight + int(heavy), int(seq)
    if start < last:
        yield start, last
