"""A checkpoint in the index, and the table of this lake that it must belong to.

Belongs here: bringing both together. Does not: the comparison (`index/history.py`), the checkpoint (`index/checkpoints.py`), or
putting an index right (`reindex.py`).
"""

from __future__ import annotations

from dataclasses import replace

from platform_assets.index.checkpoints import Checkpoint
from platform_assets.index.history import ForeignIndex, foreign
from platform_assets.index.names import DocumentSet, layout
from platform_assets.ingest.land import SEQ
from platform_assets.tables.archive import history
from platform_assets.tables.table import LakeTable


def owned(checkpoint: Checkpoint, documents: DocumentSet, table: LakeTable, counter: str = SEQ) -> Checkpoint:
    """The checkpoint as one of this table's history; `counter` is the application transaction that the checkpoint follows.

    Read the checkpoint first: the table is refreshed here. Raises ForeignIndex.
    """
    table.refresh()
    mine = history(table)
    why = foreign(checkpoint, mine, table.transaction(counter) or 0, layout(documents))
    if why is not None:
        raise ForeignIndex(documents.system, documents.name, why)
    return replace(checkpoint, history=mine)
