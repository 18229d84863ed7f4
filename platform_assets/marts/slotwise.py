"""Whether a query keeps to slots: a row of one slot depends on rows of the same slot and on no others.

Belongs here: the proof from the SQL text. Does not: what follows from it (`graph.py`).

The proof follows the time columns through the query. A *carrier* of width w is a column whose value lies in the same aligned
interval of w minutes as every input row that the output row depends on (width 1: the same minute). Input tables bring carriers;
`date_trunc`, casts and projections keep them; `GROUP BY`, `PARTITION BY`, joins, `DISTINCT` and `IN` must name one, else the rows
mix times and the carriers are lost. The query keeps to slots of a grain when its slot column carries a width that divides the
grain. Whatever the analysis does not know loses the carriers, so that it can refuse a correct query but never accept a wrong one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import lcm
from typing import Any

from sqlglot import exp

from platform_assets.marts.carried import Times
from platform_assets.marts.relation import UNKNOWN_COLUMNS, Lost, Relation, lowered, named, refuse
from platform_assets.marts.timesql import conjuncts, innermost, outermost, short


def why_not(query: exp.Expression, tables: Mapping[tuple[str, str], Relation], slot: str, grain: int) -> str | None:
    """Why rows of this query may depend on other slots; None when they keep to their own.

    `tables` are the relations that the query may read, by schema and name; `grain` is the length of a slot in minutes.
    """
    query = query.copy()
    for one in query.find_all(exp.Identifier):  # names are the same in upper and lower case
        one.set("this", one.name.lower())
    known = {(schema.lower(), name.lower()): lowered(found) for (schema, name), found in tables.items()}
    found = _relation_of(query, known)
    if found.lost:
        return found.lost
    if not found.timed:
        return "it reads no table and no mart"
    width = found.carriers.get(slot)
    if width is None:
        return f"its column {slot} is not made of the times of its rows by date_trunc or a cast to date"
    if grain % width:
        return f"its column {slot} stands for rows of {width} minutes, which is more than one slot"
    return None


def _relation_of(query: exp.Expression, tables: Mapping[tuple[str, str], Relation]) -> Relation:
    """What is known of a query's rows, `lost` included."""
    analysis = _Query(tables)
    try:
        found = analysis.of(query, {})
        analysis.check_all_seen(query)
    except Lost as lost:
        return _lost(lost)
    return found


def _lost(lost: Lost) -> Relation:
    return Relation(None, timed=True, lost=str(lost))


