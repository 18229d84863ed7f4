"""Which slots of which marts follow from touched minutes, and what must be in sight to build them.

Belongs here: the closure over the graph. Does not: reading rows (`prepare.py`), what is touched (`plan.py`).

The rule: a slot of a mart is replaced when anything that it may read has changed, and everything that it may read is in sight
while it is built: silver's rows, published rows of other marts for slots that stay, rows made in the same run for slots that are
replaced. What a slot may read is its own time, and as much before and after it as the mart declares.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from platform_assets.marts.graph import Graph, Node
from platform_assets.marts.marts import Slot
from platform_assets.marts.spans import MINUTES, Numbers, Spans, spans_of, union

_DAY = MINUTES[Slot.DAY]


def replaced(graph: Graph, minutes: Numbers, closed: Numbers) -> dict[str, Numbers]:
    """The slots of each mart that rows of these minutes of silver change, in units of its grain; those of marts that are always
    built whole are not among them.

    `closed` are days (since 1970) that keep what was published; a slot that would read one stays as well, unless its model takes
    the closed days from its own published rows.
    """
    found: dict[str, Numbers] = {}
    for node in graph.nodes:
        if node.everything:
            continue
        inputs = [spread(node, spans_of(minutes, Slot.MINUTE))] if node.tables else []
        inputs += [spread(node, spans_of(found[name], graph.node(name).mart.grain)) for name in node.marts]
        slots = union(inputs)
        found[node.mart.name] = slots[~_reads_closed(node, slots, closed)]
    return found


def spread(node: Node, changed: Spans) -> Numbers:
    """The slots of a mart that may read something within changed spans."""
    before, after = _around(node)
    return _widened(changed, after, before).slots(node.mart.grain)


def sight(node: Node, slots: Numbers) -> Spans:
    """What must be in sight to build these slots of a mart."""
    return spans_of(slots, node.mart.grain, *_around(node))


def days_read(graph: Graph, slots: Mapping[str, Numbers]) -> Numbers:
    """The days (since 1970) that these slots may read."""
    return union([sight(graph.node(name), numbers).slots(Slot.DAY) for name, numbers in slots.items()])


def _around(node: Node) -> tuple[timedelta, timedelta]:
    reads = node.reads
    return (timedelta(0), timedelta(0)) if reads is None else (reads.before, reads.after)


def _widened(spans: Spans, before: timedelta, after: timedelta) -> Spans:
    minute = timedelta(minutes=1)
    slots = Spans(spans.begins - before // minute, spans.ends + after // minute).slots(Slot.MINUTE)
    return spans_of(slots, Slot.MINUTE)


def _reads_closed(node: Node, slots: Numbers, closed: Numbers) -> npt.NDArray[np.bool_]:
    """Whether each slot lies in a closed day, or would read one that its model does not expect."""
    length = MINUTES[node.mart.grain]
    before, after = (timedelta(0), timedelta(0)) if node.closed else _around(node)
    minute = timedelta(minutes=1)
    first = (slots * length - before // minute) // _DAY
    last = ((slots + 1) * length + after // minute - 1) // _DAY
    met: npt.NDArray[np.bool_] = np.searchsorted(closed, first) < np.searchsorted(closed, last, side="right")
    return met
