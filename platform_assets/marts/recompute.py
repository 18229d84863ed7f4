"""Slots of a mart made anew from silver alone, by the mart's models: nothing that is published, and nothing of a refresh's plan.

Belongs here: the database and the SQL. Does not: which slots, and what they are compared with (`audit.py`).

Every slot that the wanted ones depend on is made anew as well, finest first: whole slots, of all rows of silver up to a commit.
"""
# ruff: noqa: S608 (the contract's and the project's names, their SQL, and literals made here)

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from platform_assets.contracts.model import Contract, Table
from platform_assets.marts.graph import Graph, Node
from platform_assets.marts.marts import Slot
from platform_assets.marts.prepare import no_rows, requested_views, slot_array, within
from platform_assets.marts.project import manifest_path
from platform_assets.marts.reach import sight
from platform_assets.marts.spans import NONE, Numbers, Spans, minute_of, spans_of, union
from platform_assets.tables.files import DataFile
from platform_assets.tables.table import LakeTable


@dataclass(frozen=True, slots=True)
class Silver:
    """A silver table in one snapshot, and how far a mart has consumed it: commits `upto`, of some slots `ahead`; rewrites."""

    table: Table
    silver: LakeTable
    upto: int
    ahead: int
    rewrite: int

    def holding(self, spans: Spans) -> list[DataFile]:
        """The files that may hold rows of these spans, by their statistics."""
        column = self.table.event_time
        return [
            f for f in (self.silver.files() if self.silver.exists() else ())
            if column not in f.low or spans.meets(minute_of(f.low[column]), minute_of(f.high[column]))
        ]  # fmt: skip

    def waiting(self, con: duckdb.DuckDBPyConnection, spans: Spans) -> bool:
        """Whether rows of these spans wait for a refresh of which a day made anew by hand may hold some."""
        if self.ahead <= self.upto:
            return False
        rows = self.silver.relation(con, self.holding(spans)).filter(
            f"_seq > {self.upto} AND {within(self.table.event_time, spans)}"
        )
        return bool(rows.limit(1).fetchall())


@dataclass(frozen=True, slots=True)
class Needed:
    """What some slots of a mart are made of: the slots of each mart on the way, spans of silver, and all that is looked at."""

    mart: str
    slots: Mapping[str, Numbers]
    silver: Spans
    spans: Spans


def model_texts(project: Path, system: str) -> dict[str, str]:
    """The SQL of each model of a system as dbt has compiled it, by name."""
    nodes = json.loads(manifest_path(project).read_text(encoding="utf-8"))["nodes"].values()
    return {
        node["name"]: node["compiled_code"]
        for node in nodes
        if node["resource_type"] == "model" and node["fqn"][1] == system and node.get("compiled_code")
    }


