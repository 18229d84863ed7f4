"""The documents of replayed rows: sent by hand, beside whatever a worker's publisher sends; ids and versions make that
harmless.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

import duckdb
import pyarrow as pa

from platform_assets.contracts.arrow import QUARANTINE_SCHEMA
from platform_assets.contracts.model import Table
from platform_assets.core.coordinates import COLUMNS, Coordinates, parse_document_id
from platform_assets.core.settings import Settings
from platform_assets.index.bulk import BulkWriter
from platform_assets.index.connect import connect_indices
from platform_assets.index.documents import to_ndjson
from platform_assets.ingest.dead_letters import quarantine_refused
from platform_assets.reconcile.replay_report import TableReplay
from platform_assets.tables.layout import TableSet

_NONE = pa.schema([QUARANTINE_SCHEMA.field(name).remove_metadata() for name in COLUMNS])


class Documents:
    """Sends one table's documents. Connects when entered, so that an index that is away is known before anything is done."""

    def __init__(
        self,
        settings: Settings,
        contract: Table,
        tables: TableSet,
        con: duckdb.DuckDBPyConnection,
        report: TableReplay,
        *,
        enabled: bool,
    ) -> None:
        self._settings = settings
        self._contract = contract
        self._tables = tables
        self._con = con
        self._report = report
        self.enabled = enabled

    def __enter__(self) -> Self:
        if self.enabled:
            self._indices = connect_indices(self._settings)
            self._indices.ensure_template(self._contract)
            self._writer = BulkWriter(self._indices)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.enabled:
            self._writer.close()
            self._indices.client.close()

    def send(self, rows: pa.Table, version: int) -> pa.Table:
        """Send silver rows as they are in silver's `version`; coordinates of those refused, which quarantine holds then."""
        if not self.enabled or rows.num_rows == 0:
            return _NONE.empty_table()
        sent = self._writer.write(self._contract, to_ndjson(self._contract, rows, version, con=self._con))
        self._report.documents += sent.taken.total()
        self._report.index_refused += len(sent.refused)
        quarantine_refused(self._tables.quarantine, self._con, rows, sent.refused)
        places = {parse_document_id(one.document_id) for one in sent.refused}
        keys = rows.select(COLUMNS).to_pylist() if places else []
        return pa.Table.from_pylist([key for key in keys if Coordinates.of(key).short in places], schema=_NONE)
