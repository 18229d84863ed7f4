"""Physical indices and their aliases.

Belongs here: creating, finding, listing and deleting indices; which one serves a period. Does not belong here: building a new
generation (`rebuild.py`), taking documents out (`retire.py`), or what is written (`bulk.py`).

An index serves when it carries its period's alias; one without is half-built, and nobody reads or writes it but the rebuild
that made it.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from opensearchpy import OpenSearch
from opensearchpy.exceptions import OpenSearchException, RequestError

from platform_assets.index.budget import SHARE, shard_budget
from platform_assets.index.errors import SearchError, ShardLimit, error_type, reason_of, translate
from platform_assets.index.mappings import (
    ROW,
    index_template,
    mapping,
    mapping_version,
    row_alias,
    row_mapping,
    settings,
    template_name,
)
from platform_assets.index.names import (
    HISTORY,
    PROGRESS_ID,
    DocumentSet,
    index_name,
    period_alias,
    read_alias,
    split_index_name,
)

READ_FILTER: dict[str, Any] = {"bool": {"must_not": {"ids": {"values": [PROGRESS_ID]}}}}
"""What the read alias hides."""

_LAYERS = ("transient", "persistent", "defaults")  # the first that says something holds
_LIST_FIELDS = "*.aliases,*.settings.index.creation_date,*.settings.index.blocks,*.mappings._meta"

_ROW_FIELDS = f"*.settings.index.uuid,*.mappings.properties.{ROW}"  # the first is there always


def auto_creates(found: Mapping[str, Any]) -> bool:
    """Whether these cluster settings (with defaults) let a write create an index."""
    values = [found.get(layer, {}).get("action", {}).get("auto_create_index") for layer in _LAYERS]
    return str(next((value for value in values if value is not None), "true")).lower() != "false"


@dataclass(frozen=True, slots=True)
class Index:
    """A physical index. `base` is the silver version it was built from; -1 for one that began empty."""

    name: str
    period: str
    generation: int
    serving: bool
    blocked: bool
    base: int
    created_ms: int
    mapping_version: str


class Indices:
    """The indices of all tables, as one client sees them. Threads may share it."""

    def __init__(
        self, client: OpenSearch, *, shards: int = 1, replicas: int = 0, refresh: str = "1s", share: float = SHARE
    ) -> None:
        """`share` of the cluster's limit of shards is for everybody; above it, history gets no new index."""
        self.client = client
        self._share = share
        self._shape: dict[str, Any] = {"shards": shards, "replicas": replicas, "refresh": refresh}
        self._serving: dict[str, Index] = {}
        self._lock = threading.Lock()
        self._creating = threading.Lock()

    def ensure_template(self, table: DocumentSet) -> None:
        """Put the table's index template, and its row policy into every index that has another. Raises SearchError.

        Refuses a node that creates indices by itself: a document sent to an index that a rebuild has just replaced would make it
        again, and nobody would ever read it there.
        """
        params = {"include_defaults": "true", "filter_path": "**.auto_create_index"}
        try:
            if auto_creates(self.client.cluster.get_settings(params=params)):
                raise SearchError(
                    "OpenSearch creates indices by itself, so that documents could go astray",
                    "set action.auto_create_index to false in opensearch.yml or in the cluster's settings",
                )
            self.client.indices.put_index_template(name=template_name(table), body=index_template(table, **self._shape))
            self._put_row_policy(table)
        except OpenSearchException as error:
            raise translate(error, f"putting the index template of {table.qualified_name}") from error

    def _put_row_policy(self, table: DocumentSet) -> None:
        """Lead the alias of the row policy to the contract's field, in indices that nobody writes to any more too.

        An index in which the field is of another type is closed to limited readers until it is built anew.
        """
        params = {"filter_path": _ROW_FIELDS, "expand_wildcards": "all"}
        found = self.client.indices.get(index=f"{read_alias(table)}-*", params=params)
        wanted = row_alias(table.row_policy)
        for name, one in found.items():
            here = one.get("mappings", {}).get("properties", {}).get(ROW)
            if here == wanted or split_index_name(table, name) is None:
                continue
            try:
                self.client.indices.put_mapping(index=name, body={"properties": row_mapping(table, table.row_policy)})
            except RequestError:
                self.client.indices.put_mapping(index=name, body={"properties": row_mapping(table, None)})

    def resolve(self, table: DocumentSet, period: str) -> Index:
        """The index that serves this period, created when there is none. Remembered until `forget`.

        Raises what the client raises, ShardLimit for history that has to leave the last shards to other rows, and SearchError
        when the mapping cannot follow the contract.
        """
        alias = period_alias(table, period)
        with self._lock:
            known = self._serving.get(alias)
        if known is not None:
            return known
        with self._creating:
            index = self.find(table, period)
            if index is None:
                self._leave_room(table, period)
                self.create(table, period, 1, serve=True)
                index = self.find(table, period)
        if index is None:
            raise SearchError(f"nothing serves {alias}, though its first index exists", _reindex(table))
        if index.mapping_version != mapping_version(table):
            self._follow_contract(table, index)
        with self._lock:
            self._serving[alias] = index
        return index

    def _leave_room(self, table: DocumentSet, period: str) -> None:
        """History may be of any age, and must not take the last shards: rows that arrive now need them in every system."""
        if not period.startswith(HISTORY):
            return
        budget = shard_budget(self.client, self._share)
        if budget.open >= budget.share * budget.limit:
            raise ShardLimit(
                f"creating the index of {table.qualified_name} {period}",
                f"{budget}, and history leaves the last {1 - budget.share:.0%} to rows that arrive in time",
            )

    def forget(self, table: DocumentSet, period: str) -> None:
        """Look again at the next `resolve`: the index was blocked, replaced or deleted."""
        with self._lock:
            self._serving.pop(period_alias(table, period), None)

    def find(self, table: DocumentSet, period: str) -> Index | None:
        """The index that serves this period now; None when there is none. Raises what the client raises."""
        found = self.client.indices.get(index=period_alias(table, period), params={"ignore": 404})
        if found.get("status") == 404:
            return None
        serving = [index for index in self._parse(table, found) if index.serving]
        if len(serving) > 1:
            names = ", ".join(index.name for index in serving)
            raise SearchError(f"more than one index serves {period}: {names}", _reindex(table))
        return serving[0] if serving else None

    def all(self, table: DocumentSet) -> list[Index]:
        """Every physical index of the table, serving or half-built, by period and generation. Raises SearchError."""
        try:
            found = self.client.indices.get(
                index=f"{read_alias(table)}-*", params={"filter_path": _LIST_FIELDS, "expand_wildcards": "all"}
            )
        except OpenSearchException as error:
            raise translate(error, f"listing the indices of {table.qualified_name}") from error
        return sorted(self._parse(table, found), key=lambda index: (index.period, index.generation))

    def create(self, table: DocumentSet, period: str, generation: int, *, serve: bool, base: int = -1) -> str:
        """Create a physical index, with its aliases in the same step if it is to `serve`; returns its name.

        One that exists already is left as it is: two workers may race. Raises what the client raises.
        """
        name = index_name(table, period, generation)
        mappings = {**mapping(table), "_meta": {"mapping_version": mapping_version(table), "base": base}}
        aliases: dict[str, Any] = {}
        if serve:
            aliases = {read_alias(table): {"filter": READ_FILTER}, period_alias(table, period): {}}
        body = {"settings": settings(table, **self._shape), "mappings": mappings, "aliases": aliases}
        try:
            self.client.indices.create(index=name, body=body)
        except RequestError as error:
            if error_type(error) != "resource_already_exists_exception":
                raise
        return name

    def set_base(self, table: DocumentSet, name: str, base: int) -> None:
        """Note the silver version that an index holds entirely. Raises what the client raises."""
        meta = {"mapping_version": mapping_version(table), "base": base}
        self.client.indices.put_mapping(index=name, body={"_meta": meta})

    def delete(self, names: Collection[str]) -> None:
        """Delete physical indices; those that are gone already are fine. Raises SearchError."""
        for name in names:
            try:
                self.client.indices.delete(index=name, params={"ignore_unavailable": "true"})
            except OpenSearchException as error:
                raise translate(error, f"deleting the index {name}") from error

    def refresh(self, table: DocumentSet) -> None:
        """Make everything written so far searchable now (tests and proofs; the worker leaves it to the interval)."""
        try:
            self.client.indices.refresh(index=read_alias(table), params={"ignore_unavailable": "true"})
        except OpenSearchException as error:
            raise translate(error, f"refreshing {table.qualified_name}") from error

    def _follow_contract(self, table: DocumentSet, index: Index) -> None:
        """Add the contract's new fields to an existing index. A changed type needs a new one."""
        body = {**mapping(table), "_meta": {"mapping_version": mapping_version(table), "base": index.base}}
        try:
            self.client.indices.put_mapping(index=index.name, body=body)
        except RequestError as error:
            raise SearchError(
                f"the mapping of {index.name} does not fit contract {table.version}: {reason_of(error)}",
                _reindex(table),
            ) from error

    def _parse(self, table: DocumentSet, found: dict[str, Any]) -> list[Index]:
        parsed = []
        for name, info in found.items():
            parts = split_index_name(table, name)
            if parts is None:
                continue
            period, generation = parts
            inner = info.get("settings", {}).get("index", {})
            meta = info.get("mappings", {}).get("_meta", {})
            parsed.append(
                Index(
                    name=name,
                    period=period,
                    generation=generation,
                    serving=period_alias(table, period) in info.get("aliases", {}),
                    blocked=str(inner.get("blocks", {}).get("write", "false")) == "true",
                    base=int(meta.get("base", -1)),
                    created_ms=int(inner.get("creation_date", 0)),
                    mapping_version=str(meta.get("mapping_version", "")),
                )
            )
        return parsed


def _reindex(table: DocumentSet) -> str:
    return f"run `assay reindex {table.system} {table.name}`"
