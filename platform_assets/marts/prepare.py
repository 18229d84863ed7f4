"""The database of one run: silver and gold as the plan saw them, and what each mart finds in sight when it is built.

Belongs here: what dbt finds when it connects. Does not: what it builds, which slots follow from what (`reach.py`).

- `asked.<mart>`: column `slot`, the slots of the mart that this run replaces.
- `steps.rounds`: for each mart, SQL that puts in sight what the slots of one round may read: `<system>.<table>` (silver's rows),
  `main.<mart>` (other marts as they will be), `request.minute`, `.hour` and `.day` (the slots under construction, and those of
  other grains that they lie in or hold). A mart that keeps to its slots has one round; one that declares how far it reads is
  built slot by slot, so that no slot sees what is beyond; one that reads everything has one round in which nothing is left out.
- `steps.after`: SQL that shows tests the marts as they will be, near the touched slots.
- `lake.<mart>`: the mart as it is published, near the touched slots. `closed.<mart>`: its rows of closed days in sight.
- `touched.minute`, `.hour`, `.day`: the touched slots, which `request` shows to tests; `touched.closed`: the closed days.
"""
# ruff: noqa: S608 (the contract's and the project's names, and literals made here)

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from platform_assets.marts.graph import Graph, Node
from platform_assets.marts.marts import PARTITION_FORMATS, Mart, Slot
from platform_assets.marts.plan import Plan, Source
from platform_assets.marts.reach import sight
from platform_assets.marts.spans import NONE, Numbers, Spans, moment, names, spans_of
from platform_assets.tables.files import DataFile

FILE_NAME = "gold.duckdb"
"""dbt calls the database by the file's name: always the same."""
MAX_RANGES = 200
"""Ranges of time that are written into a filter, where they prune row groups; more are compared with a table."""
_PARTITION_SLOTS = {Slot.MINUTE: Slot.HOUR, Slot.HOUR: Slot.DAY, Slot.DAY: Slot.DAY}
"""The grain of slots whose names tell the partitions of a mart."""


def prepare(folder: Path, lake: Path, plan: Plan, graph: Graph, schema: str | None = None) -> Path:
    """Make the database in `folder`; its path. With `schema` silver's rows of the plan's minutes are there, for other uses."""
    path = folder / FILE_NAME
    with connect(path) as con:
        for name in ("asked", "closed", "lake", "request", "steps", "touched", schema or plan.system):
            con.execute(f'CREATE SCHEMA "{name}"')
        spans = spans_of(plan.minutes, Slot.MINUTE)
        for grain in Slot:
            _slots(con, f'touched."{grain}"', grain, spans.slots(grain))
        con.execute(requested_views(Slot.MINUTE, None))
        _slots(con, "touched.closed", Slot.DAY, plan.closed)
        database = _Database(con, lake, plan, graph)
        for source in plan.sources:
            con.execute(database.silver(source, spans, schema))
        for node in graph.nodes:
            database.mart(node)
        con.execute("CREATE TABLE steps.rounds (mart VARCHAR, n BIGINT, sql VARCHAR, whole BOOLEAN)")
        con.execute("CREATE TABLE steps.after (mart VARCHAR, sql VARCHAR)")
        if schema is None:
            for node in graph.nodes:
                rounds = list(database.rounds(node))
                columns = [[node.mart.name] * len(rounds), range(len(rounds)), rounds, [node.everything] * len(rounds)]
                _fill(con, "steps.rounds", pa.table(columns, names=["mart", "n", "sql", "whole"]))
                after = pa.table({"mart": [node.mart.name], "sql": [database.after(node)]})
                _fill(con, "steps.after", after)
    return path


def connect(path: Path) -> duckdb.DuckDBPyConnection:
    """A connection to a run's database, in UTC; it may spill beside the file."""
    con = duckdb.connect(str(path), config={"threads": 2, "memory_limit": "1GB"})
    con.execute("SET TimeZone = 'UTC'")
    return con


