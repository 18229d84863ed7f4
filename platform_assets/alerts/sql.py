"""Window and silence rules as SQL: rows of silver to cells, cells to values.

Belongs here: statements, and the check that a rule's expressions bind to its table. Does not: when they run (`buckets.py`).
A cell is what a rule needs to know of one group and one small bucket of event time; cells merge by addition and maximum.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

import duckdb
import pyarrow as pa

from platform_assets.alerts.exact import MOST_UNITS, UNITS, Scales, exceeded, in_units, scales
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
        pa.field("total_units", UNITS),
        pa.field("peak_units", UNITS),
        pa.field("whole_units", UNITS),
        pa.field("n", pa.int64()),
        pa.field("first", UTC_MICROS),
        pa.field("last", UTC_MICROS),
    ]
)
"""Exact measures (`exact.py`) fill the units, those of doubles the others."""

PAST_CELLS = pa.schema([CELLS.field(name) for name in ("rule", "grp", "bucket")])
"""Which cells were added so late that their windows are evaluated from silver."""

MERGE = """
SELECT rule, grp, bucket, sum(total) AS total, max(peak) AS peak, sum(whole) AS whole, sum(total_units) AS total_units,
    max(peak_units) AS peak_units, sum(whole_units) AS whole_units, sum(n)::BIGINT AS n,
    min(first) AS first, max(last) AS last
