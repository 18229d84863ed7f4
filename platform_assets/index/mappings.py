"""Index templates and mappings, from the contract.

Belongs here: how a contract's field is stored and searched, and an index's settings. Does not: creating indices.

What measurement on 300-byte events decided (two cores, one node, TLS, durable translog; documents/s of `_bulk`, medians):
- coordinates cost 15 % as eight indexed fields: the id holds them, so only what sorts a page or bounds a scan has doc
  values, the rest is in `_source` alone;
- dates as `rfc3339_lenient` instead of `strict_date_optional_time_nanos` gain 3 %, nanoseconds instead of milliseconds cost 1 %;
- `flat_object` costs 15 %, a text field 14 %, an index sorted by time 7 %, best_compression 17 %: no sort, default codec;
- `translog.durability` and the refresh interval (1 s to 30 s) make no difference at bodies of 3 MB.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from platform_assets.contracts.model import Field, FieldType, IndexType
from platform_assets.contracts.types import TYPES
from platform_assets.index.analysis import ASKED, STORED, analysis
from platform_assets.index.decimals import DECIMALS, KEY, LIMBS, limb_count, limb_name
from platform_assets.index.names import DocumentSet, read_alias

SYSTEM = "_assay"
"""The object that holds a document's coordinates; contracts cannot name a field so."""
ROW = "_assay_row"
"""An alias of the field that the row policy names: document-level security knows every index by this one name."""
NO_ROW = "unlimited_only"
"""Never filled: where the alias leads in an index without a row policy, so that a limited reader sees nothing of it."""
PROGRESS = "_assay_progress"
"""The field of the progress document; stored, never parsed."""

KEYWORD_LIMIT = 8191
"""Characters of a keyword that is searched: Lucene's terms end at 32,766 bytes, UTF-8 needs up to 4 a character."""
FLAT_BYTES_LIMIT = 32_000
"""A value of a flat object is one Lucene term, and a longer one would refuse the whole document."""
FLAT_DEPTH_LIMIT = 100
"""OpenSearch 3.4 parses flat objects by recursion: nesting of 900 overflows its stack and *ends the node*."""

_DATE = {"type": "date_nanos", "format": "rfc3339_lenient", "ignore_malformed": True}
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2262, 4, 11, 23, 47, 16, 854775, tzinfo=UTC)
"""What nanoseconds in 64 bits can hold: other times are stored and returned, but neither searched nor sorted."""

_SOURCE_ONLY = {"index": False, "doc_values": False}


def mapping(table: DocumentSet) -> dict[str, Any]:
    """The strict mapping of a table's documents (without `_meta`)."""
    properties: dict[str, Any] = {field.name: _field(field) for field in table.fields}
    if table.attributes:
        properties[table.attributes] = {"type": "flat_object"} if flat(table) else {"type": "object", "enabled": False}
    properties[SYSTEM] = {
        "dynamic": "strict",
        "properties": {
            "seq": {"type": "long", "index": False},
            "shard": {"type": "long", "index": False},
            "position": {"type": "long", "index": False},
            "hash": {"type": "long", **_SOURCE_ONLY},
            "contract": {"type": "keyword", **_SOURCE_ONLY},
            "key_id": {"type": "keyword", **_SOURCE_ONLY},
            "history": {"type": "boolean"},
            NO_ROW: {"type": "keyword", "doc_values": False},
        },
    }
    properties[ROW] = row_alias(table.row_policy)
    if decimals := [field for field in table.fields if field.index is IndexType.DECIMAL]:
        properties[DECIMALS] = {
            "dynamic": "strict",
            "properties": {field.name: _parts(field, table.summed) for field in decimals},
        }
    properties[PROGRESS] = {"type": "object", "enabled": False}
    return {"dynamic": "strict", "properties": properties}