def slot_array(grain: Slot, numbers: Numbers) -> pa.Array:
    """Slots as the values of a mart's time column."""
    if grain is Slot.DAY:
        return pa.array(numbers.astype("datetime64[D]"), pa.date32())
    unit = {Slot.MINUTE: "datetime64[m]", Slot.HOUR: "datetime64[h]"}[grain]
    return pa.array(numbers.astype(unit).astype("datetime64[us]"), pa.timestamp("us", tz="UTC"))


def asked_slots(con: duckdb.DuckDBPyConnection, mart: Mart) -> pa.ChunkedArray:
    """The slots of a mart that a run replaces, as times."""
    sql = f'SELECT CAST(slot AS TIMESTAMPTZ) AS slot FROM asked."{mart.name}" ORDER BY slot'
    return con.sql(sql).to_arrow_table().column("slot")


class _Database:
    """SQL for one run's database."""

    def __init__(self, con: duckdb.DuckDBPyConnection, lake: Path, plan: Plan, graph: Graph) -> None:
        self._con = con
        self._plan = plan
        self._graph = graph
        self._tables = {mart.name: mart.table(lake) for mart in graph.marts}
        self._files = {name: tuple(table.files()) if table.exists() else () for name, table in self._tables.items()}
        self._sources = {source.contract.name: source for source in plan.sources}

    def mart(self, node: Node) -> None:
        """`asked`, `lake`, `closed` and `main` of a mart."""
        mart, con, slots = node.mart, self._con, self._plan.slots.get(node.mart.name, NONE)
        name, slot = mart.name, mart.grain
        near = set(self._partitions(mart, sight(node, slots))) | set(self._partitions(mart, self._tested(mart)))
        con.execute(f'CREATE VIEW lake."{name}" AS {self._published(mart, near)}')
        con.execute(
            f'CREATE VIEW closed."{name}" AS SELECT * FROM lake."{name}"'
            f' WHERE CAST("{slot}" AS DATE) IN (SELECT slot FROM touched.closed)'
        )
        # What `ref()` finds of a mart that this run does not build.
        con.execute(f'CREATE VIEW main."{name}" AS SELECT * FROM lake."{name}"')
        if node.everything and len(self._plan.minutes):
            con.execute(
                f'CREATE TABLE asked."{name}" AS SELECT DISTINCT "{slot}" AS slot FROM ({self._published(mart)})'
            )
        else:
            _slots(con, f'asked."{name}"', slot, slots)

    def rounds(self, node: Node) -> Iterator[str]:
        """SQL that puts in sight what each round of a mart may read."""
        mart, slots = node.mart, self._plan.slots.get(node.mart.name, NONE)
        if node.everything:
            yield self._in_sight(node, None, f"SELECT slot FROM ({self._all_slots(node)})")
        elif node.reads is None:
            yield self._in_sight(node, sight(node, slots), f'SELECT slot FROM asked."{mart.name}"')
        else:
            for one in slots:
                alone = np.array([one], np.int64)
                kind = "DATE" if mart.grain is Slot.DAY else "TIMESTAMPTZ"
                begin = f"{moment(int(one), mart.grain):%Y-%m-%d %H:%M:%S}{'' if kind == 'DATE' else '+00'}"
                yield self._in_sight(node, sight(node, alone), f"SELECT CAST('{begin}' AS {kind}) AS slot")

    def _in_sight(self, node: Node, spans: Spans | None, slots: str) -> str:
        """SQL for one round; `spans` None: everything, which is only of marts."""
        statements = [self.silver(self._sources[name], spans, keeps=node) for name in node.tables if spans is not None]
        statements += [self._other(self._graph.node(name).mart, spans) for name in node.marts]
        return ";\n".join([*statements, requested_views(node.mart.grain, slots)])

    def after(self, node: Node) -> str:
        """SQL for what follows a mart's last round."""
        statements = [self._as_it_will_be(self._graph.node(name).mart) for name in node.marts]
        if node.everything:
            statements += self._only_changes(node.mart)
        return ";\n".join([*statements, requested_views(Slot.MINUTE, None)])

    def silver(self, source: Source, spans: Spans, schema: str | None = None, keeps: Node | None = None) -> str:
        """SQL for the view of a silver table: rows of these spans, of commits that this run reads.

        Of many spans it is no more than the slots of the mart that `keeps` to them.
        """
        table = source.contract
        name = f'"{schema or self._plan.system}"."{table.name}"'
        files = source.holding(spans)
        if not files:
            return f"CREATE OR REPLACE VIEW {name} AS {no_rows(self._con, source.silver.schema)}"
        rows = source.silver.relation(self._con, files).sql_query()
        where = [within(table.event_time, spans)]
        if schema is None:
            where.append(f"_seq <= {source.cut}")
        if keeps is not None and len(spans) > MAX_RANGES:
            where.append(
                f'{_slot_of(table.event_time, keeps.mart.grain)} IN (SELECT slot FROM asked."{keeps.mart.name}")'
            )
        return f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM ({rows}) WHERE {' AND '.join(where)}"

    def _other(self, mart: Mart, spans: Spans | None) -> str:
        """SQL for the view of a mart as it will be, as far as it is in sight; whole slots of it, where they are coarser."""
        near = None if spans is None else set(self._partitions(mart, spans))
        whole = None if spans is None else spans_of(spans.slots(mart.grain), mart.grain)
        where = within(str(mart.grain), whole, mart.grain)
        return (
            f'CREATE OR REPLACE VIEW main."{mart.name}" AS SELECT * FROM ({self._published(mart, near)})'
            f' WHERE "{mart.grain}" NOT IN (SELECT slot FROM asked."{mart.name}") AND ({where})'
            f' UNION ALL SELECT * FROM main."{mart.name}__new" WHERE {where}'
        )

    def _as_it_will_be(self, mart: Mart) -> str:
        return (
            f'CREATE OR REPLACE VIEW main."{mart.name}" AS SELECT * FROM lake."{mart.name}"'
            f' WHERE "{mart.grain}" NOT IN (SELECT slot FROM asked."{mart.name}")'
            f' UNION ALL SELECT * FROM main."{mart.name}__new"'
        )

    def _all_slots(self, node: Node) -> str:
        """SQL for every slot of a mart that its inputs, or it, have rows of."""
        grain = node.mart.grain
        parts = [f'SELECT slot FROM asked."{node.mart.name}"']
        parts += [
            f'SELECT {_slot_of(f"{self._graph.node(name).mart.grain}", grain)} AS slot FROM main."{name}"'
            for name in node.marts
        ]
        return f"SELECT DISTINCT slot FROM ({' UNION ALL '.join(parts)})"

    def _only_changes(self, mart: Mart) -> list[str]:
        """SQL that leaves of a mart which was built whole the slots that are not as published."""
        name, slot, new = mart.name, mart.grain, f'main."{mart.name}__new"'
        published = self._published(mart)
        differing = (
            f"(SELECT * FROM {new} EXCEPT ALL {published}) UNION ALL ({published} EXCEPT ALL SELECT * FROM {new})"
        )
        return [
            f'INSERT INTO asked."{name}" SELECT DISTINCT "{slot}" FROM {new}'
            f' WHERE "{slot}" NOT IN (SELECT slot FROM asked."{name}")',
            f'CREATE TEMP TABLE _differing AS SELECT DISTINCT "{slot}" AS slot FROM ({differing})',
            f'DELETE FROM asked."{name}" WHERE slot NOT IN (SELECT slot FROM _differing)',
            f'DELETE FROM {new} WHERE "{slot}" NOT IN (SELECT slot FROM _differing)',
            "DROP TABLE _differing",
        ]

    def _published(self, mart: Mart, partitions: Collection[str] | None = None) -> str:
        """SELECT of a mart's published rows, of all partitions or these."""
        files: Sequence[DataFile] = [
            f for f in self._files[mart.name] if partitions is None or f.partition in partitions
        ]
        if not files:
            return "SELECT " + ", ".join(f'CAST(NULL AS {c.type}) AS "{c.name}"' for c in mart.columns) + " WHERE false"
        columns = ", ".join(f'"{column.name}"' for column in mart.columns)
        return f"SELECT {columns} FROM ({self._tables[mart.name].relation(self._con, files).sql_query()})"

    def _partitions(self, mart: Mart, spans: Spans) -> list[str]:
        grain = _PARTITION_SLOTS[mart.grain]
        return names(spans.slots(grain), grain, PARTITION_FORMATS[mart.grain])

    def _tested(self, mart: Mart) -> Spans:
        """What tests may look at: the touched hours, or the touched slots that a test of the mart asks for."""
        grain = self._graph.tested.get(mart.name, Slot.HOUR)
        return spans_of(spans_of(self._plan.minutes, Slot.MINUTE).slots(grain), grain)


