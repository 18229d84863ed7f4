"""A frontier in the index, and the table of this lake that it must belong to.

Belongs here: bringing both together. Does not: the comparison (`search/history.py`), the frontier (`search/progress.py`), or
putting an index right (`reindex.py`).
"""

from __future__ import annotations

from dataclasses import replace

from platform_assets.lake.archive import history
from platform_assets.lake.table import LakeTable
from platform_assets.lane.land import SEQ
from platform_assets.search.history import ForeignIndex, foreign
from platform_assets.search.names import DocumentSet, layout
from platform_assets.search.progress import Frontier


def owned(frontier: Frontier, documents: DocumentSet, table: LakeTable, counter: str = SEQ) -> Frontier:
    """The frontier as one of this table's history; `counter` is the application transaction that the frontier follows.

    Read the frontier first: the table is refreshed here. Raises ForeignIndex.
    """
    table.refresh()
    mine = history(table)
    why = foreign(frontier, mine, table.transaction(counter) or 0, layout(documents))
    if why is not None:
        raise ForeignIndex(documents.system, documents.name, why)
    return replace(frontier, history=mine)
