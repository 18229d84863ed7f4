"""One rebuild of a period's index at a time, and what is left behind by one that died.

Belongs here: the lease document and its heartbeat. Does not belong here: what a rebuild does (`rebuild.py`).

A lease is stale when its document has not changed for `STALE_S` seconds *as its observer counts them*: clocks of two machines
are never compared. A rebuild stopped for so long finds its lease gone, and then touches nothing any more.
"""

from __future__ import annotations

import secrets
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from opensearchpy import OpenSearch
from opensearchpy.exceptions import ConflictError, OpenSearchException

from platform_assets.index.checkpoints import ensure_progress_index
from platform_assets.index.errors import Conflict, SearchError, translate
from platform_assets.index.indices import Indices
from platform_assets.index.mappings import PROGRESS
from platform_assets.index.names import PROGRESS_INDEX, DocumentSet, period_alias

BEAT_S = 2.0
STALE_S = 10.0

Token = tuple[int, int]


@dataclass(slots=True)
class StaleMonitor:
    """What one observer has seen of a lease, and since when it has not changed."""

    token: Token | None = None
    since: float = 0.0

    def stale(self, token: Token) -> bool:
        """Note the lease's present token; whether it has been the same for `STALE_S` seconds."""
        now = time.monotonic()
        if token != self.token:
            self.token, self.since = token, now
        return now - self.since >= STALE_S


class Lease:
    """Held while rebuilding one period's index, or taking documents out of it; a context manager.

    Entering takes over a stale lease (after `STALE_S` seconds), and with it the write block that the dead rebuild left; it
    raises SearchError when another rebuild is at work after `patience_s` seconds still.
    """

    def __init__(self, client: OpenSearch, table: DocumentSet, period: str, patience_s: float = 0.0) -> None:
        self._client = client
        self._name = _lease_name(table, period)
        self._what = f"{table.qualified_name} {period}"
        self._patience_s = patience_s
        self._owner = secrets.token_hex(8)
        self._token: Token | None = None
        self._blocks = ""
        self._beats = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="rebuild-lease", daemon=True)

    def __enter__(self) -> Lease:
        try:
            ensure_progress_index(self._client)
            self._token = self._acquire()
        except OpenSearchException as error:
            raise translate(error, f"beginning the rebuild of {self._what}") from error
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if self._token is not None and not self._blocks:
            # Left behind when the index is down or still blocked: it grows stale, and the next writer ends both.
            with suppress(OpenSearchException):
                _drop(self._client, self._name, self._token)

    def check(self) -> None:
        """Raises Conflict unless we hold the lease now, SearchError when that cannot be told."""
        self._renew()

    def blocks(self, index: str) -> None:
        """Note, before doing it, that we block writes to `index` (and "" once that is over): others end it if we die.

        Raises as `check`.
        """
        self._blocks = index
        self._renew()

    def end_inherited_block(self, serving: str) -> None:
        """End the block that a dead rebuild left on the index that serves now. Before it is ended the lease names it still,
        so that whoever comes after us knows of it too. Raises as `check`, and what the client raises."""
        if not self._blocks:
            return
        if self._blocks == serving:
            unblock(self._client, serving)
        self.blocks("")

    def _acquire(self) -> Token:
        watch, until = StaleMonitor(), time.monotonic() + self._patience_s
        while True:
            found = _read(self._client, self._name)
            moves = found is not None and watch.token is not None and found.token != watch.token
            if moves and time.monotonic() >= until:
                raise SearchError(f"another rebuild of {self._what} is at work", "wait until it has finished")
            if found is None or watch.stale(found.token):
                self._blocks = str(found.body["blocks"]) if found else ""
                try:
                    return self._write(found.token if found else None)
                except ConflictError:
                    watch = StaleMonitor()
            time.sleep(BEAT_S / 4)

    def _keep(self) -> None:
        while not self._ended.wait(BEAT_S):
            try:
                self._renew()
            except Conflict:
                return
            except SearchError:
                continue  # the index is away; whoever acts under the lease asks for itself

    def _renew(self) -> None:
        with self._lock:
            if self._token is None:
                raise self._taken()
            try:
                self._token = self._write(self._token)
            except ConflictError as error:
                self._token = None
                raise self._taken() from error
            except OpenSearchException as error:
                raise translate(error, f"keeping the lease of {self._what}") from error

    def _write(self, token: Token | None) -> Token:
        self._beats += 1
        return _put(
            self._client, self._name, {"owner": self._owner, "beat": self._beats, "blocks": self._blocks}, token
        )

    def _taken(self) -> Conflict:
        return Conflict(f"another rebuild of {self._what} has taken over", "this one stood still for too long")


def end_orphaned_block(indices: Indices, table: DocumentSet, period: str, watch: StaleMonitor) -> bool:
    """End the write block of a rebuild that has died; returns whether it did. Call it again and again while blocked.

    A block without a lease is an operator's or the disk's, and is left alone. Never raises for an index that is away.
    """
    client, name = indices.client, _lease_name(table, period)
    try:
        found = _read(client, name)
        if found is None or not watch.stale(found.token):
            return False
        token = _put(client, name, {**found.body, "owner": secrets.token_hex(8)}, found.token)
        serving = indices.find(table, period)
        if serving is not None and serving.name == found.body["blocks"]:
            unblock(client, serving.name)
        _drop(client, name, token)
    except OpenSearchException:
        return False  # the index is away, or somebody else was quicker: the caller tries again anyway
    return True


def block(client: OpenSearch, index: str) -> None:
    """Refuse writes from now on; returns when those under way are done. Raises what the client raises."""
    client.indices.add_block(index=index, block="write")


def unblock(client: OpenSearch, index: str) -> None:
    """Allow writes again. Raises what the client raises."""
    client.indices.put_settings(index=index, body={"index.blocks.write": None})


@dataclass(frozen=True, slots=True)
class _Found:
    body: dict[str, Any]
    token: Token


def _lease_name(table: DocumentSet, period: str) -> str:
    return f"rebuild:{period_alias(table, period)}"


def _read(client: OpenSearch, name: str) -> _Found | None:
    found = client.get(index=PROGRESS_INDEX, id=name, params={"ignore": 404})
    if not found.get("found"):
        return None
    return _Found(found["_source"][PROGRESS], (int(found["_seq_no"]), int(found["_primary_term"])))


def _put(client: OpenSearch, name: str, body: dict[str, Any], token: Token | None) -> Token:
    guard: dict[str, Any] = (
        {"op_type": "create"} if token is None else {"if_seq_no": token[0], "if_primary_term": token[1]}
    )
    stored = client.index(index=PROGRESS_INDEX, id=name, body={PROGRESS: body}, params=guard)
    return int(stored["_seq_no"]), int(stored["_primary_term"])


def _drop(client: OpenSearch, name: str, token: Token) -> None:
    client.delete(index=PROGRESS_INDEX, id=name, params={"if_seq_no": token[0], "if_primary_term": token[1]})