def no_rows(con: duckdb.DuckDBPyConnection, schema: pa.Schema) -> str:
    """SELECT of no row of a schema."""
    found = con.from_arrow(schema.empty_table())
    columns = (f'CAST(NULL AS {kind}) AS "{name}"' for name, kind in zip(found.columns, found.types, strict=True))
    return f"SELECT {', '.join(columns)} WHERE false"


def requested_views(grain: Slot, slots: str | None) -> str:
    """SQL for the views of `request`, from a SELECT of slots of a grain; None: what is touched."""
    each = []
    for other in Slot:
        if slots is None:
            rows = f'SELECT slot FROM touched."{other}"'
        elif list(Slot).index(other) < list(Slot).index(grain):
            begin = "CAST(slot AS TIMESTAMPTZ)"
            steps = f"generate_series({begin}, {begin} + INTERVAL 1 {grain} - INTERVAL 1 {other}, INTERVAL 1 {other})"
            rows = f"SELECT unnest({steps}) AS slot FROM ({slots})"
        else:
            rows = f"SELECT DISTINCT {_slot_of('slot', other)} AS slot FROM ({slots})"
        each.append(f'CREATE OR REPLACE VIEW request."{other}" AS {rows}')
    return ";\n".join(each)


def _slot_of(column: str, grain: Slot) -> str:
    """SQL for the slot of a grain that holds a time."""
    kind = "DATE" if grain is Slot.DAY else "TIMESTAMPTZ"
    return f"CAST(date_trunc('{grain}', CAST(\"{column}\" AS TIMESTAMPTZ)) AS {kind})"


