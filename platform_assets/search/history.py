"""Whether an index was filled from the lake that is here now, and by the contract that holds now.

A frontier says how far the index is, but commits and versions are numbers that another lake uses too: one restored from an older
backup, or one made anew under the same index. So the frontier carries its table's history (the writer's own name for it), and
whoever goes by the frontier compares it first. The same holds for the periods of its indices: were they to change from one
contract to the next, a document sent again would get a second place.

Belongs here: that comparison, for frontiers of whatever table. Does not: what a table's history is (`lake/archive.py`).
"""

from __future__ import annotations

from platform_assets.search.errors import SearchError
from platform_assets.search.progress import Frontier


class ForeignIndex(SearchError):
    """The index holds what another lake wrote; waiting does not help."""

    def __init__(self, system: str, name: str, why: str) -> None:
        super().__init__(f"the index of {system}.{name} {why}", f"run `assay reindex {system} {name}`")


def foreign(frontier: Frontier, mine: str, seq: int, layout: str = "") -> str | None:
    """Why the frontier is not one of the table's history `mine`, which is at `seq` now; None if it is.

    `layout` is how the contract spreads documents over indices (`names.layout`), where there are several.
    """
    if frontier.token is None:
        return None
    # Without a history only a restore (`<table>/<moment>`) makes it another one.
    if frontier.history != mine and (frontier.history or "/" in mine):
        return "was filled from another lake, or before this one was restored"
    if frontier.seq > seq:
        return f"is at {frontier.seq}, its table only at {seq}"
    if frontier.layout != layout:
        return f"is divided by {frontier.layout}; now it is to be by {layout}"
    return None