FROM (FROM cells UNION ALL BY NAME FROM fresh) GROUP BY rule, grp, bucket
"""

EXPIRE = f"""
SELECT cells.* FROM cells JOIN rules USING (rule)
WHERE CASE WHEN bucket = {SEEN} THEN epoch_us(last) >= $clock - seen ELSE (bucket + 1) * width > $clock - keep END
QUALIFY dense_rank() OVER (PARTITION BY rule ORDER BY grp) <= $groups
"""  # noqa: S608 (constants)

TOO_LARGE = f"SELECT DISTINCT rule FROM cells WHERE greatest(abs(total_units), abs(whole_units)) > {MOST_UNITS}"  # noqa: S608

# Products of units and powers of ten are exact as far as doubles are: the quotient is rounded once.
_VALUE = """CASE WHEN measure = 'ratio' AND exact
        THEN total_units::DOUBLE * part_factor / nullif(whole_units::DOUBLE * whole_factor, 0)
    WHEN measure = 'ratio' THEN total / nullif(whole, 0) WHEN measure = 'max' THEN peak ELSE coalesce(total, 0) END"""
_UNITS = "CASE WHEN measure = 'max' THEN peak_units ELSE coalesce(total_units, 0) END"
_ABOVE = f"CASE WHEN in_units THEN {_UNITS} > above_units ELSE {_VALUE} > above END"
_SUMS = """sum(total) {over} AS total, max(peak) {over} AS peak, sum(whole) {over} AS whole,
        sum(total_units) {over} AS total_units, max(peak_units) {over} AS peak_units,
        sum(whole_units) {over} AS whole_units, sum(n) {over} AS n"""
_OVER = _SUMS.format(over="OVER win")

BREACHES = f"""
WITH asked AS (SELECT rule, grp, min(bucket) AS bucket FROM fresh WHERE bucket <> {SEEN} GROUP BY rule, grp),
sums AS (
    SELECT rule, grp, cells.bucket, last, {_OVER}, asked.bucket AS touched
    FROM cells JOIN asked USING (rule, grp) WHERE cells.bucket <> {SEEN}
    WINDOW win AS (PARTITION BY rule, grp ORDER BY cells.bucket RANGE BETWEEN {BUCKETS - 1} PRECEDING AND CURRENT ROW)
)
SELECT rule, grp, min(last) AS since, max(last) AS until, max({_VALUE}) AS value, max({_UNITS}) AS units
FROM sums JOIN rules USING (rule)
WHERE above IS NOT NULL AND bucket >= touched AND n >= at_least AND {_ABOVE} GROUP BY rule, grp
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
    SELECT rule, grp, cells.bucket, last, {_OVER}
    FROM cells JOIN asked USING (rule, grp) WHERE cells.bucket <> {SEEN}
    WINDOW win AS (PARTITION BY rule, grp ORDER BY cells.bucket RANGE BETWEEN {BUCKETS - 1} PRECEDING AND CURRENT ROW)
),
ends AS (
    SELECT rule, grp, bucket, last, {_VALUE} AS value, {_UNITS} AS units FROM sums JOIN rules USING (rule)
    WHERE n >= at_least AND {_ABOVE} AND (bucket + 1) * width <= $clock - late AND EXISTS (
        SELECT 1 FROM past WHERE past.rule = sums.rule AND past.grp = sums.grp
            AND sums.bucket BETWEEN past.bucket AND past.bucket + {BUCKETS - 1})
),
cut AS (
    SELECT *, coalesce(bucket - lag(bucket) OVER win > {BUCKETS}, false) AS anew FROM ends
    WINDOW win AS (PARTITION BY rule, grp ORDER BY bucket)
),
runs AS (SELECT *, sum(anew::INT) OVER (PARTITION BY rule, grp ORDER BY bucket) AS run FROM cut)
SELECT rule, grp, min(last) AS since, max(last) AS until, max(value) AS value, max(units) AS units FROM runs
GROUP BY rule, grp, run ORDER BY since
"""  # noqa: S608 (constants)
"""Windows beyond their threshold among those that the cells in `past` belong to, those that follow each other as one."""

STANDING = f"""
WITH ends AS (SELECT *, CASE WHEN below IS NULL THEN $clock // width ELSE ($clock - $grace) // width - 1 END AS final FROM rules),
groups AS (SELECT rule, grp, min(first) AS first FROM cells GROUP BY rule, grp),
sums AS (
    SELECT rule, grp, {_SUMS.format(over="")}
    FROM cells JOIN ends USING (rule)
    WHERE bucket <> {SEEN} AND bucket > final - {BUCKETS} AND bucket <= final GROUP BY rule, grp
)
SELECT rule, grp, {_VALUE} AS value, {_UNITS} AS units, coalesce(n, 0) AS n,
    epoch_us(first) // width <= final - {BUCKETS} AS whole_window
FROM groups JOIN ends USING (rule) LEFT JOIN sums USING (rule, grp) WHERE kind = 'window'
"""  # noqa: S608 (constants)

SILENT = f"SELECT rule, grp, last FROM cells JOIN rules USING (rule) WHERE kind = 'silence' AND bucket = {SEEN}"  # noqa: S608


_ABSENT = {
    "total": "0.0::DOUBLE", "peak": "NULL::DOUBLE", "whole": "0.0::DOUBLE",
    "total_units": "0::DECIMAL(38, 0)", "peak_units": "NULL::DECIMAL(38, 0)", "whole_units": "0::DECIMAL(38, 0)",
}  # fmt: skip
"""What a cell holds of what its rule does not measure."""


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
    parts = [_bucket(rule, table, time, rows)] if rule.kind is Kind.WINDOW else []
    if remembers(rule):
        parts.append(_cell(rule, str(SEEN), {}, time, rows))
    return " UNION ALL ".join(parts)


def _bucket(rule: Rule, table: Table, time: str, rows: str) -> str:
    if rule.measure is None:
        raise AlertError(f"{rule.name}: has no measure", "see docs/alerts.md")
    part, whole = rule.measure.part, rule.measure.whole
    exact = scales(rule, table) is not None
    suffix = "_units" if exact else ""
    values = {("peak" if part.function is Function.MAX else "total") + suffix: _aggregate(part, exact=exact)}
    if whole is not None:
        values["whole" + suffix] = _aggregate(whole, exact=exact)
    return _cell(rule, f"epoch_us({time}) // {width(rule)}", values, time, rows)


def _cell(rule: Rule, bucket: str, values: Mapping[str, str], time: str, rows: str) -> str:
    members = ", ".join(f"{_quoted(c)} := left({_quoted(c)}::VARCHAR, {GROUP_LENGTH})" for c in sorted(rule.by))
    group = f"to_json(struct_pack({members}))::VARCHAR" if members else "'{}'"
    measured = ", ".join(f"{values.get(name, absent)} AS {name}" for name, absent in _ABSENT.items())
    return (
        f"SELECT '{rule.name}' AS rule, {group} AS grp, {bucket} AS bucket, {measured}, "  # noqa: S608
        f"count(*) AS n, min({time}) AS first, max({time}) AS last FROM {rows} GROUP BY ALL"
    )


def _aggregate(part: Aggregate, *, exact: bool) -> str:
    argument = _quoted(part.column) if part.column else "*"
    only = f" FILTER (WHERE (\n{part.where}\n))" if part.where else ""
    value = f"{part.function.value}({argument}){only}"
    value = in_units(value) if exact else f"{value}::DOUBLE"
    return value if part.function is Function.MAX else f"coalesce({value}, 0)"


def _quoted(name: str) -> str:
    return f'"{name}"'


def parameters(rules: Iterable[Rule], table: Table, late: timedelta) -> pa.Table:
    """The figures of a table's rules as the relation `rules`; times in microseconds."""
    return pa.Table.from_pylist([_parameters(rule, table, late) for rule in rules], schema=_PARAMETERS)


_PARAMETERS: pa.Schema = pa.schema(
    [("rule", pa.string()), ("kind", pa.string()), ("measure", pa.string()), ("width", pa.int64()),
     ("keep", pa.int64()), ("late", pa.int64()), ("seen", pa.int64()), ("at_least", pa.int64()),
     ("above", pa.float64()), ("below", pa.float64()), ("exact", pa.bool_()), ("in_units", pa.bool_()),
     ("above_units", UNITS), ("part_factor", pa.float64()), ("whole_factor", pa.float64())]
)  # fmt: skip


def _parameters(rule: Rule, table: Table, late: timedelta) -> dict[str, object]:
    found, measure = scales(rule, table), _kind_of(rule)
    scale = found or Scales(0)
    return {
        "rule": rule.name,
        "kind": rule.kind.value,
        "measure": measure,
        "width": width(rule),
        "keep": (rule.window + late) // MICROSECOND,
        "late": late // MICROSECOND,
        "seen": rule.seen_within // MICROSECOND,
        "at_least": rule.at_least,
        "above": None if rule.above is None else float(rule.above),
        "below": None if rule.below is None else float(rule.below),
        "exact": found is not None,
        "in_units": found is not None and measure != "ratio",
        "above_units": None if rule.above is None else exceeded(rule.above, scale.part),
        "part_factor": 10.0 ** max(0, scale.whole - scale.part),
        "whole_factor": 10.0 ** max(0, scale.part - scale.whole),
    }


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
        con.execute(
            cells_of(rule, table)
        ).fetchall()  # of no rows: a result that is not fetched keeps the connection busy
    except duckdb.Error as error:
        raise _wrong(f"rules.{rule.name}", one_line(str(error).split("\n\n")[0]), "see docs/alerts.md") from error


def _wrong(place: str, said: str, hint: str) -> AlertError:
    message = f"{place}: {said}"
    return AlertError(message, hint, mistakes=[Mistake(message, hint, place.partition(" ")[0])])
