"""Audit of published marts: some slots made anew from silver, from nothing, and compared with what is published.

Belongs here: which slots, and the comparison. Does not: making them (`recompute.py`).

A refresh reads silver up to the commits that the mart's Delta table records, so the audit makes the slot of exactly those rows,
however much silver has gained since: rows that came later are no difference. A slot is left out, with the reason counted, where
that cannot be repeated: a rebuild or a replay that gold has not taken in has changed rows (`moved`), retention has dropped some
(`closed`), or the slot has more rows than the audit may read (`large`).
"""
# ruff: noqa: S608 (the project's names)

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from platform_assets.contracts.model import Contract
from platform_assets.core.serialization import plain
from platform_assets.core.settings import Settings
from platform_assets.core.transactions import REFRESH, ahead_mark, marks_of, rewrite_mark
from platform_assets.marts.graph import Graph, read_graph
from platform_assets.marts.lineage import unlike
from platform_assets.marts.marts import Mart, Slot
from platform_assets.marts.plan import closed_days
from platform_assets.marts.prepare import FILE_NAME, connect
from platform_assets.marts.project import project_folder
from platform_assets.marts.recompute import Recompute, Silver, model_texts
from platform_assets.marts.spans import NONE, Numbers, Spans, moment, union
from platform_assets.tables.layout import Lake
from platform_assets.tables.runs import run_folder
from platform_assets.tables.table import LakeTable

SAMPLE = 5
"""Slots of each mart that are made anew."""
MAX_ROWS = 5_000_000
"""Rows of silver that one slot may take."""
TOLD = 20
"""Differences that are told of a mart."""
_LOOKED_AT = 3
"""Files of each silver table that are asked for slots that should be published."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that is not as the models make it of silver. `column` is `row` for a row that is too much or missing."""

    slot: str
    key: dict[str, Any]
    column: str
    published: str | None
    recomputed: str | None


@dataclass
class MartAudit:
    """One mart: slots that were compared, how many rows they hold, slots left out by reason, and what differs."""

    mart: str
    refresh: int | None
    slots: int = 0
    rows: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    differing: int = 0
    differences: list[Difference] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether nothing differs."""
        return not self.differing


@dataclass
class GoldAudit:
    """The audit of a system's marts; refused ones, with the reason, are not looked at."""

    system: str
    marts: dict[str, MartAudit] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether every slot that was compared is as published, and no mart is refused."""
        return all(mart.holds for mart in self.marts.values()) and not self.refused

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form with stable names."""
        marts = {name: {**asdict(mart), "holds": mart.holds} for name, mart in self.marts.items()}
        found: dict[str, Any] = plain(
            {
                "system": self.system,
                "holds": self.holds,
                "marts": marts,
                "refused": self.refused,
                "seconds": self.seconds,
            }
        )
        return found


def audit(
    settings: Settings,
    contract: Contract,
    *,
    only: Collection[str] | None = None,
    sample: int = SAMPLE,
    max_rows: int = MAX_ROWS,
    dice: random.Random | None = None,
    progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None,
) -> GoldAudit:
    """Make `sample` slots of each mart anew, the newest and some by chance, and compare. Safe beside refreshes.

    `progress` is told the mart and slot, how many are done and how many there are. Raises AssayError when there are no marts.
    """
    started = time.perf_counter()
    project, lake = project_folder(), settings.lake_path
    progress("reading the models", 0, 0)
    graph, texts = read_graph(project, contract), model_texts(project, contract.system)
    report = GoldAudit(contract.system, refused=dict(graph.refused))
    chosen = [mart for mart in graph.marts if only is None or mart.name in only]
    with run_folder(lake, contract.system) as folder, connect(folder / FILE_NAME) as con:
        auditor = _Auditor(con, lake, contract, graph, texts, dice or random.Random(), max_rows)  # noqa: S311 (a sample)
        for number, mart in enumerate(chosen):

            def told(slot: str, name: str = mart.name, number: int = number) -> None:
                progress(f"{name} {slot}", number, len(chosen))

            report.marts[mart.name] = auditor.mart(mart, sample, told)
    progress("done", len(chosen), len(chosen))
    report.seconds = time.perf_counter() - started
    return report


