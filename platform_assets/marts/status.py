"""How far gold is behind silver, and what its tables hold.

Belongs here: figures from the Delta logs alone. Does not: refreshing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from platform_assets.contracts.model import Contract
from platform_assets.core.transactions import REFRESH
from platform_assets.marts.graph import Graph
from platform_assets.marts.plan import Consumed, consumed


@dataclass(frozen=True, slots=True)
class MartState:
    """One mart: rows, partitions, and the number of the refresh that last replaced slots of it (None: never)."""

    name: str
    rows: int
    partitions: int
    refresh: int | None


@dataclass(frozen=True)
class GoldState:
    """A system's gold: where it stands by silver table, its marts, and those that are refused, with the reason."""

    system: str
    consumed: dict[str, Consumed] = field(default_factory=dict)
    marts: tuple[MartState, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def behind(self) -> bool:
        """Whether a refresh has anything to do."""
        return any(found.behind for found in self.consumed.values())


def gold_state(lake: Path, contract: Contract, graph: Graph) -> GoldState:
    """The state of a system's gold."""
    states = []
    for mart in graph.marts:
        table = mart.table(lake)
        counts = table.partitions() if table.exists() else {}
        number = table.transaction(REFRESH) if table.exists() else None
        states.append(MartState(mart.name, sum(counts.values()), len(counts), number))
    return GoldState(contract.system, consumed(lake, contract, graph.marts), tuple(states), dict(graph.refused))
