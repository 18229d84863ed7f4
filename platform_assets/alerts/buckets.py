"""A table's rules over time: silver's rows summed into small buckets of event time, and what the windows over them say.

Belongs here: keeping the buckets true to silver, and asking them. Does not: the statements (`sql.py`), incidents (`incident.py`).

Buckets are a cache of silver. They say up to which bronze commit they cover it (`covered`); what comes after is added from
memory, or read from silver. A snapshot beside the lake spares the next ingest run the reading; it is written only after what it
covers has been evaluated and stored, so that whoever loads it evaluates the rest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from platform_assets.alerts import sql
from platform_assets.alerts.exact import from_units, scales
from platform_assets.alerts.incident import Sighting
from platform_assets.alerts.late import spans
from platform_assets.alerts.model import Kind, Rule, group_key
from platform_assets.contracts.model import Table
from platform_assets.core.files import replacing
from platform_assets.tables.files import DataFile
from platform_assets.tables.table import LakeTable

FOLDER = "_alerts"
"""Where snapshots lie, below the lake's root."""
LATE = timedelta(minutes=2)
"""A row that is older than the newest by more has windows that are no longer kept: they are evaluated from silver, afterwards."""
LANDED = timedelta(minutes=10)
"""Where nothing tells how far rows were evaluated, those that have landed so lately are evaluated, however old they are."""
GRACE = timedelta(seconds=10)
"""How long a rule that looks for too little waits for what is on its way."""
GROUPS = 1000
"""Groups of one rule that are followed; the rest is left out, and `crowded` names the rule."""
KEPT = timedelta(days=1)
"""Snapshots that nobody has written for so long are of tables that are gone, or spare little; halves are of killed workers."""
READ_ROWS = 200_000
RETRY = timedelta(hours=1)
"""A rule whose SQL failed on data is left out for so long; then silver is read anew, and the rule with it."""
SEQ, REWRITE = "seq", "rewrite"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def session(*, files: bool = False) -> duckdb.DuckDBPyConnection:
    """An in-memory session of one thread in UTC. Only with `files` it may read any: rules' SQL runs in one that may not."""
    con = duckdb.connect(config={"threads": 1, "memory_limit": "512MB", "temp_directory": ""})
    con.execute("SET TimeZone = 'UTC'")
    if not files:
        con.execute("SET enable_external_access = false")
    con.execute("SET lock_configuration = true")
    return con