class _Auditor:
    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        lake: Path,
        contract: Contract,
        graph: Graph,
        texts: Mapping[str, str],
        dice: random.Random,
        max_rows: int,
    ) -> None:
        self._con = con
        self._lake = lake
        self._contract = contract
        self._graph = graph
        self._dice = dice
        self._max_rows = max_rows
        self._recompute = Recompute(con, contract, graph, texts)

    def mart(self, mart: Mart, sample: int, told: Callable[[str], None]) -> MartAudit:
        """Audit one mart."""
        # The mart first: silver's snapshot is no older.
        table = mart.table(self._lake)
        number = table.transaction(REFRESH) if table.exists() else None
        found = MartAudit(mart.name, number)
        if number is None:
            return found
        files = tuple(table.files())
        columns = ", ".join(f'"{column.name}"' for column in mart.columns)
        relation = table.relation(self._con, files)
        self._con.execute(f"CREATE OR REPLACE VIEW audit.published AS SELECT {columns} FROM ({relation.sql_query()})")
        silver = {source.name: self._silver(source.name, table) for source in self._contract.tables}
        if self._graph.node(mart.name).everything:
            self._whole(mart, found, told)
            return found
        for slot in self._sample(mart, silver, sample):
            told(_name(slot, mart))
            self._slot(mart, silver, slot, found)
        return found

    def _silver(self, name: str, mart: LakeTable) -> Silver:
        """A silver table as the mart has consumed it."""
        source = self._contract.table(name)
        seq, rewrite = marks_of(name)
        upto = mart.transaction(seq) or 0
        ahead = max(upto, mart.transaction(ahead_mark(name)) or 0)
        return Silver(source, Lake(self._lake).tables(source).silver, upto, ahead, mart.transaction(rewrite) or 0)

    def _sample(self, mart: Mart, silver: Mapping[str, Silver], size: int) -> list[int]:
        """The newest published slot, and others by chance: of those published, and of those that silver has rows of."""
        shown = _numbers(self._con.sql(f'SELECT DISTINCT "{mart.grain}" AS slot FROM audit.published'), mart.grain)
        owed = []
        tables = self._recompute.tables(mart.name)
        for name, one in silver.items():
            if name in tables and one.silver.exists():
                files = one.silver.between("_seq", 0, one.upto)
                some = self._dice.sample(files, min(_LOOKED_AT, len(files)))
                times = one.silver.relation(self._con, some).filter(f"_seq <= {one.upto}")
                kind = "DATE" if mart.grain is Slot.DAY else "TIMESTAMPTZ"
                slot = f"CAST(date_trunc('{mart.grain}', \"{one.table.event_time}\") AS {kind}) AS slot"
                owed.append(_numbers(times.project(slot).distinct(), mart.grain))
        every: list[int] = sorted({*shown.tolist(), *union(owed).tolist()})
        newest: list[int] = shown[-1:].tolist()
        rest = [slot for slot in every if slot not in newest]
        return newest[:size] + self._dice.sample(rest, min(max(size - len(newest), 0), len(rest)))

    def _slot(self, mart: Mart, silver: Mapping[str, Silver], slot: int, found: MartAudit) -> None:
        """Make a slot anew, and note what differs."""
        needed = self._recompute.needed(mart.name, np.array([slot], np.int64))
        if why := self._left_out(silver.values(), needed.spans, needed.silver):
            found.left_out[why] = found.left_out.get(why, 0) + 1
            return
        where = self._is(mart, slot)
        self._recompute.run(needed, silver, {name: one.upto for name, one in silver.items()})
        differing, told = self._differences(mart, where)
        if differing and any(one.waiting(self._con, needed.silver) for one in silver.values()):
            # A day made anew by hand holds rows that come in by the next refresh: all of them, unless more have come since.
            self._recompute.run(needed, silver, {name: one.ahead for name, one in silver.items()})
            differing, told = self._differences(mart, where)
            if differing:
                found.left_out["moved"] = found.left_out.get("moved", 0) + 1
                return
        found.slots += 1
        found.differing += differing
        found.differences += told[: TOLD - len(found.differences)]
        [(rows,)] = self._con.sql(f"SELECT count(*) FROM audit.published WHERE {where}").fetchall()
        found.rows += rows

    def _left_out(self, silver: Collection[Silver], spans: Spans, read: Spans) -> str | None:
        """Why a slot cannot be made anew, if so."""
        known = [one.silver for one in silver if one.silver.exists()]
        if len(closed_days(known, spans.slots(Slot.DAY))):
            return "closed"
        rows = 0
        for one in (one for one in silver if one.silver.exists()):
            days = [f"{moment(int(n), Slot.DAY):%Y-%m-%d}" for n in read.slots(Slot.DAY)]
            hours = [f"{moment(int(n), Slot.HOUR):%Y-%m-%dT%H}" for n in read.slots(Slot.HOUR)]
            if any((one.silver.transaction(rewrite_mark(name)) or 0) > one.rewrite for name in (*days, *hours)):
                return "moved"
            rows += sum(f.rows for f in one.holding(read))
        return "large" if rows > self._max_rows else None

    def _whole(self, mart: Mart, found: MartAudit, told: Callable[[str], None]) -> None:
        """A mart that is always built whole: from the marts that it reads, as published; those are audited on their own."""
        told("whole")
        others = {name: self._graph.node(name).mart.table(self._lake) for name in self._graph.node(mart.name).marts}
        if any(not one.exists() or one.transaction(REFRESH) != found.refresh for one in others.values()):
            found.left_out["moved"] = 1
            return
        self._recompute.whole(mart.name, others)
        found.differing, found.differences = self._differences(mart, "true")
        [(found.slots, found.rows)] = self._con.sql(
            f'SELECT count(DISTINCT "{mart.grain}"), count(*) FROM audit.published'
        ).fetchall()

    def _differences(self, mart: Mart, where: str) -> tuple[int, list[Difference]]:
        """How many values differ between what is published and what was made anew, and some of them."""
        con, keys = self._con, list(mart.key)
        copies = "count(*) OVER (PARTITION BY " + ", ".join(f'"{name}"' for name in keys) + ") AS _copies"
        for name, rows in (("mine", "audit.published"), ("made", f'built."{mart.name}"')):
            con.execute(f"CREATE OR REPLACE TABLE audit.{name} AS SELECT *, {copies} FROM {rows} WHERE {where}")
        same = " AND ".join(f'a."{name}" IS NOT DISTINCT FROM m."{name}"' for name in keys)
        key = ", ".join(f'\'{name}\': CAST(coalesce(a."{name}", m."{name}") AS VARCHAR)' for name in keys)
        others = [f for f in mart.schema if f.name not in keys]
        lone = "a._copies IS NULL OR m._copies IS NULL"
        cases = [("row", f"{lone} OR a._copies <> m._copies", "a._copies", "m._copies")]
        cases += [(f.name, f"NOT ({lone}) AND {unlike(f)}", f'a."{f.name}"', f'm."{f.name}"') for f in others]
        total, told = 0, []
        for name, test, left, right in cases:
            rows = (
                f'SELECT CAST(coalesce(a."{mart.grain}", m."{mart.grain}") AS VARCHAR) AS slot, {{{key}}} AS key,'
                f" CAST({left} AS VARCHAR) AS published, CAST({right} AS VARCHAR) AS recomputed"
                f" FROM audit.mine AS a FULL JOIN audit.made AS m ON {same} WHERE {test}"
            )
            [(count,)] = con.sql(f"SELECT count(*) FROM ({rows})").fetchall()
            total += count
            if count:
                some = con.sql(f"SELECT * FROM ({rows}) ORDER BY ALL LIMIT {TOLD}").fetchall()
                told += [Difference(slot, values, name, mine, theirs) for slot, values, mine, theirs in some]
        return total, told[:TOLD]

    def _is(self, mart: Mart, slot: int) -> str:
        kind = "DATE" if mart.grain is Slot.DAY else "TIMESTAMPTZ"
        return f"\"{mart.grain}\" = CAST('{moment(slot, mart.grain)}' AS {kind})"


def _numbers(slots: duckdb.DuckDBPyRelation, grain: Slot) -> Numbers:
    """Slots of a relation, by number."""
    values = slots.order("slot").to_arrow_table().column("slot")
    if not len(values):
        return NONE
    if grain is Slot.DAY:
        return np.asarray(values.cast(pa.int32()).to_numpy(), np.int64)
    micros = np.asarray(values.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy(), np.int64)
    return micros // (60_000_000 if grain is Slot.MINUTE else 3_600_000_000)


def _name(slot: int, mart: Mart) -> str:
    return f"{moment(slot, mart.grain):%Y-%m-%dT%H:%M}"
