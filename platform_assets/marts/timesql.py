"""Expressions of time in SQL, and ways through a parsed query.

Belongs here: what a single expression does. Does not: what follows for a relation (`slotwise.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlglot import exp

_UNITS = {"MINUTE": 1, "HOUR": 60, "DAY": 1440}
_SECONDS = frozenset({"SECOND", "SECONDS", "MILLISECOND", "MICROSECOND", "MILLISECONDS", "MICROSECONDS"})
_TIMES = (exp.DType.DATE, exp.DType.TIMESTAMP, exp.DType.TIMESTAMPTZ)


def slot_step(node: Any) -> tuple[Any, int] | None:
    """What an expression cuts to slots, and to slots of how many minutes; None for what is no such expression."""
    if isinstance(node, (exp.TimestampTrunc, exp.DateTrunc)) and not node.args.get("zone"):
        unit = str(node.args["unit"].name).upper() if node.args.get("unit") else ""
        return None if unit not in _UNITS | dict.fromkeys(_SECONDS, 1) else (node.this, _UNITS.get(unit, 1))
    if isinstance(node, (exp.Cast, exp.TryCast)) and node.to.this in _TIMES:
        return node.this, 1440 if node.to.this is exp.DType.DATE else 1
    if (
        isinstance(node, exp.DateBin)
        and isinstance(node.this, exp.Interval)
        and set(_given(node)) == {"this", "expression"}
    ):
        unit = str(node.this.unit.name if node.this.unit else "").upper().removesuffix("S")
        count = node.this.this
        if unit in _UNITS and isinstance(count, exp.Literal) and count.name.isdigit() and int(count.name):
            minutes = int(count.name) * _UNITS[unit]
            return (node.expression, minutes) if 1440 % minutes == 0 else None
    if isinstance(node, exp.AtTimeZone) and node.args["zone"].name.upper() == "UTC":
        return node.this, 1
    return None


def _given(node: Any) -> Iterator[str]:
    """The arguments that a function has been given: an offset, an origin or a time zone would move its slots."""
    return (name for name, value in node.args.items() if value is not None and value != [])


def cut_down(node: Any) -> Any:
    """What is below casts and truncations."""
    while (step := (node.this, 1) if isinstance(node, (exp.Alias, exp.Paren)) else slot_step(node)) is not None:
        node = step[0]
    return node


def innermost(node: Any) -> Any:
    """The column below casts and truncations; None when there is something else."""
    found = cut_down(node)
    return found if isinstance(found, exp.Column) else None


def conjuncts(node: Any) -> Iterator[Any]:
    """The conditions that all must hold."""
    if isinstance(node, (exp.And, exp.Paren, exp.Where)):
        for child in (node.this, node.args.get("expression")):
            yield from conjuncts(child)
    elif node is not None:
        yield node


def outermost(node: Any, kinds: tuple[type[Any], ...]) -> Iterator[Any]:
    """The nodes of these kinds that lie in no other of them."""
    if isinstance(node, kinds) and (not isinstance(node, exp.In) or node.args.get("query") is not None):
        yield node
        return
    for child in node.iter_expressions():
        yield from outermost(child, kinds)


_BY_ORDER = (
    exp.First, exp.Last, exp.ArrayAgg, exp.GroupConcat, exp.FirstValue, exp.LastValue, exp.NthValue, exp.RowNumber, exp.Lag,
    exp.Lead, exp.Ntile,
)  # fmt: skip
"""Functions whose answer follows the order of rows."""
_WHOLE = frozenset(
    {
        "arraysort",
        "length",
        "arraysize",
        "arraymax",
        "arraymin",
        "arraycontains",
        "list_sum",
        "list_count",
        "list_unique",
    }
)
"""Functions of a list whose answer does not follow its order."""


def unordered(query: Any) -> Any:
    """A function whose answer follows the order of rows although the query gives them none; None when there is none such."""
    named = {one.name: one for one in query.find_all(exp.Window) if isinstance(one.this, exp.Identifier)}
    for node in query.find_all(*_BY_ORDER):
        if isinstance(node.this, exp.Order) or (isinstance(node.this, exp.Distinct) and node.this.find(exp.Order)):
            continue
        outer = node.parent
        while isinstance(outer, (exp.Filter, exp.IgnoreNulls, exp.RespectNulls, exp.Paren)):
            outer = outer.parent
        if isinstance(outer, exp.Window):
            if not (outer.args.get("order") or named.get(outer.alias, outer).args.get("order")):
                return outer
        elif isinstance(node, exp.ArrayAgg) and isinstance(outer, exp.Func) and _function(outer) in _WHOLE:
            continue
        elif not isinstance(outer, exp.WithinGroup):
            return node
    return None


def _function(node: Any) -> str:
    return str(node.name if isinstance(node, exp.Anonymous) else node.key).lower()


def short(node: Any) -> str:
    text = " ".join(node.sql("duckdb").split())
    return text if len(text) <= 80 else f"{text[:77]}..."
