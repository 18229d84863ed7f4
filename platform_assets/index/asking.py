"""Asking the index for somebody who waits for the answer.

Belongs here: the one request that every such question is made of, and how long all of an answer's requests may take together.
Does not belong here: what is asked (`query.py`, `charts.py`, `marts.py`), or who asks (`callers.py`).
"""

from __future__ import annotations

import time
from typing import Any

from opensearchpy import OpenSearch
from opensearchpy.exceptions import OpenSearchException

from platform_assets.index.errors import too_long, translate

TIMEOUT_S = 10.0
_ANSWER_S = 2.0
_PARAMS = {
    "ignore_unavailable": "true",
    "allow_no_indices": "true",
    "allow_partial_search_results": "false",
    # Indices whose times lie outside of the question's are left out; by default only from 128 shards on.
    "pre_filter_shard_size": "1",
}


class Deadline:
    """When the time for an answer is over. All requests that the answer takes share it, and threads may."""

    def __init__(self, seconds: float = TIMEOUT_S) -> None:
        self._end = time.monotonic() + seconds

    def left(self, doing: str) -> float:
        """Seconds until then. Raises TimeExceeded, which names what was being done, when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise too_long(doing)
        return left

    @property
    def patience(self) -> float:
        """Seconds that an answer is waited for: a little more, for a node whose time is over says so itself."""
        return max(0.0, self._end - time.monotonic()) + _ANSWER_S


def ask(client: OpenSearch, index: str, body: dict[str, Any], deadline: Deadline, doing: str) -> dict[str, Any]:
    """The answer to a search, whole or not at all: an index that is not there has no hits, and no aggregations.

    Raises TimeExceeded, TooManyClauses, Unavailable, SearchError.
    """
    within = {**body, "timeout": f"{max(1, int(deadline.left(doing) * 1000))}ms"}
    try:
        found: dict[str, Any] = client.search(
            index=index, body=within, params={**_PARAMS, "request_timeout": deadline.patience}
        )
    except OpenSearchException as error:
        raise translate(error, doing) from error
    return found
