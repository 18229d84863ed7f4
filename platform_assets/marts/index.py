"""Marts in the search index: the rows of replaced slots become documents, and the refresh_log says which slots those are.

Belongs here: what is behind, and in which order it is put right. Does not: requests, mappings, progress (`index/`).

The order is documents, deletion of what the same slots held before, progress. Ids are hashes of the business key and versions are
the refresh's number, so that whoever dies in between does it again, and whoever is late changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from opensearchpy.exceptions import OpenSearchException

from platform_assets.contracts.model import Contract, Field, IndexPeriod
from platform_assets.core.settings import Settings
from platform_assets.core.transactions import REFRESH
from platform_assets.index.bulk import BULK_PATIENCE_S, BulkWriter
from platform_assets.index.checkpoints import Checkpoint, ensure_progress_index, read_checkpoint, write_checkpoint
from platform_assets.index.connect import connect_indices
from platform_assets.index.documents import Refused, keyed_ndjson, period_column
from platform_assets.index.errors import Conflict, SearchError, translate
from platform_assets.index.history import owned
from platform_assets.index.indices import Index, Indices
from platform_assets.index.mappings import SYSTEM
from platform_assets.index.names import holds, period_of, span_of
from platform_assets.index.retire import delete_where, delete_within, joined, retire, searchable
from platform_assets.marts.columns import Column
from platform_assets.marts.marts import LENGTHS, PARTITION_FORMATS, Mart, refresh_log_table
from platform_assets.tables.files import split_by_partition
from platform_assets.tables.session import session
from platform_assets.tables.table import LakeTable

_TRIES = 5


@dataclass(frozen=True)
class MartDocuments:
    """A mart as `index/` sees it: its columns are fields, a histogram as JSON text. A day is its first moment."""

    mart: Mart
    version: str
    attributes: str | None = None
    attributes_max_bytes: int = 0
    max_depth: int = 0
    summed: bool = True

    @property
    def system(self) -> str:
        """The system: the first part of the alias."""
        return self.mart.system

    @property
    def name(self) -> str:
        """The model: the second part of the alias."""
        return self.mart.name

    @property
    def qualified_name(self) -> str:
        """`system.model`."""
        return f"{self.system}.{self.name}"

    @property
    def event_time(self) -> str:
        """The column of the slot."""
        return str(self.mart.grain)

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """The columns."""
        return tuple(column.field(column.name in self.mart.key) for column in self.mart.columns)

    @property
    def row_policy(self) -> str | None:
        """The column that limits who sees a row."""
        return self.mart.row_policy

    @property
    def index_period(self) -> IndexPeriod:
        """How much time one index holds."""
        return self.mart.index_period

    @property
    def history_period(self) -> IndexPeriod:
        """A mart has no history apart."""
        return self.mart.index_period

    def periods(self, partitions: Collection[str]) -> set[str]:
        """The periods whose indices hold these partitions of the Delta table."""
        return {period_of(self, partition) for partition in partitions}

    def rows(self, relation: duckdb.DuckDBPyRelation) -> pa.Table:
        """Rows of the mart as documents are made of them: the columns, and the partition as `event_partition`."""
        fields = ", ".join(_document_value(column) for column in self.mart.columns)
        return relation.project(f"{fields}, {self.mart.partition_sql} AS event_partition").to_arrow_table()


@dataclass(frozen=True, slots=True)
class _Change:
    """Slots of a mart that the index does not have as of refresh `number`; None: all there are."""

    number: int
    slots: pa.ChunkedArray | None


def publish_index(
    settings: Settings, contract: Contract, marts: Sequence[Mart]
) -> Iterator[tuple[str, int | SearchError]]:
    """Bring the index of every mart that is indexed up to date; (mart, documents sent, or why it cannot be).

    One mart's trouble (ForeignIndex for one that another lake has filled) is not the others'. Raises SearchError when there is
    no index at all.
    """
    indexed = [mart for mart in marts if mart.index]
    if not indexed:
        return
    indices = connect_indices(settings)
    try:
        ensure_progress_index(indices.client)
        with session() as con, BulkWriter(indices, patience_s=BULK_PATIENCE_S) as writer:
            for mart in indexed:
                index = _MartIndex(settings.lake_path, MartDocuments(mart, contract.version), indices, writer, con)
                try:
                    done: int | SearchError = index.catch_up()
                except SearchError as error:
                    done = error
                yield mart.name, done
    finally:
        indices.client.close()


class _MartIndex:
    def __init__(
        self,
        lake: Path,
        documents: MartDocuments,
        indices: Indices,
        writer: BulkWriter,
        con: duckdb.DuckDBPyConnection,
    ) -> None:
        self._documents = documents
        self._mart = documents.mart
        self._table = documents.mart.table(lake)
        self._refresh_log = refresh_log_table(lake, documents.system)
        self._indices = indices
        self._writer = writer
        self._con = con

    def catch_up(self) -> int:
        """Documents sent. Whoever else publishes meanwhile makes it look again."""
        if not self._table.exists():
            return 0
        client = self._indices.client
        checkpoint = self._checkpoint()
        since, sent = checkpoint.seq, 0
        for _ in range(_TRIES):
            self._table.refresh()
            number = self._table.transaction(REFRESH) or 0
            if number <= since:
                return sent
            self._indices.ensure_template(self._documents)
            change = self._change(since, number)
            sent = self._send(change)  # all since the checkpoint: what an earlier try sent is in it
            self._delete_older(change)
            try:
                if checkpoint.seq < number:
                    write_checkpoint(client, self._documents, {}, number, checkpoint, number)
            except Conflict:
                checkpoint = self._checkpoint()
                continue
            return sent
        raise Conflict(f"the progress of {self._documents.qualified_name} never stood still", "refresh again")

    def _checkpoint(self) -> Checkpoint:
        """How far the index is. Raises ForeignIndex when that is of another lake."""
        found = read_checkpoint(self._indices.client, self._documents)
        return owned(found, self._documents, self._table, REFRESH)

    def _change(self, since: int, number: int) -> _Change:
        """What refreshes (`since`, `number`] replaced. Further back than the refresh_log remembers: everything."""
        self._refresh_log.refresh()
        files = self._refresh_log.files()
        oldest = min((int(f.low["refresh"]) for f in files if "refresh" in f.low), default=number + 1)
        if since + 1 < oldest or since == 0:
            return _Change(number, None)
        rows = self._refresh_log.relation(self._con, self._refresh_log.between("refresh", since + 1, number))
        mine = rows.filter(f"model = '{self._mart.name}' AND refresh > {since} AND refresh <= {number}")
        return _Change(number, mine.project("slot").distinct().order("slot").to_arrow_table().column("slot"))

    def _send(self, change: _Change) -> int:
        """Send the rows of these slots, a partition of the mart at a time."""
        documents, grain = self._documents, self._mart.grain
        touched = None if change.slots is None else self._partitions(change.slots)
        sent = 0
        for partition in self._table.partitions():
            if touched is not None and partition not in touched:
                continue
            rows = self._table.relation(self._con, self._table.files(partition))
            if change.slots is not None:
                self._con.register("slots", pa.table({"slot": change.slots}))
                rows = rows.filter(f'CAST("{grain}" AS TIMESTAMPTZ) IN (SELECT slot FROM slots)')  # noqa: S608
            found = keyed_ndjson(documents, documents.rows(rows), change.number, self._mart.key, con=self._con)
            report = self._writer.write(documents, found)
            accept_all(documents, report.refused)
            sent += report.taken.total()
        return sent

    def _partitions(self, slots: pa.ChunkedArray) -> set[str]:
        """The mart's partitions that hold these slots."""
        self._con.register("slots", pa.table({"slot": slots}))
        found = self._con.sql(
            f'SELECT DISTINCT {self._mart.partition_sql} FROM (SELECT slot AS "{self._mart.grain}" FROM slots)'  # noqa: S608
        )
        return {str(row[0]) for row in found.fetchall()}

    def _delete_older(self, change: _Change) -> None:
        """Delete documents of these slots that an older refresh wrote: their rows are gone."""
        older, grain = {"range": {f"{SYSTEM}.seq": {"lt": change.number}}}, self._mart.grain
        client = self._indices.client
        try:
            if change.slots is None:
                for index in self._indices.all(self._documents):
                    client.indices.refresh(index=index.name)
                    delete_where(client, index.name, [older])
                return
            for period, part in split_by_partition(self._placed(change.slots), "period"):
                serving = self._indices.find(self._documents, period)
                if serving is not None:
                    spans = [(slot, slot + LENGTHS[grain]) for slot in part.column("slot").to_pylist()]
                    delete_within(client, serving.name, str(grain), spans, [older])
        except OpenSearchException as error:
            raise translate(error, f"deleting replaced documents of {self._documents.qualified_name}") from error

    def _placed(self, slots: pa.ChunkedArray) -> pa.Table:
        """The slots, each with its `period`."""
        names = pc.strftime(slots, format=PARTITION_FORMATS[self._mart.grain])
        periods = period_column(self._documents, pa.table({"event_partition": names}))
        return pa.table({"slot": slots, "period": periods})


