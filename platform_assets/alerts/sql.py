"""Window and silence rules as SQL: rows of silver to cells, cells to values.

Belongs here: statements, and the check that a rule's expressions bind to its table. Does not: when they run (`buckets.py`).
A cell is what a rule needs to know of one group and one small bucket of event time; cells merge by addition and maximum.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import duckdb
import pyarrow as pa

from platform_assets.alerts.model import Aggregate, AlertError, Function, Kind, Rule
from platform_assets.contracts.arrow import silver_schema
from platform_assets.contracts.model import Table
from platform_assets.contracts.types import UTC_MICROS
from platform_assets.core.errors import Mistake, Mistakes, one_line, told
from platform_assets.transform.computed import with_operands
from platform_assets.transform.expressions import condition_mistake

BUCKETS = 60
"""Buckets in a window. The newest is not full, so a window is evaluated up to a sixtieth too short, never too long."""
SEEN = -1
"""The bucket of the cell that only says when a group was first and last seen."""
GROUP_LENGTH = 200
"""Characters kept of a value in a group's name."""
MICROSECOND = timedelta(microseconds=1)

CELLS: pa.Schema = pa.schema(
    [
        pa.field("rule", pa.string()),
        pa.field("grp", pa.string()),
        pa.field("bucket", pa.int64()),
        pa.field("total", pa.float64()),
        pa.field("peak", pa.float64()),
        pa.field("whole", pa.float64()),
        pa.field("n", pa.int64()),
        pa.field("first", UTC_MICROS),
        pa.field("last", UTC_MICROS),
    ]
)

PAST_CELLS = pa.schema([CELLS.field(name) for name in ("rule", "grp", "bucket")])
"""Which cells were added so late that their windows are evaluated by silver."""

MERGE = """
SELECT rule, grp, bucket, sum(total) AS total, max(peak) AS peak, sum(whole) AS whole, sum(n)::BIGINT AS n,
    min(first) AS first, max(last) AS last
FROM (FROM cells UNION ALL BY NAME FROM fresh) GROUP BY rule, grp, bucket
"""

EXPIRE = f"""
SELECT cells.* FROM cells JOIN rules USING (rule)
WHERE CASE WHEN bucket = {SEEN} THEN epoch_us(last) >= $clock - seen ELSE (bucket + 1) * width > $clock - keep END
QUALIFY dense_rank() OVER (PARTITION BY rule ORDER BY grp) <= $groups
"""  # noqa: S608 (constants)

_VALUE = "CASE measure WHEN 'ratio' THEN total / nullif(whole, 0) WHEN 'max' THEN peak ELSE coalesce(total, 0) END"

BREACHES = f"""
WITH asked AS (SELECT rule, grp, min(bucket) AS bucket FROM fresh WHERE bucket <> {SEEN} GROUP BY rule, grp),
sums AS (
    SELECT rule, grp, cells.bucket, last, sum(total) OVER win AS total, max(peak) OVER win AS peak,
        sum(whole) OVER win AS whole, sum(n) OVER win AS n, asked.bucket AS touched
    FROM cells JOIN asked USING (rule, grp) WHERE cells.bucket <> {SEEN}
    WINDOW win AS (PARTITION BY rule, grp ORDER BY cells.bucket RANGE BETWEEN {BUCKETS - 1} PRECEDING AND CURRENT ROW)
)
SELECT rule, grp, min(last) AS since, max(last) AS until, max({_VALUE}) AS value
FROM sums JOIN rules USING (rule)
WHERE above IS NOT NULL AND bucket >= touched AND n >= at_least AND {_VALUE} > above GROUP BY rule, grp
"""  # noqa: S608 (constants)

PAST = f"""
SELECT DISTINCT rule, grp, bucket FROM fresh JOIN rules USING (rule)
WHERE above IS NOT NULL AND bucket <> {SEEN} AND (bucket + 1) * width <= $clock - late
QUALIFY dense_rank() OVER (PARTITION BY rule ORDER BY grp) <= $groups
"""  # noqa: S608 (constants)
"""Cells that were added behind the buckets that whole windows are kept of."""