class _Query:
    """Derives relations from expressions of sqlglot."""

    def __init__(self, tables: Mapping[tuple[str, str], Relation]) -> None:
        self._tables = tables
        self._seen: set[int] = set()

    def check_all_seen(self, query: exp.Expression) -> None:
        """Raises Lost for a query in a place that the analysis does not look at, so that nothing is known of its rows."""
        for node in query.find_all(exp.Select, exp.SetOperation):
            if id(node) not in self._seen:
                raise Lost(f"it has a subquery in a place that is not known to the analysis: {short(node)}")

    def of(self, node: Any, known: Mapping[str, Relation]) -> Relation:
        """The relation that a query makes; `known` are the common table expressions in sight."""
        self._seen.add(id(node))
        scope = dict(known)
        if with_ := node.args.get("with_") or node.args.get("with"):
            if with_.args.get("recursive"):
                raise Lost("it has a recursive common table expression")
            for one in with_.expressions:
                scope[one.alias] = named(self._tried(one.this, scope), one.args.get("alias"))
        if isinstance(node, exp.Subquery):
            refuse(node, ("pivots", "sample", "limit", "offset"))
            return self.of(node.this, scope)
        if isinstance(node, exp.SetOperation):
            return self._set(node, scope)
        if isinstance(node, exp.Select):
            return _Select(self, node, scope).relation()
        if isinstance(node, (exp.Values, exp.Unnest, exp.GenerateSeries)):
            return UNKNOWN_COLUMNS
        raise Lost(f"{node.key} is not known to the analysis")

    def _tried(self, node: Any, scope: Mapping[str, Relation]) -> Relation:
        """As `of`; what is lost matters only where the relation is used."""
        try:
            return self.of(node, scope)
        except Lost as lost:
            self._seen.update(id(one) for one in node.find_all(exp.Query))
            return _lost(lost)

    def _set(self, node: Any, scope: Mapping[str, Relation]) -> Relation:
        refuse(node, ("limit", "offset"))
        left, right = self.of(node.this, scope), self.of(node.expression, scope)
        if lost := left.lost or right.lost:
            raise Lost(lost)
        names = left.columns
        if node.args.get("by_name"):
            pairs = {name: name for name in left.carriers if name in right.carriers}
        elif names is not None and right.columns is not None:
            pairs = {
                a: b
                for a, b in zip(names, right.columns, strict=False)
                if names.count(a) == right.columns.count(b) == 1
            }
        else:
            pairs = {}
        carriers = {
            name: lcm(left.carriers[name], right.carriers[other])
            for name, other in pairs.items()
            if name in left.carriers and other in right.carriers
        }
        timed = left.timed or right.timed
        if timed and not carriers and not isinstance(node, exp.Union):
            raise Lost(f"{node.key.upper()} compares rows without their slot")
        if node.args.get("by_name") and names is not None and right.columns is not None:
            names = tuple(dict.fromkeys((*names, *right.columns)))
        nullable = frozenset(name for name in carriers if name in left.nullable or pairs[name] in right.nullable)
        return Relation(names, carriers, timed=timed, nullable=nullable)

    def table(self, node: Any, scope: Mapping[str, Relation]) -> Relation:
        """What stands in FROM or JOIN."""
        if isinstance(node, exp.Subquery):
            return named(self.of(node, scope), node.args.get("alias"))
        if not isinstance(node, exp.Table):
            if isinstance(node, (exp.Unnest, exp.Values)) or (
                isinstance(node, exp.Lateral) and isinstance(node.this, exp.Unnest)
            ):
                return named(UNKNOWN_COLUMNS, node.args.get("alias"))
            raise Lost(f"{node.key} in FROM is not known to the analysis")
        refuse(node, ("pivots", "sample", "joins"))
        if isinstance(node.this, (exp.GenerateSeries, exp.Unnest, exp.Values)):
            return named(UNKNOWN_COLUMNS, node.args.get("alias"))
        found = scope.get(node.name) if not node.db else self._tables.get((node.db, node.name))
        if found is None:
            raise Lost(f"it reads {node.sql('duckdb')}, whose grain is not known")
        return named(found, node.args.get("alias"))


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of a SELECT: the width that it carries, the slot that it begins, whether it may be null."""

    name: str
    width: int | None
    covers: int | None
    nullable: bool


class _Select:
    """One SELECT: its relations side by side, and the width to which their times are held together."""

    def __init__(self, query: _Query, node: exp.Select, scope: Mapping[str, Relation]) -> None:
        self._query = query
        self._node = node
        self._scope = scope
        self._times = Times(node.expressions)
        self._absent: set[str] = set()
        self._width = 1

    def relation(self) -> Relation:
        """What it makes. Raises Lost."""
        node = self._node
        if from_ := node.args.get("from_") or node.args.get("from"):
            self._add(from_.this)
        where = list(conjuncts(node.args.get("where")))
        for join in node.args.get("joins") or ():
            self._join(join, where)
        for lateral in node.args.get("laterals") or ():
            self._add(lateral)
        joins = (join.args.get("on") for join in node.args.get("joins") or ())
        clauses = [
            *node.expressions, *joins, *(node.args.get(name) for name in ("where", "group", "having", "qualify", "order")),
        ]  # fmt: skip
        for clause in clauses:
            if clause is not None:
                self._subqueries(clause)
                self._windows(clause)
        columns, carriers, covers = self._projections()
        if self._timed:
            self._grouped(carriers)
            self._cut()
        carriers = {name: lcm(width, self._width) for name, width in carriers.items()}
        plain = not node.args.get("group") and not node.args.get("distinct") and len(self._times.parts) == 1
        request = next(iter(self._times.parts.values())).request if plain else None
        nullable = frozenset(name for name in carriers if name in self._absent)
        return Relation(columns, carriers, covers if plain else {}, self._timed, request=request, nullable=nullable)

    @property
    def _timed(self) -> bool:
        return any(part.timed for part in self._times.parts.values())

    def _add(self, source: Any) -> None:
        found = self._query.table(source, self._scope)
        if found.lost:
            raise Lost(found.lost)
        name = source.alias_or_name or f"_{len(self._times.parts)}"
        self._times.parts[name] = found
        self._times.nullable[name] = found.nullable

    # -- joins -------------------------------------------------------------------------------------------------------

    def _join(self, join: Any, where: Sequence[Any]) -> None:
        if join.method in {"ASOF", "POSITIONAL", "NATURAL"}:
            raise Lost(f"{join.method} JOIN pairs rows of different slots")
        left = dict(self._times.parts)
        was = self._timed
        self._add(join.this)
        name = next(reversed(self._times.parts))
        right = self._times.parts[name]
        for side, parts in (("LEFT", (name,)), ("RIGHT", left), ("FULL", self._times.parts)):
            if join.side == side:
                self._times.nullable |= {one: frozenset(self._times.parts[one].carriers) for one in parts}
        used = [identifier.name for identifier in join.args.get("using") or ()]
        conditions = [*conjuncts(join.args.get("on")), *(where if not join.side else ())]
        pairs = [(exp.column(one), exp.column(one, table=name)) for one in used] + [
            pair for one in conditions if isinstance(one, exp.EQ) for pair in ((one.this, one.expression),)
        ]
        self._times.using |= set(used)
        widths = [w for a, b in pairs for w in (*self._pair(a, left, b, name), *self._pair(b, left, a, name))]
        if right.timed and (was or join.kind in {"SEMI", "ANTI"}):
            if not widths:
                raise Lost(f"it joins {name} without comparing the slots of both sides")
            self._width = lcm(self._width, min(widths))
        if join.kind in {"SEMI", "ANTI"}:  # its columns are seen in the condition alone
            del self._times.parts[name]

    def _pair(self, a: Any, left: Mapping[str, Relation], b: Any, name: str) -> Iterator[int]:
        """The width to which an equality of the left `a` and the joined relation's `b` holds both together, if it does."""
        right = {name: self._times.parts[name]}
        wide, narrow = self._times.carried(a, left), self._times.carried(b, right)
        if wide is None or narrow is None:
            return
        yield lcm(wide, narrow)
        # A row for a whole slot stands for each finer slot within it: `date_trunc('hour', minute) = hours.hour`.
        for one, scope, other, width in ((a, left, b, wide), (b, right, a, narrow)):
            whole = self._times.find(other, right if scope is left else left, "covers")
            inner = innermost(one)
            fine = self._times.carried(inner, scope) if inner is not None else None
            if whole is not None and fine is not None and whole % width == 0:
                yield fine

    # -- clauses -----------------------------------------------------------------------------------------------------

    def _subqueries(self, clause: Any) -> None:
        for node in outermost(clause, (exp.In, exp.Exists, exp.Subquery)):
            if isinstance(node, exp.In):
                self._within(node, node.args["query"])
                continue
            inner = node if isinstance(node, exp.Subquery) else node.this
            if self._query.of(inner, self._scope).timed:
                raise Lost(f"it compares with a subquery over other slots: {short(node)}")

    def _within(self, node: exp.In, query: Any) -> None:
        found = self._query.of(query, self._scope)
        if found.lost:
            raise Lost(found.lost)
        if not found.timed:
            return
        asked = node.this.expressions if isinstance(node.this, exp.Tuple) else [node.this]
        pairs = [
            (mine, found.carriers[name])
            for one, name in zip(asked, found.columns or (), strict=False)
            # NOT IN is unknown for every row when there is a null among the values.
            if name in found.carriers
            and name not in found.nullable
            and (mine := self._times.carried(one, self._times.parts)) is not None
        ]
        if not pairs:
            raise Lost(f"it compares with a subquery over other slots: {short(node)}")
        mine, theirs = min(pairs, key=lambda pair: lcm(*pair))
        if found.request is None or found.request % mine:
            self._width = lcm(self._width, mine, theirs)

    def _windows(self, clause: Any) -> None:
        if not self._timed:
            return
        named = {one.name: one for one in self._node.args.get("windows") or ()}
        for window in clause.find_all(exp.Window):
            if window.find_ancestor(exp.Subquery) not in {None, clause.find_ancestor(exp.Subquery)}:
                continue
            meant = named.get(window.alias, window)
            widths = [w for one in meant.args.get("partition_by") or () if (w := self._times.surely(one))]
            if not widths:
                raise Lost(f"{short(window)} has no slot in its PARTITION BY, so that it looks across slots")
            self._width = lcm(self._width, min(widths))

    def _grouped(self, carriers: Mapping[str, int]) -> None:
        distinct = self._node.args.get("distinct")
        if distinct is not None and distinct.args.get("on") is not None:
            if not any(self._times.surely(one) for one in distinct.args["on"].expressions):
                raise Lost("DISTINCT ON has no slot among its columns, so that rows of several slots become one")
        elif distinct is not None and not carriers:
            raise Lost("DISTINCT leaves out the slot, so that rows of several slots become one")
        group = self._node.args.get("group")
        if group is None:
            return
        if any(group.args.get(name) for name in ("rollup", "cube", "grouping_sets")):
            raise Lost("ROLLUP, CUBE and GROUPING SETS add up rows of several slots")
        if group.args.get("all"):
            if not carriers:
                raise Lost("GROUP BY ALL has no slot among its columns, so that it adds up rows of several slots")
            return
        self._keyed(group.expressions, "GROUP BY")

    def _keyed(self, keys: Iterable[Any], what: str) -> None:
        if not any(self._key(one) is not None for one in keys):
            raise Lost(f"{what} has no slot among its columns, so that it adds up rows of several slots")

    def _key(self, key: Any) -> int | None:
        """The width of a grouping key: an expression, an alias or a position among the projections."""
        if (found := self._times.carried(key, self._times.parts)) is not None:
            return found
        if isinstance(key, exp.Literal) and not key.is_string and 0 < int(key.name) <= len(self._node.expressions):
            return self._times.carried(self._node.expressions[int(key.name) - 1], self._times.parts)
        return None

    def _cut(self) -> None:
        for name in ("limit", "offset", "sample"):
            if self._node.args.get(name) is not None:
                raise Lost(f"{name.upper()} chooses among rows of several slots")

    def _projections(self) -> tuple[tuple[str, ...] | None, dict[str, int], dict[str, int]]:
        """Columns, carriers and covered slots of what is selected."""
        found: list[_Column] = []
        known = True
        for one in self._node.expressions:
            star = one if isinstance(one, exp.Star) else one.this if isinstance(one, exp.Column) else None
            if isinstance(star, exp.Star):
                columns, all_known = self._star(star, one.table if isinstance(one, exp.Column) else "")
                found += columns
                known = known and all_known
            else:
                found.append(self._column(one.alias_or_name, one.unalias()))
        # Of columns of the same name the first keeps it; which one that is does not matter when all carry a time.
        names = [column.name for column in found]
        same = {n: [column for column in found if column.name == n] for n in names}
        carriers = {
            n: lcm(*(column.width or 1 for column in ones))
            for n, ones in same.items()
            if known and all(column.width for column in ones)
        }
        covers = {n: ones[0].covers for n, ones in same.items() if len(ones) == 1 and n in carriers and ones[0].covers}
        self._absent = {n for n, ones in same.items() if any(column.nullable for column in ones)}
        return tuple(names) if known else None, carriers, covers

    def _column(self, name: str, value: Any) -> _Column:
        width = self._times.carried(value, self._times.parts)
        return _Column(
            name,
            width,
            self._times.find(value, self._times.parts, "covers") if width else None,
            self._times.may_be_null(value),
        )

    def _star(self, star: Any, chosen: str) -> tuple[list[_Column], bool]:
        """The columns of a star, and whether these are all."""
        gone = {e.name for e in star.args.get("except_") or star.args.get("except") or ()}
        new = {e.alias: e.this for e in star.args.get("replace") or ()}
        if star.args.get("rename"):
            raise Lost("RENAME in a star is not known to the analysis")
        found: list[_Column] = []
        known = True
        for alias, part in self._times.parts.items():
            if chosen not in ("", alias):
                continue
            known = known and part.columns is not None
            for name in part.columns or ():
                if name in new:
                    found.append(self._column(name, new[name]))
                elif name not in gone and not (name in self._times.using and any(name == one.name for one in found)):
                    found.append(
                        self._column(name, exp.column(name, table=None if name in self._times.using else alias))
                    )
        return found, known
