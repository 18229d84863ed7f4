"""Whether an index was filled from the lake that is here now, and by the contract that holds now.

A checkpoint says how far the index is, but commits and versions are numbers that another lake uses too: one restored from an
older backup, or one made anew under the same index. So the checkpoint carries its table's history (the writer's own name for
it), and whoever goes by the checkpoint compares it first. The same holds for the periods of its indices: were they to change
from one contract to the next, a document sent again would get a second place.

Belongs here: that comparison, for checkpoints of whatever table. Does not: what a table's history is (`tables/archive.py`).
"""

from __future__ import annotations

from dataclasses import replace

from platform_assets.core.transactions import SEQ
from platform_assets.index.checkpoints import Checkpoint
from platform_assets.index.errors import SearchError
from platform_assets.index.names import DocumentSet, layout
from platform_assets.tables.archive import history
from platform_assets.tables.table import LakeTable


class ForeignIndex(SearchError):
    """The index holds what another lake wrote; waiting does not help."""

    def __init__(self, system: str, name: str, why: str) -> None:
        super().__init__(f"the index of {system}.{name} {why}", f"run `assay reindex {system} {name}`")


def foreign(checkpoint: Checkpoint, mine: str, seq: int, layout: str = "") -> str | None:
    """Why the checkpoint is not one of the table's history `mine`, which is at `seq` now; None if it is.

    `layout` is how documents are made and spread over indices (`names.layout`), where there are several.
    """
    if checkpoint.token is None:
        return None
    # Without a history only a restore (`<table>/<moment>`) makes it another one.
    if checkpoint.history != mine and (checkpoint.history or "/" in mine):
        return "was filled from another lake, or before this one was restored"
    if checkpoint.seq > seq:
        return f"is at {checkpoint.seq}, its table only at {seq}"
    if checkpoint.layout != layout:
        return f"is laid out as {checkpoint.layout}; now it is to be {layout}"
    return None


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
