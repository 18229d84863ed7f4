"""Runs a table's transform SELECT over bronze batches.

Belongs here: the DuckDB connection, batch sizes, masking and hashing of what was accepted, setting aside what makes the engine
fail. Does not belong here: the SQL (`select.py`), duplicates, writing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, cast

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from platform_assets.contracts.arrow import BRONZE_SCHEMA, QUARANTINE_SCHEMA, silver_schema
from platform_assets.contracts.model import FieldType, Mask, Table
from platform_assets.core.charsets import UTF_8, to_utf8
from platform_assets.core.coordinates import COLUMNS, POSITION, SHARD
from platform_assets.transform.engine import prepare
from platform_assets.transform.excerpt import HEAD_BYTES
from platform_assets.transform.hashing import row_hash_select
from platform_assets.transform.masking import Masker
from platform_assets.transform.reasons import Reason, describe
from platform_assets.transform.select import compile_excerpt, compile_select

_RECORDS = pa.schema(
    [field for field in BRONZE_SCHEMA if field.name in {*COLUMNS, "kind", "value", "seq", "landed_at"}]
)
_PARALLEL_ROWS = 25_000  # the engine's threads share the work by record batch: one batch is one thread's work
_KEY_FIELDS = (
    pa.field("_key_hi", pa.uint64()),
    pa.field("_key_lo", pa.uint64()),
    pa.field("_content", pa.uint32()),
)
# Faults of the environment or of our own SQL: setting rows aside would blame the data for them.
_NOT_THE_DATA = (
    duckdb.OutOfMemoryException,
    duckdb.IOException,
    duckdb.InterruptException,
    duckdb.ConnectionException,
    duckdb.ParserException,
    duckdb.BinderException,
    duckdb.CatalogException,
)


@dataclass(frozen=True, slots=True)
class Transformed:
    """What became of a bronze batch; both tables in bronze order.

    `accepted` has the silver columns and, if the table has a key, `_key_hi`, `_key_lo` (uint64) and `_content` (uint32) as in
    `hashing.key_select`; `rejected` the quarantine columns. Their lengths add up to the batch's rows of kind 'record'.
    """

    accepted: pa.Table
    rejected: pa.Table


class Transformer:
    """Transforms batches of one contract table; reusable, holds one DuckDB connection; several threads take turns.

    `threads` and `memory_limit` bound the engine (it never spills to disk: rows are still in clear there), `slice_bytes` the
    message bytes that it is given at once. Close it, or use it as a context manager. Raises ValueError for a contract that
    masks a field which is not text.
    """

    def __init__(
        self,
        table: Table,
        masker: Masker,
        *,
        threads: int = 2,
        memory_limit: str = "1GB",
        slice_bytes: int = 128 * 1024 * 1024,
    ) -> None:
        self._masked = [field.name for field in table.fields if field.mask is Mask.HMAC]
        not_text = [name for name in self._masked if table.field(name).type is not FieldType.STRING]
        if not_text:
            raise ValueError(f"{table.qualified_name}: only text fields can be masked, not {', '.join(not_text)}")
        self.table = table
        self._masker = masker
        self._config: dict[str, str | bool | int | float | list[str]] = {
            "threads": threads,
            "memory_limit": memory_limit,
            "temp_directory": "",
        }
        self._slice_bytes = slice_bytes
        self._schema = silver_schema(table)
        self._evaluate_query = compile_select(table)
        self._excerpt_query = compile_excerpt(table)
        self._hash_query = row_hash_select(table)
        self._connection = self._connect()
        self._turn = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Frees the engine."""
        self._connection.close()

    @property
    def key_id(self) -> str:
        """The id of the masking key at work."""
        return self._masker.key_id

    @property
    def accepted_schema(self) -> pa.Schema:
        """The schema of `Transformed.accepted`."""
        return pa.schema([*self._schema, *_KEY_FIELDS]) if self.table.key else self._schema

    def transform(self, bronze: pa.Table) -> Transformed:
        """Sorts every record of a bronze batch into accepted or rejected. Never raises because of the data.

        Raises duckdb.Error for faults of the engine's surroundings, such as memory, and AssertionError if rows went astray.
        """
        with self._turn:
            return self._transform(bronze)

    def _transform(self, bronze: pa.Table) -> Transformed:
        records = bronze.select(_RECORDS.names)
        is_record = pc.equal(records["kind"], pa.scalar("record"))
        if not pc.all(is_record, min_count=0).as_py():
            records = records.filter(is_record)
        if self.table.encoding != UTF_8:
            texts = [to_utf8(chunk, self.table.encoding) for chunk in records["value"].chunks]
            records = records.set_column(
                records.schema.get_field_index("value"), "value", pa.chunked_array(texts, pa.binary())
            )
        parts = [self._transform_slice(part) for part in self._slices(records)]
        accepted = pa.concat_tables([self.accepted_schema.empty_table(), *(part.accepted for part in parts)])
        rejected = pa.concat_tables([QUARANTINE_SCHEMA.empty_table(), *(part.rejected for part in parts)])
        if len(accepted) + len(rejected) != len(records):
            raise AssertionError(f"{len(records)} records became {len(accepted)} accepted and {len(rejected)} rejected")
        return Transformed(accepted, rejected)

    def _slices(self, records: pa.Table) -> Iterator[pa.Table]:
        """The records in bronze order, in pieces of at most `slice_bytes` or one record."""
        order = _bronze_order(records)
        sizes = pc.fill_null(pc.binary_length(records["value"]), 0).to_numpy()
        total = np.cumsum(sizes if order is None else sizes[order], dtype=np.int64)
        start = 0
        while start < len(records):
            before = int(total[start - 1]) if start else 0
            stop = max(start + 1, int(np.searchsorted(total, before + self._slice_bytes, side="right")))
            part = records.slice(start, stop - start) if order is None else records.take(order[start:stop])
            yield pa.Table.from_batches(part.to_batches(max_chunksize=_PARALLEL_ROWS), part.schema)
            start = stop

    def _transform_slice(self, records: pa.Table) -> Transformed:
        try:
            evaluated, rejected = self._evaluate(records)
        except _NOT_THE_DATA:
            raise
        except duckdb.Error:
            # After an internal error DuckDB refuses the whole database.
            self._connection.close()
            self._connection = self._connect()
            if len(records) == 1:
                return Transformed(self.accepted_schema.empty_table(), self._undecodable(records))
            half = len(records) // 2
            first, second = self._transform_slice(records.slice(0, half)), self._transform_slice(records.slice(half))
            return Transformed(
                pa.concat_tables([first.accepted, second.accepted]), pa.concat_tables([first.rejected, second.rejected])
            )
        return Transformed(self._accept(evaluated), rejected)

    def _evaluate(self, records: pa.Table) -> tuple[pa.Table, pa.Table]:
        """Rows that keep the contract, still in clear, and the quarantine rows of the others."""
        evaluated = self._run(self._evaluate_query, "bronze", records)
        reasons = evaluated["_reason"]
        if reasons.null_count == len(evaluated):
            return evaluated, QUARANTINE_SCHEMA.empty_table()
        bad = pc.is_valid(reasons)
        excerpts = self._run(self._excerpt_query, "bronze", self._cut(records.filter(bad)))
        rejected = evaluated.filter(bad).append_column("_excerpt", excerpts["_excerpt"])
        return evaluated.filter(pc.invert(bad)), self._quarantine(rejected)

    def _cut(self, rejected: pa.Table) -> pa.Table:
        """The records with values that are too large cut to what an excerpt looks at."""
        value = rejected["value"]
        large = pc.greater(pc.binary_length(value), pa.scalar(self.table.max_bytes, pa.int32()))
        cut = pc.if_else(large, pc.binary_slice(value, 0, HEAD_BYTES + 1), value)
        return rejected.set_column(rejected.schema.get_field_index("value"), "value", cut)

    def _accept(self, evaluated: pa.Table) -> pa.Table:
        rows = len(evaluated)
        columns: dict[str, Any] = {name: evaluated[name] for name in evaluated.column_names}
        some_masked = pa.array(np.zeros(rows, dtype=bool))
        for name in self._masked:
            some_masked = pc.or_(some_masked, pc.is_valid(columns[name]))
            columns[name] = self._masker.mask_column(columns[name], name)
        columns["_contract_version"] = pa.repeat(self.table.version, rows)
        columns["_key_id"] = pc.if_else(some_masked, self._masker.key_id, pa.scalar(None, pa.string()))
        stored = pa.table({name: columns[name] for name in self._schema.names if name != "_hash"})
        hashes = self._run(self._hash_query, "silver", stored)
        columns |= {name: hashes[name] for name in hashes.column_names}
        schema = self.accepted_schema
        return pa.table({name: columns[name] for name in schema.names}).cast(schema)

    def _quarantine(self, evaluated: pa.Table) -> pa.Table:
        encoded = evaluated["_reason"].combine_chunks().dictionary_encode()
        reasons = cast(list[str], encoded.dictionary.to_pylist())
        details = pa.array([describe(self.table, reason) for reason in reasons], pa.string())
        return pa.table(
            {
                **{name: evaluated[name] for name in COLUMNS},
                "_seq": evaluated["_seq"],
                "_landed_at": evaluated["_landed_at"],
                "contract_version": pa.repeat(self.table.version, len(evaluated)),
                "stage": pa.repeat("transform", len(evaluated)),
                "reason": evaluated["_reason"],
                "detail": details.take(encoded.indices),
                "excerpt": evaluated["_excerpt"],
                "value_bytes": evaluated["_bytes"],
                "landed_date": evaluated["_landed_at"].cast(pa.timestamp("us")).cast(pa.date32(), safe=False),
            }
        ).cast(QUARANTINE_SCHEMA)

    def _undecodable(self, record: pa.Table) -> pa.Table:
        evaluated = record.rename_columns([f"_{name.removeprefix('_')}" for name in record.column_names])
        evaluated = evaluated.append_column("_reason", pa.array([Reason.UNDECODABLE.value]))
        evaluated = evaluated.append_column("_excerpt", pa.nulls(1, pa.string()))
        return self._quarantine(evaluated.append_column("_bytes", pc.binary_length(evaluated["_value"])))

    def _run(self, query: str, relation: str, rows: pa.Table) -> pa.Table:
        # Not prepared: a prepared statement goes on reading the rows that were registered first.
        self._connection.register(relation, rows)
        try:
            answer = cast(pa.Table, self._connection.sql(query).to_arrow_table())
        finally:
            self._connection.unregister(relation)
        # Columns of several answers are put side by side, and an engine that runs in parallel may reorder rows.
        for name in ("_seq", SHARD, POSITION):
            if not answer[name].equals(rows[name if name in rows.column_names else name.removeprefix("_")]):
                raise AssertionError(f"{self.table.qualified_name}: the engine lost rows or changed their order")
        return answer

    def _connect(self) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(config=self._config)
        prepare(connection)
        return connection


def _bronze_order(records: pa.Table) -> npt.NDArray[np.int64] | None:
    """The indices that put records in bronze order; None if they stand so already."""
    order = [records[name].to_numpy() for name in (POSITION, SHARD, "seq")]
    position, shard, seq = (np.diff(column) for column in order)
    rising = (seq > 0) | ((seq == 0) & ((shard > 0) | ((shard == 0) & (position >= 0))))
    return None if rising.all() else np.lexsort(order)
