"""An index that is built anew from another lake, or in other periods, taken over by this lake's checkpoint.

Belongs here: the order of building, deleting and owning, for tables of whatever kind. Does not: the rows (`ingest/reindex.py`,
`marts/reindex.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from opensearchpy import OpenSearch

from platform_assets.index.checkpoints import (
    Checkpoint,
    ensure_progress_index,
    read_checkpoint,
    replace_checkpoint,
)
from platform_assets.index.errors import Conflict
from platform_assets.index.history import foreign
from platform_assets.index.indices import Indices
from platform_assets.index.names import DocumentSet, layout

Now = Callable[[], tuple[Collection[str], int]]
"""The periods that a table has rows of and its last commit, as they are when it is called."""


def build_all(now: Now, build: Callable[[str], int]) -> dict[str, int]:
    """Build every period that the table has, those included that come meanwhile: the documents of each."""
    documents: dict[str, int] = {}
    while left := sorted(set(now()[0]) - documents.keys()):
        documents |= {period: build(period) for period in left}
    return documents


def take_over(
    indices: Indices,
    documents: DocumentSet,
    checkpoint: Checkpoint,
    *,
    built: Collection[str],
    now: Now,
) -> list[str]:
    """After the build: delete the indices that are not of this lake, and make the checkpoint follow it.

    Those are the ones of periods that were not `built`: as long as the checkpoint is another lake's, this one's publisher makes
    none. Once it is this lake's, what its publisher made meanwhile stays. Returns the periods deleted. Raises SearchError.
    """
    ensure_progress_index(indices.client)
    found = indices.all(documents)
    stored = read_checkpoint(indices.client, documents)
    periods, seq = now()
    known = set(built) if foreign(stored, checkpoint.history, seq, layout(documents)) else {*built, *periods}
    surplus = [index for index in found if index.period not in known]
    indices.delete([index.name for index in surplus])
    _own_checkpoint(indices.client, documents, checkpoint)
    return sorted({index.period for index in surplus})


def _own_checkpoint(client: OpenSearch, documents: DocumentSet, value: Checkpoint) -> None:
    """Make the checkpoint follow this lake, from `value` on. Raises SearchError."""
    for _ in range(_TRIES):
        found = read_checkpoint(client, documents)
        if value.history and found.history == value.history and found.seq > value.seq:
            return  # this lake's own publisher is further, and what it published is there
        try:
            replace_checkpoint(client, documents, replace(value, token=found.token))
        except Conflict:
            continue
        return
    raise Conflict(
        f"the checkpoint of {documents.qualified_name} moved again and again", "end the workers of the other lake"
    )


_TRIES = 10
