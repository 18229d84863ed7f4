"""Whether an index was filled from the lake that is here now.

A frontier says up to which bronze commit the index is, but commits and versions are numbers that another lake uses too: one
restored from an older backup, or one made anew under the same index. So the frontier carries silver's history (the table's
UUID and when it was restored), and whoever goes by the frontier compares it first.

Belongs here: that comparison. Does not: the frontier (`search/progress.py`), or putting an index right (`reindex.py`).
"""

from __future__ import annotations

from dataclasses import replace

from platform_assets.contracts.model import Table
from platform_assets.lake.archive import RESTORED
from platform_assets.lake.table import LakeTable
from platform_assets.lane.land import SEQ
from platform_assets.search.errors import SearchError
from platform_assets.search.progress import Frontier


class ForeignIndex(SearchError):
    """The index holds what another lake wrote; waiting does not help."""

    def __init__(self, contract: Table, why: str) -> None:
        super().__init__(
            f"the index of {contract.qualified_name} {why}", f"run `assay reindex {contract.system} {contract.name}`"
        )


def history(silver: LakeTable) -> str:
    """What tells this silver from every other, also from itself before a restore. In the snapshot in hand."""
    return history_of(silver.identity, silver.transaction(RESTORED))


def history_of(identity: str, restored: int | None) -> str:
    """`<table's UUID>`, and `/<moment>` when the table was restored."""
    return identity if restored is None else f"{identity}/{restored}"


def foreign(frontier: Frontier, mine: str, seq: int) -> str | None:
    """Why the frontier is not one of silver's history `mine`, which holds bronze commits up to `seq`; None if it is."""
    if frontier.token is None:
        return None
    # Written before frontiers had histories: then only a restore makes it another one.
    if frontier.history != mine and (frontier.history or "/" in mine):
        return "was filled from another lake, or before this one was restored"
    if frontier.seq > seq:
        return f"holds bronze commits up to {frontier.seq}, silver ends at {seq}"
    return None


def owned(frontier: Frontier, contract: Table, silver: LakeTable) -> Frontier:
    """The frontier as one of this silver's history. Read the frontier first: silver is refreshed here. Raises ForeignIndex."""
    silver.refresh()
    mine = history(silver)
    why = foreign(frontier, mine, silver.transaction(SEQ) or 0)
    if why is not None:
        raise ForeignIndex(contract, why)
    return replace(frontier, history=mine)
