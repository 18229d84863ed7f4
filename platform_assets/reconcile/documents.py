"""The index: each document of silver once, with silver's content, and nothing else.

Documents are read before the snapshot of silver is taken: what a worker adds meanwhile is in silver for sure, so that a document
beyond the checkpoint is checked too, and one that silver does not know is foreign.

Belongs here: comparing documents with silver. Does not belong here: reading an index (search), rows (`rows.py`).
"""

from __future__ import annotations

import time
from contextlib import suppress

import duckdb

from platform_assets.contracts.model import Table
from platform_assets.core.coordinates import COORDINATES, document_id_sql
from platform_assets.core.errors import AssayError
from platform_assets.core.settings import Settings
from platform_assets.core.transactions import SEQ, expired_mark
from platform_assets.index.checkpoints import START, Checkpoint, read_checkpoint
from platform_assets.index.connect import connect_indices
from platform_assets.index.errors import Conflict, SearchError
from platform_assets.index.history import foreign
from platform_assets.index.indices import Indices
from platform_assets.index.names import layout, period_of, split_index_name
from platform_assets.index.scan import scan
from platform_assets.reconcile.job import Job, size
from platform_assets.reconcile.proof import Progress
from platform_assets.reconcile.snapshot import Snapshot
from platform_assets.tables.archive import history
from platform_assets.tables.layout import TableSet
from platform_assets.transform.hashing import hash_expression
from platform_assets.transform.select import partition_expression
from platform_assets.transform.sql import literal, text_list

_TRIES = 3
ON_ITS_WAY = 60
"""Bronze commits (one every 2 s or slower) that may be between two hops: two minutes of a worker that works."""
FIRST_SECONDS = 20.0
"""How long a table's first rows may be on their way: until its first index is made and filled."""

_DOCUMENTS = """
    CREATE OR REPLACE TABLE documents (
        _source VARCHAR, _shard INT, _position BIGINT, _seq BIGINT, _hash BIGINT, _contract_version VARCHAR,
        _key_id VARCHAR, _history BOOLEAN, event_partition VARCHAR, period VARCHAR, _id VARCHAR, again BIGINT)
"""
# The id is what makes a document the document of a record: what it says of itself must agree with it.
_SPOILT = """
    SELECT d._source, d._shard, d._position, d._seq, d._id, d.event_partition, d.period, s._hash IS NULL AS surplus,
        concat_ws(', ',
        CASE WHEN d._hash IS DISTINCT FROM s._hash OR (d.again IS DISTINCT FROM d._hash AND same_major) THEN 'content' END,
        CASE WHEN d._seq IS DISTINCT FROM s._seq THEN 'commit' END,
        CASE WHEN d._contract_version IS DISTINCT FROM s._contract_version THEN 'contract version' END,
        CASE WHEN d._key_id IS DISTINCT FROM s._key_id THEN 'masking key' END,
        CASE WHEN d._history IS DISTINCT FROM s._history THEN 'history' END) AS note
    FROM documents AS d LEFT JOIN rows AS s
        ON d._source = s._source AND d._shard = s._shard AND d._position = s._position
        AND d.period = s.period
        AND d._id = {id}
    WHERE s._hash IS NULL OR d._hash IS DISTINCT FROM s._hash OR (d.again IS DISTINCT FROM d._hash AND same_major)
        OR d._seq IS DISTINCT FROM s._seq OR d._contract_version IS DISTINCT FROM s._contract_version
        OR d._key_id IS DISTINCT FROM s._key_id OR d._history IS DISTINCT FROM s._history
"""
_MISSING = """
    SELECT _source, _shard, _position, rows.event_partition
    FROM rows ANTI JOIN documents AS d ON rows.period = d.period
        AND {id} = d._id
    ANTI JOIN refused USING (_source, _shard, _position)
    WHERE rows._seq <= {seq}
"""
_EXPIRED = """
    FROM spoilt SEMI JOIN forgotten ON left(spoilt.event_partition, 10) = forgotten.day AND spoilt._seq <= forgotten.seq
    WHERE surplus AND event_partition NOT IN ({kept})
"""
_TWICE = """
    SELECT _source, _shard, _position, concat(count(*), ' documents')
    FROM documents GROUP BY _source, _shard, _position, _id HAVING count(*) > 1
"""


