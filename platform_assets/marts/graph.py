"""What each mart is made from, by its model: the tables and marts that it reads, and how far around its own slots.

Belongs here: the answer, which marts are refused because it cannot be known, and why. Does not: the proof (`slotwise.py`), which
slots follow from it (`reach.py`).

The answer follows from the SQL that dbt has compiled. It is kept beside dbt's manifest until the project or the contract changes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from platform_assets.contracts.arrow import silver_schema
from platform_assets.contracts.model import Contract
from platform_assets.core.errors import AssayError, one_line, told
from platform_assets.core.files import replacing
from platform_assets.marts.marts import Mart, Reads, Slot, declared_marts
from platform_assets.marts.project import broken_models, manifest_path
from platform_assets.marts.spans import MINUTES

_CHANGING = re.compile(
    r"\b(run_started_at|run_query|invocation_id|load_result|env_var|statement)\b|\b(modules|adapter)\s*\."
)
"""Jinja that makes the SQL depend on the moment or on data."""
_REQUESTED = re.compile(r"\brequested\(\s*['\"](\w+)['\"]\s*\)")
_VOLATILE = frozenset(
    {
        "now", "today", "random", "rand", "uuid", "gen_random_uuid", "uuidv4", "uuidv7", "get_current_timestamp",
        "get_current_time", "currentdate", "currenttime", "currenttimestamp", "currentdatetime", "currentuser", "localtimestamp",
        "localtime", "transaction_timestamp", "nextval", "currval", "getenv", "getvariable", "current_setting",
        "current_localtime", "current_localtimestamp", "txid_current", "setseed", "current_connection_id", "current_database",
        "currentdatabase", "current_query", "current_query_id", "current_schema", "currentschema", "current_schemas",
        "currentschemas", "current_transaction_id", "in_search_path", "setval", "sleep_ms", "stats", "vector_type", "write_log",
        "reservoir_quantile", "current_date", "error",
    }
)  # fmt: skip
"""Functions whose answer is another one each time."""
_SLOT_TYPES = {Slot.MINUTE: "timestamptz", Slot.HOUR: "timestamptz", Slot.DAY: "date"}


@dataclass(frozen=True, slots=True)
class Node:
    """A mart and what its rows depend on: silver `tables` and other `marts`, by name.

    `reads` says how far around its slot, None when its SQL keeps to the slot. `closed`: it takes its own rows of closed days.
    """

    mart: Mart
    tables: tuple[str, ...]
    marts: tuple[str, ...]
    reads: Reads | None
    closed: bool

    @property
    def everything(self) -> bool:
        """Whether it is always built whole."""
        return self.reads is not None and self.reads.everything


@dataclass(frozen=True)
class Graph:
    """The marts of a system that can be built, each after those that it reads; `refused` are the others, with the reason.

    `tested`: the coarsest grain that a test of a mart asks for by `requested`.
    """

    system: str
    nodes: tuple[Node, ...]
    refused: Mapping[str, str]
    tested: Mapping[str, Slot]

    @cached_property
    def marts(self) -> tuple[Mart, ...]:
        """The marts that can be built, in that order."""
        return tuple(node.mart for node in self.nodes)

    def node(self, name: str) -> Node:
        """The node of a mart that can be built."""
        return next(node for node in self.nodes if node.mart.name == name)

    def ancestors(self, names: Sequence[str]) -> tuple[Node, ...]:
        """These marts and all that they are made from, in the order of building."""
        wanted = set(names)
        for node in reversed(self.nodes):
            if node.mart.name in wanted:
                wanted |= set(node.marts)
        return tuple(node for node in self.nodes if node.mart.name in wanted)

    @property
    def kept(self) -> frozenset[str]:
        """Marts that retention spares: those of days, and what a mart reads that is always built whole."""
        days = {node.mart.name for node in self.nodes if node.mart.grain is Slot.DAY}
        return frozenset(days.union(*(node.marts for node in self.nodes if node.everything)))


HINT = "docs/gold.md says what a model may read, and how `reads` declares more"
"""What to do about a mart that is refused."""


def read_graph(project: Path, contract: Contract) -> Graph:
    """The system's marts and what each reads.

    Raises AssayError when none is valid, or the project cannot be read.
    """
    system = contract.system
    marts = {mart.name: mart for mart in marts_of(project, contract)}
    manifest = manifest_path(project)
    cache = manifest.with_name(f"{system}-{_mark(contract)}.json")
    if not cache.is_file():
        wrong = wrong_marts(project, contract)
        _write(cache, _derive(json.loads(manifest.read_text(encoding="utf-8")), contract, marts, wrong))
    found = json.loads(cache.read_text(encoding="utf-8"))
    nodes = tuple(_node(marts[one["name"]], one) for one in found["nodes"])
    return Graph(system, nodes, found["refused"], {name: Slot(grain) for name, grain in found["tested"].items()})


def marts_of(project: Path, contract: Contract) -> tuple[Mart, ...]:
    """The system's marts, those that are refused included, without those whose properties are wrong.

    Raises AssayError as `read_graph`.
    """
    system = contract.system
    declared = declared_marts(project, system)
    if not declared.valid and declared.mistakes:
        raise AssayError(*told(declared.mistakes), mistakes=declared.mistakes)
    unread = {mistake.place or Path(mistake.file).stem for mistake in broken_models(project, system)}
    left_out = unread | {table.name for table in contract.tables}
    marts = tuple(mart for mart in declared.valid.values() if mart.name not in left_out)
    if not marts:
        raise AssayError(f"{system} has no marts", "add models to the folder `marts` of the system, see docs/gold.md")
    return marts


def wrong_marts(project: Path, contract: Contract) -> dict[str, str]:
    """Why a mart is none, by name: its properties are wrong, or it is named as a table (both have an alias)."""
    declared = declared_marts(project, contract.system)
    found = {
        mistake.place: f"its properties are wrong: {mistake.message}" for mistake in declared.mistakes if mistake.place
    }
    tables = {table.name for table in contract.tables}
    found |= {
        name: "it is named as a table of the system; rename the model" for name in declared.valid if name in tables
    }
    return found


def _node(mart: Mart, one: Mapping[str, Any]) -> Node:
    reads = Reads(everything=True) if one["everything"] else mart.reads
    return Node(mart, tuple(one["tables"]), tuple(one["marts"]), reads, one["closed"])


def _mark(contract: Contract) -> str:
    """Changes with what the analysis takes from the contract, and with the analysis."""
    tables = [(t.name, t.event_time, str(silver_schema(t))) for t in contract.tables]
    digest = hashlib.sha256(repr(tables).encode())
    for module in ("carried.py", "casts.py", "graph.py", "relation.py", "slotwise.py", "timesql.py"):
        digest.update(Path(__file__).with_name(module).read_bytes())
    return digest.hexdigest()[:16]


def _write(path: Path, found: Mapping[str, Any]) -> None:
    with replacing(path, durable=False) as file:
        file.write(json.dumps(found).encode())


def _derive(
    manifest: Mapping[str, Any], contract: Contract, marts: Mapping[str, Mart], wrong: Mapping[str, str]
) -> dict[str, Any]:
    """The graph as JSON: `nodes` in the order of building, `refused` and `tested` by name; those that are `wrong` are refused."""
    analysis = _Analysis(manifest, contract, marts, wrong)
    order = TopologicalSorter({name: analysis.inputs(name)[1] for name in marts})
    ranks = {grain: number for number, grain in enumerate(Slot)}
    order.prepare()
    while order.is_active():
        ready = sorted(
            order.get_ready(), key=lambda name: (ranks[marts[name].grain], name) if name in marts else (9, name)
        )
        for name in ready:
            if name in marts:
                analysis.evaluate(name)
        order.done(*ready)
    for name in sorted(analysis.undeclared()):
        analysis.refused[name] = "it has no entry in a properties file beside it"
    accepted = [asdict(found) for found in analysis.accepted.values()]
    return {"nodes": accepted, "refused": analysis.refused, "tested": analysis.tested()}


@dataclass(frozen=True, slots=True)
class _Accepted:
    name: str
    tables: list[str]
    marts: list[str]
    everything: bool
    closed: bool


class _Refused(Exception):
    pass


class _Analysis:
    """Decides on marts one after the other, those first that others read."""

    def __init__(
        self, manifest: Mapping[str, Any], contract: Contract, marts: Mapping[str, Mart], wrong: Mapping[str, str]
    ) -> None:
        self._system = contract.system
        self._tables = {table.name: table for table in contract.tables}
        self._marts = marts
        self._sources = manifest["sources"]
        self._nodes = manifest["nodes"]
        folder = ("assay", contract.system)
        self._ours = {
            node["name"]: uid
            for uid, node in self._nodes.items()
            if node["resource_type"] == "model" and tuple(node["fqn"][: len(folder)]) == folder
        }
        self.accepted: dict[str, _Accepted] = {}
        self.refused = {name: why for name, why in wrong.items() if name in self._ours}

    def undeclared(self) -> set[str]:
        """Models that would be published but promise nothing."""
        published = {name for name, uid in self._ours.items() if self._nodes[uid]["config"]["materialized"] == "mart"}
        return published - self._marts.keys() - self.refused.keys()

    def tested(self) -> dict[str, str]:
        """The coarsest grain that a test of each mart asks for."""
        found: dict[str, str] = {}
        grains = [grain.value for grain in Slot]
        for test in (node for node in self._nodes.values() if node["resource_type"] == "test"):
            asked = set(_REQUESTED.findall(test["raw_code"])) & set(grains)
            for uid in test["depends_on"]["nodes"] if asked else ():
                name = self._nodes.get(uid, {}).get("name")
                if name in self._marts:
                    found[name] = max(*asked, "hour", found.get(name, "hour"), key=grains.index)
        return found

    def inputs(self, name: str) -> tuple[list[str], list[str], list[str], list[str]]:
        """Tables, marts and models in between that a mart reads, and what else; all but the last by name."""
        tables, marts, models, others = set(), set(), set(), set()
        waiting = list(self._nodes[self._ours[name]]["depends_on"]["nodes"]) if name in self._ours else []
        while waiting:
            uid = waiting.pop()
            node = self._nodes.get(uid)
            if uid in self._sources:
                source = self._sources[uid]
                known = source["source_name"] == self._system and source["name"] in self._tables
                (tables.add(source["name"]) if known else others.add(uid))
            elif node is None or node["name"] not in self._ours or uid != self._ours[node["name"]]:
                others.add(uid)
            elif node["name"] in self._marts or node["name"] in self.refused:
                marts.add(node["name"])
            elif node["config"]["materialized"] == "ephemeral":
                models.add(node["name"])
                waiting += node["depends_on"]["nodes"]
            else:
                others.add(uid)
        return sorted(tables), sorted(marts), sorted(models), sorted(others)

    def evaluate(self, name: str) -> None:
        """Accept a mart, or refuse it with the reason."""
        try:
            self.accepted[name] = self._evaluated(name)
        except _Refused as refused:
            self.refused[name] = str(refused)

    def _evaluated(self, name: str) -> _Accepted:
        mart = self._marts[name]
        self._check_slot(mart)
        if name not in self._ours:
            raise _Refused(f"there is no model {name}.sql")
        tables, marts, models, others = self.inputs(name)
        if others:
            raise _Refused(
                f"it reads {', '.join(others)}, whose grain is not known; it may read silver and marts of its own system,"
                " and models in between that are ephemeral"
            )
        if lost := [one for one in marts if one in self.refused]:
            raise _Refused(f"it reads {', '.join(lost)}, which is refused")
        queries = {one: self._query(one) for one in (name, *models)}
        everything = bool(mart.reads and mart.reads.everything) or any(self.accepted[one].everything for one in marts)
        if everything and tables:
            raise _Refused(
                f"it reads all of {', '.join(tables)} of silver, of which retention drops rows; let it read a mart of them"
            )
        relations = self._relations(mart, tables, marts)
        for one in queries.values():
            _check_reads(one, relations.keys())
        if mart.reads is None and not everything:
            from platform_assets.marts.slotwise import why_not

            reason = why_not(queries[name], relations, mart.grain.value, MINUTES[mart.grain])
            if reason is not None:
                raise _Refused(f"{reason}; it can declare how far its rows read (`reads`)")
        self._check_casts(mart, tables, marts)
        closed = any(table.db == "closed" for one in queries.values() for table in _tables(one))
        return _Accepted(name, tables, marts, everything, closed)

    def _check_slot(self, mart: Mart) -> None:
        """The slot column is the one that is named as the grain: a time, and a part of the key."""
        [column] = [one for one in mart.columns if one.name == mart.grain]
        wanted = _SLOT_TYPES[mart.grain]
        if column.type.lower() != wanted:
            raise _Refused(f"its column {column.name}, which says the slot, is {column.type} and has to be {wanted}")
        if column.name not in mart.key:
            raise _Refused(f"its column {column.name}, which says the slot, is not in its key")

    def _query(self, name: str) -> Any:
        """A model's SQL, parsed."""
        import sqlglot

        node = self._nodes[self._ours[name]]
        if found := _CHANGING.search(node.get("raw_code") or ""):
            raise _Refused(f"{name}.sql uses {found[0]}, so that its SQL is another one each time")
        if not node.get("compiled_code"):
            raise _Refused(f"dbt cannot compile {name}.sql")
        try:
            query: Any = sqlglot.parse_one(node["compiled_code"], dialect="duckdb")
        except sqlglot.errors.SqlglotError as error:
            raise _Refused(f"the SQL of {name}.sql is not understood: {one_line(error)[:200]}") from error
        return query

    def _check_casts(self, mart: Mart, tables: Sequence[str], marts: Sequence[str]) -> None:
        """The build casts what the model gives to what is declared: not where that may lose something and say nothing."""
        from platform_assets.marts.casts import why_lossy

        sources = (
            one for one in self._sources.values() if one["source_name"] == self._system and one["name"] in tables
        )
        seen = {(one["schema"], one["identifier"]): silver_schema(self._tables[one["name"]]) for one in sources}
        sql = self._nodes[self._ours[mart.name]]["compiled_code"]
        if (reason := why_lossy(mart, sql, seen, [self._marts[name] for name in marts])) is not None:
            raise _Refused(reason)

    def _relations(self, mart: Mart, tables: Sequence[str], marts: Sequence[str]) -> dict[tuple[str, str], Any]:
        """What the mart's SQL may read, by schema and name: only what it names by `source` and `ref` is in sight."""
        from platform_assets.marts.relation import Relation

        found: dict[tuple[str, str], Any] = {}
        for source in self._sources.values():
            if source["source_name"] == self._system and source["name"] in tables:
                table = self._tables[source["name"]]
                names = tuple(silver_schema(table).names)
                found[source["schema"], source["identifier"]] = Relation(names, {table.event_time: 1}, timed=True)
        for schema, shown in (("main", [self._marts[name] for name in marts]), ("closed", [mart])):
            for one in shown:
                slot, minutes = one.grain.value, MINUTES[one.grain]
                columns = tuple(column.name for column in one.columns)
                found[schema, one.name] = Relation(columns, {slot: minutes}, {slot: minutes}, timed=True)
        for grain, minutes in MINUTES.items():
            found["request", grain.value] = Relation(("slot",), {"slot": minutes}, timed=True, request=minutes)
        return found


