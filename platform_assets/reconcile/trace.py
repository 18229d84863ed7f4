"""Trace: from a document's id to its silver row, its bronze row, and the topic, partition and offset that it came from.

Files are chosen by the statistics in the Delta logs, so that a trace reads a few row groups and not the lake. The bytes that
arrived are shown only to who asks for them (`reveal`): they hold personal data in clear.

Belongs here: looking up. Does not belong here: evaluating whether all is well (`prove.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import duckdb
import pyarrow as pa
from opensearchpy.exceptions import NotFoundError, OpenSearchException

from platform_assets.contracts.model import Contract, Table
from platform_assets.core.coordinates import (
    COORDINATES,
    POSITION,
    Coordinates,
    ShownNames,
    document_id,
    parse_record_id,
)
from platform_assets.core.errors import AssayError
from platform_assets.core.serialization import plain
from platform_assets.core.settings import Settings
from platform_assets.core.transactions import SEQ
from platform_assets.index.connect import connect_indices
from platform_assets.index.errors import translate
from platform_assets.index.names import read_alias
from platform_assets.reconcile.snapshot import Snapshot
from platform_assets.sources.connect import ask_source
from platform_assets.tables.files import DataFile
from platform_assets.tables.layout import Lake, TableSet
from platform_assets.tables.session import session
from platform_assets.transform import Transformer, hash_select, key_select
from platform_assets.transform.hashing import INCOMPARABLE
from platform_assets.transform.masking import masker
from platform_assets.transform.sql import literal


class UnknownDocument(AssayError):
    """What was asked for is no id, or no table knows it."""


@dataclass
class Trace:
    """What is known of one coordinate. `verdict` is where the record ended:

    `silver`, `quarantine`, `duplicate` (then `survivor` is the document that stands for it,
    and `conflict` says whether that has other values), `waiting` (silver has not
    consumed it yet), `no_record` (a transaction marker or an accepted gap), `lost` (in none of them: prove it). Parts that do
    not exist are None; `notes` say what could not be looked at and what does not agree.
    """

    id: str
    table: str
    verdict: str = ""
    topic: str = ""
    at: Coordinates = field(kw_only=True)  # with the source's whole identity
    shown: ShownNames = field(kw_only=True)
    broker: str = "not asked"  # `held`, `deleted`, `recreated` (the topic is another one now), `unknown`
    documents: list[dict[str, Any]] = field(default_factory=list)
    silver: dict[str, Any] | None = None
    quarantine: list[dict[str, Any]] = field(default_factory=list)
    bronze: dict[str, Any] | None = None
    survivor: str | None = None
    conflict: bool = False  # a duplicate with other values than its survivor
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form with stable names; times as ISO 8601, the coordinates by the names that people know."""
        found: dict[str, Any] = plain(asdict(self))
        for name in ("topic", "at", "shown"):
            del found[name]
        return found | {self.shown.name: self.topic} | self.shown.named(self.at)


def is_document_id(text: str) -> bool:
    """Whether the text looks like the id of a document or of a record."""
    try:
        parse_record_id(text)
    except ValueError:
        return False
    return True


def trace(
    settings: Settings, contract: Contract, document_id: str, *, reveal: bool = False, services: bool = True
) -> Trace:
    """Follow an id through a system's tables: a document's, or `source:shard:position` with the source's whole identity.

    With `services` the index and the broker are asked too; one that does not answer is a note. Raises UnknownDocument for
    what is no id and for one that no table knows.
    """
    try:
        where = parse_record_id(document_id)
    except ValueError as error:
        raise UnknownDocument(
            f"{document_id!r} is no document id", "it looks like 1a2B3c4D.0.42: topic, partition, offset"
        ) from error
    with session() as con:
        for table in contract.tables:
            found = _Tracer(settings, table, con, where, reveal).look()
            if found is not None:
                if services:
                    _ask_index(settings, table, found)
                    _ask_broker(settings, found)
                return found
    raise UnknownDocument(
        f"{contract.system} knows no {document_id}",
        "is it another system's, or beyond bronze's and silver's retention?",
    )


