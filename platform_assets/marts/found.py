"""The rows of silver that a figure counts, gathered a piece after the other: counts, bounds and a few examples.

Belongs here: what is kept of them, however many they are. Does not: which rows they are (`lineage.py`).
"""
# ruff: noqa: S608 (the contract's and the project's names, and numbers)

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from platform_assets.contracts.model import Table


@dataclass
class Found:
    """The rows of silver that the asked rows of a mart count.

    `adds` says how many rows add to each number, `parts` where they are, by table and shard, `late` how many
    rows beyond the cut belong to the same keys. `differs` are the columns that the rows found do not make as published.
    """

    rows: int = 0
    late: dict[str, int] = field(default_factory=dict)
    beyond: int = 0  # rows of the slot beyond the cut, of whatever key
    adds: dict[str, int] = field(default_factory=dict)
    parts: list[dict[str, Any]] = field(default_factory=list)
    sample: list[dict[str, Any]] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)
    again: pa.Table | None = None  # the asked rows as the rows found make them

    @property
    def holds(self) -> bool:
        """Whether rows were found, and make what was published."""
        return self.rows > 0 and not self.differs


class Gathering:
    """What is told of the rows found, a piece after the other: counts and bounds, never the rows themselves."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        tables: Sequence[Table],
        numbers: Sequence[str],
        column: str | None,
        sample: int,
    ) -> None:
        self._con = con
        self._tables = tables
        self._numbers = numbers
        self._where = "true" if column is None else f'coalesce("{column}" <> 0, false)'
        self._size = sample
        self._found = Found(adds=dict.fromkeys(numbers, 0))
        self._parts: list[pa.Table] = []
        self._sample: list[dict[str, Any]] = []

    def add(self) -> None:
        """Take in the rows in hand."""
        found = "(SELECT * FROM _found.found JOIN _found.rows USING (_row)) AS found"
        tests = ["NOT _late", *(f'NOT _late AND "{name}" <> 0' for name in self._numbers)]
        counts = ", ".join(f"count(*) FILTER ({test})" for test in tests)
        [(rows, *adds)] = self._con.sql(f"SELECT {counts} FROM {found}").fetchall()
        self._found.rows += rows
        for name, more in zip(self._numbers, adds, strict=True):
            self._found.adds[name] += more
        [(beyond,)] = self._con.sql("SELECT count(*) FROM _found.rows WHERE _late").fetchall()
        self._found.beyond += beyond
        self._parts.append(
            self._con.sql(
                "SELECT _table, _late, _source, _shard, CAST(_landed_at AS DATE) AS landed, count(*) AS rows,"
                " min(_position) AS first, max(_position) AS last, min(_seq) AS commit_first, max(_seq) AS commit_last"
                f" FROM {found} WHERE {self._where} GROUP BY ALL"
            ).to_arrow_table()
        )
        nth = "row_number() OVER (PARTITION BY _table ORDER BY _moment, _shard, _position)"
        some = self._con.sql(
            f"SELECT _table, _moment, _source, _shard, _position FROM {found}"
            f" WHERE NOT _late AND {self._where} QUALIFY {nth} <= {self._size}"
        )
        self._sample += some.to_arrow_table().to_pylist()

    def found(self) -> Found:
        """All of it."""
        found = self._found
        if self._parts:
            self._con.register("parts", pa.concat_tables(self._parts))
            whole = self._con.sql(
                "SELECT _table, _late, _source AS source, _shard AS shard, landed, sum(rows)::BIGINT AS rows,"
                " min(first) AS first, max(last) AS last, min(commit_first) AS commit_first, max(commit_last) AS commit_last"
                " FROM parts GROUP BY ALL ORDER BY ALL"
            )
            for part in whole.to_arrow_table().to_pylist():
                name = self._tables[part.pop("_table")].name
                if part.pop("_late"):
                    found.late[name] = found.late.get(name, 0) + part["rows"]
                else:
                    found.parts.append({"table": name, **part})
            self._con.unregister("parts")
        # The first of each table, then the second of each, in the order of time.
        places: dict[int, int] = {}
        for row in sorted(self._sample, key=lambda row: (row["_moment"], row["_shard"], row["_position"])):
            row["nth"] = places[row["_table"]] = places.get(row["_table"], 0) + 1
        self._sample.sort(key=lambda row: (row["nth"], row["_table"]))
        found.sample = self._sample[: self._size]
        return found