def _tables(query: Any) -> Iterator[Any]:
    from sqlglot import exp

    yield from query.find_all(exp.Table)


def _check_reads(query: Any, known: Any) -> None:
    """Refuse what cannot be built twice alike: tables of unknown grain, functions whose answer changes."""
    from sqlglot import exp

    from platform_assets.marts.timesql import short, unordered

    within = {one.alias for one in query.find_all(exp.CTE)}
    for table in _tables(query):
        if isinstance(table.this, exp.Identifier):
            read = (table.db, table.name) in known if table.db else table.name in within
        else:
            read = isinstance(table.this, (exp.GenerateSeries, exp.Unnest, exp.Values))
        if not read:
            raise _Refused(f"it reads {table.sql('duckdb')}, whose grain is not known; models read by ref and source")
    for node in query.find_all(exp.Func, exp.TableSample):
        name = node.name if isinstance(node, exp.Anonymous) else node.key
        if name.lower() in _VOLATILE or isinstance(node, exp.TableSample):
            raise _Refused(f"it uses {node.sql('duckdb')}, whose answer is another one each time")
        if name.lower() == "age" and len(node.expressions) == 1:
            raise _Refused(f"it uses {node.sql('duckdb')}, which counts from the present day")
    if (node := unordered(query)) is not None:
        raise _Refused(
            f"it uses {short(node)} without ORDER BY, so that it depends on the order in which rows were written"
        )
