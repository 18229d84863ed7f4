"""One Delta table: open, read by partition and statistics, and commit under compare-and-set.

Every commit refreshes the table, compares the application transactions that the caller expects, and writes on that same
handle with no retry inside delta-rs: whatever another writer did meanwhile is seen before anything is written on top of it.
(delta-rs rejects a stale writer, but not a repeated version from a fresh one, and not the removal of a file that is gone.)
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

from platform_assets.core.errors import AssayError
from platform_assets.core.lake import begin_lake
from platform_assets.tables.files import DataFile, overlapping, split_by_partition, sync, sync_log, write_file
from platform_assets.tables.widen import widen_decimals

_COMMIT_TRIES = 50
_LENGTH = {pa.string(): "strlen", pa.binary(): "octet_length"}
_CONFIGURATION = {
    "delta.checkpointInterval": "50",
    # A commit every two seconds: a longer log would make each refresh list tens of thousands of files.
    "delta.logRetentionDuration": "interval 2 hours",
    "delta.deletedFileRetentionDuration": "interval 1 days",
}


class Conflict(AssayError):
    """Another writer moved an application transaction that this commit relied on. `actual` holds what the table says."""

    def __init__(self, path: Path, actual: Mapping[str, int | None]) -> None:
        super().__init__(f"another writer has moved {path.name}", "this worker yields; its successor goes on")
        self.actual = dict(actual)


class LakeTable:
    """A Delta table in a local folder. Safe for several threads; several processes meet in the compare-and-set.

    `schema` is the Arrow schema with the partition column; `partition_by` names that column or is None. `lake` is the root of
    the lake that it is in, which records its layout before its first table is made.
    """

    def __init__(
        self, path: Path, schema: pa.Schema, partition_by: str | None = None, *, lake: Path | None = None
    ) -> None:
        self.path = path
        self.schema = schema
        self.partition_by = partition_by
        self._lake = lake
        self._lock = threading.RLock()
        self._delta: DeltaTable | None = None
        self._synced = -1  # the last log entry that this handle knows to be on the disk

    # -- opening -----------------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Whether the table was ever created."""
        return (self.path / "_delta_log").is_dir() and DeltaTable.is_deltatable(str(self.path))

    def _table(self) -> DeltaTable:
        if self._delta is None:
            if created := not self.exists():
                if self._lake is not None:
                    begin_lake(self._lake)
                made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
                self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
                with suppress(CommitFailedError):  # another process has created it at the same moment
                    DeltaTable.create(
                        str(self.path),
                        self.schema,
                        mode="ignore",
                        partition_by=[self.partition_by] if self.partition_by else None,
                        configuration=_CONFIGURATION,
                    )
                for folder in (self.path, *(folder.parent for folder in made)):
                    sync(folder)
            table = DeltaTable(str(self.path))
            found = int(table.version())
            # The newest entry may be another process's that has not come to syncing it, and ours would lie on top of it.
            self._synced = -1 if created else found - 1
            self._delta = self._widened(table)
            if created or int(self._delta.version()) > found:
                self._sync_log(int(self._delta.version()))
        return self._delta

    def _widened(self, table: DeltaTable) -> DeltaTable:
        """Follow a newer contract: new columns need no rebuild, older rows read as null; decimals may gain digits."""
        known = {f.name for f in table.schema().fields}
        missing = [f.with_nullable(True) for f in self.schema if f.name not in known]
        if missing:
            table.alter.add_columns(Schema.from_arrow(pa.schema(missing)).fields)
            table.update_incremental()
        widen_decimals(table, self.path, self.schema)
        return table

    def refresh(self) -> int:
        """Read the log up to now; the snapshot's version."""
        with self._lock:
            table = self._table()
            table.update_incremental()
            return int(table.version())

    @property
    def identity(self) -> str:
        """The table's own UUID: a table deleted and created again has another."""
        with self._lock:
            return str(self._table().metadata().id)

    @property
    def version(self) -> int:
        """The version of the snapshot in hand (not refreshed)."""
        with self._lock:
            return int(self._table().version())

    def transaction(self, app_id: str) -> int | None:
        """The version recorded for that application transaction in the snapshot in hand."""
        with self._lock:
            found = self._table().transaction_version(app_id)
            return None if found is None else int(found)

    def transactions(self, app_ids: Iterable[str]) -> dict[str, int | None]:
        """Several application transactions of one snapshot."""
        with self._lock:
            return {app_id: self.transaction(app_id) for app_id in app_ids}

    # -- writing -----------------------------------------------------------------------------------------------------

    def write(self, rows: pa.Table, *, data_change: bool = True) -> list[AddAction]:
        """Write rows into new files, one for each partition they touch; nothing is visible until `commit`."""
        if rows.num_rows == 0:
            return []
        self._table()
        if self.partition_by is None:
            return [write_file(self.path, rows, None, None, data_change=data_change)]
        return [
            write_file(self.path, part, self.partition_by, value, data_change=data_change)
            for value, part in split_by_partition(rows, self.partition_by)
        ]

    def commit(
        self,
        adds: Sequence[AddAction],
        *,
        advance: Mapping[str, int] | None = None,
        expect: Mapping[str, int | None] | None = None,
        removes: Sequence[DataFile] = (),
        check: Callable[[], None] | None = None,
        data_change: bool = True,
    ) -> int:
        """Make files visible and application transactions true, in one Delta transaction; the new version.

        `expect` must hold in the very snapshot that is written upon, else `Conflict`. A transaction is never lowered:
        delta-rs would allow it, so it is checked here (ValueError, a caller's mistake). `check` may look at the snapshot
        once more and raise. Files in `removes` must still be live, else `Conflict`.
        """
        advance = dict(advance or {})
        for attempt in range(_COMMIT_TRIES):
            with self._lock:
                self.refresh()
                table = self._table()
                actual = self.transactions(expect or {})
                if expect and actual != dict(expect):
                    raise Conflict(self.path, actual)
                for app_id, version in advance.items():
                    before = self.transaction(app_id)
                    if before is not None and version < before:
                        raise ValueError(
                            f"{self.path.name}: transaction {app_id} would fall from {before} to {version}"
                        )
                if check is not None:
                    check()
                if removes:
                    live = {f.path for f in self.files()}
                    if not {f.path for f in removes} <= live:
                        raise Conflict(self.path, {})
                version = int(table.version()) + 1  # with retries off it is this one or none
                try:
                    table.create_write_transaction(
                        [*self._remove_actions(removes, data_change), *adds],
                        mode="append",
                        schema=table.schema(),
                        partition_by=[self.partition_by] if self.partition_by else None,
                        commit_properties=CommitProperties(
                            app_transactions=[Transaction(a, v) for a, v in advance.items()], max_commit_retries=0
                        ),
                    )
                except CommitFailedError:
                    pass  # somebody else committed between refresh and write: look again
                else:
                    self.refresh()
                    self._sync_log(int(table.version()))
                    return version
            time.sleep(random.uniform(0.001, 0.01) * (attempt + 1))  # noqa: S311 (jitter)
        raise AssayError(
            f"{self.path.name} is too busy to commit to",
            "another process commits without pause; look at the running workers",
        )

    def _sync_log(self, version: int) -> None:
        """Survive a power cut: have every log entry up to `version` on the disk, those of others that lie below ours too."""
        if version > self._synced:
            sync_log(self.path, self._synced + 1, version)
            self._synced = version

    def _remove_actions(self, removes: Sequence[DataFile], data_change: bool) -> list[RemoveAction]:
        now = int(time.time() * 1000)
        return [
            RemoveAction(
                path=f.path,
                data_change=data_change,
                deletion_timestamp=now,
                size=f.size,
                partition_values={self.partition_by: f.partition} if self.partition_by else {},
            )
            for f in removes
        ]

    # -- reading -----------------------------------------------------------------------------------------------------

    def files(self, partition: str | None = None) -> list[DataFile]:
        """Live files of the snapshot in hand, of one partition or of all."""
        with self._lock:
            actions = pa.table(self._table().get_add_actions(flatten=True))
        rows = actions.to_pylist()
        found = []
        for row in rows:
            value = row.get(f"partition.{self.partition_by}") if self.partition_by else None
            value = None if value is None else str(value)
            if partition is None or value == partition:
                low = {k[4:]: v for k, v in row.items() if k.startswith("min.") and v is not None}
                high = {k[4:]: v for k, v in row.items() if k.startswith("max.") and v is not None}
                found.append(DataFile(row["path"], row["size_bytes"], row["num_records"] or 0, value, low, high))
        return found

    def partitions(self) -> dict[str, int]:
        """Rows by partition value, from the log alone."""
        counts: dict[str, int] = {}
        for f in self.files():
            counts[str(f.partition)] = counts.get(str(f.partition), 0) + f.rows
        return dict(sorted(counts.items()))

    def uris(self, files: Iterable[DataFile]) -> list[str]:
        """Absolute paths of data files, for an engine that reads Parquet."""
        return [str(self.path / f.path) for f in files]

    def relation(
        self, con: duckdb.DuckDBPyConnection, files: Sequence[DataFile] | None = None
    ) -> duckdb.DuckDBPyRelation:
        """The rows of these files (default: the whole snapshot) as a DuckDB relation with every column of the schema."""
        chosen = self.files() if files is None else list(files)
        if not chosen:
            return con.from_arrow(self.schema.empty_table())
        present = con.read_parquet(self.uris(chosen), union_by_name=True, hive_partitioning=False, filename=True)
        names = set(present.columns)
        parts = []
        for f in self.schema:
            if f.name == self.partition_by:
                parts.append(_partition_expression(f))
            elif f.name not in names:
                parts.append(f'NULL AS "{f.name}"')
            elif pa.types.is_decimal(f.type):  # older files may have fewer digits
                parts.append(f'CAST("{f.name}" AS DECIMAL({f.type.precision},{f.type.scale})) AS "{f.name}"')
            else:
                parts.append(f'"{f.name}"')
        return present.project(", ".join(parts))

    def read(
        self,
        con: duckdb.DuckDBPyConnection,
        *,
        columns: Sequence[str] | None = None,
        files: Sequence[DataFile] | None = None,
        where: str | None = None,
        order: str | None = None,
    ) -> pa.Table:
        """Rows as Arrow. `where` and `order` are SQL over column names that the caller built from constants and numbers."""
        rel = self.relation(con, files)
        if where:
            rel = rel.filter(where)
        if order:
            rel = rel.order(order)
        if columns:
            rel = rel.project(", ".join(f'"{c}"' for c in columns))
        return rel.to_arrow_table()

    def between(
        self, column: str, low: int, high: int = 2**63 - 1, *, partitions: Collection[str] | None = None
    ) -> list[DataFile]:
        """Files that may hold `low <= column <= high`, by their statistics; of some partitions if they are named."""
        found = overlapping(self.files(), column, low, high)
        return found if partitions is None else [f for f in found if f.partition in partitions]

    @property
    def row_bytes(self) -> str:
        """SQL for the bytes that a row takes in memory: the widths of its columns and the lengths of its texts."""
        stored = [f for f in self.schema if f.name != self.partition_by]
        fixed = sum(f.type.bit_width for f in stored if pa.types.is_primitive(f.type)) // 8
        texts = [f'coalesce({_LENGTH[f.type]}("{f.name}"), 0)' for f in stored if f.type in _LENGTH]
        return " + ".join([str(fixed), *texts])

    def batches(
        self, con: duckdb.DuckDBPyConnection, files: Sequence[DataFile], rows: int = 100_000, **read: Any
    ) -> Iterator[pa.Table]:
        """Like `read`, as a stream of tables of at most about `rows` rows."""
        rel = self.relation(con, files)
        if where := read.get("where"):
            rel = rel.filter(where)
        if order := read.get("order"):
            rel = rel.order(order)
        if columns := read.get("columns"):
            rel = rel.project(", ".join(f'"{c}"' for c in columns))
        for batch in rel.to_arrow_reader(rows):
            yield pa.Table.from_batches([batch])


def _partition_expression(f: pa.Field) -> str:
    text = "regexp_extract(filename, '/' || '" + f.name + "' || '=([^/]*)/', 1)"
    kind = "DATE" if pa.types.is_date(f.type) else "VARCHAR"
    return f'CAST({text} AS {kind}) AS "{f.name}"'


def select_from(relation: duckdb.DuckDBPyRelation, name: str, sql: str) -> pa.Table:
    """The rows of a SELECT that calls the relation `name`."""
    answer = relation.query(name, sql)
    if answer is None:  # DuckDB's answer to statements without a result
        raise ValueError("not a SELECT")
    return answer.to_arrow_table()