def accept_all(documents: MartDocuments, refused: Sequence[Refused]) -> None:
    """Raises SearchError when the index has refused a document: a mart's types are its model's, not data's."""
    if refused:
        raise SearchError(
            f"the index refused {len(refused)} documents of {documents.qualified_name}: {refused[0].reason}",
            f"correct the types in the model's properties file, then `assay reindex {documents.system} {documents.name}`",
        )


def _document_value(column: Column) -> str:
    """A date as a time, for the index has no other; a histogram as JSON text."""
    if column.is_date:
        return f'CAST("{column.name}" AS TIMESTAMP) AS "{column.name}"'
    if column.kind is None:
        return f'CAST(to_json("{column.name}") AS VARCHAR) AS "{column.name}"'
    return f'"{column.name}"'


def forget_index(settings: Settings, contract: Contract, marts: Sequence[Mart]) -> tuple[int, list[str]]:
    """Take out of the indices what the marts' tables have dropped: documents deleted; mart and period of indices deleted.

    Raises SearchError; ForeignIndex for an index that another lake has filled.
    """
    indices = connect_indices(settings)
    documents, gone = 0, []
    try:
        for mart in marts:
            table = mart.table(settings.lake_path)
            if mart.index and table.exists():
                collection = MartDocuments(mart, contract.version)
                owned(read_checkpoint(indices.client, collection), collection, table, REFRESH)
                for index in indices.all(collection):
                    deleted, dropped = _forget(indices, collection, table, index)
                    documents += deleted
                    gone += [f"{mart.name} {index.period}"] if dropped else []
        return documents, gone
    finally:
        indices.client.close()


def _forget(indices: Indices, documents: MartDocuments, table: LakeTable, index: Index) -> tuple[int, bool]:
    """Delete an index's documents of slots that the table does not have; whoever writes such a slot anew has a later number."""

    def empty() -> bool:
        table.refresh()
        return index.period not in documents.periods(table.partitions())

    table.refresh()
    begin, end = span_of(index.period)
    if not index.serving or not searchable(begin, end):
        return 0, False
    kept = joined(span_of(partition) for partition in holds(documents, index.period, table.partitions()))
    edges = [begin, *(edge for span in kept for edge in span), end]
    missing = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b]
    number = table.transaction(REFRESH) or 0
    until = {"range": {f"{SYSTEM}.seq": {"lte": number}}}
    return retire(indices, documents, index, missing, empty, [until]) if missing else (0, False)