class _Tracer:
    """Looks into one table's layers."""

    def __init__(
        self, settings: Settings, table: Table, con: duckdb.DuckDBPyConnection, where: Coordinates, reveal: bool
    ) -> None:
        self._settings = settings
        self._table = table
        self._con = con
        self._where = where
        self._reveal = reveal
        self._tables: TableSet = Lake(settings.lake_path).tables(table)
        self._shard = f"starts_with(_source, {literal(where.source)}) AND _shard = {where.shard}"
        self._here = f"{self._shard} AND _position = {where.position}"

    def look(self) -> Trace | None:
        """What the lake knows of the coordinate; None when this table does not know it."""
        silver = Snapshot.take(self._tables.silver, [SEQ])
        quarantine = Snapshot.take(self._tables.quarantine)
        bronze = Snapshot.take(self._tables.bronze)
        rows = self._layer(silver)
        rejects = self._layer(quarantine)
        seq = next((int(r["_seq"]) for r in [*rows, *rejects]), None)
        record, raw = self._bronze(bronze, seq)
        if not rows and not rejects and record is None:
            return None
        at = Coordinates.of(next(row for row in (*rows, *rejects, record) if row is not None))
        at = replace(at, position=self._where.position)  # a marker begins before it
        found = Trace(
            id=at.document_id,
            table=self._table.name,
            topic=self._table.topic,
            at=at,
            shown=self._table.shown,
            silver=rows[0] if rows else None,
            quarantine=rejects,
            bronze=record,
        )
        self._evaluate(found, silver, raw)
        if len(rows) > 1:
            found.notes.append(f"silver has it {len(rows)} times: `assay prove {self._table.system}`")
        if record is None:
            found.notes.append("bronze no longer has the record")
        return found

    def _layer(self, snapshot: Snapshot) -> list[dict[str, Any]]:
        """Rows of silver or quarantine at the coordinate, each with the `file` that it is in."""
        found = []
        files = snapshot.between(POSITION, self._where.position, self._where.position)
        for rows, path in self._rows(snapshot, files, self._here, "_seq"):
            more: dict[str, Any] = {"file": path}
            if "_hash" in rows.column_names:
                more["hash_agrees"] = self._hash_agrees(rows)
            found += [row | more for row in rows.to_pylist()]
        return found

    def _rows(
        self, snapshot: Snapshot, files: list[DataFile], condition: str, seq: str
    ) -> Iterator[tuple[pa.Table, str]]:
        """(rows, file) of the files that hold rows like that. One query for all files; which file it was is asked afterwards."""
        if not files:
            return
        found = snapshot.table.relation(self._con, files).filter(condition).to_arrow_table()
        for number in sorted(set(found.column(seq).to_pylist())):
            holders = {f.path for f in snapshot.between(seq, number, number)}
            for f in (f for f in files if f.path in holders):
                rows = (
                    snapshot.table.relation(self._con, [f]).filter(f"{condition} AND {seq} = {number}").to_arrow_table()
                )
                if rows.num_rows:
                    yield rows, snapshot.table.uris([f])[0]

    def _hash_agrees(self, rows: pa.Table) -> bool:
        self._con.register("silver", rows)
        again = self._con.sql(hash_select(self._table)).to_arrow_table().column("_hash").to_pylist()
        self._con.unregister("silver")
        return bool(again == rows.column("_hash").to_pylist())

    def _bronze(self, snapshot: Snapshot, seq: int | None) -> tuple[dict[str, Any] | None, pa.Table | None]:
        """The bronze row (a record, or the marker that covers the position) as shown, and as it is."""
        position = self._where.position
        files = snapshot.between(POSITION, position, position)
        if seq is not None:
            commits = {f.path for f in snapshot.between("seq", seq, seq)}
            files = [f for f in files if f.path in commits]
        inside = f"kind <> 'record' AND {self._shard} AND _position <= {position} AND _position + _span > {position}"
        earlier = snapshot.between(POSITION, 0, position)
        for candidates, condition in ((files, self._here), (earlier, inside)):
            for rows, path in self._rows(snapshot, candidates, condition, "seq"):
                return self._shown(rows.to_pylist()[0], path), rows
        return None, None

    def _shown(self, row: dict[str, Any], path: str) -> dict[str, Any]:
        """Without the bytes that arrived, unless they are to be revealed."""
        hidden = ("key", "value", "headers", "landed_date")
        shown = {name: value for name, value in row.items() if name not in hidden} | {"file": path}
        for name in ("key", "value", "headers"):
            content: bytes | None = row[name]
            shown[f"{name}_bytes"] = None if content is None else len(content)
            if self._reveal:
                shown[name] = None if content is None else content.decode("utf-8", "backslashreplace")
        value = row["value"]
        shown["value_sha256"] = None if value is None else hashlib.sha256(value).hexdigest()
        return shown

    def _evaluate(self, found: Trace, silver: Snapshot, raw: pa.Table | None) -> None:
        if found.silver is not None:
            found.verdict = "silver"
        elif found.quarantine:
            found.verdict = "quarantine"
        elif raw is not None and raw.column("kind")[0].as_py() != "record":
            found.verdict = "no_record"
        elif raw is not None and raw.column("seq")[0].as_py() > silver.transaction(SEQ):
            found.verdict = "waiting"
        elif raw is not None:
            self._survivor(found, silver, raw)

    def _survivor(self, found: Trace, silver: Snapshot, raw: pa.Table) -> None:
        """The record is in neither layer: which row of its event partition has its key?"""
        with Transformer(self._table, masker(self._settings)) as transformer:
            accepted, key_id = transformer.transform(raw).accepted, transformer.key_id
        found.verdict = "lost"
        if not self._table.key or accepted.num_rows == 0:
            return
        partition = accepted.column("event_partition")[0].as_py()
        silver.view(self._con, "silver", [f for f in silver.files if f.partition == partition])
        hi, lo = (accepted.column(name)[0].as_py() for name in ("_key_hi", "_key_lo"))
        keyed = self._con.sql(key_select(self._table, key_id)).filter(f"_key_hi = {hi} AND _key_lo = {lo}")
        if keys := keyed.project(f"{COORDINATES}, _content").fetchall():
            found.verdict, found.survivor = "duplicate", document_id(*keys[0][:3])
            found.conflict = keys[0][3] not in (INCOMPARABLE, accepted.column("_content")[0].as_py())
        if found.conflict:
            found.notes.append(
                "it has other values than the row that stays; the producer knows which of the two is right"
            )