class Recompute:
    """A database of its own, empty at the start. Tables that are made are `built.<mart>`."""

    def __init__(
        self, con: duckdb.DuckDBPyConnection, contract: Contract, graph: Graph, texts: Mapping[str, str]
    ) -> None:
        self._con = con
        self._contract = contract
        self._graph = graph
        self._texts = texts
        for name in ("audit", "built", "closed", "request", contract.system):
            con.execute(f'CREATE SCHEMA IF NOT EXISTS "{name}"')

    def tables(self, name: str) -> set[str]:
        """The silver tables that a mart is made from, through others too."""
        return {table for node in self._graph.ancestors([name]) for table in node.tables}

    def needed(self, name: str, slots: Numbers) -> Needed:
        """What these slots of a mart are made of."""
        wanted = {name: slots}
        minutes, looked = [NONE], [NONE]
        for node in reversed(self._graph.ancestors([name])):
            spans = sight(node, wanted[node.mart.name])
            looked.append(spans.slots(Slot.MINUTE))
            if node.tables:
                minutes.append(spans.slots(Slot.MINUTE))
            for one in node.marts:
                more = spans.slots(self._graph.node(one).mart.grain)
                wanted[one] = union([wanted.get(one, NONE), more])
        return Needed(name, wanted, spans_of(union(minutes), Slot.MINUTE), spans_of(union(looked), Slot.MINUTE))

    def run(self, needed: Needed, silver: Mapping[str, Silver], cuts: Mapping[str, int]) -> None:
        """Make the slots of rows of silver's commits up to `cuts`."""
        for node in self._graph.ancestors([needed.mart]):
            self._node(node, needed.slots[node.mart.name], silver, cuts)

    def whole(self, name: str, others: Mapping[str, LakeTable]) -> None:
        """Make all of a mart from other marts as they are published."""
        node = self._graph.node(name)
        slots = []
        for one, table in others.items():
            mart = self._graph.node(one).mart
            columns = ", ".join(f'"{column.name}"' for column in mart.columns)
            rows = table.relation(self._con, table.files()).sql_query()
            self._con.execute(f'CREATE OR REPLACE VIEW main."{one}" AS SELECT {columns} FROM ({rows})')
            slots.append(f'SELECT CAST("{mart.grain}" AS TIMESTAMPTZ) AS slot FROM main."{one}"')
        kind = "DATE" if node.mart.grain is Slot.DAY else "TIMESTAMPTZ"
        every = f"SELECT DISTINCT CAST(date_trunc('{node.mart.grain}', slot) AS {kind}) AS slot FROM ({' UNION '.join(slots)})"
        self._con.execute(requested_views(node.mart.grain, every))
        self._con.execute(f'CREATE OR REPLACE TABLE built."{name}" AS {self._select(node)}')

    def _node(self, node: Node, slots: Numbers, silver: Mapping[str, Silver], cuts: Mapping[str, int]) -> None:
        """Make slots of one mart, of those made before it: together when it keeps to its slots, else one by one."""
        mart, con = node.mart, self._con
        kinds = ", ".join(f'"{column.name}" {column.type}' for column in mart.columns)
        con.execute(f'CREATE OR REPLACE TABLE built."{mart.name}" ({kinds})')
        con.execute(f'CREATE OR REPLACE VIEW closed."{mart.name}" AS SELECT * FROM built."{mart.name}" WHERE false')
        for some in [slots] if node.reads is None else np.split(slots, len(slots)):
            for statement in self._in_sight(node, sight(node, some), silver, cuts):
                con.execute(statement)
            con.register("wanted", pa.table({"slot": slot_array(mart.grain, some)}))
            con.execute("CREATE OR REPLACE TABLE audit.slots AS SELECT slot FROM wanted")
            con.unregister("wanted")
            con.execute(requested_views(mart.grain, "SELECT slot FROM audit.slots"))
            con.execute(
                f'INSERT INTO built."{mart.name}" SELECT * FROM ({self._select(node)})'
                f' WHERE "{mart.grain}" IN (SELECT slot FROM audit.slots)'
            )

    def _in_sight(
        self, node: Node, spans: Spans, silver: Mapping[str, Silver], cuts: Mapping[str, int]
    ) -> Iterator[str]:
        """SQL for what the model may read: rows of silver, and slots that were made before."""
        for name in node.tables:
            one = silver[name]
            files = one.holding(spans)
            rows = one.silver.relation(self._con, files).sql_query() if files else no_rows(self._con, one.silver.schema)
            where = f"{within(one.table.event_time, spans)} AND _seq <= {cuts[name]}"
            yield f'CREATE OR REPLACE VIEW "{self._contract.system}"."{name}" AS SELECT * FROM ({rows}) WHERE {where}'
        for name in node.marts:
            mart = self._graph.node(name).mart
            where = within(str(mart.grain), spans_of(spans.slots(mart.grain), mart.grain), mart.grain)
            yield f'CREATE OR REPLACE VIEW main."{name}" AS SELECT * FROM built."{name}" WHERE {where}'

    def _select(self, node: Node) -> str:
        columns = ", ".join(
            f'CAST("{column.name}" AS {column.type}) AS "{column.name}"' for column in node.mart.columns
        )
        return f"SELECT {columns} FROM ({self._texts[node.mart.name]}) AS made"