class Buckets:
    """The buckets of one table's rules. Not for several threads. Raises AlertError when a rule's SQL does not bind."""

    def __init__(self, table: Table, rules: Sequence[Rule], silver: LakeTable, folder: Path) -> None:
        self._table = table
        self._rules = {rule.name: rule for rule in rules}
        self._silver = silver
        self._folder = folder
        self._con = session()
        self._files = session(files=True)
        sql.check_rules(self._con, table, rules)
        self._scales = {rule.name: scales(rule, table) for rule in rules}
        self._con.register("rules", sql.parameters(rules, table, LATE))
        self._parts = {rule.name: sql.cells_of(rule, table) for rule in rules}
        self._cells: pa.Table = sql.CELLS.empty_table()
        self._fresh: pa.Table = sql.CELLS.empty_table()
        self._past: pa.Table = sql.PAST_CELLS.empty_table()  # added since the last `evaluated_past`
        self._rewrite = 0
        self._newest: datetime | None = None  # event time of the newest row that is no history
        self.heard: datetime | None = None  # when the last row that is no history landed
        self.covered: int | None = None  # None: nothing is loaded yet
        self.crowded: set[str] = set()
        self.broken: dict[
            str, str
        ] = {}  # rules that are left out, since their SQL failed on data, and what kind of error it was
        self._broken_at: datetime | None = None

    def close(self) -> None:
        """End the sessions."""
        self._con.close()
        self._files.close()

    # -- keeping up with silver ----------------------------------------------------------------------------------------

    def offer(self, after: int, seq: int, rows: pa.Table) -> None:
        """Add one silver commit, bronze commits (`after`, `seq`]; what was covered already is left out."""
        if self.covered is None or self.covered < after or self._rewritten():
            self.catch_up()  # something lies between: silver has it
        elif seq > self.covered:
            self._add(rows if self.covered == after else rows.filter(pc.field("_seq") > self.covered))
            self.covered = seq

    def catch_up(self) -> None:
        """Read what silver has and the buckets do not; all of the last windows when nothing is known yet."""
        self._silver.refresh()
        rewrite, seq = self._silver.transaction(REWRITE) or 0, self._silver.transaction(SEQ) or 0
        if (self.covered is None and not self._load(rewrite, seq)) or (
            self.covered is not None and rewrite != self._rewrite
        ):
            self.forget()
        self._rewrite = rewrite
        if self.covered is None:
            files, where = self._recent()
        else:
            files, where = self._silver.between("_seq", self.covered + 1), f"_seq > {self.covered}"
        if files and (self.covered is None or seq > self.covered):
            for rows in self._silver.batches(self._files, files, READ_ROWS, where=where):
                self._add(rows)
        self.covered = seq

    def _rewritten(self) -> bool:
        return (self._silver.transaction(REWRITE) or 0) != self._rewrite

    def forget(self) -> None:
        """Begin anew: the next call reads a snapshot, or silver."""
        self._cells, self._fresh, self._past = (s.empty_table() for s in (sql.CELLS, sql.CELLS, sql.PAST_CELLS))
        self._newest, self.heard, self.covered = None, None, None
        self.broken, self._broken_at = {}, None

    def _recent(self) -> tuple[list[DataFile], str]:
        """Files and condition for the rows that any rule still looks at, and for those that have landed lately.

        Nothing tells how far the latter were evaluated: what was told of them is known by its incidents.
        """
        time = self._table.event_time
        known = [f for f in self._silver.files() if time in f.high]
        if not known:
            return [], ""
        newest = min(max(f.high[time] for f in known), datetime.now(UTC))
        lengths = [rule.seen_within if sql.remembers(rule) else rule.window + LATE for rule in self._rules.values()]
        oldest = newest - max(lengths, default=timedelta(0))
        landed = max((f.high["_landed_at"] for f in known if "_landed_at" in f.high), default=newest) - LANDED
        files = [f for f in known if f.high[time] >= oldest or f.high.get("_landed_at", landed) >= landed]
        moments = [f"TIMESTAMPTZ '{moment.isoformat()}'" for moment in (oldest, landed)]
        return files, f'("{time}" >= {moments[0]} OR _landed_at >= {moments[1]})'

    def _add(self, rows: pa.Table) -> None:
        if rows.num_rows == 0:
            return
        self._con.register("rows", rows)
        time = f'"{self._table.event_time}"'
        ((newest, landed),) = self._con.execute(
            f"SELECT max({time}), max(_landed_at) FROM rows WHERE NOT _history"  # noqa: S608
        ).fetchall()
        self._newest, self.heard = _later(self._newest, newest), _later(self.heard, landed)
        fresh = pa.concat_tables([sql.CELLS.empty_table(), *self._cells_of_rows()])
        self._con.unregister("rows")
        self._fresh = pa.concat_tables([self._fresh, fresh])
        clock = _micros(self.clock())
        past = self._ask(sql.PAST, fresh=fresh, clock=clock, groups=GROUPS)
        self._past = pa.concat_tables([self._past, past.cast(sql.PAST_CELLS)])
        self._cells = self._ask(sql.MERGE, fresh=fresh).cast(sql.CELLS)
        for name in self._ask(sql.TOO_LARGE).column("rule").to_pylist():
            self._leave_out(name, "OutOfRangeException")
        self._expire()

    def _cells_of_rows(self) -> Iterator[pa.Table]:
        """The cells of `rows`, rule by rule: one that fails on them does not stop the others."""
        for name, part in self._parts.items():
            if name in self.broken:
                continue
            try:
                cells = self._con.sql(part).to_arrow_table()
            except duckdb.Error as error:
                self._leave_out(name, type(error).__name__)  # what it says may quote data
            else:
                yield cells.cast(sql.CELLS)

    def _leave_out(self, name: str, why: str) -> None:
        """Evaluate a rule no more: its windows lack rows."""
        self.broken[name] = why
        self._broken_at = self._broken_at or datetime.now(UTC)
        others = (c.filter(pc.field("rule") != name) for c in (self._cells, self._fresh, self._past))
        self._cells, self._fresh, self._past = others

    def _expire(self) -> None:
        kept = self._ask(sql.EXPIRE, clock=_micros(self.clock()), groups=GROUPS).cast(sql.CELLS)
        groups = self._con.execute("SELECT rule FROM cells GROUP BY rule HAVING count(DISTINCT grp) > ?", [GROUPS])
        self.crowded = {name for (name,) in groups.fetchall()}
        self._cells = kept

    def _ask(self, statement: str, fresh: pa.Table | None = None, **values: int) -> pa.Table:
        self._con.register("cells", self._cells)
        self._con.register("fresh", self._fresh if fresh is None else fresh)
        return self._con.sql(statement, params=values or None).to_arrow_table()

    # -- what the windows say ------------------------------------------------------------------------------------------

    def clock(self, now: datetime | None = None, *, idle: bool = False) -> datetime:
        """The table's event time: its newest row's, or the wall clock when nothing comes any more."""
        now = now or datetime.now(UTC)
        return now if idle or self._newest is None else min(self._newest, now)

    def breaches(self) -> Iterator[Sighting]:
        """Windows beyond their threshold among those that rows added since the last `evaluated` belong to."""
        if self._fresh.num_rows == 0:
            return
        for row in self._ask(sql.BREACHES).to_pylist():
            rule = self._rules[row["rule"]]
            seen = self._sighting(rule, row["grp"], row["until"], True, self._value(row), row["since"])
            yield replace(seen, late=datetime.now(UTC) - seen.at > rule.window + LATE)

    def past(self) -> Iterator[Sighting]:
        """Windows beyond their threshold among those that had passed when rows came for them, by silver as it is now."""
        clock = _micros(self.clock())
        for name in sorted(set(self._past.column("rule").to_pylist()) - self.broken.keys()):
            mine = self._past.filter(pc.field("rule") == name)
            for first, last in spans(mine.column("bucket").to_pylist()):
                try:
                    cells = self._read_again(self._rules[name], first, last)
                    self._con.register("past", mine)
                    self._con.register("cells", cells)
                    runs = self._con.sql(sql.RUNS, params={"clock": clock}).to_arrow_table()
                except duckdb.Error as error:
                    self._leave_out(name, type(error).__name__)
                    break
                for row in runs.to_pylist():
                    seen = self._sighting(
                        self._rules[name], row["grp"], row["until"], True, self._value(row), row["since"]
                    )
                    yield replace(seen, late=True, past=True)

    def _read_again(self, rule: Rule, first: int, last: int) -> pa.Table:
        """The rule's cells of these buckets, of all the rows that silver has."""
        time, width = self._table.event_time, sql.width(rule) * sql.MICROSECOND
        begin, end = _EPOCH + first * width, _EPOCH + (last + 1) * width
        files = [f for f in self._silver.files() if time not in f.high or (f.high[time] >= begin and f.low[time] < end)]
        where = f"\"{time}\" >= TIMESTAMPTZ '{begin.isoformat()}' AND \"{time}\" < TIMESTAMPTZ '{end.isoformat()}'"
        cells = sql.CELLS.empty_table()
        for rows in self._silver.batches(self._files, files, READ_ROWS, where=where) if files else ():
            self._con.register("rows", rows)
            fresh = self._con.sql(self._parts[rule.name]).to_arrow_table().cast(sql.CELLS)
            self._con.unregister("rows")
            self._con.register("cells", cells)
            self._con.register("fresh", fresh)
            cells = self._con.sql(sql.MERGE).to_arrow_table().cast(sql.CELLS)
        return cells

    def evaluated_past(self) -> None:
        """What `past` said has been stored."""
        self._past = sql.PAST_CELLS.empty_table()

    def standing(self, open_keys: Iterable[tuple[str, str]], now: datetime, *, idle: bool) -> Iterator[Sighting]:
        """How it is now: of what is open, and of what comes too little or not at all."""
        asked = {(name, group) for name, group in open_keys if name in self._rules and name not in self.broken}
        clock = self.clock(now, idle=idle)
        for row in self._ask(sql.STANDING, clock=_micros(clock), grace=GRACE // sql.MICROSECOND).to_pylist():
            rule, key = self._rules[row["rule"]], _key(row)
            if key not in asked and not (rule.below is not None and row["whole_window"]):
                continue
            asked.discard(key)
            value = self._value(row)
            evaluated = rule.below is not None or row["n"] >= rule.at_least
            breach = evaluated and value is not None and rule.breached_by(value)
            yield self._sighting(rule, row["grp"], clock, breach, value or 0.0)
        for row in self._ask(sql.SILENT).to_pylist():
            rule, key, last = self._rules[row["rule"]], _key(row), row["last"]
            breach = now - rule.seen_within <= last < now - rule.after
            if breach or key in asked:
                asked.discard(key)
                yield self._sighting(rule, row["grp"], now, breach, (now - last).total_seconds(), last + rule.after)
        for name, group in asked:  # long gone: nothing is known of it any more
            rule = self._rules[name]
            yield self._sighting(rule, group, now if rule.kind is Kind.SILENCE else clock, False, 0.0)

    def _value(self, row: Mapping[str, Any]) -> Any:
        """What a window measures: a decimal where that is exact, else a double; None when it has nothing to measure."""
        rule = self._rules[row["rule"]]
        scale = self._scales[rule.name]
        if scale is None or (rule.measure is not None and rule.measure.whole is not None):
            return row["value"]
        return None if row["units"] is None else from_units(row["units"], scale.part)

    def _sighting(
        self, rule: Rule, group: str, at: datetime, breach: bool, value: Decimal | float, since: datetime | None = None
    ) -> Sighting:
        return Sighting(rule, json.loads(group), at, since or at, breach, value, rule.threshold)

    # -- snapshots -----------------------------------------------------------------------------------------------------

    def evaluated(self) -> None:
        """What was added so far has been evaluated and stored."""
        self._fresh = sql.CELLS.empty_table()

    def save(self) -> None:
        """Write a snapshot of what has been evaluated, whole or not at all. A worker that writes at the same time does no
        harm.
        """
        if self.covered is None or self._fresh.num_rows or self._past.num_rows:
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        newest, heard = ("" if time is None else time.isoformat() for time in (self._newest, self.heard))
        state = {"covered": str(self.covered), "rewrite": str(self._rewrite), "rules": self._digest()}
        state |= {"newest": newest, "heard": heard}
        if self._broken_at is not None:
            state |= {"broken": json.dumps(self.broken), "broken_at": self._broken_at.isoformat()}
        schema = sql.CELLS.with_metadata(state)
        with replacing(self._file(), durable=False) as sink, pa.ipc.new_file(sink, schema) as writer:
            writer.write_table(self._cells)

    def _load(self, rewrite: int, seq: int) -> bool:
        try:
            with pa.OSFile(str(self._file())) as source, pa.ipc.open_file(source) as reader:
                state = {k.decode(): v.decode() for k, v in (reader.schema.metadata or {}).items()}
                cells = reader.read_all()
        except FileNotFoundError:
            return False
        except (OSError, pa.ArrowInvalid):
            self._file().unlink(missing_ok=True)  # a torn snapshot: silver still knows
            return False
        if state["rules"] != self._digest() or int(state["rewrite"]) != rewrite or int(state["covered"]) > seq:
            return False
        broken_at = datetime.fromisoformat(state["broken_at"]) if "broken_at" in state else None
        if broken_at is not None and abs(datetime.now(UTC) - broken_at) >= RETRY:  # or the clock was ahead
            return False
        self.broken, self._broken_at = json.loads(state.get("broken", "{}")), broken_at
        self._cells = cells.replace_schema_metadata(None).cast(sql.CELLS)
        self._newest, self.heard = (
            datetime.fromisoformat(time) if time else None for time in (state["newest"], state.get("heard"))
        )
        self.covered, self._rewrite = int(state["covered"]), rewrite
        return True

    def _file(self) -> Path:
        return self._folder / f"{self._table.qualified_name}.{self._silver.identity}.arrow"

    def _digest(self) -> str:
        """What cells mean follows from the rules, their scales, and the layout."""
        known = (sorted(self._rules.items()), sorted(self._scales.items()), sql.CELLS.to_string())
        return hashlib.sha256(repr(known).encode()).hexdigest()


def forget_snapshots(folder: Path) -> int:
    """Delete what nobody has written for `KEPT`; files deleted. Safe beside workers: whoever misses a snapshot reads silver."""
    until, forgotten = (datetime.now(UTC) - KEPT).timestamp(), 0
    for path in folder.iterdir() if folder.is_dir() else ():
        with suppress(FileNotFoundError):  # a worker has just given it its name
            if path.stat().st_mtime < until:
                path.unlink()
                forgotten += 1
    return forgotten


def _key(row: dict[str, Any]) -> tuple[str, str]:
    """Rule and group as incidents name them: the engine writes JSON in a way of its own."""
    return row["rule"], group_key(json.loads(row["grp"]))


def _later(known: datetime | None, found: datetime | None) -> datetime | None:
    return max((time.astimezone(UTC) for time in (known, found) if time is not None), default=None)


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // sql.MICROSECOND
