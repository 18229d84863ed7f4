"""Which rows of silver a mart's rows count, by the mart's own models: nothing here knows what a model says.

Belongs here: running the models on parts of silver, and what follows. Does not: which row is asked about (`figure.py`), what is
told of the rows found (`trace.py`).

A slot's rows are run through the models, as dbt has compiled them, three times:

1. Each minute by itself: which keys come of it.
2. Each row by itself: what it would make alone, and under which key. A row whose own key does not come of its minute was merged
   into one that does (`other`): the one whose key agrees with it most.
3. The rows found, all together at their true times: do they make what was published? (Where rows were merged, all rows of the
   minute; and without the rows found none of it.)

To be by itself is to be alone on a day: models promise that a slot depends on its own day and the day before, so every second
day of a far future takes one minute, or one row, at its true time of day.
"""
# ruff: noqa: S608 (the contract's and the project's names, their SQL, and numbers)

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb
import pyarrow as pa

from platform_assets.contracts.model import Contract, Table
from platform_assets.marts.found import Found, Gathering
from platform_assets.marts.marts import LENGTHS, Mart, Slot
from platform_assets.marts.prepare import time_literal
from platform_assets.marts.spans import moment

SILVER = "_silver"
"""The schema of the run's database in which `prepare` puts silver's rows; the models' own is filled here."""
ROWS = 200_000
"""Rows that are taken apart at once; a minute is never cut."""

