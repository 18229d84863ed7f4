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
from dataclasses import dataclass, field, replace
from math import lcm
from typing import Any

from sqlglot import exp

from platform_assets.gold.timesql import conjuncts, innermost, outermost, short, slot_step


@dataclass(frozen=True)
class Relation:
    """What is known of a relation: its columns in order (None: unknown), its carriers with their width in minutes.

    `covers`: columns that begin a slot of that many minutes which the row stands for. `lost` says why times are mixed.
    `request`: the grain, when these are the slots under construction.
    """

    columns: tuple[str, ...] | None = ()
    carriers: Mapping[str, int] = field(default_factory=dict)
    covers: Mapping[str, int] = field(default_factory=dict)
    timed: bool = False
    lost: str | None = None
    request: int | None = None


NOTHING = Relation()
UNKNOWN_COLUMNS = Relation(columns=None)


class Lost(Exception):
    """The query mixes times; the text says where."""


def why_not(query: exp.Expression, tables: Mapping[tuple[str, str], Relation], slot: str, grain: int) -> str | None:
    """Why rows of this query may depend on other slots; None when they keep to their own.

    `tables` are the relations that the query may read, by schema and name; `grain` is the length of a slot in minutes.
    """
    found = _relation_of(query, tables)
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
    try:
        return _Query(tables).of(query, {})
    except Lost as lost:
        return _lost(lost)


def _lost(lost: Lost) -> Relation:
    return Relation(None, timed=True, lost=str(lost))


class _Query:
    """Derives relations from expressions of sqlglot."""

    def __init__(self, tables: Mapping[tuple[str, str], Relation]) -> None:
        self._tables = tables

    def of(self, node: Any, known: Mapping[str, Relation]) -> Relation:
        """The relation that a query makes; `known` are the common table expressions in sight."""
        scope = dict(known)
        if with_ := node.args.get("with_") or node.args.get("with"):
            if with_.args.get("recursive"):
                raise Lost("it has a recursive common table expression")
            for one in with_.expressions:
                scope[one.alias] = _named(self._tried(one.this, scope), one.args.get("alias"))
        if isinstance(node, exp.Subquery):
            _refuse(node, ("pivots", "sample", "limit", "offset"))
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
            return _lost(lost)

    def _set(self, node: Any, scope: Mapping[str, Relation]) -> Relation:
        _refuse(node, ("limit", "offset"))
        left, right = self.of(node.this, scope), self.of(node.expression, scope)
        if lost := left.lost or right.lost:
            raise Lost(lost)
        names = left.columns
        if node.args.get("by_name"):
            pairs = {name: name for name in left.carriers if name in right.carriers}
        elif names is not None and right.columns is not None:
            pairs = dict(zip(names, right.columns, strict=False))
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
        return Relation(names, carriers, timed=timed)

    def table(self, node: Any, scope: Mapping[str, Relation]) -> Relation:
        """What stands in FROM or JOIN."""
        if isinstance(node, exp.Subquery):
            return _named(self.of(node, scope), node.args.get("alias"))
        if not isinstance(node, exp.Table):
            if isinstance(node, (exp.Unnest, exp.Values)) or (
                isinstance(node, exp.Lateral) and isinstance(node.this, exp.Unnest)
            ):
                return UNKNOWN_COLUMNS
            raise Lost(f"{node.key} in FROM is not known to the analysis")
        _refuse(node, ("pivots", "sample", "joins"))
        if isinstance(node.this, (exp.GenerateSeries, exp.Unnest, exp.Values)):
            return UNKNOWN_COLUMNS
        found = scope.get(node.name) if not node.db else self._tables.get((node.db, node.name))
        if found is None:
            raise Lost(f"it reads {node.sql('duckdb')}, whose grain is not known")
        return _named(found, node.args.get("alias"))


