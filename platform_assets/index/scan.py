"""All documents of a table as Arrow, for proofs.

Belongs here: streaming whole documents out of the index. Does not belong here: comparing them (reconcile), or people's queries.

Pages come by point-in-time and `_shard_doc`, the cheapest order; the next page is fetched while DuckDB parses this one. The
page's text is never parsed in Python. `_shard_doc` is unique within one index only (paging over several loses the ties at a
page's end), so physical indices are read one after the other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import duckdb
import pyarrow as pa
from opensearchpy import OpenSearch
from opensearchpy.exceptions import NotFoundError, OpenSearchException

from platform_assets.contracts.arrow import silver_schema
from platform_assets.contracts.model import Field, FieldType, Table
from platform_assets.contracts.types import UTC_MICROS, decimal_text, sql_type
from platform_assets.core.coordinates import SOURCE_PREFIX
from platform_assets.index.client import request_text
from platform_assets.index.errors import Conflict, SearchError, translate
from platform_assets.index.indices import READ_FILTER
from platform_assets.index.mappings import SYSTEM
from platform_assets.index.names import read_alias

_KEEP_ALIVE = "5m"
_PAGE_BYTES = 8 * 1024 * 1024
_PAGE_DOCUMENTS = (50, 5000)
_FIRST_PAGE = 500
_LAST_SORT = re.compile(r'"sort":\[(\d+)\]\}\]\}\}$')
_NO_HITS = re.compile(r'"hits":\[\]\}\}$')
_TAIL = 100

_SYSTEM_COLUMNS = {
    "_shard": ("shard", "INTEGER"),
    "_position": ("position", "BIGINT"),
    "_seq": ("seq", "BIGINT"),
    "_contract_version": ("contract", "VARCHAR"),
    "_key_id": ("key_id", "VARCHAR"),
    "_hash": ("hash", "BIGINT"),
}
_LEADING = [("_id", pa.string()), ("_index", pa.string()), ("_version", pa.int64())]


def scan_schema(table: Table) -> pa.Schema:
    """What `scan` yields: `_id`, `_index`, `_version`, then silver's columns, without `_landed_at` and `event_partition`.

    Every column may be null: a document is what it is, and not what it should be.
    """
    silver = [f for f in silver_schema(table) if f.name not in ("_landed_at", "event_partition")]
    return pa.schema([pa.field(name, type_) for name, type_ in _LEADING] + [f.with_nullable(True) for f in silver])


def scan(
    client: OpenSearch,
    table: Table,
    *,
    seq: int | None = None,
    below: Mapping[str, int] | None = None,
    sources: Iterable[str] = (),
    con: duckdb.DuckDBPyConnection | None = None,
) -> Iterator[pa.Table]:
    """Every document that is searchable now, in batches of `scan_schema(table)`; each batch is of one index.

    `seq` keeps documents of bronze commits up to it, `below` those under a position (`source:shard` -> position; others are
    left out). Documents hold 8 characters of their source's identity: `sources` are whole identities, so that `_source` is
    silver's; one that matches none stays short. A value that is not of its column's type is null. Call `Indices.refresh`
    before, if all that was written must show. Raises SearchError, Conflict when a rebuild replaces an index meanwhile.
    """
    alias = read_alias(table)
    cursor = (con or duckdb.connect()).cursor()
    known = {source[:SOURCE_PREFIX]: source for source in [*(key.rpartition(":")[0] for key in below or ()), *sources]}
    sql = _select(table, known, below)
    try:
        for index in _serving(client, alias):
            for page in _pages(client, index, seq, max(below.values(), default=0) if below is not None else None):
                cursor.register("page", pa.table({"body": pa.array([page], pa.large_string())}))
                rows = cursor.sql(sql).to_arrow_table()
                cursor.unregister("page")
                if rows.num_rows:
                    yield _typed(table, rows)
    except NotFoundError as error:
        # Never a shorter scan: it would look like lost documents.
        raise Conflict(f"an index of {alias} was replaced while it was being scanned", "scan again") from error
    except OpenSearchException as error:
        raise translate(error, f"scanning {alias}") from error
    finally:
        cursor.close()


def _serving(client: OpenSearch, alias: str) -> list[str]:
    """The physical indices behind an alias. (Asking for the alias itself needs a right on every index of the node.)"""
    found = client.indices.get(index=alias, params={"ignore": 404, "filter_path": "*.settings.index.uuid"})
    return [] if found.get("status") == 404 else sorted(found)


def _pages(client: OpenSearch, target: str, seq: int | None, below: int | None) -> Iterator[str]:
    """The raw text of each page that has documents."""
    pit = client.create_pit(index=target, params={"keep_alive": _KEEP_ALIVE})["pit_id"]
    bounds = [("seq", "lte", seq), ("position", "lt", below)]
    ranges = [{"range": {f"{SYSTEM}.{name}": {how: bound}}} for name, how, bound in bounds if bound is not None]
    query = {"bool": {**READ_FILTER["bool"], "filter": ranges}}

    def fetch(size: int, after: int | None) -> str:
        body: dict[str, Any] = {
            "size": size,
            "query": query,
            "pit": {"id": pit, "keep_alive": _KEEP_ALIVE},
            "sort": ["_shard_doc"],
            "version": True,
            "track_total_hits": False,
        }
        if after is not None:
            body["search_after"] = [after]
        params = {"allow_partial_search_results": "false"}
        return request_text(client, "POST", "/_search", params=params, body=json.dumps(body).encode())

    ahead = ThreadPoolExecutor(1, thread_name_prefix="scan")
    try:
        size = _FIRST_PAGE
        coming: Future[str] | None = ahead.submit(fetch, size, None)
        while coming is not None:
            page = coming.result()
            tail = page[-_TAIL:]
            last = _LAST_SORT.search(tail)
            if last is None:
                if _NO_HITS.search(tail) is None:
                    raise SearchError(f"a page of {target} has an unknown form: it ends with {tail!r}")
                return
            size = min(max(_PAGE_BYTES * size // len(page), _PAGE_DOCUMENTS[0]), 2 * size, _PAGE_DOCUMENTS[1])
            coming = ahead.submit(fetch, size, int(last[1]))
            yield page
    finally:
        ahead.shutdown(cancel_futures=True)
        with suppress(OpenSearchException):  # it ends by itself in minutes
            client.delete_pit(body={"pit_id": [pit]})


def _select(table: Table, known: Mapping[str, str], below: Mapping[str, int] | None) -> str:
    source: dict[str, Any] = {field.name: _written(field) for field in table.fields}
    if table.attributes:
        source[table.attributes] = "JSON"
    source[SYSTEM] = {**dict(_SYSTEM_COLUMNS.values()), "history": "BOOLEAN"}
    hit = {"_index": "VARCHAR", "_id": "VARCHAR", "_version": "BIGINT", "_source": source}
    form = json.dumps({"hits": {"hits": [hit]}})
    columns = ["h._id", "h._index", "h._version", *(_read(field) for field in table.fields)]
    if table.attributes:
        columns.append(f'h._source."{table.attributes}"')
    columns.append(f"{_source(known)} AS _source")
    columns += [f'h._source.{SYSTEM}."{key}" AS {name}' for name, (key, _) in _SYSTEM_COLUMNS.items()]
    columns.append(f"coalesce(h._source.{SYSTEM}.history, false) AS _history")
    hits = f"SELECT unnest(from_json(body, '{form}').hits.hits) AS h FROM page"  # noqa: S608
    rows = f"SELECT {', '.join(columns)} FROM ({hits})"  # noqa: S608
    if below is None:
        return rows
    limits = ", ".join(
        f"({_literal(source)}, {int(shard)}, {int(position)})"
        for (source, _, shard), position in ((key.rpartition(":"), position) for key, position in below.items())
    )
    if not limits:
        return f"SELECT * FROM ({rows}) WHERE false"  # noqa: S608
    return (
        f"SELECT r.* FROM ({rows}) r SEMI JOIN (VALUES {limits}) l(source, shard, next) "  # noqa: S608
        "ON r._source = l.source AND r._shard = l.shard AND r._position < l.next"
    )


def _written(field: Field) -> str:
    """The DuckDB type as which a document's value is read first."""
    if field.type is FieldType.TIMESTAMP:
        return "TIMESTAMP"
    return "VARCHAR" if field.type is FieldType.DECIMAL else sql_type(field).upper()


def _read(field: Field) -> str:
    """SQL for a document's value. Of decimals only the text that we write is one: the cast alone would round."""
    text = f'h._source."{field.name}"'
    if field.type is not FieldType.DECIMAL:
        return text
    value = f"try_cast({text} AS {sql_type(field)})"
    return f'CASE WHEN {decimal_text(value, field)} = {text} THEN {value} END AS "{field.name}"'


def _source(known: Mapping[str, str]) -> str:
    short = "split_part(h._id, '.', 1)"
    if not known:
        return short
    cases = " ".join(f"WHEN {_literal(prefix)} THEN {_literal(source)}" for prefix, source in known.items())
    return f"CASE {short} {cases} ELSE {short} END"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _typed(table: Table, rows: pa.Table) -> pa.Table:
    schema = scan_schema(table)
    columns = []
    for field in schema:
        column = rows.column(field.name)
        if field.type == UTC_MICROS:
            column = column.cast(pa.timestamp("us"))
        columns.append(column.cast(field.type))
    return pa.table(columns, schema=schema)