class DocumentProof:
    """One table's index. `read` first, then take the snapshot of silver, then `compare`."""

    def __init__(
        self, settings: Settings, contract: Table, tables: TableSet, con: duckdb.DuckDBPyConnection, tell: Progress
    ) -> None:
        self._settings = settings
        self._contract = contract
        self._tables = tables
        self._con = con
        self._tell = tell
        self._checkpoint: Checkpoint = START
        self._lacks = self._behind = 0  # rows of silver beside an index that holds nothing; commits that it was behind
        self._history = ""
        self._error: AssayError | None = None

    def read(self) -> None:
        """Keep every document's id, coordinates and hashes (stored, and made again of its content) in the session."""
        try:
            indices = connect_indices(self._settings)
            try:
                for _ in range(_TRIES):
                    before = self._serving(indices)
                    with suppress(Conflict):  # a rebuild has put another index in the place of one that was being read
                        self._read(indices)
                        if before <= self._serving(indices):
                            return
            finally:
                indices.client.close()
            raise SearchError(
                f"the indices of {self._contract.qualified_name} were replaced again and again", "try again"
            )
        except AssayError as error:
            self._error = error

    def _serving(self, indices: Indices) -> set[str]:
        return {index.name for index in indices.all(self._contract) if index.serving}

    def _read(self, indices: Indices) -> None:
        self._con.execute(_DOCUMENTS)
        self._read_checkpoint(indices)
        self._history = history(self._tables.silver) if self._tables.silver.exists() else ""
        indices.refresh(self._contract)  # an acknowledged document is there, but not yet found
        sources = self._sources()
        partition = partition_expression(self._contract)
        again, done = hash_expression(self._contract), 0
        for batch in scan(indices.client, self._contract, sources=sources):
            index = split_index_name(self._contract, batch.column("_index")[0].as_py())
            period = literal(index[0]) if index else "NULL"
            rows = self._con.from_arrow(batch).project(
                f"{COORDINATES}, _seq, _hash, _contract_version, _key_id, _history, {partition}, {period}, _id, {again}"
            )
            rows.insert_into("documents")
            done += batch.num_rows
            self._tell(self._contract.name, "documents", done, 0)

    def _read_checkpoint(self, indices: Indices) -> None:
        """How far the index is, and how far silver was just before: what a worker brings while documents are read is not
        behind.
        """
        silver = Snapshot.take(self._tables.silver, [SEQ])
        until = time.monotonic() + FIRST_SECONDS
        self._checkpoint = read_checkpoint(indices.client, self._contract)
        while silver.rows and self._checkpoint.token is None and time.monotonic() < until:
            time.sleep(0.5)
            self._checkpoint = read_checkpoint(indices.client, self._contract)
        self._lacks = silver.rows if self._checkpoint.token is None else 0
        self._behind = silver.transaction(SEQ) - self._checkpoint.seq

    def _sources(self) -> list[str]:
        silver = Snapshot.take(self._tables.silver)
        rows = silver.table.relation(self._con, list(silver.files))
        return [str(source) for (source,) in rows.project("_source").distinct().fetchall() if source is not None]

    def marks(self) -> list[str]:
        """Silver's transactions that say which of the documents' days retention has forgotten: for the snapshot."""
        if self._error is not None:
            return []
        days = self._con.execute("SELECT DISTINCT left(event_partition, 10) FROM documents").fetchall()
        return [expired_mark(str(day)) for (day,) in days if day is not None]

    def compare(self, job: Job) -> None:
        """The check `index`, against the job's snapshots."""
        check = job.proof.checks["index"]
        if self._error is not None:
            check.fail("unreachable", self._error.message, 1, [self._error.hint])
            return
        job.proof.versions["index_seq"] = self._checkpoint.seq
        job.proof.count("index_behind", max(0, job.silver_seq - self._checkpoint.seq))
        job.proof.count("documents", size(job.con.table("documents")))
        self._whole(job)
        self._views(job)
        job.store("spoilt", job.con.sql(_SPOILT.format(id=document_id_sql("s"))))
        spoilt = job.con.table("spoilt")
        job.refuse(
            check,
            "altered",
            "documents that differ from silver",
            spoilt.filter("NOT surplus").project(f"{COORDINATES}, note"),
        )
        self._surplus(job)
        job.refuse(
            check,
            "missing",
            "silver rows without a document",
            job.con.sql(_MISSING.format(seq=self._checkpoint.seq, id=document_id_sql("rows"))),
        )
        job.refuse(check, "twice", "documents in more than one index", job.con.sql(_TWICE))
        check.facts |= {"checkpoint": self._checkpoint.seq, "silver_version": self._checkpoint.silver_version}

    def _whole(self, job: Job) -> None:
        """Whether the index is this lake's, and as far as a worker at work brings it."""
        check, worker = job.proof.checks["index"], f"the worker of {self._contract.system} brings them"
        reindex = f"`assay reindex {self._contract.system} {self._contract.name}` builds it from this lake"
        if (why := foreign(self._checkpoint, self._history, job.silver_seq, layout(self._contract))) is not None:
            check.fail("foreign", f"the index {why}", 1, [reindex])
        elif self._lacks:
            what = "silver rows beside an index that was never filled, or has lost its data"
            check.fail("empty", what, self._lacks, [worker, reindex])
        elif self._behind > ON_ITS_WAY:
            check.fail(
                "behind", "bronze commits that silver has and the index has not", self._behind, [worker, reindex]
            )

    def _views(self, job: Job) -> None:
        """`rows`: silver as the index should have it, each with its period. `refused`: what the index would not take."""
        major = literal(self._contract.version.partition(".")[0])
        columns = f"{COORDINATES}, _seq, _hash, _contract_version, _key_id, _history, event_partition"
        same = f"coalesce(split_part(_contract_version, '.', 1) = {major}, true) AS same_major"
        silver = job.silver.table.relation(job.con, list(job.silver.files))
        kinds = silver.project("event_partition, _history").distinct().fetchall()
        job.con.execute("CREATE OR REPLACE TABLE periods (event_partition VARCHAR, _history BOOLEAN, period VARCHAR)")
        for partition, late in kinds:
            period = period_of(self._contract, partition, history=late)
            job.con.execute("INSERT INTO periods VALUES (?, ?, ?)", [partition, late, period])
        placed = silver.join(job.con.table("periods"), "event_partition, _history")
        placed.project(f"{columns}, period, {same}").create_view("rows", replace=True)
        rejects = job.quarantine.table.relation(job.con, list(job.quarantine.files))
        job.store("refused", rejects.filter("stage = 'index'").project(COORDINATES).distinct())
        job.proof.count("refused", size(job.con.table("refused")))

    def _surplus(self, job: Job) -> None:
        """Documents that silver does not know. Of a partition that silver has forgotten they go at the next maintenance."""
        surplus = job.con.table("spoilt").filter("surplus")
        if not size(surplus):
            return
        days = {mark.partition(":")[2]: job.silver.transactions.get(mark, 0) for mark in self.marks()}
        job.con.execute("CREATE OR REPLACE TABLE forgotten (day VARCHAR, seq BIGINT)")
        job.con.executemany("INSERT INTO forgotten VALUES (?, ?)", list(days.items()))
        kept = text_list(sorted({str(f.partition) for f in job.silver.files})) or "''"
        expired = job.con.sql(_EXPIRED.format(kept=kept))
        job.proof.count("expired_documents", size(expired))
        foreign = surplus.except_(expired).project(f"{COORDINATES}, concat('id ', _id, ' in the index of ', period)")
        job.refuse(job.proof.checks["index"], "surplus", "documents that silver does not have", foreign)
