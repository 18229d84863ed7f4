"""A new generation of one period's index, built beside the one that serves and swapped in.

Belongs here: the order of the steps. Does not belong here: reading silver (the caller's `read_rows`), or sending (`bulk.py`).

1. create the next generation; no alias, so nobody sees it;  2. fill it from a snapshot of silver, then from what came since;
3. block writes to the old one: live writers wait;  4. fill what came since, note the base version and the progress;
5. swap both aliases in one step: writers go on in the new one;  6. fill once more what came since;  7. delete the old.

Every row is in silver before it is sent, so a snapshot taken after the block holds whatever the old index had. A writer whose
rows are not newer than the new index's base has nothing to add: they are in it, or are no longer in silver.
A crash leaves a generation without alias, which the next rebuild deletes, and perhaps a block, which the next writer or the
next rebuild ends (`lease.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa
from opensearchpy.exceptions import NotFoundError, OpenSearchException

from platform_assets.contracts.model import Table
from platform_assets.core.faultpoints import fault_point
from platform_assets.index.bulk import BulkWriter
from platform_assets.index.checkpoints import advance
from platform_assets.index.documents import Documents, Refused, to_ndjson
from platform_assets.index.errors import Conflict, translate
from platform_assets.index.indices import READ_FILTER, Index, Indices
from platform_assets.index.lease import Lease, block, unblock
from platform_assets.index.names import DocumentSet, period_alias, read_alias

_ROUNDS = 5
_SMALL = 20_000  # rows that may be left to fill while writers wait
_STARTS = 3


class SnapshotLost(Exception):
    """Raised by `read_rows`: silver's rows of the period were rewritten since the previous snapshot, so begin again."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The rows of one period as silver had them at `version`; or only those added since an earlier snapshot.

    `positions` (`source:shard` -> next position) and `seq` are what silver had consumed at that version.
    """

    version: int
    positions: Mapping[str, int]
    seq: int
    batches: Iterable[pa.Table]


ReadRows = Callable[[Snapshot | None], Snapshot]
"""Given None: all rows; given an earlier snapshot: the rows added since. A superset is fine, a row less is not.
Raises SnapshotLost when some of them were rewritten in between."""

Render = Callable[[pa.Table, int], Documents]
"""Rows of a batch as documents of a version."""


@dataclass
class ReindexReport:
    """What a whole index holds now: documents by period; periods whose index was deleted."""

    table: str
    documents: dict[str, int] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(slots=True)
class RebuildReport:
    """What a rebuild did. `blocked_s` is how long writers had to wait."""

    index: str = ""
    replaced: str = ""
    documents: int = 0
    refused: list[Refused] = field(default_factory=list)
    version: int = -1
    seconds: float = 0.0
    blocked_s: float = 0.0


def rebuild(
    indices: Indices,
    writer: BulkWriter,
    table: Table,
    period: str,
    read_rows: ReadRows,
    *,
    con: duckdb.DuckDBPyConnection | None = None,
    progress: Callable[[int], None] | None = None,
    patience_s: float = 0.0,
) -> RebuildReport:
    """Build the period's index anew from silver while live writers go on; returns when the new one serves.

    `progress` is told the documents written so far. Raises SearchError when another rebuild of the index is at work after
    `patience_s` seconds still, Conflict when one has taken over, Unavailable when the index cannot write now; the old index then
    serves as before.
    """

    def render(rows: pa.Table, version: int) -> Documents:
        return to_ndjson(table, rows, version, con=con)

    return rebuild_documents(indices, writer, table, period, read_rows, render, progress, patience_s)


def rebuild_documents(
    indices: Indices,
    writer: BulkWriter,
    table: DocumentSet,
    period: str,
    read_rows: ReadRows,
    render: Render,
    progress: Callable[[int], None] | None = None,
    patience_s: float = 0.0,
) -> RebuildReport:
    """As `rebuild`, for documents of any kind: `render` makes them from the rows."""
    began = time.monotonic()
    with Lease(indices.client, table, period, patience_s) as lease:
        work = _Rebuild(indices, writer, table, period, read_rows, render, progress, lease)
        try:
            report = work.run_again(_STARTS)
        except OpenSearchException as error:
            raise translate(error, f"rebuilding {table.qualified_name} {period}") from error
    report.seconds = time.monotonic() - began
    return report


class _Rebuild:
    def __init__(
        self,
        indices: Indices,
        writer: BulkWriter,
        table: DocumentSet,
        period: str,
        read_rows: ReadRows,
        render: Render,
        progress: Callable[[int], None] | None,
        lease: Lease,
    ) -> None:
        self._indices = indices
        self._writer = writer
        self._table = table
        self._period = period
        self._read_rows = read_rows
        self._render = render
        self._progress = progress
        self._lease = lease
        self._report = RebuildReport()

    def run_again(self, starts: int) -> RebuildReport:
        """Run, and begin again when silver was rewritten meanwhile; `starts` times at most."""
        for _ in range(starts):
            with suppress(SnapshotLost):
                return self._run()
        what = f"{self._table.qualified_name} {self._period}"
        raise Conflict(f"silver rewrote {what} again and again", "rebuild it later")

    def _run(self) -> RebuildReport:
        self._report = RebuildReport()
        old = self._serving()
        self._lease.end_inherited_block(old.name)  # or writers would wait for all that we fill
        new = self._next_generation()
        self._report.index, self._report.replaced = new, old.name
        try:
            self._build(old, new)
        except BaseException:
            # Not after a takeover: then neither index is ours to touch.
            self._lease.check()
            if not self._serves(new):
                unblock(self._indices.client, old.name)
                self._lease.blocks("")
                self._indices.delete([new])
            raise
        return self._report

    def _build(self, old: Index, new: str) -> None:
        client = self._indices.client
        snapshot, _ = self._fill(None, new)
        for _ in range(_ROUNDS):
            snapshot, rows = self._fill(snapshot, new)
            if rows <= _SMALL:
                break
        fault_point("index_filled")
        self._lease.blocks(old.name)
        waiting = time.monotonic()
        block(client, old.name)
        fault_point("index_blocked")
        snapshot, _ = self._fill(snapshot, new)
        self._indices.set_base(self._table, new, snapshot.version)
        advance(client, new, snapshot.positions, snapshot.version, snapshot.seq)
        client.indices.refresh(index=new)
        self._lease.check()
        self._swap(old.name, new)
        fault_point("index_swapped")
        self._lease.blocks("")
        self._report.blocked_s = time.monotonic() - waiting
        # Should a stalled predecessor have ended the block behind our back, what slipped into the old index is here.
        snapshot, _ = self._fill(snapshot, new)
        self._report.version = snapshot.version
        self._indices.delete([old.name])

    def _serving(self) -> Index:
        self._indices.forget(self._table, self._period)
        found = self._indices.find(self._table, self._period)
        return found or self._indices.resolve(self._table, self._period)

    def _next_generation(self) -> str:
        """Create it before deleting what a dead rebuild left, so that no name is ever used twice."""
        known = [index for index in self._indices.all(self._table) if index.period == self._period]
        number = max((index.generation for index in known), default=0) + 1
        name = self._indices.create(self._table, self._period, number, serve=False)
        self._indices.delete([index.name for index in known if not index.serving])
        return name

    def _fill(self, since: Snapshot | None, into: str) -> tuple[Snapshot, int]:
        snapshot = self._read_rows(since)
        rows = 0
        for batch in snapshot.batches:
            self._lease.check()
            documents = self._render(batch, max(snapshot.version, 0))
            done = self._writer.write(self._table, documents, into=into)
            rows += batch.num_rows
            self._report.documents += done.taken.total()
            self._report.refused += done.refused
            if self._progress is not None:
                self._progress(self._report.documents)
        return snapshot, rows

    def _swap(self, old: str, new: str) -> None:
        both = (read_alias(self._table), period_alias(self._table, self._period))
        actions: list[dict[str, Any]] = [
            {"remove": {"index": old, "alias": alias, "must_exist": False}} for alias in both
        ]
        actions += [
            {"add": {"index": new, "alias": both[0], "filter": READ_FILTER}},
            {"add": {"index": new, "alias": both[1]}},
        ]
        try:
            self._indices.client.indices.update_aliases(body={"actions": actions})
        except NotFoundError as error:
            raise Conflict(
                f"{new} or {old} was deleted during the rebuild", "another rebuild has taken over"
            ) from error
        self._indices.forget(self._table, self._period)

    def _serves(self, name: str) -> bool:
        found = self._indices.find(self._table, self._period)
        return found is not None and found.name == name