class _Select:
    """One SELECT: its relations side by side, and the width to which their times are held together."""

    def __init__(self, query: _Query, node: exp.Select, scope: Mapping[str, Relation]) -> None:
        self._query = query
        self._node = node
        self._scope = scope
        self._parts: dict[str, Relation] = {}
        self._using: set[str] = set()
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
        clauses = [*node.expressions, *(node.args.get(name) for name in ("where", "having", "qualify", "order"))]
        for clause in clauses:
            if clause is not None:
                self._subqueries(clause)
                self._windows(clause)
        columns, carriers, covers = self._projections()
        if self._timed:
            self._grouped(carriers)
            self._cut()
        carriers = {name: lcm(width, self._width) for name, width in carriers.items()}
        plain = not node.args.get("group") and not node.args.get("distinct") and len(self._parts) == 1
        request = next(iter(self._parts.values())).request if plain else None
        return Relation(columns, carriers, covers if plain else {}, self._timed, request=request)

    @property
    def _timed(self) -> bool:
        return any(part.timed for part in self._parts.values())

    def _add(self, source: Any) -> None:
        found = self._query.table(source, self._scope)
        if found.lost:
            raise Lost(found.lost)
        self._parts[source.alias_or_name or f"_{len(self._parts)}"] = found

    # -- joins -------------------------------------------------------------------------------------------------------

    def _join(self, join: Any, where: Sequence[Any]) -> None:
        if join.method in {"ASOF", "POSITIONAL", "NATURAL"}:
            raise Lost(f"{join.method} JOIN pairs rows of different slots")
        left = dict(self._parts)
        was = self._timed
        self._add(join.this)
        name = next(reversed(self._parts))
        right = self._parts[name]
        used = [identifier.name for identifier in join.args.get("using") or ()]
        conditions = [*conjuncts(join.args.get("on")), *(where if not join.side else ())]
        pairs = [(exp.column(one), exp.column(one, table=name)) for one in used] + [
            pair for one in conditions if isinstance(one, exp.EQ) for pair in ((one.this, one.expression),)
        ]
        self._using |= set(used)
        widths = [w for a, b in pairs for w in (*self._pair(a, left, b, name), *self._pair(b, left, a, name))]
        if was and right.timed:
            if not widths:
                raise Lost(f"it joins {name} without comparing the slots of both sides")
            self._width = lcm(self._width, min(widths))

    def _pair(self, a: Any, left: Mapping[str, Relation], b: Any, name: str) -> Iterator[int]:
        """The width to which an equality of the left `a` and the joined relation's `b` holds both together, if it does."""
        right = {name: self._parts[name]}
        wide, narrow = self._carried(a, left), self._carried(b, right)
        if wide is None or narrow is None:
            return
        yield lcm(wide, narrow)
        # A row for a whole slot stands for each finer slot within it: `date_trunc('hour', minute) = hours.hour`.
        for one, scope, other, width in ((a, left, b, wide), (b, right, a, narrow)):
            whole = self._find(other, right if scope is left else left, "covers")
            inner = innermost(one)
            fine = self._carried(inner, scope) if inner is not None else None
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
        mine = self._carried(node.this, self._parts)
        theirs = next(iter(found.carriers.values()), None)
        if mine is None or theirs is None:
            raise Lost(f"it compares with a subquery over other slots: {short(node)}")
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
            widths = [w for one in meant.args.get("partition_by") or () if (w := self._carried(one, self._parts))]
            if not widths:
                raise Lost(f"{short(window)} has no slot in its PARTITION BY, so that it looks across slots")
            self._width = lcm(self._width, min(widths))

    def _grouped(self, carriers: Mapping[str, int]) -> None:
        distinct = self._node.args.get("distinct")
        if distinct is not None and distinct.args.get("on") is not None:
            self._keyed(distinct.args["on"].expressions, "DISTINCT ON")
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
        if (found := self._carried(key, self._parts)) is not None:
            return found
        if isinstance(key, exp.Literal) and not key.is_string and 0 < int(key.name) <= len(self._node.expressions):
            return self._carried(self._node.expressions[int(key.name) - 1], self._parts)
        if isinstance(key, exp.Column) and not key.table:
            meant = [one for one in self._node.expressions if isinstance(one, exp.Alias) and one.alias == key.name]
            return self._carried(meant[0].this, self._parts) if meant else None
        return None

    def _cut(self) -> None:
        for name in ("limit", "offset", "sample"):
            if self._node.args.get(name) is not None:
                raise Lost(f"{name.upper()} chooses among rows of several slots")

    def _projections(self) -> tuple[tuple[str, ...] | None, dict[str, int], dict[str, int]]:
        """Columns, carriers and covered slots of what is selected."""
        names: list[str] | None = []
        carriers: dict[str, int] = {}
        covers: dict[str, int] = {}
        for one in self._node.expressions:
            star = one if isinstance(one, exp.Star) else one.this if isinstance(one, exp.Column) else None
            if isinstance(star, exp.Star):
                chosen = one.table if isinstance(one, exp.Column) else ""
                gone = {e.name for e in star.args.get("except_") or star.args.get("except") or ()}
                new = {e.alias: e.this for e in star.args.get("replace") or ()}
                if star.args.get("rename"):
                    raise Lost("RENAME in a star is not known to the analysis")
                for alias, part in self._parts.items():
                    if chosen in ("", alias):
                        kept = {n: w for n, w in part.carriers.items() if n not in gone and n not in new}
                        carriers |= kept
                        covers |= {n: w for n, w in part.covers.items() if n in kept}
                        if names is not None and part.columns is not None:
                            names += [
                                n for n in part.columns if n not in gone and (n not in names or n not in self._using)
                            ]
                        else:
                            names = None
                for name, value in new.items():
                    if (width := self._carried(value, self._parts)) is not None:
                        carriers[name] = width
                continue
            name = one.alias_or_name
            if names is not None:
                names.append(name)
            if (width := self._carried(one, self._parts)) is not None:
                carriers[name] = width
                if (whole := self._find(one.unalias(), self._parts, "covers")) is not None:
                    covers[name] = whole
            else:
                carriers.pop(name, None)
        return None if names is None else tuple(names), carriers, covers

    # -- expressions -------------------------------------------------------------------------------------------------

    def _find(self, node: Any, parts: Mapping[str, Relation], what: str) -> int | None:
        """A column's entry among the carriers or the covered slots of the relations."""
        if not isinstance(node, exp.Column):
            return None
        for alias, part in parts.items():
            if node.table in ("", alias) and (found := getattr(part, what).get(node.name)) is not None:
                return int(found)
        return None

    def _carried(self, node: Any, parts: Mapping[str, Relation]) -> int | None:
        """The width that an expression carries; None when it carries no time."""
        if isinstance(node, (exp.Alias, exp.Paren)):
            return self._carried(node.this, parts)
        if isinstance(node, exp.Column):
            return self._find(node, parts, "carriers")
        if isinstance(node, exp.Coalesce):
            widths = [self._carried(one, parts) for one in (node.this, *node.expressions)]
            return lcm(*(w for w in widths if w)) if all(widths) else None
        step = slot_step(node)
        if step is None:
            return None
        inner, width = step
        carried = self._carried(inner, parts)
        return None if carried is None else lcm(carried, width)


def _named(found: Relation, alias: Any) -> Relation:
    """With the column names that an alias gives: `as t(a, b)`."""
    names = [one.name for one in (alias.args.get("columns") or ())] if alias is not None else []
    if not names:
        return found
    if found.columns is None:
        return replace(found, carriers={}, covers={})
    renamed = dict(zip(found.columns, [*names, *found.columns[len(names) :]], strict=False))
    carriers, covers = ({renamed[n]: w for n, w in kept.items()} for kept in (found.carriers, found.covers))
    return replace(found, columns=tuple(renamed.values()), carriers=carriers, covers=covers)


def _refuse(node: Any, names: Iterable[str]) -> None:
    for name in names:
        if node.args.get(name):
            raise Lost(f"{name.rstrip('s').upper()} chooses among rows of several slots")
