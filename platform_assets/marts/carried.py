"""Which time an expression of a SELECT carries, by the relations that stand in its FROM.

Belongs here: expressions over relations side by side. Does not: what clauses do with them (`slotwise.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import lcm
from typing import Any

from sqlglot import exp

from platform_assets.marts.relation import Relation
from platform_assets.marts.timesql import cut_down, slot_step


@dataclass
class Times:
    """The relations of a SELECT by alias, and its projections.

    `using` are columns that a join has put together; `nullable` are each relation's carriers that outer joins may leave null.
    """

    projections: Sequence[Any]
    parts: dict[str, Relation] = field(default_factory=dict)
    using: set[str] = field(default_factory=set)
    nullable: dict[str, frozenset[str]] = field(default_factory=dict)

    def find(self, node: Any, parts: Mapping[str, Relation], what: str) -> int | None:
        """A column's entry among the carriers or the covered slots of the relations."""
        if not isinstance(node, exp.Column):
            return None
        for alias, part in parts.items():
            if node.table in ("", alias) and (found := getattr(part, what).get(node.name)) is not None:
                return int(found)
        return None

    def _meant(self, node: Any) -> Any:
        """The projection that a name stands for when it is no column: `partition by hour` after `date_trunc(…) as hour`."""
        if not isinstance(node, exp.Column) or node.table:
            return None
        if any(part.columns is None or node.name in part.columns for part in self.parts.values()):
            return None
        same = [one for one in self.projections if isinstance(one, exp.Alias) and one.alias == node.name]
        if len(same) != 1 or any(not self._is_column(one) for one in same[0].this.find_all(exp.Column)):
            return None
        return same[0].this

    def _is_column(self, node: Any) -> bool:
        return bool(node.table) or any(node.name in (part.columns or ()) for part in self.parts.values())

    def surely(self, node: Any) -> int | None:
        """The width that an expression carries which is never null; None when there is no such."""
        width = self.carried(node, self.parts)
        return None if width is None or self.may_be_null(node) else width

    def may_be_null(self, node: Any) -> bool:
        """Whether the time that an expression carries may be null, because an outer join has found nothing."""
        node = cut_down(node)
        if isinstance(node, exp.Coalesce):
            every = [cut_down(one) for one in (node.this, *node.expressions)]
            if not all(self.may_be_null(one) for one in every):
                return False
            own = {one.table for one in every if isinstance(one, exp.Column) and one.name not in self._own(one.table)}
            return own != set(self.parts)  # a row is of one side at least
        if not isinstance(node, exp.Column):
            return False
        column = node
        if (meant := self._meant(column)) is not None:
            return self.may_be_null(meant)
        if not column.table and column.name in self.using:  # a join puts both sides' values into one
            return any(column.name in part.nullable for part in self.parts.values())
        return any(column.table in ("", alias) and column.name in names for alias, names in self.nullable.items())

    def _own(self, alias: str) -> frozenset[str]:
        """Carriers of a relation that were null before it was joined."""
        return self.parts[alias].nullable if alias in self.parts else frozenset()

    def carried(self, node: Any, parts: Mapping[str, Relation]) -> int | None:
        """The width that an expression carries; None when it carries no time."""
        if isinstance(node, (exp.Alias, exp.Paren)):
            return self.carried(node.this, parts)
        if isinstance(node, exp.Column):
            meant = self._meant(node)
            return self.find(node, parts, "carriers") if meant is None else self.carried(meant, parts)
        if isinstance(node, exp.Coalesce):
            widths = [self.carried(one, parts) for one in (node.this, *node.expressions)]
            return lcm(*(w for w in widths if w)) if all(widths) else None
        step = slot_step(node)
        if step is None:
            return None
        inner, width = step
        carried = self.carried(inner, parts)
        return None if carried is None else lcm(carried, width)
