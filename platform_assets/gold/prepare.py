"""The database of one run: views over silver and gold as the plan saw them, and tables of the slots to replace.

Belongs here: what dbt finds when it connects. Does not: what it builds.

- `<system>.<table>`: silver's rows of the requested minutes, from the files that may hold some.
- `lake.<mart>`: the mart as it is, within reach of the requested slots: the hours of requested minutes, the days of requested
  hours with the day before each, the months of requested days and of the days before. So each run reads a bounded piece, whatever
  the lake holds.
- `request.minute`, `request.hour`, `request.day`: column `slot`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from platform_assets.gold.marts import Mart, Slot
from platform_assets.gold.plan import Minutes, Plan, Source, moment, ranges
from platform_assets.lake.table import LakeTable

FILE_NAME = "gold.duckdb"
"""dbt calls the database by the file's name: always the same."""
MAX_RANGES = 200
"""Ranges of minutes that are written into a filter, where they prune row groups; more are compared with a table."""


def prepare(folder: Path, lake: Path, plan: Plan, marts: Sequence[Mart], schema: str | None = None) -> Path:
    """Make the database in `folder`; its path. Silver's rows are in `schema`, else where models look: in that of the system."""
    path = folder / FILE_NAME
    with connect(path) as con:
        con.execute("CREATE SCHEMA request")
        con.execute("CREATE SCHEMA lake")
        con.execute(f'CREATE SCHEMA "{schema or plan.system}"')
        for grain in Slot:
            _slots(con, grain, plan.slots(grain))
        for source in plan.sources:
            _silver(con, schema or plan.system, plan, source)
        for mart in marts:
            _mart(con, lake, mart, plan)
            # What `ref()` finds of a mart that this run does not build.
            con.execute(f'CREATE VIEW "{mart.name}" AS SELECT * FROM lake."{mart.name}"')  # noqa: S608
    return path


def connect(path: Path) -> duckdb.DuckDBPyConnection:
    """A connection to a run's database, in UTC; it may spill beside the file."""
    con = duckdb.connect(str(path), config={"threads": 2, "memory_limit": "1GB"})
    con.execute("SET TimeZone = 'UTC'")
    return con


def slot_array(grain: Slot, numbers: Minutes) -> pa.Array:
    """Slots as the values of a mart's time column."""
    if grain is Slot.DAY:
        return pa.array(numbers.astype("datetime64[D]"), pa.date32())
    unit = {Slot.MINUTE: "datetime64[m]", Slot.HOUR: "datetime64[h]"}[grain]
    return pa.array(numbers.astype(unit).astype("datetime64[us]"), pa.timestamp("us", tz="UTC"))


def _slots(con: duckdb.DuckDBPyConnection, grain: Slot, numbers: Minutes) -> None:
    con.register("numbers", pa.table({"slot": slot_array(grain, numbers)}))
    con.execute(f'CREATE TABLE request."{grain}" AS SELECT slot FROM numbers')  # noqa: S608
    con.unregister("numbers")


def _silver(con: duckdb.DuckDBPyConnection, schema: str, plan: Plan, source: Source) -> None:
    table = source.contract
    name = f'"{schema}"."{table.name}"'
    if not source.files:
        _empty(con, name, source.silver.schema)
        return
    spans = ranges(plan.minutes)
    column = f'"{table.event_time}"'
    if len(spans) <= MAX_RANGES:
        where = " OR ".join(f"({column} >= {time_literal(a)} AND {column} < {time_literal(b)})" for a, b in spans)
    else:
        where = (
            f"{column} >= {time_literal(spans[0][0])} AND {column} < {time_literal(spans[-1][1])} "  # noqa: S608
            f"AND date_trunc('minute', {column}) IN (SELECT slot FROM request.minute)"
        )
    rows = source.silver.relation(con, source.files).sql_query()
    con.execute(f"CREATE VIEW {name} AS SELECT * FROM ({rows}) WHERE {where}")  # noqa: S608 (contract's names, our literals)


def _mart(con: duckdb.DuckDBPyConnection, lake: Path, mart: Mart, plan: Plan) -> None:
    table: LakeTable = mart.table(lake)
    name = f'lake."{mart.name}"'
    near = set(within_reach(mart.grain, plan))
    files = [f for f in table.files() if f.partition in near] if table.exists() else []
    if not files:
        _empty(con, name, mart.schema)
        return
    columns = ", ".join(f'"{column.name}"' for column in mart.columns)
    rows = table.relation(con, files).sql_query()
    con.execute(f"CREATE VIEW {name} AS SELECT {columns} FROM ({rows})")  # noqa: S608 (the project's own names)


def within_reach(grain: Slot, plan: Plan) -> Iterable[str]:
    """The partitions of a mart of this grain that models of this run may read."""
    match grain:
        case Slot.MINUTE:
            return (f"{moment(int(n), Slot.HOUR):%Y-%m-%dT%H}" for n in plan.hours)
        case Slot.HOUR:
            return (f"{moment(int(n), Slot.DAY):%Y-%m-%d}" for n in _with_previous(plan.days))
        case Slot.DAY:
            return (f"{moment(int(n), Slot.DAY):%Y-%m}" for n in _with_previous(plan.days))


def _with_previous(days: Minutes) -> Minutes:
    return np.unique(np.concatenate((days, days - 1)))


def _empty(con: duckdb.DuckDBPyConnection, name: str, schema: pa.Schema) -> None:
    con.register("nothing", schema.empty_table())
    con.execute(f"CREATE TABLE {name} AS SELECT * FROM nothing")  # noqa: S608
    con.unregister("nothing")


def time_literal(when: datetime) -> str:
    """SQL for a time, to the second."""
    return f"TIMESTAMPTZ '{when:%Y-%m-%d %H:%M:%S}+00'"
