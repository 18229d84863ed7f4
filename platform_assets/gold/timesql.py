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
    if isinstance(node, (exp.TimestampTrunc, exp.DateTrunc)):
        unit = str(node.args["unit"].name).upper() if node.args.get("unit") else ""
        return None if unit not in _UNITS | dict.fromkeys(_SECONDS, 1) else (node.this, _UNITS.get(unit, 1))
    if isinstance(node, (exp.Cast, exp.TryCast)) and node.to.this in _TIMES:
        return node.this, 1440 if node.to.this is exp.DType.DATE else 1
    if isinstance(node, exp.DateBin) and isinstance(node.this, exp.Interval) and not node.args.get("origin"):
        unit = str(node.this.unit.name if node.this.unit else "").upper().removesuffix("S")
        count = node.this.this
        if unit in _UNITS and isinstance(count, exp.Literal) and count.name.isdigit() and int(count.name):
            minutes = int(count.name) * _UNITS[unit]
            return (node.expression, minutes) if 1440 % minutes == 0 else None
    if isinstance(node, exp.AtTimeZone) and node.args["zone"].name.upper() == "UTC":
        return node.this, 1
    return None


def innermost(node: Any) -> Any:
    """The column below casts and truncations; None when there is something else."""
    while not isinstance(node, exp.Column):
        step = (node.this, 1) if isinstance(node, (exp.Alias, exp.Paren)) else slot_step(node)
        if step is None:
            return None
        node = step[0]
    return node


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


def short(node: Any) -> str:
    text = " ".join(node.sql("duckdb").split())
    return text if len(text) <= 80 else f"{text[:77]}..."