def row_alias(row_policy: str | None) -> dict[str, str]:
    """The mapping of `ROW`. It is there with and without a row policy: a mapping can lead an alias elsewhere, not remove it."""
    return {"type": "alias", "path": row_policy or f"{SYSTEM}.{NO_ROW}"}


def row_mapping(table: DocumentSet, row_policy: str | None) -> dict[str, Any]:
    """`ROW` with the fields that it may lead to."""
    needed = {name: found for name, found in mapping(table)["properties"].items() if name in (SYSTEM, row_policy)}
    return {**needed, ROW: row_alias(row_policy)}


def flat(table: DocumentSet) -> bool:
    """Whether `attributes` can be searched: the contract keeps them small and shallow enough for a flat object."""
    return table.attributes_max_bytes <= FLAT_BYTES_LIMIT and table.max_depth <= FLAT_DEPTH_LIMIT


def mapping_version(table: DocumentSet) -> str:
    """Changes whenever the mapping does, or how a text becomes words."""
    return hashlib.sha256(json.dumps([mapping(table), analysis()], sort_keys=True).encode()).hexdigest()[:16]


def settings(table: DocumentSet, *, shards: int = 1, replicas: int = 0, refresh: str = "1s") -> dict[str, Any]:
    """An index's settings. `refresh` bounds how soon a document is found (never idle: it is set explicitly)."""
    text = [field.name for field in table.fields if field.index is IndexType.TEXT]
    return {
        "index": {
            "number_of_shards": shards,
            "number_of_replicas": replicas,
            "refresh_interval": refresh,
            "translog.durability": "request",  # an acknowledged bulk survives a kill
            "gc_deletes": "1d",  # outlasts the longest zombie
            "mapping.coerce": False,  # "500" is not 500: what is stored equals silver or is refused
            "mapping.total_fields.limit": len(table.fields) * (3 + LIMBS) + 64,
            "mapping.depth.limit": 4,
            "query.default_field": text or [table.event_time],
            "analysis": analysis(),  # always: a later contract may have the first text
        }
    }


def template_name(table: DocumentSet) -> str:
    """The index template's name."""
    return f"assay-{read_alias(table)}"


def index_template(table: DocumentSet, *, shards: int = 1, replicas: int = 0, refresh: str = "1s") -> dict[str, Any]:
    """The body of the table's index template. It adds no alias: an index that is still being built must not serve."""
    return {
        "index_patterns": [f"{read_alias(table)}-*"],
        "priority": 200,
        "template": {
            "settings": settings(table, shards=shards, replicas=replicas, refresh=refresh),
            "mappings": mapping(table),
        },
        "_meta": {"table": table.qualified_name, "contract": table.version, "mapping_version": mapping_version(table)},
    }


def _field(field: Field) -> dict[str, Any]:
    """One field. Times keep their microseconds."""
    match field.index:
        case IndexType.KEYWORD:
            return {"type": "keyword", "ignore_above": KEYWORD_LIMIT}
        case IndexType.TEXT:
            # Sorted by time, never by relevance.
            return {"type": "text", "analyzer": STORED, "search_analyzer": ASKED, "norms": False}
        case IndexType.DECIMAL:
            # The exact value for people; it is compared by its parts, and grouped by as it is.
            return {"type": "keyword", "index": False}
        case IndexType.DATE:
            return dict(_DATE)
        case IndexType.NONE:
            base = dict(_DATE) if field.type is FieldType.TIMESTAMP else {"type": TYPES[field.type].stored}
            return {**base, **_SOURCE_ONLY}
        case IndexType.LONG | IndexType.DOUBLE | IndexType.BOOLEAN:
            return {"type": field.index.value}


def _parts(field: Field, summed: bool) -> dict[str, Any]:
    """The fields by which a decimal is compared, and summed where sums are asked for."""
    limbs = {
        limb_name(n): {"type": "long", "index": False} for n in range(limb_count(field.precision) if summed else 0)
    }
    return {"dynamic": "strict", "properties": {KEY: {"type": "keyword"}, **limbs}}