_FAR = int(datetime(3000, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
_MINUTE = 60_000_000
_DAY = 1440 * _MINUTE
_APART = 2 * _DAY
_CLOSE = 1e-9
"""Sums of floating point numbers depend on their order."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model on the way from silver to the mart, and its SQL."""

    mart: Mart
    sql: str


class Lineage:
    """One slot of a mart in a database that `prepare` has made, with silver in the schema `SILVER`.

    `models` end with the mart; `asked` are its published rows in question, with all its columns.
    """

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        contract: Contract,
        models: Sequence[Model],
        slot: datetime,
        asked: pa.Table,
    ) -> None:
        self._con = con
        self._tables = contract.tables
        self._system = contract.system
        self._models = models
        self._mart = models[-1].mart
        self._slot = slot
        self._keys = [name for name in self._mart.key if name != self._mart.grain]
        self._numbers = numbers_of(self._mart)
        for schema in (contract.system, "_piece", "_kept", "_rest", "_found"):
            con.execute(f'CREATE SCHEMA "{schema}"')
        con.register("asked", asked)
        con.execute("CREATE TABLE _found.asked AS SELECT * FROM asked")
        con.unregister("asked")
        for model in models:
            con.execute(f'DROP VIEW main."{model.mart.name}"')

    def minutes(self) -> list[tuple[int, int]]:
        """The minutes (since 1970) of the slot that silver has rows of, and how many."""
        each = [f'SELECT {_minute(table)} AS minute FROM {SILVER}."{table.name}"' for table in self._tables]
        sql = f"SELECT minute, count(*) FROM ({' UNION ALL '.join(each)}) GROUP BY minute ORDER BY minute"
        return self._con.sql(sql).fetchall()

    def look(
        self,
        cuts: Mapping[str, int | None],
        *,
        apart: bool = True,
        column: str | None = None,
        sample: int = 5,
        progress: Callable[[int], None] | None = None,
    ) -> Found:
        """Find the rows that count, of those up to a commit (`cuts`, by table; None: all).

        With `column` only rows that add to that number are told of. Without `apart` every row of the slot is taken for one that
        counts. `progress` is told how many rows of the slot are done.
        """
        for model in self._models:
            name = model.mart.name
            for schema in ("_kept", "_rest"):
                self._execute(f'CREATE OR REPLACE TABLE {schema}."{name}" AS SELECT * FROM lake."{name}" LIMIT 0')
        gathering = Gathering(self._con, self._tables, self._numbers, column if apart else None, sample)
        done = 0
        for first, last, rows in _pieces(self.minutes()):
            self._load(first, last, cuts)
            if apart:
                self._take_apart(first, rows)
            else:
                numbers = "".join(f', CAST(NULL AS DOUBLE) AS "{name}"' for name in self._numbers)
                self._execute(f"CREATE OR REPLACE TABLE _found.found AS SELECT _row{numbers} FROM _found.rows")
                self._execute("CREATE OR REPLACE TABLE _found.merged AS SELECT _minute FROM _found.rows LIMIT 0")
            self._keep()
            gathering.add()
            done += rows
            if progress is not None:
                progress(done)
        found = gathering.found()
        found.differs, found.again = self._compare()
        return found

    def _load(self, first: int, last: int, cuts: Mapping[str, int | None]) -> None:
        """Number the rows of minutes `first` to `last`; those beyond the cut are late."""
        begin, end = (time_literal(moment(number, Slot.MINUTE)) for number in (first, last + 1))
        each, base = [], 0
        for number, table in enumerate(self._tables):
            cut = cuts[table.name]
            late = "false" if cut is None else f"_seq > {cut}"
            self._execute(
                f'CREATE OR REPLACE TABLE _piece."{table.name}" AS SELECT {base} + row_number() OVER () - 1 AS _row,'
                f' {_minute(table)} AS _minute, {late} AS _late, * FROM {SILVER}."{table.name}"'
                f' WHERE "{table.event_time}" >= {begin} AND "{table.event_time}" < {end}'
            )
            base += self._count(f'_piece."{table.name}"')
            each.append(
                f'SELECT {number} AS _table, _row, _minute, _late, "{table.event_time}" AS _moment, _source,'
                f' _shard, _position, _seq, _landed_at FROM _piece."{table.name}"'
            )
        self._execute(f"CREATE OR REPLACE VIEW _found.rows AS {' UNION ALL '.join(each)}")

    def _take_apart(self, first: int, rows: int) -> None:
        """The rows in hand that count for the asked keys: `_found.found`, with what each adds."""
        keys = "".join(f', "{name}"' for name in self._keys)
        numbers = "".join(f', "{name}"' for name in self._numbers)
        mart = f'main."{self._mart.name}"'
        self._run(self._models, f"_minute - {first}", "NOT _late")
        self._execute(
            f"CREATE OR REPLACE TABLE _found.together AS SELECT {first} + {self._stood} AS _minute{keys} FROM {mart}"
        )
        self._execute(
            "CREATE OR REPLACE TABLE _found.near AS SELECT DISTINCT _minute FROM _found.together AS t"
            f" SEMI JOIN _found.asked AS a ON {self._same('t', 'a')}"
            " UNION SELECT _minute FROM _found.rows WHERE _late"
        )
        self._execute(
            f"CREATE OR REPLACE TABLE _found.own AS SELECT CAST(0 AS BIGINT) AS _row{keys}{numbers} FROM {mart} LIMIT 0"
        )
        for at in range(0, rows, ROWS) if self._count("_found.near") else ():
            near = f"_row >= {at} AND _row < {at + ROWS} AND _minute IN (SELECT _minute FROM _found.near)"
            self._run(self._models, f"_row - {at}", near)
            self._execute(f"INSERT INTO _found.own SELECT {at} + {self._stood}{keys}{numbers} FROM {mart}")
        self._execute(
            "CREATE OR REPLACE TABLE _found.placed AS SELECT o.*, r._minute, r._late, t._minute IS NOT NULL AS kept"
            " FROM _found.own AS o JOIN _found.rows AS r USING (_row)"
            f" LEFT JOIN _found.together AS t ON t._minute = r._minute AND {self._same('o', 't')}"
        )
        sums = "".join(f', sum("{name}") AS "{name}"' for name in self._numbers)
        self._execute(
            f"CREATE OR REPLACE TABLE _found.found AS SELECT _row, bool_or(merged) AS merged{sums} FROM ("
            f"SELECT _row, false AS merged{keys}{numbers} FROM _found.placed WHERE kept OR _late"
            f" UNION ALL {self._merged()}"
            f") AS one SEMI JOIN _found.asked AS a ON {self._same('one', 'a')} GROUP BY _row"
        )
        self._check_merged(first)

    def _merged(self) -> str:
        """SELECT of rows whose own key does not come of their minute, under the key that no row has as its own."""
        keys = "".join(f', o."{name}"' for name in self._keys)
        numbers = "".join(f', l."{name}"' for name in self._numbers)
        agree = " + ".join(f'CAST(l."{n}" IS NOT DISTINCT FROM o."{n}" AS INTEGER)' for n in self._keys) or "0"
        nobody = (
            "SELECT * FROM _found.together AS t ANTI JOIN (SELECT * FROM _found.placed WHERE kept AND NOT _late) AS p"
            f" ON p._minute = t._minute AND {self._same('p', 't')}"
        )
        return (
            f"SELECT l._row, true AS merged{keys}{numbers} FROM _found.placed AS l JOIN ({nobody}) AS o ON o._minute = l._minute"
            f" WHERE NOT l.kept AND NOT l._late QUALIFY {agree} = max({agree}) OVER (PARTITION BY l._row)"
            f" AND count(*) OVER (PARTITION BY l._row, {agree}) = 1"
        )

    def _check_merged(self, first: int) -> None:
        """`_found.merged`: minutes with merged rows whose asked keys go away with the rows found, so that no other row counts.

        Rows are merged only beside others: what they make is seen among all rows of their minute.
        """
        self._execute(
            "CREATE OR REPLACE TABLE _found.merged AS"
            " SELECT DISTINCT _minute FROM _found.found JOIN _found.rows USING (_row) WHERE merged"
        )
        if not self._count("_found.merged"):
            return
        others = "_minute IN (SELECT _minute FROM _found.merged) AND _row NOT IN (SELECT _row FROM _found.found)"
        self._run(self._models, f"_minute - {first}", f"NOT _late AND {others}")
        self._execute(
            f"DELETE FROM _found.merged WHERE _minute IN (SELECT {first} + {self._stood}"
            f' FROM main."{self._mart.name}" AS m SEMI JOIN _found.asked AS a ON {self._same("m", "a")})'
        )

    def _keep(self) -> None:
        """What the minute models make of the rows found at their true times, and of the others of minutes that merged."""
        models = [model for model in self._models if model.mart.grain is Slot.MINUTE]
        found, merged = "_row IN (SELECT _row FROM _found.found)", "_minute IN (SELECT _minute FROM _found.merged)"
        for schema, mine in (("_kept", f"{found} OR {merged}"), ("_rest", f"{merged} AND NOT {found}")):
            self._run(models, None, f"NOT _late AND ({mine})")
            for model in models:
                self._execute(f'INSERT INTO {schema}."{model.mart.name}" SELECT * FROM main."{model.mart.name}"')

    def _compare(self) -> tuple[list[str], pa.Table]:
        """The columns of the asked rows that the rows found do not make as published; the rows that they make."""
        minute = "INTERVAL 1 minute"
        series = f"generate_series({self._slot_sql(0)}, {self._slot_sql(1)} - {minute}, {minute})"
        self._request(f"SELECT unnest({series}) AS _moment")
        self._roll_up("_rest")
        others_count = self._mart.grain is not Slot.MINUTE and self._asked_made() > 0
        self._roll_up("_kept")
        grain = self._mart.grain
        join = f'm."{grain}" = a."{grain}" AND {self._same("m", "a")}'
        made = f'main."{self._mart.name}"'
        others = [f for f in self._mart.schema if f.name != grain and f.name not in self._keys]
        missing = f'm."{grain}" IS NULL'
        tests = [f"count(*) FILTER ({test})" for test in (missing, *(f"{missing} OR {unlike(f)}" for f in others))]
        counted = f"SELECT {', '.join(tests)} FROM _found.asked AS a LEFT JOIN {made} AS m ON {join}"
        [(lost, *counts)] = self._con.sql(counted).fetchall()
        again = self._con.sql(f"SELECT m.* FROM {made} AS m SEMI JOIN _found.asked AS a ON {join}")
        wrong = [f.name for f, count in zip(others, counts, strict=True) if count]
        if others_count:  # the slot itself has merged rows that its minutes had not
            wrong = list(dict.fromkeys([*wrong, *self._numbers]))
        return wrong or (self._keys if lost else []), again.to_arrow_table()

    def _roll_up(self, schema: str) -> None:
        """The slot's marts from what a schema has of its minutes."""
        for model in self._models:
            if model.mart.grain is Slot.MINUTE:
                name = model.mart.name
                self._execute(f'CREATE OR REPLACE TABLE main."{name}" AS SELECT * FROM {schema}."{name}"')
        self._build([model for model in self._models if model.mart.grain is not Slot.MINUTE])

    def _asked_made(self) -> int:
        """How many of the asked rows' keys the mart has, as it is built now."""
        grain = self._mart.grain
        join = f'm."{grain}" = a."{grain}" AND {self._same("m", "a")}'
        return self._count(f'main."{self._mart.name}" AS m SEMI JOIN _found.asked AS a ON {join}')

    # -- running the models ------------------------------------------------------------------------------------------

    def _run(self, models: Sequence[Model], day: str | None, where: str) -> None:
        """Run models on the rows in hand that `where` names, each on a day of its own: the number that `day` gives."""
        times = []
        for table in self._tables:
            when = f'"{table.event_time}"'
            moved = (
                f"TIMESTAMPTZ 'epoch' + to_microseconds({_FAR} + ({day}) * {_APART}"
                f" + ((epoch_us({when}) % {_DAY}) + {_DAY}) % {_DAY})"
            )
            shown = "*" if day is None else f"* REPLACE ({moved} AS {when})"
            self._execute(
                f'CREATE OR REPLACE VIEW "{self._system}"."{table.name}" AS SELECT * EXCLUDE (_row, _minute, _late)'
                f' FROM (SELECT {shown} FROM _piece."{table.name}" WHERE {where})'
            )
            times.append(f'SELECT {when} AS _moment FROM "{self._system}"."{table.name}"')
        self._request(" UNION ALL ".join(times))
        self._build(models)

    def _request(self, moments: str) -> None:
        """Ask for the slots that hold these moments (a SELECT of `_moment`), which `request` then shows."""
        for grain in Slot:
            kind = "DATE" if grain is Slot.DAY else "TIMESTAMPTZ"
            self._execute(
                f'CREATE OR REPLACE TABLE touched."{grain}" AS'
                f" SELECT DISTINCT CAST(date_trunc('{grain}', _moment) AS {kind}) AS slot FROM ({moments})"
            )

    def _build(self, models: Sequence[Model]) -> None:
        """As the materialization `mart` does, of the requested slots alone."""
        for model in models:
            mart = model.mart
            columns = ", ".join(f'CAST("{column.name}" AS {column.type}) AS "{column.name}"' for column in mart.columns)
            self._execute(
                f'CREATE OR REPLACE TABLE main."{mart.name}" AS SELECT {columns} FROM ({model.sql}) AS built'
                f' WHERE "{mart.grain}" IN (SELECT slot FROM request."{mart.grain}")'
            )

    @property
    def _stood(self) -> str:
        """SQL for the number of the day on which a row of the mart stands."""
        return f'(epoch_us(CAST("{self._mart.grain}" AS TIMESTAMP)) - {_FAR}) // {_APART}'

    def _same(self, left: str, right: str) -> str:
        return " AND ".join(f'{left}."{n}" IS NOT DISTINCT FROM {right}."{n}"' for n in self._keys) or "true"

    def _slot_sql(self, after: int) -> str:
        return time_literal(self._slot + after * LENGTHS[self._mart.grain])

    def _count(self, relation: str) -> int:
        [(rows,)] = self._con.sql(f"SELECT count(*) FROM {relation}").fetchall()
        return int(rows)

    def _execute(self, sql: str) -> None:
        self._con.execute(sql)


def _pieces(minutes: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Whole minutes put together, up to about `ROWS` rows: (first, last, rows)."""
    pieces: list[tuple[int, int, int]] = []
    for minute, rows in minutes:
        if pieces and pieces[-1][2] + rows <= ROWS:
            first, _, before = pieces[-1]
            pieces[-1] = (first, minute, before + rows)
        else:
            pieces.append((minute, minute, rows))
    return pieces


def _minute(table: Table) -> str:
    """SQL for the minute of a row, since 1970; rounded down, for times before 1970 too."""
    return f'CAST(floor(epoch_us("{table.event_time}") / {_MINUTE}) AS BIGINT)'


def numbers_of(mart: Mart) -> list[str]:
    """The columns that rows of silver add to: numbers outside of the key."""
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    return [f.name for f in mart.schema if f.name not in mart.key and any(is_one(f.type) for is_one in kinds)]


def unlike(column: pa.Field) -> str:
    """SQL: whether the column of `a` and `m` is not the same."""
    a, m = f'a."{column.name}"', f'm."{column.name}"'
    if pa.types.is_floating(column.type):
        close = f"abs({a} - {m}) <= {_CLOSE} * greatest(abs({a}), abs({m}))"
        return f"NOT coalesce({a} IS NOT DISTINCT FROM {m} OR {close}, false)"
    return f"{a} IS DISTINCT FROM {m}"
