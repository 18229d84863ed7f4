"""What the same origin wrote around a document.

Belongs here: finding a document, its neighbours before and behind it. Does not belong here: searches (`query.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from opensearchpy import OpenSearch

from platform_assets.contracts.model import Table
from platform_assets.index.asking import Deadline
from platform_assets.index.query import hits_after, to_row


@dataclass(frozen=True, slots=True)
class Surroundings:
    """A document, and its neighbours in time order; `same` are the values of the table's origin that they share with it."""

    row: dict[str, Any]
    same: dict[str, Any]
    before: list[dict[str, Any]]
    behind: list[dict[str, Any]]


def surroundings(
    client: OpenSearch,
    table: Table,
    document_id: str,
    *,
    size: int,
    most: float = math.inf,
    deadline: Deadline | None = None,
) -> Surroundings | None:
    """Up to `size` rows on either side of the document; None when the table has none of that id that this client may see.

    No more rows are asked for on a side once they take `most` bytes.
    Raises Unavailable, SearchError.
    """
    deadline = deadline or Deadline()

    doing = f"looking around {document_id}"
    found, _ = hits_after(client, table, {"ids": {"values": [document_id]}}, 1, None, deadline, doing)
    if not found:
        return None
    [hit] = found
    same = {name: hit["_source"][name] for name in table.origin if hit["_source"].get(name) is not None}
    query = {"bool": {"filter": [{"term": {name: value}} for name, value in same.items()]}}
    before, behind = (
        hits_after(client, table, query, size, hit["sort"], deadline, doing, direction, most)[0]
        for direction in ("desc", "asc")
    )
    return Surroundings(
        to_row(table, hit),
        same,
        [to_row(table, one) for one in reversed(before)],
        [to_row(table, one) for one in behind],
    )
