"""What the proof that a query keeps to slots knows of a relation.

Belongs here: the relation, and giving its columns other names. Does not: deriving it from a query (`slotwise.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Relation:
    """What is known of a relation: its columns in order (None: unknown), its carriers with their width in minutes.

    `covers`: columns that begin a slot of that many minutes which the row stands for. `lost` says why times are mixed.
    `request`: the grain, when these are the slots under construction. `nullable`: carriers that an outer join may leave null; all
    those rows would be one group of a window.
    """

    columns: tuple[str, ...] | None = ()
    carriers: Mapping[str, int] = field(default_factory=dict)
    covers: Mapping[str, int] = field(default_factory=dict)
    timed: bool = False
    lost: str | None = None
    request: int | None = None
    nullable: frozenset[str] = frozenset()


NOTHING = Relation()
UNKNOWN_COLUMNS = Relation(columns=None)


class Lost(Exception):
    """The query mixes times; the text says where."""


def named(found: Relation, alias: Any) -> Relation:
    """With the column names that an alias gives: `as t(a, b)`."""
    names = [one.name for one in (alias.args.get("columns") or ())] if alias is not None else []
    if not names:
        return found
    if found.columns is None:
        return replace(found, columns=tuple(names) if found is UNKNOWN_COLUMNS else None, carriers={}, covers={})
    renamed = dict(zip(found.columns, [*names, *found.columns[len(names) :]], strict=False))
    carriers, covers = ({renamed[n]: w for n, w in kept.items()} for kept in (found.carriers, found.covers))
    nullable = frozenset(renamed[name] for name in found.nullable)
    return replace(found, columns=tuple(renamed.values()), carriers=carriers, covers=covers, nullable=nullable)


def lowered(found: Relation) -> Relation:
    """With names in lower case: the engine does not tell cases apart."""
    columns = None if found.columns is None else tuple(name.lower() for name in found.columns)
    carriers, covers = (
        {name.lower(): width for name, width in kept.items()} for kept in (found.carriers, found.covers)
    )
    return replace(found, columns=columns, carriers=carriers, covers=covers)


def refuse(node: Any, names: Iterable[str]) -> None:
    """Raises Lost when a query has one of these clauses."""
    for name in names:
        if node.args.get(name):
            raise Lost(f"{name.rstrip('s').upper()} chooses among rows of several slots")
