"""Taking forgotten documents out of an index that holds others too, and deleting an index that nothing is left in.

Belongs here: the order of the steps, so that no document of a row that its table has is lost. Does not belong here: which rows
those are (the caller's `spans` and `empty`), or building an index anew (`rebuild.py`).

Every row is in its table before its document is sent. So an index to which writes are blocked holds no document of a row that
came after the block: when the table, asked *then*, has no row of the period, the index may go. Writers wait for the block, and
make a new index afterwards. A crash leaves a block, which the next writer ends (`lease.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from opensearchpy import OpenSearch
from opensearchpy.exceptions import NotFoundError, OpenSearchException

from platform_assets.core.faultpoints import fault_point
from platform_assets.index.errors import translate
from platform_assets.index.indices import Index, Indices
from platform_assets.index.lease import Lease, block, unblock
from platform_assets.index.mappings import EARLIEST, LATEST
from platform_assets.index.names import DocumentSet, span_of
from platform_assets.index.times import iso

PATIENCE_S = 600.0
"""How long a rebuild of the same index is waited for."""
_RANGES = 500
"""Ranges of time in one request; a query has 1,024 clauses at most."""

Span = tuple[datetime, datetime]
"""A stretch of time: its begin (inclusive) and its end (exclusive)."""


def retire(
    indices: Indices,
    table: DocumentSet,
    index: Index,
    spans: Sequence[Span],
    empty: Callable[[], bool],
    more: Sequence[dict[str, Any]] = (),
) -> tuple[int, bool]:
    """Delete the documents whose time lies within the spans, then the index itself if the table has no row of its period.

    `more` are conditions that documents must meet besides; `empty` looks at the table anew. Returns the documents deleted and
    whether the index is gone. To be repeated when it dies. Raises SearchError.
    """
    doing = f"taking documents out of {index.name}"
    try:
        with Lease(indices.client, table, index.period, PATIENCE_S) as lease:
            serving = indices.find(table, index.period)
            if serving is None or serving.name != index.name:
                return 0, False  # a rebuild has put another one in its place, which has none of them
            lease.end_inherited_block(index.name)
            deleted = delete_within(indices.client, index.name, table.event_time, spans, more) if spans else 0
            fault_point("documents_forgotten")
            gone = empty() and _drop(indices, table, index, empty, lease)
    except OpenSearchException as error:
        raise translate(error, doing) from error
    return deleted, gone


def _drop(indices: Indices, table: DocumentSet, index: Index, empty: Callable[[], bool], lease: Lease) -> bool:
    lease.blocks(index.name)
    try:
        block(indices.client, index.name)
        fault_point("index_retiring")
        gone = empty()
        lease.check()  # whoever has taken over may have ended the block
        if gone:
            indices.delete([index.name])
            indices.forget(table, index.period)
    except BaseException:
        lease.check()
        unblock(indices.client, index.name)
        lease.blocks("")
        raise
    if not gone:
        unblock(indices.client, index.name)
    lease.blocks("")
    return gone


def holds_any(indices: Indices, table: DocumentSet, index: Index, partition: str) -> bool:
    """Whether an index holds documents of an event partition, or may: times that cannot be searched for are taken to be there.

    Raises SearchError.
    """
    begin, end = span_of(partition)
    if not searchable(begin, end):
        return True
    body = {"query": {"range": {table.event_time: {"gte": iso(begin), "lt": iso(end)}}}}
    try:
        indices.client.indices.refresh(index=index.name)
        return int(indices.client.count(index=index.name, body=body)["count"]) > 0
    except NotFoundError:
        return True  # replaced at this moment
    except OpenSearchException as error:
        raise translate(error, f"looking into {index.name}") from error


def searchable(begin: datetime, end: datetime) -> bool:
    """Whether documents of such times are found by their time: nanoseconds in 64 bits end at both sides."""
    return begin >= EARLIEST and end <= LATEST


def delete_within(
    client: OpenSearch, index: str, field: str, spans: Sequence[Span], more: Sequence[dict[str, Any]] = ()
) -> int:
    """Delete the documents of an index whose `field` lies within one of the spans and that meet `more`; how many.

    A document that is written anew meanwhile stays. Raises what the client raises.
    """
    client.indices.refresh(index=index)
    ranges = [{"range": {field: {"gte": iso(begin), "lt": iso(end)}}} for begin, end in joined(spans)]
    return sum(
        delete_where(client, index, [*more, {"bool": {"should": ranges[at : at + _RANGES]}}])
        for at in range(0, len(ranges), _RANGES)
    )


def delete_where(client: OpenSearch, index: str, conditions: Sequence[dict[str, Any]]) -> int:
    """Delete the searchable documents of an index that meet all conditions; how many. Raises what the client raises."""
    found = client.delete_by_query(
        index=index,
        body={"query": {"bool": {"filter": conditions}}},
        params={"conflicts": "proceed", "refresh": "true"},
    )
    return int(found["deleted"])


def joined(spans: Iterable[Span]) -> list[Span]:
    """The spans in order, those that touch or overlap made one."""
    found: list[Span] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found
