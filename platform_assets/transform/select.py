"""A contract table compiled to the SELECT that transforms bronze rows.

Belongs here: the order of stages and of reasons, the columns that come out. Does not belong here: running it (`transformer.py`).

The SELECT is a chain of projections, so that no stage sees more than the columns of the one before, and every costly or
recursive step is guarded by a CASE on the tests that make it safe. The session that runs it must be in the time zone UTC.
"""

from __future__ import annotations

from platform_assets.contracts.formats import FieldText, format_of
from platform_assets.contracts.model import Grain, InvalidBytes, Table
from platform_assets.transform.computed import broken, computed_cases, computed_stages
from platform_assets.transform.excerpt import excerpt_expression
from platform_assets.transform.fields import fault_cases, micros, stored_expression, value_expression
from platform_assets.transform.reasons import Reason, rule_code
from platform_assets.transform.sql import escaped, first_true, identifier, literal, select
from platform_assets.transform.times import composed_text


def compile_select(table: Table) -> str:
    """DuckDB SQL over a relation `bronze` (the bronze columns): one row per row of kind 'record'.

    Columns: `_source, _shard, _position, _seq, _landed_at, _bytes`, the contract's fields, the attributes
    column if any, `event_partition, _history, _reason`. `_reason` is null for rows that keep the contract.
    Fields masked by HMAC are still in clear: only `Transformer` may hand them on. Pure: the same table gives the same text.
    """
    sources = _sources(table)
    values = ", ".join(f"{value_expression(source)} AS {identifier(source.field.name)}" for source in sources)
    cases = [("_structure IS NOT NULL", "_structure")]
    for source in sources:
        cases += fault_cases(source, table)
    cases += format_of(table).last_faults(table)
    cases += computed_cases(table)
    cases += [(broken(rule), literal(rule_code(rule.name))) for rule in table.rules]
    stages = [*_decoded(table), ("valued", select(f"*, {values}", "decoded"))]
    stages += computed_stages(table, "valued")
    stages.append(("evaluated", select(f"*, {first_true(cases)} AS _reason", stages[-1][0])))
    stored = [f"{stored_expression(field)} AS {identifier(field.name)}" for field in table.fields]
    if table.attributes:
        stored.append(f"_attributes AS {identifier(table.attributes)}")
    time = f"epoch_us({identifier(table.event_time)})"
    columns = [
        "_source, _shard, _position, _seq, _landed_at, _bytes",
        *stored,
        f"{partition_expression(table)} AS event_partition",
        f"{time} < epoch_us(_landed_at) - {micros(table.lateness)} AS _history",
        "_reason",
    ]
    return _chain(stages, columns, "evaluated")


def partition_expression(table: Table) -> str:
    """SQL for the event partition of a row, from its event time."""
    utc = f"make_timestamp(epoch_us({identifier(table.event_time)}))"
    return f"CAST(CAST({utc} AS DATE) AS VARCHAR)" if table.grain is Grain.DAY else f"strftime({utc}, '%Y-%m-%dT%H')"


def compile_excerpt(table: Table) -> str:
    """DuckDB SQL over a relation `bronze` of rejected rows: coordinates and `_excerpt` of each. Pure.

    Apart from `compile_select`, because few rows need it and planning it would cost every batch.
    """
    excerpt = excerpt_expression(table, format_of(table).sources(table))
    return _chain(_decoded(table), ["_seq, _shard, _position", f"{excerpt} AS _excerpt"], "decoded")


def _sources(table: Table) -> list[FieldText]:
    """Where each field's text stands: of those that were sent, then of the times that are composed of them."""
    sent = format_of(table).sources(table)
    texts = {source.field.name: source.text for source in sent}
    composed = [
        FieldText(field, composed_text([texts[name] for name in field.composed_of])) for field in table.composed
    ]
    return [*sent, *composed]


def _decoded(table: Table) -> list[tuple[str, str]]:
    return [("raw", _raw(table)), *_text(table), ("screened", _screened(table)), *format_of(table).stages(table)]


def _chain(stages: list[tuple[str, str]], columns: list[str], last: str) -> str:
    chain = ",\n".join(f"{name} AS (\n  {query}\n)" for name, query in stages)
    listed = ",\n  ".join(columns)
    return f"WITH {chain}\n{select(listed, last)}"


def _raw(table: Table) -> str:
    # A message above the limit is neither decoded nor copied, as try() would do with its whole input.
    columns = (
        "_source, _shard, _position, seq AS _seq,"
        " landed_at AS _landed_at, value AS _value, octet_length(value) AS _bytes,"
        f" CASE WHEN octet_length(value) BETWEEN 1 AND {table.max_bytes} THEN value END AS _readable"
    )
    return select(columns, "bronze WHERE kind = 'record'")


def _text(table: Table) -> list[tuple[str, str]]:
    decoded = "try(decode(_readable))"
    if table.invalid_bytes is InvalidBytes.REJECT:
        return [("text", select(f"*, {decoded} AS _body", "raw"))]
    # A CASE guards the costly form, which few records need.
    no_text = "_plain IS NULL OR contains(_plain, chr(0))"
    body = f"CASE WHEN {no_text} THEN {escaped('_readable')} ELSE _plain END"
    return [("plain", select(f"*, {decoded} AS _plain", "raw")), ("text", select(f"*, {body} AS _body", "plain"))]


def _screened(table: Table) -> str:
    fault = first_true(
        [
            ("_value IS NULL", literal(Reason.TOMBSTONE)),
            ("_bytes = 0", literal(Reason.EMPTY)),
            (f"_bytes > {table.max_bytes}", literal(Reason.TOO_LARGE)),
            ("_body IS NULL", literal(Reason.INVALID_UTF8)),
            ("contains(_body, chr(0))", literal(Reason.NUL_BYTE)),
        ]
    )
    return select(f"*, {fault} AS _fault", "text")