RUNS = f"""
WITH asked AS (SELECT DISTINCT rule, grp FROM past),
sums AS (
    SELECT rule, grp, cells.bucket, last, sum(total) OVER win AS total, max(peak) OVER win AS peak,
        sum(whole) OVER win AS whole, sum(n) OVER win AS n
    FROM cells JOIN asked USING (rule, grp) WHERE cells.bucket <> {SEEN}
    WINDOW win AS (PARTITION BY rule, grp ORDER BY cells.bucket RANGE BETWEEN {BUCKETS - 1} PRECEDING AND CURRENT ROW)
),
ends AS (
    SELECT rule, grp, bucket, last, {_VALUE} AS value FROM sums JOIN rules USING (rule)
    WHERE n >= at_least AND {_VALUE} > above AND (bucket + 1) * width <= $clock - late AND EXISTS (
        SELECT 1 FROM past WHERE past.rule = sums.rule AND past.grp = sums.grp
            AND sums.bucket BETWEEN past.bucket AND past.bucket + {BUCKETS - 1})
),
cut AS (
    SELECT *, coalesce(bucket - lag(bucket) OVER win > {BUCKETS}, false) AS anew FROM ends
    WINDOW win AS (PARTITION BY rule, grp ORDER BY bucket)
),
runs AS (SELECT *, sum(anew::INT) OVER (PARTITION BY rule, grp ORDER BY bucket) AS run FROM cut)
SELECT rule, grp, min(last) AS since, max(last) AS until, max(value) AS value FROM runs
GROUP BY rule, grp, run ORDER BY since
"""  # noqa: S608 (constants)
"""Windows beyond their threshold among those that the cells in `past` belong to, those that follow each other as one."""

STANDING = f"""
WITH ends AS (SELECT *, CASE WHEN below IS NULL THEN $clock // width ELSE ($clock - $grace) // width - 1 END AS final FROM rules),
groups AS (SELECT rule, grp, min(first) AS first FROM cells GROUP BY rule, grp),
sums AS (
    SELECT rule, grp, sum(total) AS total, max(peak) AS peak, sum(whole) AS whole, sum(n) AS n
    FROM cells JOIN ends USING (rule)
    WHERE bucket <> {SEEN} AND bucket > final - {BUCKETS} AND bucket <= final GROUP BY rule, grp
)
SELECT rule, grp, {_VALUE} AS value, coalesce(n, 0) AS n,
    epoch_us(first) // width <= final - {BUCKETS} AS whole_window
FROM groups JOIN ends USING (rule) LEFT JOIN sums USING (rule, grp) WHERE kind = 'window'
"""  # noqa: S608 (constants)

SILENT = f"SELECT rule, grp, last FROM cells JOIN rules USING (rule) WHERE kind = 'silence' AND bucket = {SEEN}"  # noqa: S608