def _ask_index(settings: Settings, table: Table, found: Trace) -> None:
    """Every document of that id, in whichever index."""
    wanted = found.survivor or found.id
    try:
        indices = connect_indices(settings)
        try:
            indices.refresh(table)
            answer = indices.client.search(
                index=read_alias(table), body={"query": {"ids": {"values": [wanted]}}, "version": True, "size": 10}
            )
        except NotFoundError:
            found.notes.append("nothing of this table was ever indexed")
            return
        except OpenSearchException as error:
            raise translate(error, f"looking for {wanted}") from error
        finally:
            indices.client.close()
    except AssayError as error:
        found.notes.append(f"index not looked at: {error.message}")
        return
    found.documents = [
        {"id": hit["_id"], "index": hit["_index"], "version": hit["_version"], "source": hit["_source"]}
        for hit in answer["hits"]["hits"]
    ]
    if found.silver is not None and len(found.documents) != 1 and not found.quarantine:
        found.notes.append(
            f"the index has {len(found.documents)} documents of it: not published yet, or `assay prove {table.system}`"
        )


def _ask_broker(settings: Settings, found: Trace) -> None:
    try:
        known = ask_source(settings, [found.topic]).get(found.topic)
    except AssayError as error:
        found.broker = "unknown"
        found.notes.append(f"broker not asked: {error.message}")
        return
    if known is None:
        found.broker = "deleted"
    elif known.stream.id != found.at.source:
        found.broker = "recreated"
    else:
        low, high = known.marks.get(found.at.shard, (0, 0))
        found.broker = "held" if low <= found.at.position < high else "deleted"
