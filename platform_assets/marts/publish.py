"""Publishing: what dbt has built and tested replaces the requested slots of each mart, one Delta transaction a mart.

Belongs here: the refresh_log's claim, the commits and what they expect. Does not: building, the index.

The refresh_log comes first: its commit claims the refresh's number, so that of two refreshes that began alike only one goes on.
Each mart's commit expects the refresh that the plan saw: an older run that wakes up late can overwrite nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
from deltalake.transaction import AddAction

from platform_assets.core.errors import AssayError
from platform_assets.core.faultpoints import fault_point
from platform_assets.core.transactions import REFRESH, ahead_mark, marks_of
from platform_assets.marts.marts import PARTITION, REFRESH_LOG_SCHEMA, Mart, refresh_log_table
from platform_assets.marts.plan import Plan
from platform_assets.marts.prepare import asked_slots, connect
from platform_assets.tables.files import DataFile, write_file
from platform_assets.tables.maintain import compact
from platform_assets.tables.table import Conflict, LakeTable


@dataclass(frozen=True, slots=True)
class Published:
    """One mart's commit: rows written for the requested slots, by partition of the Delta table; its version."""

    mart: str
    rows: Mapping[str, int]
    slots: int
    version: int


class Overtaken(AssayError):
    """Another refresh has published first; its result stands, and the next refresh goes on from there."""


def publish(database: Path, lake: Path, plan: Plan, marts: Sequence[Mart]) -> Iterator[Published]:
    """Publish the marts, finer ones first. Raises Overtaken when another refresh has; what was committed before stays true."""
    with connect(database) as con:
        _claim(con, lake, plan, marts)
        fault_point("gold_claimed")
        for mart in marts:
            yield _publish(con, lake, plan, mart)
            fault_point("gold_mart_committed")


def _claim(con: duckdb.DuckDBPyConnection, lake: Path, plan: Plan, marts: Sequence[Mart]) -> None:
    refresh_log = refresh_log_table(lake, plan.system)
    entries = refresh_log_rows(con, plan, marts, datetime.now(UTC))
    try:
        refresh_log.commit(refresh_log.write(entries), advance={REFRESH: plan.number}, expect={REFRESH: plan.claimed})
    except Conflict as conflict:
        raise _overtaken(plan) from conflict
    compact(refresh_log, con, "refresh, model, slot")


def refresh_log_rows(con: duckdb.DuckDBPyConnection, plan: Plan, marts: Sequence[Mart], now: datetime) -> pa.Table:
    """A row for each mart and slot that this refresh replaces."""
    parts = []
    for mart in marts:
        slots = asked_slots(con, mart)
        n = len(slots)
        columns = [
            pa.repeat(mart.name, n), pa.repeat(pa.scalar(plan.number, pa.int64()), n), slots, pa.repeat(now.date(), n),
        ]  # fmt: skip
        parts.append(pa.table(columns, schema=REFRESH_LOG_SCHEMA))
    return pa.concat_tables([REFRESH_LOG_SCHEMA.empty_table(), *parts])


def _publish(con: duckdb.DuckDBPyConnection, lake: Path, plan: Plan, mart: Mart) -> Published:
    table = mart.table(lake)
    table.refresh()
    partitions = _partitions(con, mart)
    live = [f for f in table.files() if f.partition in partitions]
    advance = {REFRESH: plan.number}
    for source in plan.sources:
        name = source.contract.name
        seq, rewrite = marks_of(name)
        # A mart may be ahead of those that a crash left behind.
        advance[seq] = max(source.seq, table.transaction(seq) or 0)
        advance[rewrite] = max(source.rewrite, table.transaction(rewrite) or 0)
        if source.cut > advance[seq]:
            advance[ahead_mark(name)] = max(source.cut, table.transaction(ahead_mark(name)) or 0)
    adds: list[AddAction] = []
    written: dict[str, int] = {}
    for partition in sorted(partitions):
        rows, fresh = _partition_rows(con, table, mart, partition, [f for f in live if f.partition == partition])
        if rows.num_rows:
            adds.append(write_file(table.path, rows, PARTITION, partition))
        written[partition] = fresh
    try:
        version = table.commit(adds, removes=live, advance=advance, expect={REFRESH: plan.expect[mart.name]})
    except Conflict as conflict:
        raise _overtaken(plan) from conflict
    [(slots,)] = con.sql(f'SELECT count(*) FROM asked."{mart.name}"').fetchall()  # noqa: S608 (the project's own name)
    return Published(mart.name, written, slots, version)


def _partitions(con: duckdb.DuckDBPyConnection, mart: Mart) -> set[str]:
    """Partitions of the mart that hold a requested slot."""
    sql = f'SELECT DISTINCT {mart.partition_sql} FROM (SELECT slot AS "{mart.grain}" FROM asked."{mart.name}")'  # noqa: S608
    return {str(row[0]) for row in con.sql(sql).fetchall()}


def _partition_rows(
    con: duckdb.DuckDBPyConnection, table: LakeTable, mart: Mart, partition: str, live: Sequence[DataFile]
) -> tuple[pa.Table, int]:
    """The partition as it will be, without its column, and how many of its rows are new."""
    columns = ", ".join(f'"{column.name}"' for column in mart.columns)
    new = con.sql(
        f'SELECT {columns} FROM "{mart.name}__new" WHERE {mart.partition_sql} = $partition ORDER BY {columns}',  # noqa: S608
        params={"partition": partition},
    ).to_arrow_table()
    parts = [new.cast(mart.schema)]
    if live:
        where = f'"{mart.grain}" NOT IN (SELECT slot FROM asked."{mart.name}")'  # noqa: S608
        names = [column.name for column in mart.columns]
        parts.insert(0, table.read(con, files=live, where=where, columns=names).cast(mart.schema))
    return pa.concat_tables(parts), new.num_rows


def _overtaken(plan: Plan) -> Overtaken:
    return Overtaken(
        f"another refresh of {plan.system} has published since refresh {plan.number} began",
        "nothing is lost; the next refresh takes in what is left",
    )