def width(rule: Rule) -> int:
    """Length of a bucket in microseconds."""
    return max(1, rule.window // MICROSECOND // BUCKETS)


def remembers(rule: Rule) -> bool:
    """Whether the rule needs to know of groups that have nothing in the window."""
    return rule.kind is Kind.SILENCE or rule.below is not None


def cells_of(rule: Rule, table: Table) -> str:
    """The SELECT that turns the relation `rows` (silver's columns) into this rule's cells."""
    time = _quoted(table.event_time)
    where = f"AND (\n{rule.where}\n)" if rule.where else ""
    rows = f"({with_operands(table.fields, 'rows')}) WHERE NOT _history {where}"
    parts = [_bucket(rule, time, rows)] if rule.kind is Kind.WINDOW else []
    if remembers(rule):
        parts.append(_cell(rule, str(SEEN), ("0.0", "NULL::DOUBLE", "0.0"), time, rows))
    return " UNION ALL ".join(parts)


def _bucket(rule: Rule, time: str, rows: str) -> str:
    if rule.measure is None:
        raise AlertError(f"{rule.name}: has no measure", "see docs/alerts.md")
    part, whole = rule.measure.part, rule.measure.whole
    peak = part.function is Function.MAX
    values = (
        "0.0" if peak else _aggregate(part),
        _aggregate(part) if peak else "NULL::DOUBLE",
        "0.0" if whole is None else _aggregate(whole),
    )
    return _cell(rule, f"epoch_us({time}) // {width(rule)}", values, time, rows)


def _cell(rule: Rule, bucket: str, values: tuple[str, str, str], time: str, rows: str) -> str:
    members = ", ".join(f"{_quoted(c)} := left({_quoted(c)}::VARCHAR, {GROUP_LENGTH})" for c in sorted(rule.by))
    group = f"to_json(struct_pack({members}))::VARCHAR" if members else "'{}'"
    total, peak, whole = values
    return (
        f"SELECT '{rule.name}' AS rule, {group} AS grp, {bucket} AS bucket, {total} AS total, {peak} AS peak, "  # noqa: S608
        f"{whole} AS whole, count(*) AS n, min({time}) AS first, max({time}) AS last "
        f"FROM {rows} GROUP BY ALL"
    )


def _aggregate(part: Aggregate) -> str:
    argument = _quoted(part.column) if part.column else "*"
    only = f" FILTER (WHERE (\n{part.where}\n))" if part.where else ""
    value = f"{part.function.value}({argument}){only}::DOUBLE"
    return value if part.function is Function.MAX else f"coalesce({value}, 0)"


def _quoted(name: str) -> str:
    return f'"{name}"'


def parameters(rules: Iterable[Rule], late: timedelta) -> pa.Table:
    """The rules' figures as the relation `rules`; times in microseconds."""
    rows = [
        {
            "rule": rule.name,
            "kind": rule.kind.value,
            "measure": _kind_of(rule),
            "width": width(rule),
            "keep": (rule.window + late) // MICROSECOND,
            "late": late // MICROSECOND,
            "seen": rule.seen_within // MICROSECOND,
            "above": rule.above,
            "below": rule.below,
            "at_least": rule.at_least,
        }
        for rule in rules
    ]
    kinds = [("rule", pa.string()), ("kind", pa.string()), ("measure", pa.string()), ("width", pa.int64()),
             ("keep", pa.int64()), ("late", pa.int64()), ("seen", pa.int64()), ("above", pa.float64()),
             ("below", pa.float64()), ("at_least", pa.int64())]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=pa.schema(kinds))


def _kind_of(rule: Rule) -> str:
    if rule.measure is None:
        return ""
    return "ratio" if rule.measure.whole is not None else rule.measure.part.function.value


def check_rules(con: duckdb.DuckDBPyConnection, table: Table, rules: Iterable[Rule]) -> None:
    """Bind every expression of the rules of a table. Raises AlertError naming rule and place of each mistake."""
    con.register("rows", silver_schema(table).empty_table())
    described = con.execute(f"DESCRIBE {with_operands(table.fields, 'rows')}").fetchall()
    columns = {name: kind for name, kind, *_ in described}
    found = Mistakes()
    try:
        for rule in rules:
            before = len(found.found)
            parts = (rule.measure.part, rule.measure.whole) if rule.measure else ()
            places = {"where": rule.where} | {f"measure {i + 1}": p.where for i, p in enumerate(parts) if p}
            for place, expression in places.items():
                if expression and (said := condition_mistake(con, expression, columns)):
                    found.note(
                        _wrong(f"rules.{rule.name}.{place}", said, "a condition in SQL over the columns of silver")
                    )
            if before == len(found.found):
                found.get(_bind, con, rule, table)
    finally:
        con.unregister("rows")
    if found.found:
        raise AlertError(*told(found.found), mistakes=found.found)


def _bind(con: duckdb.DuckDBPyConnection, rule: Rule, table: Table) -> None:
    try:
        con.execute(cells_of(rule, table))
    except duckdb.Error as error:
        raise _wrong(f"rules.{rule.name}", one_line(str(error).split("\n\n")[0]), "see docs/alerts.md") from error


def _wrong(place: str, said: str, hint: str) -> AlertError:
    message = f"{place}: {said}"
    return AlertError(message, hint, mistakes=[Mistake(message, hint, place.partition(" ")[0])])
