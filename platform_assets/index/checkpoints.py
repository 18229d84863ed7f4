"""How far the index is: a checkpoint per table, and a progress document in each physical index.

Belongs here: reading and moving them under compare-and-set. Does not belong here: deciding how far that is.

The order that holds: bulk acknowledged, then the index's own progress, then the table's checkpoint. After a crash the
checkpoint is at most too low, and sending again changes nothing (ids and versions are external).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from opensearchpy import OpenSearch
from opensearchpy.exceptions import ConflictError, NotFoundError, OpenSearchException, RequestError

from platform_assets.index.errors import Conflict, error_type, translate
from platform_assets.index.mappings import PROGRESS
from platform_assets.index.names import PROGRESS_ID, PROGRESS_INDEX, DocumentSet, layout, read_alias

_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is in the index: all rows below `positions` (`source:shard` -> next position), read at silver's `silver_version`,
    of bronze commits up to `seq`, in a lake of that `history` (the writer's own name for it; empty when it gave none).

    `layout` says how the documents are made and spread over indices (`names.layout`); empty in the progress of a single index.
    `token` is the stored document's place in its history; None for one that was never stored.
    """

    positions: Mapping[str, int]
    silver_version: int
    seq: int = 0
    token: tuple[int, int] | None = None
    history: str = ""
    layout: str = ""


START = Checkpoint({}, -1)
"""Nothing is indexed yet."""


def ensure_progress_index(client: OpenSearch) -> None:
    """Create the index of the checkpoints unless it is there. Raises SearchError."""
    body = {
        "settings": {
            "index": {
                "number_of_shards": 1,
                "number_of_replicas": 0,
                "auto_expand_replicas": "0-1",
                "translog.durability": "request",
                "hidden": True,
            }
        },
        "mappings": {"dynamic": "strict", "properties": {PROGRESS: {"type": "object", "enabled": False}}},
    }
    try:
        if not client.indices.exists(index=PROGRESS_INDEX):
            client.indices.create(index=PROGRESS_INDEX, body=body)
    except RequestError as error:
        if error_type(error) != "resource_already_exists_exception":
            raise translate(error, f"creating {PROGRESS_INDEX}") from error
    except OpenSearchException as error:
        raise translate(error, f"creating {PROGRESS_INDEX}") from error


def read_checkpoint(client: OpenSearch, table: DocumentSet) -> Checkpoint:
    """The table's checkpoint; `START` when nothing was ever indexed. Raises SearchError."""
    try:
        return read(client, PROGRESS_INDEX, read_alias(table))
    except OpenSearchException as error:
        raise translate(error, f"reading the checkpoint of {table.qualified_name}") from error


def write_checkpoint(
    client: OpenSearch,
    table: DocumentSet,
    positions: Mapping[str, int],
    silver_version: int,
    expected: Checkpoint,
    seq: int = 0,
) -> Checkpoint:
    """Move the table's checkpoint from `expected` (as read or returned before); returns the stored one.

    Raises Conflict if somebody else moved it meanwhile (another worker has taken over: read again), ValueError if a position,
    the version or the seq would be lowered, SearchError otherwise.
    """
    merged = replace(joined(expected, positions, silver_version, seq), layout=layout(table))
    if (
        merged.positions != {**expected.positions, **positions}
        or merged.silver_version != silver_version
        or merged.seq != seq
    ):
        raise ValueError(f"the checkpoint of {table.qualified_name} is never lowered")
    try:
        try:
            return write(client, PROGRESS_INDEX, read_alias(table), merged, expected.token)
        except NotFoundError:
            ensure_progress_index(client)
            return write(client, PROGRESS_INDEX, read_alias(table), merged, expected.token)
    except ConflictError as error:
        raise Conflict(f"somebody else moved the checkpoint of {table.qualified_name}", "read it again") from error
    except OpenSearchException as error:
        raise translate(error, f"writing the checkpoint of {table.qualified_name}") from error


def replace_checkpoint(client: OpenSearch, table: DocumentSet, value: Checkpoint) -> Checkpoint:
    """Store a checkpoint whatever it was before, lower too: for an index built anew. Returns the stored one.

    Raises SearchError; Conflict if somebody else moved it since `value.token` was read.
    """
    try:
        return write(client, PROGRESS_INDEX, read_alias(table), replace(value, layout=layout(table)), value.token)
    except ConflictError as error:
        raise Conflict(f"somebody else moved the checkpoint of {table.qualified_name}", "try again") from error
    except OpenSearchException as error:
        raise translate(error, f"writing the checkpoint of {table.qualified_name}") from error


def advance(
    client: OpenSearch, index: str, positions: Mapping[str, int], silver_version: int, seq: int = 0, history: str = ""
) -> Checkpoint:
    """Raise the progress document of a physical index (or of an alias of one) to cover `positions` too; never lowers anything.

    The higher of two concurrent writers' values wins, value by value. Raises SearchError; Conflict under endless contention, when
    the index is gone (a rebuild has replaced it), or when the progress is of another history than the one given.
    """
    try:
        for _ in range(_ATTEMPTS):
            current = read(client, index, PROGRESS_ID)
            merged = joined(current, positions, silver_version, seq)
            if history:
                if current.history not in ("", history):
                    raise Conflict(f"another lake has written to {index}", "it is looked at again")
                merged = replace(merged, history=history)
            if current.token is not None and merged == current:
                return current
            try:
                return write(client, index, PROGRESS_ID, merged, current.token)
            except ConflictError:
                continue
    except NotFoundError as error:
        raise Conflict(f"{index} is gone", "look for the one that serves now") from error
    except OpenSearchException as error:
        raise translate(error, f"writing the progress of {index}") from error
    raise Conflict(f"the progress of {index} moved {_ATTEMPTS} times while it was being written", "try again")


def joined(current: Checkpoint, positions: Mapping[str, int], silver_version: int, seq: int) -> Checkpoint:
    """The higher of both, value by value; keeps the current token."""
    higher = dict(current.positions)
    for key, position in positions.items():
        higher[key] = max(position, higher.get(key, 0))
    return replace(
        current,
        positions=higher,
        silver_version=max(silver_version, current.silver_version),
        seq=max(seq, current.seq),
    )


def read(client: OpenSearch, index: str, name: str) -> Checkpoint:
    """The progress stored under an id; `START` when index or document are absent. Raises what the client raises."""
    found = client.get(index=index, id=name, params={"ignore": 404})
    if not found.get("found"):
        return START
    stored: dict[str, Any] = found["_source"][PROGRESS]
    token = (int(found["_seq_no"]), int(found["_primary_term"]))
    positions = {str(key): int(position) for key, position in stored["positions"].items()}
    return Checkpoint(
        positions,
        int(stored["silver_version"]),
        int(stored["seq"]),
        token,
        str(stored["history"]),
        str(stored["layout"]),
    )


def write(client: OpenSearch, index: str, name: str, value: Checkpoint, token: tuple[int, int] | None) -> Checkpoint:
    """Store under compare-and-set: `token` None means that there must be none yet. Raises ConflictError and the client's."""
    body = {
        PROGRESS: {
            "positions": dict(value.positions),
            "silver_version": value.silver_version,
            "seq": value.seq,
            "history": value.history,
            "layout": value.layout,
        },
    }
    guard: dict[str, Any] = (
        {"op_type": "create"} if token is None else {"if_seq_no": token[0], "if_primary_term": token[1]}
    )
    stored = client.index(index=index, id=name, body=body, params={**guard, "refresh": "false"})
    return replace(value, token=(int(stored["_seq_no"]), int(stored["_primary_term"])))
