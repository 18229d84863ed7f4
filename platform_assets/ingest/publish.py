"""Publishing: silver rows become documents, and the checkpoint says up to which bronze commit that is true.

A thread of its own beside the worker, so that the lake never waits for the index. What the worker has just settled is published
from memory; whatever memory does not hold (an outage, a restart, a rush) is read from silver again. The order is documents,
progress inside each index, checkpoint: a crash repeats documents, whose ids and versions make that harmless. While one chunk is
being sent the next one is rendered, so that the node never waits for either.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
from opensearchpy.exceptions import OpenSearchException

from platform_assets.contracts.model import Table
from platform_assets.core.coordinates import ORDER
from platform_assets.core.faultpoints import fault_point
from platform_assets.core.settings import Settings
from platform_assets.core.transactions import app_id
from platform_assets.index.bulk import BULK_PATIENCE_S, BulkWriter, Write
from platform_assets.index.checkpoints import (
    Checkpoint,
    advance,
    ensure_progress_index,
    joined,
    read_checkpoint,
    write_checkpoint,
)
from platform_assets.index.connect import connect_indices
from platform_assets.index.documents import period_column, to_ndjson
from platform_assets.index.errors import Conflict, SearchError, Unavailable, translate
from platform_assets.index.history import owned
from platform_assets.ingest.dead_letters import acknowledged, quarantine_refused
from platform_assets.ingest.report import TableReport
from platform_assets.ingest.settle import Settled
from platform_assets.tables.files import split_by_partition
from platform_assets.tables.layout import TableSet
from platform_assets.tables.session import session
from platform_assets.tables.windows import seq_windows

MEMORY_BYTES = 128 * 1024 * 1024
"""Settled rows kept for publishing; past that they are read from silver again."""
BATCH_ROWS = 60_000
PATIENCE_S = 2.0
"""Between tries while the index is away or refuses to be written."""


class Publisher:
    """Publishes one table's silver. All methods are the worker's; `finish` ends it."""

    def __init__(
        self, settings: Settings, contract: Table, tables: TableSet, report: TableReport, *, enabled: bool
    ) -> None:
        self._settings = settings
        self._contract = contract
        self._tables = tables
        self._report = report
        self._enabled = enabled
        self._con = session(threads=1)
        self._changed = threading.Condition()
        self._waiting: deque[Settled] = deque()
        self._waiting_bytes = 0
        self._target = 0  # the last bronze commit that silver holds
        self._windows: Iterator[tuple[int, int]] = iter(())  # of a backlog: what to read from silver next
        self._closing = False
        self._hurry = threading.Event()
        self._deadline: float | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"publish-{contract.name}", daemon=True)

    # -- the worker's side ---------------------------------------------------------------------------------------------

    def start(self, seq: int) -> None:
        """Begin; everything that silver holds up to bronze commit `seq` and the checkpoint does not is published first.

        Once the worker owns its table, not before: two workers that send the same documents have half an index each.
        """
        with self._changed:
            self._target = max(self._target, seq)
            self._changed.notify()
        if self._enabled and self._thread.ident is None:
            self._thread.start()

    def offer(self, settled: Settled) -> None:
        """A silver commit to publish. Never waits."""
        with self._changed:
            self._target = max(self._target, settled.seq)
            self._waiting.append(settled)
            self._waiting_bytes += settled.rows.nbytes
            while self._waiting_bytes > MEMORY_BYTES:
                self._drop()
            self._changed.notify()

    def check(self) -> None:
        """Raises what ended the thread. An index that is away does not: the report says how far behind it is."""
        if self._failure is not None:
            raise self._failure

    def hand_over(self) -> None:
        """Begin nothing more: what is left is the successor's, which has begun with it."""
        with self._changed:
            self._closing = True
            self._deadline = time.monotonic()
            self._changed.notify()

    def ended(self, seconds: float) -> bool:
        """Take nothing more and wait for at most `seconds`; whether all is published, or cannot be (the report says why)."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def finish(self, seconds: float) -> None:
        """Publish what is left, for at most `seconds`, and end. What remains is the next worker's."""
        with self._changed:
            self._closing = True
            self._deadline = time.monotonic() + seconds
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(seconds)
            self._hurry.set()  # what is being sent is given up; it will be sent again
            self._thread.join()
        self._con.close()

    # -- the thread's side -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        connection: _Connection | None = None
        try:
            while True:
                try:
                    connection = connection or _Connection(self._settings, self._contract, self._tables, self._hurry)
                    self._stream(connection)
                    return
                except SearchError as error:  # away, full, read-only: the lake goes on, and the report says so
                    lasting = not isinstance(error, Unavailable | Conflict)
                    self._report.index_error = str(error) if lasting else error.message
                    self._report.index_asked = True
                    if connection is not None:
                        connection.close()
                        connection = None
                    if self._closing and lasting:
                        return  # an operator's turn: a worker that is to end does not wait for it
                    if self._pause(0.0 if isinstance(error, Conflict) else PATIENCE_S):
                        return
        except BaseException as error:
            self._failure = error
        finally:
            if connection is not None:
                self._report.index_behind = max(0, self._target - connection.checkpoint.seq)
                connection.close()
            else:
                self._report.index_behind = None

    def _stream(self, connection: _Connection) -> None:
        """Publish chunk after chunk until it is time to end: one on its way, the next one rendered meanwhile."""
        flying: deque[_Sent] = deque()
        try:
            while True:
                chunk = self._next(flying[-1].chunk.seq if flying else connection.checkpoint.seq, wait=not flying)
                if chunk is not None:
                    flying.append(connection.begin(chunk))
                elif not flying:
                    return
                if len(flying) > 1 or chunk is None:
                    self._confirm(connection, flying.popleft())
        finally:
            for sent in flying:
                sent.write.abandon()

    def _next(self, done: int, *, wait: bool) -> _Chunk | None:
        """What comes after bronze commit `done`. None when it is time to end, or when there is nothing and no `wait`."""
        with self._changed:
            if wait and self._target <= done:
                self._well()
            while wait and self._target <= done and not self._closing:
                self._changed.wait()
            if self._target <= done or self._overdue():
                return None
            while self._waiting and self._waiting[0].seq <= done:
                self._drop()
            if self._waiting and self._waiting[0].after == done:
                return self._from_memory()
            upto = self._waiting[0].after if self._waiting and self._waiting[0].after > done else self._target
        return self._from_silver(done, upto)

    def _from_memory(self) -> _Chunk:
        # Not beyond a rewrite: a chunk has one version, and rows that the rewrite replaced would pass for newer than it.
        pieces = [self._drop()]
        while (
            self._waiting
            and self._waiting[0].after == pieces[-1].seq
            and self._waiting[0].rewrite == pieces[-1].rewrite
            and sum(p.rows.num_rows for p in pieces) + self._waiting[0].rows.num_rows <= BATCH_ROWS
        ):
            pieces.append(self._drop())
        return _Chunk(pa.concat_tables([p.rows for p in pieces]), pieces[-1].seq, pieces[-1].version)

    def _from_silver(self, done: int, upto: int) -> _Chunk:
        version = self._tables.silver.refresh()
        after, end = next(self._windows, (None, 0))
        if after != done or end > upto:  # looking at a backlog costs a pass over it: once, not for each piece
            self._windows = seq_windows(self._tables.silver, self._con, done, upto, "_seq", BATCH_ROWS)
            after, end = next(self._windows)
        rows = self._tables.silver.read(
            self._con,
            files=self._tables.silver.between("_seq", after + 1, end),
            where=f"_seq > {after} AND _seq <= {end}",
            order=ORDER,
        )
        return _Chunk(rows, end, version)

    def _drop(self) -> Settled:
        settled = self._waiting.popleft()
        self._waiting_bytes -= settled.rows.nbytes
        return settled

    def _overdue(self) -> bool:
        return self._closing and self._deadline is not None and time.monotonic() >= self._deadline

    def _pause(self, seconds: float) -> bool:
        """Wait before the next try; whether it is time to end instead."""
        until = time.monotonic() + seconds
        with self._changed:
            while (left := until - time.monotonic()) > 0 and not self._overdue():
                self._changed.wait(min(left, 0.2))
            return self._overdue()

    def _confirm(self, connection: _Connection, sent: _Sent) -> None:
        """Wait until the documents are in, then say so: in each index, and for the table."""
        clock = time.perf_counter()
        done = sent.write.finish()
        fault_point("bulk_done")
        chunk = sent.chunk
        if done.refused:
            self._report.index_refused += quarantine_refused(
                self._tables.quarantine, self._con, chunk.rows, done.refused
            )
        connection.advance(chunk)
        fault_point("progress_written")
        self._well()
        self._report.indexed.update(acknowledged(chunk.rows, done.refused))
        self._report.seconds["index"] += time.perf_counter() - clock

    def _well(self) -> None:
        """The index has all that it was given."""
        self._report.index_error = ""
        self._report.index_asked = True


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Rows up to bronze commit `seq`, as they are in silver version `version`."""

    rows: pa.Table
    seq: int
    version: int


@dataclass(frozen=True, slots=True)
class _Sent:
    """A chunk on its way to the index."""

    chunk: _Chunk
    write: Write


class _Connection:
    """The index of one table as the publisher sees it; dropped and made again after any trouble."""

    def __init__(self, settings: Settings, contract: Table, tables: TableSet, stop: threading.Event) -> None:
        self._contract = contract
        self._silver = tables.silver
        self._indices = connect_indices(settings)
        self._indices.ensure_template(contract)
        ensure_progress_index(self._indices.client)
        try:
            self.checkpoint: Checkpoint = self._read()
        except BaseException:
            self._indices.client.close()
            raise
        self._writer = BulkWriter(self._indices, patience_s=BULK_PATIENCE_S, stop=stop)
        self._con = session()

    def _read(self) -> Checkpoint:
        return owned(read_checkpoint(self._indices.client, self._contract), self._contract, self._silver)

    def close(self) -> None:
        self._writer.close()
        self._con.close()
        self._indices.client.close()

    def begin(self, chunk: _Chunk) -> _Sent:
        """Render a chunk and have it sent, after what was begun before."""
        documents = to_ndjson(self._contract, chunk.rows, chunk.version, con=self._con)
        return _Sent(chunk, self._writer.begin(self._contract, documents))

    def advance(self, chunk: _Chunk) -> None:
        """Progress in each index that got documents, then the table's checkpoint; never lowered, whoever else writes."""
        placed = chunk.rows.append_column("period", period_column(self._contract, chunk.rows))
        for period, rows in split_by_partition(placed, "period"):
            try:
                index = self._indices.resolve(self._contract, period)
            except OpenSearchException as error:
                raise translate(error, f"looking for the index of {self._contract.qualified_name} {period}") from error
            advance(self._indices.client, index.name, next_positions(rows), chunk.version, chunk.seq)
        positions = next_positions(chunk.rows)
        while self.checkpoint.seq < chunk.seq:
            goal = joined(self.checkpoint, positions, chunk.version, chunk.seq)
            try:
                self.checkpoint = write_checkpoint(
                    self._indices.client, self._contract, goal.positions, goal.silver_version, self.checkpoint, goal.seq
                )
            except Conflict:
                self.checkpoint = self._read()


def next_positions(rows: pa.Table) -> dict[str, int]:
    """One past the greatest position of each shard in silver rows, by application transaction."""
    grouped = rows.group_by(["_source", "_shard"]).aggregate([("_position", "max")]).to_pylist()
    return {app_id(g["_source"], g["_shard"]): int(g["_position_max"]) + 1 for g in grouped}