def within(column: str, spans: Spans | None, grain: Slot | None = None) -> str:
    """SQL: whether a time lies in the spans; of many spans whether it lies between the first and the last."""
    if spans is None:
        return "true"
    found = spans.times()
    if not found:
        return "false"
    if len(found) > MAX_RANGES:
        found = [(found[0][0], found[-1][1])]
    literal = date_literal if grain is Slot.DAY else time_literal
    return "(" + " OR ".join(f'("{column}" >= {literal(a)} AND "{column}" < {literal(b)})' for a, b in found) + ")"


def _slots(con: duckdb.DuckDBPyConnection, name: str, grain: Slot, numbers: Numbers) -> None:
    kind = "DATE" if grain is Slot.DAY else "TIMESTAMPTZ"
    con.execute(f"CREATE TABLE {name} (slot {kind})")
    _fill(con, name, pa.table({"slot": slot_array(grain, numbers)}))


def _fill(con: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> None:
    con.register("rows", rows)
    con.execute(f"INSERT INTO {name} SELECT * FROM rows")
    con.unregister("rows")


def time_literal(when: datetime) -> str:
    """SQL for a time, to the second."""
    return f"TIMESTAMPTZ '{when:%Y-%m-%d %H:%M:%S}+00'"


def date_literal(when: datetime) -> str:
    """SQL for a day."""
    return f"DATE '{when:%Y-%m-%d}'"
