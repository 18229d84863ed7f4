"""Content hashes of silver rows and hashes of their keys, in SQL over stored silver columns.

Belongs here: the canonical encoding, and the SELECTs by which refine writes the hashes and `assay prove` recomputes them.
Does not belong here: comparing them.

Both are parts of the MD5 of a canonical text: a checksum against loss and alteration, not a defence against forgery. The text
joins with NUL, which refine lets into no string, so it is unambiguous. Columns that are null are left out of the content, so that
a contract that gains an optional field keeps the hashes of rows stored before.
"""

from __future__ import annotations

from platform_assets.contracts.model import Field, FieldType, Table
from platform_assets.refine.sql import identifier, literal, select

_COORDINATES = "_topic_id, _kafka_partition, _offset"
_LOW_64 = f"CAST({2**64 - 1} AS UHUGEINT)"
_HALVES = f"CAST(_key >> 64 AS UBIGINT) AS _key_hi, CAST(_key & {_LOW_64} AS UBIGINT) AS _key_lo"


def hash_select(table: Table) -> str:
    """`_topic_id, _kafka_partition, _offset, _hash` (int64) of each row of a relation `silver`."""
    return select(f"{_COORDINATES}, {hash_expression(table)} AS _hash", "silver")


def key_select(table: Table) -> str:
    """`_topic_id, _kafka_partition, _offset, _seq, event_partition, _window, _key_hi, _key_lo` of each row of `silver`.

    The key columns (uint64) are the halves of a 128-bit hash of the contract's key and its dedupe window, whose number
    (int64, see `window_expression`) is `_window`. ValueError if the table has no key.
    """
    if not table.key:
        raise ValueError(f"{table.qualified_name} has no key")
    keyed = select(f"*, {_key_expression(table)} AS _key", "silver")
    return select(
        f"{_COORDINATES}, _seq, event_partition, {window_expression(table)} AS _window, {_HALVES}", f"({keyed})"
    )


def row_hash_select(table: Table) -> str:
    """`_seq, _kafka_partition, _offset, _hash` and, if the table has a key, `_key_hi, _key_lo` of each row of `silver`."""
    columns = f"_seq, _kafka_partition, _offset, {hash_expression(table)} AS _hash"
    if not table.key:
        return select(columns, "silver")
    return select(
        f"_seq, _kafka_partition, _offset, _hash, {_HALVES}",
        f"({select(f'{columns}, {_key_expression(table)} AS _key', 'silver')})",
    )


def hash_expression(table: Table) -> str:
    """SQL for the content hash (BIGINT) of a silver row: contract fields as stored, attributes and coordinates."""
    named = {field.name: _text(field) for field in table.fields}
    if table.attributes:
        named[table.attributes] = identifier(table.attributes)
    # concat() skips null parts, so a null column leaves neither name nor value.
    parts = [
        f"CASE WHEN {identifier(name)} IS NOT NULL THEN chr(0) || {literal(name + '=')} END, {text}"
        for name, text in sorted(named.items())
    ]
    content = f"concat(_topic_id, ':', _kafka_partition, ':', _offset, {', '.join(parts)})"
    # md5_number_lower() goes through bit strings and takes five times as long.
    return f"CAST(CAST(md5_number({content}) & {_LOW_64} AS HUGEINT) - 9223372036854775808 AS BIGINT)"


def window_expression(table: Table) -> str:
    """SQL for the number of a row's dedupe window since 1970; 0 where the window is the event partition."""
    if table.dedupe_window is None:
        return "0"
    microseconds = round(table.dedupe_window.total_seconds() * 1_000_000)
    return f"epoch_us({identifier(table.event_time)}) // {microseconds}"


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
    return f"CAST({f'epoch_us({column})' if field.type is FieldType.TIMESTAMP else column} AS VARCHAR)"
