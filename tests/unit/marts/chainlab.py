"""Marts of one's own over a made-up system of trades: any models, the real dbt, silver written directly.

Belongs here: the system, its project, its rows, refreshes, and the same models in plain DuckDB over all of silver.
"""

# ruff: noqa: S608 (made here)

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import yaml

from platform_assets.contracts.arrow import silver_schema
from platform_assets.contracts.model import Contract, Field, FieldType, Format, Grain, IndexType, Table
from platform_assets.core.settings import Settings
from platform_assets.core.transactions import SEQ
from platform_assets.marts.graph import Graph, read_graph
from platform_assets.marts.project import project_folder
from platform_assets.marts.refresh import RefreshReport, refresh
from platform_assets.tables.layout import Lake
from platform_assets.tables.session import session

TRADES = Table(
    system="market",
    name="trades",
    version="1.0.0",
    description="Trades as they are made.",
    topic="market.trades",
    format=Format.JSON,
    event_time="traded_at",
    grain=Grain.DAY,
    fields=(
        Field("traded_at", FieldType.TIMESTAMP, "When it was made.", required=True, index=IndexType.DATE),
        Field("symbol", FieldType.STRING, "What was traded.", required=True),
        Field("price", FieldType.INTEGER, "Price in cents.", required=True),
        Field("size", FieldType.INTEGER, "Pieces; negative when sold.", required=True),
    ),
)
MARKET = Contract("market", "1.0.0", "What a market tells.", "market-team", (TRADES,))
DAY_ONE = datetime(2026, 3, 30, tzinfo=UTC)
"""Two days before the turn of a month."""
KINDS = {"minute": "timestamptz", "hour": "timestamptz", "day": "date"}


@dataclass(frozen=True)
class Model:
    """A mart: its SQL for dbt, with `ref` and `source`; its columns besides the slot, all of type bigint but `symbol`."""

    grain: str
    sql: str
    columns: Sequence[str] = ("trades", "size")
    meta: Mapping[str, Any] = field(default_factory=dict)

    def properties(self, name: str) -> dict[str, Any]:
        kinds = {self.grain: KINDS[self.grain], "symbol": "varchar"}
        names = [self.grain, "symbol", *self.columns]
        return {
            "name": name,
            "description": name,
            "config": {"meta": {"grain": self.grain, "key": [self.grain, "symbol"], **self.meta}},
            "columns": [{"name": n, "description": n, "data_type": kinds.get(n, "bigint")} for n in names],
        }


class ChainLab:
    """A lake of trades with these marts; the project that `project_folder` finds is this one's."""

    def __init__(self, root: Path, models: Mapping[str, Model], patch: pytest.MonkeyPatch, **more: str) -> None:
        """`more` are further files of the models' folder, by name without `.sql`."""
        self.models = models
        self.root = root / "lake"
        self.settings = Settings(root, self.root, {})
        self.project = root / "dbt_project"
        shutil.copytree(project_folder(), self.project, ignore=shutil.ignore_patterns("target", "models", "logs"))
        folder = self.project / "models" / "market"
        folder.mkdir(parents=True)
        for name, text in {**{n: m.sql for n, m in models.items()}, **more}.items():
            (folder / f"{name}.sql").write_text(text)
        properties = {"version": 2, "models": [model.properties(name) for name, model in models.items()]}
        (folder / "marts.yml").write_text(yaml.safe_dump(properties))
        sources = {"version": 2, "sources": [{"name": "market", "tables": [{"name": "trades"}]}]}
        (folder / "sources.yml").write_text(yaml.safe_dump(sources))
        patch.setenv("ASSAY_DBT_PROJECT", str(self.project))
        self.silver = Lake(self.root).tables(TRADES).silver
        self.con = session()
        self._seq = self._rows = 0

    @property
    def graph(self) -> Graph:
        return read_graph(self.project, MARKET)

    def trade(self, *trades: tuple[datetime, str, int, int], partition: str | None = None) -> None:
        """One commit of trades: (time, symbol, price, size)."""
        self._seq += 1
        rows = []
        for at, symbol, price, size in trades:
            self._rows += 1
            rows.append({
                "traded_at": at, "symbol": symbol, "price": price, "size": size, "_source": "A" * 22,
                "_shard": 0, "_position": self._rows, "_seq": self._seq, "_landed_at": DAY_ONE, "_contract_version": "1.0.0",
                "_history": False, "_hash": self._rows, "event_partition": f"{at:%Y-%m-%d}",
            })  # fmt: skip
        schema = silver_schema(TRADES)
        table = pa.Table.from_pylist([dict.fromkeys(schema.names) | row for row in rows], schema)
        self.silver.commit(self.silver.write(table), advance={SEQ: self._seq})

    def refresh(self, **options: Any) -> RefreshReport:
        return refresh(self.settings, MARKET, index=False, **options)

    def published(self, name: str) -> list[tuple[Any, ...]]:
        """A mart's rows as they are published, sorted."""
        mart = next(mart for mart in self.graph.marts if mart.name == name)
        table = mart.table(self.root)
        if not table.exists():
            return []
        table.refresh()
        columns = ", ".join(f'"{column.name}"' for column in mart.columns)
        return sorted(table.relation(self.con).project(columns).fetchall(), key=repr)

    def plain(self, queries: Mapping[str, str]) -> dict[str, list[tuple[Any, ...]]]:
        """The rows of queries in plain DuckDB, one after the other, over `trades`: all of silver. `slots_<grain>`: all slots."""
        self.silver.refresh()
        rows = self.silver.read(self.con)
        found: dict[str, list[tuple[Any, ...]]] = {}
        with duckdb.connect() as con:
            con.execute("SET TimeZone = 'UTC'")
            con.register("trades", rows)
            begin, end = (f"TIMESTAMPTZ '{DAY_ONE + n * timedelta(days=1)}'" for n in (-5, 20))
            for grain, kind in KINDS.items():
                series = f"unnest(generate_series({begin}, {end}, INTERVAL 1 {grain}))"
                con.execute(f"CREATE TABLE slots_{grain} AS SELECT CAST({series} AS {kind}) AS slot")
            for name, query in queries.items():
                con.execute(f'CREATE TABLE "{name}" AS {query}')
                found[name] = sorted(con.sql(f'SELECT * FROM "{name}"').fetchall(), key=repr)
        return found
