"""Landing: what a topic gave becomes one bronze commit, in the same transaction as the positions it covers.

A commit is numbered (`seq`), dated by the worker's own clock (which never runs backwards), and carries the worker's epoch: a
successor claims the next epoch with its first commit, and whoever finds a higher one than its own has been succeeded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
from deltalake.transaction import AddAction

from platform_assets.contracts.arrow import BRONZE_SCHEMA
from platform_assets.core.errors import AssayError
from platform_assets.core.faultpoints import fault_point
from platform_assets.core.transactions import CLOCK, EPOCH, SEQ, followed_mark, start_mark
from platform_assets.sources.base import RECORD_SCHEMA, SourceBatch, Stream, Watermarks
from platform_assets.tables.clocks import next_clock
from platform_assets.tables.table import Conflict, LakeTable

DAY, HOUR = 86_400_000_000, 3_600_000_000  # microseconds

HoldsSince = Callable[[int], bool]
"""Whether the topic holds a record stamped at or after this moment (microseconds since 1970)."""


class HandedOver(AssayError):
    """A younger worker has committed: this one ends, which is how it should be."""

    def __init__(self, table: str) -> None:
        super().__init__(f"{table}: a younger worker has taken over", "nothing to do")


@dataclass(frozen=True, slots=True)
class Landed:
    """One bronze commit and its rows (BRONZE schema, in bronze order)."""

    seq: int
    rows: pa.Table
    landed_date: str


class Landing:
    """Writes one table's bronze. The single writer of its epoch; others are fenced out by the transactions."""

    def __init__(
        self, bronze: LakeTable, stream: Stream, name: str, holds_since: HoldsSince = lambda _moment: False
    ) -> None:
        self._bronze = bronze
        self._stream = stream
        self._name = name
        self._holds_since = holds_since
        self.clock_trouble = ""  # what is wrong with this machine's clock, or was
        self._bronze.refresh()
        self._claimed: int | None = None
        self._found = self._bronze.transaction(EPOCH)

    @property
    def epoch(self) -> int:
        """This worker's epoch: one above the epoch found at the start."""
        return (self._found or 0) + 1 if self._claimed is None else self._claimed

    @property
    def seq(self) -> int:
        """The last bronze commit in the snapshot in hand; 0 when there is none."""
        return self._bronze.transaction(SEQ) or 0

    def next_positions(self) -> dict[int, int | None]:
        """Where bronze ends, by shard; None where it never began. Reads the log anew."""
        self._bronze.refresh()
        recorded = self._bronze.transactions(self._stream.app_id(p) for p in self._stream.shards)
        return {p: recorded[self._stream.app_id(p)] for p in self._stream.shards}

    def recorded(self, partition: int) -> int | None:
        """Where bronze ends for a shard, in the snapshot in hand."""
        return self._bronze.transaction(self._stream.app_id(partition))

    def grow(self, stream: Stream) -> None:
        """The stream has more shards now: `begin` them, then ask for positions again."""
        self._stream = stream

    def check(self) -> None:
        """Raises `HandedOver` when a younger worker has claimed the table."""
        self._bronze.refresh()
        if self._claimed is not None and (self._bronze.transaction(EPOCH) or 0) > self._claimed:
            raise HandedOver(self._name)

    def begin(self, watermarks: Callable[[], Watermarks]) -> None:
        """Record from where Kafka partitions are read that bronze has never begun, before anything of them is read.

        What retention takes from there on is a gap, also when the partition was empty until then. A topic that is followed for
        the first time is promised from what the broker still has, by `watermarks`; partitions that come later, or a topic that
        is created again, from their first offset. No worker is ended by it: one at work looks again, as after any commit.
        """
        followed = followed_mark(self._stream.name)
        while True:
            unknown = [p for p, offset in self.next_positions().items() if offset is None]
            before = self._bronze.transaction(followed)
            if before is not None and not unknown:
                return
            earliest = {p: low for p, (low, _) in watermarks().items()} if before is None and unknown else {}
            starts = {self._stream.app_id(p): earliest.get(p, 0) for p in unknown}
            with suppress(Conflict):  # another worker has begun them, or landed something: look again
                self._bronze.commit(
                    [],
                    advance=starts | {start_mark(app_id): start for app_id, start in starts.items()} | {followed: 1},
                    expect=dict.fromkeys(starts) | {followed: before},
                )

    def claim(self) -> None:
        """Take the worker without any row: an empty commit that ends the predecessor."""
        while self._claimed is None:
            with suppress(Conflict):  # another worker has claimed meanwhile: claim after it
                self._commit([], {}, {})

    def land(self, batch: SourceBatch, began: dict[int, int | None]) -> Landed:
        """Commit one batch. `began` is what bronze held for partitions that had no offset yet (None stays None).

        Raises `Conflict` when another worker has landed some of it (ask `next_positions` and read again from there) and
        `HandedOver` when a younger worker has claimed the table.
        """
        seq = self.seq + 1
        clock = self._clock(batch)
        moment = datetime.fromtimestamp(clock / 1_000_000, UTC)
        rows = self._stamp(batch.rows, seq, clock, moment)
        expect = {
            self._stream.app_id(p): (None if began.get(p, 0) is None else start) for p, start in batch.start.items()
        }
        adds = self._bronze.write(rows)
        fault_point("bronze_file_written")
        self._commit(
            adds,
            {self._stream.app_id(p): offset for p, offset in batch.next.items()} | {SEQ: seq, CLOCK: clock},
            expect | {SEQ: seq - 1 or None},
        )
        fault_point("bronze_committed")
        return Landed(seq, rows, moment.date().isoformat())

    def _clock(self, batch: SourceBatch) -> int:
        """When the batch lands: by the machine's clock, unless that has leapt and no record has come along.

        A clock set years ahead would date all that comes later, since bronze's never runs backwards. A worker that slept for
        days finds new records, at the latest behind its backlog; where there are none, the records' own times do as well.
        """
        now, last = time.time_ns() // 1000, self._bronze.transaction(CLOCK)
        self.clock_trouble = ""
        if last is not None and last > now + HOUR:
            self.clock_trouble = (
                f"bronze's last commit is dated {_text(last)}, this machine's clock says {_text(now)}: what lands is dated "
                "later than it comes, and counts as history once it is older than the contract's lateness"
            )
        elif last is not None and now > last + DAY:
            newest = _newest(batch)
            # Where no stamp is as young as the last commit, they are an archive's and tell nothing of the time.
            told = newest > last - DAY or self._holds_since(last - DAY)
            if told and newest < now - DAY and not self._holds_since(now - DAY):
                self.clock_trouble = (
                    f"this machine's clock says {_text(now)}, but no record of the topic is from the day before: rows are "
                    "dated by the records; if the clock is wrong, set it right"
                )
                now = newest
        return next_clock(self._bronze, now)

    def _stamp(self, rows: pa.Table, seq: int, clock: int, moment: datetime) -> pa.Table:
        n = rows.num_rows
        columns = {name: rows.column(name) for name in RECORD_SCHEMA.names}
        columns["seq"] = pa.repeat(pa.scalar(seq, pa.int64()), n)
        columns["landed_at"] = pa.repeat(pa.scalar(clock, pa.timestamp("us", tz="UTC")), n)
        columns["landed_date"] = pa.repeat(pa.scalar(moment.date(), pa.date32()), n)
        return pa.table([columns[name] for name in BRONZE_SCHEMA.names], schema=BRONZE_SCHEMA)

    def _commit(self, adds: Sequence[AddAction], advance: dict[str, int], expect: dict[str, int | None]) -> None:
        mine = self._found if self._claimed is None else self._claimed
        try:
            self._bronze.commit(adds, advance=advance | {EPOCH: self.epoch}, expect=expect | {EPOCH: mine})
        except Conflict as conflict:
            now = conflict.actual.get(EPOCH)
            if self._claimed is not None and (now or 0) > self._claimed:
                raise HandedOver(self._name) from conflict
            if self._claimed is None:
                self._found = now
            raise
        self._claimed = self.epoch


def _newest(batch: SourceBatch) -> int:
    """The greatest time that a record of the batch is stamped with, in microseconds since 1970; 0 where none has any."""
    return int(pc.max(batch.rows.column("record_time").cast(pa.int64())).as_py() or 0)


def _text(moment: int) -> str:
    return f"{datetime.fromtimestamp(moment / 1_000_000, UTC):%Y-%m-%d %H:%M}"
