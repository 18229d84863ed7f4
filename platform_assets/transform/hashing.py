"""Content hashes of silver rows and hashes of their keys, in SQL over stored silver columns.

Belongs here: the canonical encoding, and the SELECTs by which transform writes the hashes and `assay prove` recomputes them.
Does not belong here: comparing them.

Both are parts of the MD5 of a canonical text: a checksum against loss and alteration, not a defence against forgery. The text
joins with NUL, which the transform lets into no string, so it is unambiguous. Columns that are null are left out of the content,
so that a contract that gains an optional field keeps the hashes of rows stored before.

The content hash of a row is of its values alone: rows with the same key say the same when their hashes are equal. Which record a
row belongs to is told by its coordinates, and proofs join by them.
"""

from __future__ import annotations

from platform_assets.contracts.model import Field, FieldType, Table
from platform_assets.contracts.types import canonical_text
from platform_assets.core.coordinates import COORDINATES
from platform_assets.transform.sql import identifier, literal, select

_LOW_64 = f"CAST({2**64 - 1} AS UHUGEINT)"
_HALVES = f"CAST(_key >> 64 AS UBIGINT) AS _key_hi, CAST(_key & {_LOW_64} AS UBIGINT) AS _key_lo"
_BIAS = 2**63  # between an unsigned number and the signed one that is stored
_CONTENT = f"greatest(CAST(_hash & {2**32 - 1} AS UINTEGER), 1)"
INCOMPARABLE = 0
"""The `_content` of a row that the present contract version and masking key did not make: it is like no other and unlike none."""


def hash_select(table: Table) -> str:
    """`_source, _shard, _position, _hash` (int64) of each row of a relation `silver`."""
    return select(f"{COORDINATES}, {hash_expression(table)} AS _hash", "silver")


def key_select(table: Table, key_id: str | None = None) -> str:
    """`_source, _shard, _position, _seq, event_partition, _window, _key_hi, _key_lo` of each row of `silver`.

    `_key_hi` and `_key_lo` (uint64) are the halves of a 128-bit hash of the contract's key and its dedupe window, whose number
    (int64, see `window_expression`) is `_window`. With the id of the present masking key also `_content` (uint32), a short hash
    of the values, the low bits of the stored `_hash`; `INCOMPARABLE` for a row of another contract version or masking key, for
    the same record would have other values today. ValueError if the table has no key.
    """
    if not table.key:
        raise ValueError(f"{table.qualified_name} has no key")
    keyed = select(f"*, {_key_expression(table)} AS _key", "silver")
    columns = f"{COORDINATES}, _seq, event_partition, {window_expression(table)} AS _window, {_HALVES}"
    if key_id is not None:
        mine = f"_contract_version = {literal(table.version)} AND coalesce(_key_id = {literal(key_id)}, true)"
        columns += f", CASE WHEN {mine} THEN {_CONTENT} ELSE {INCOMPARABLE}::UINTEGER END AS _content"
    return select(columns, f"({keyed})")


def row_hash_select(table: Table) -> str:
    """`_seq, _shard, _position, _hash` of each row of `silver`; with a key, `_key_hi, _key_lo, _content` too."""
    columns = f"_seq, _shard, _position, {hash_expression(table)} AS _hash"
    if not table.key:
        return select(columns, "silver")
    return select(
        f"_seq, _shard, _position, _hash, {_HALVES}, {_CONTENT} AS _content",
        f"({select(f'{columns}, {_key_expression(table)} AS _key', 'silver')})",
    )


def hash_expression(table: Table) -> str:
    """SQL for the content hash (BIGINT) of a silver row: contract fields as stored, and attributes."""
    named = {field.name: _text(field) for field in table.fields}
    if table.attributes:
        named[table.attributes] = identifier(table.attributes)
    # concat() skips null parts, so a null column leaves neither name nor value.
    parts = [
        f"CASE WHEN {identifier(name)} IS NOT NULL THEN chr(0) || {literal(name + '=')} END, {text}"
        for name, text in sorted(named.items())
    ]
    # Not md5_number_lower(): it goes through bit strings and takes five times as long.
    return f"CAST(CAST(md5_number(concat({', '.join(parts)})) & {_LOW_64} AS HUGEINT) - {_BIAS} AS BIGINT)"


def window_expression(table: Table) -> str:
    """SQL for the number of a row's dedupe window since 1970; 0 where the window is the event partition."""
    if table.dedupe_window is None:
        return "0"
    microseconds = round(table.dedupe_window.total_seconds() * 1_000_000)
    return f"epoch_us({identifier(table.event_time)}) // {microseconds}"


def key_low_expression(table: Table) -> str:
    """SQL for the low half (uint64) of the hash of a silver row's key, `_key_lo` of `key_select`."""
    return f"CAST({_key_expression(table)} & {_LOW_64} AS UBIGINT)"


def _key_expression(table: Table) -> str:
    # Key fields and the event time are required, so no part is null.
    parts = [_text(table.field(name)) for name in table.key]
    if table.dedupe_window is not None:
        parts.append(f"CAST({window_expression(table)} AS VARCHAR)")
    return f"md5_number(concat_ws(chr(0), {', '.join(parts)}))"


def _text(field: Field) -> str:
    column = identifier(field.name)
    if field.type is FieldType.STRING:
        return column
    if field.type is FieldType.DECIMAL:  # the same value stays the same when a newer contract has more digits
        return canonical_text(column, field)
    return f"CAST({f'epoch_us({column})' if field.type is FieldType.TIMESTAMP else column} AS VARCHAR)"
