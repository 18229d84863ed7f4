"""Incidents for people's queries: the index behind the alias `<system>-alerts`, which follows the table.

Belongs here: its mapping, bringing it up to the table's revision, building it anew. Does not: events' documents (search).
The id is the alert's, the external version its revision: a repetition changes nothing. How far the index is, and of which lake,
stands in the index itself, so that one that was deleted is filled again, and one that another lake has filled is left alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Any

from opensearchpy import OpenSearch
from opensearchpy.exceptions import OpenSearchException, RequestError

from platform_assets.alerts.incident import RESOLVED, Alert
from platform_assets.alerts.store import SCHEMA, AlertStore, Incidents
from platform_assets.contracts.types import UTC_MICROS
from platform_assets.core.faultpoints import fault_point
from platform_assets.core.settings import Settings
from platform_assets.core.transactions import REVISION
from platform_assets.index.checkpoints import advance, read
from platform_assets.index.client import connect
from platform_assets.index.errors import Conflict, SearchError, Unavailable, error_type, translate
from platform_assets.index.history import ForeignIndex, foreign
from platform_assets.index.indices import READ_FILTER
from platform_assets.index.mappings import PROGRESS, ROW
from platform_assets.index.names import PROGRESS_ID, generation_name, generation_of
from platform_assets.tables.archive import history

TIMEOUT_S = 10.0
BATCH = 500
"""Documents a request: a backlog after an outage comes in pieces."""
NAME = "alerts"
"""What the index is called beside the tables of its system."""
HIDDEN = ("cool_down_s", "send_after", "attempts", "delivered", "revision", "ordinal", "told")
"""Bookkeeping of the table that nobody searches for."""


def alerts_alias(system: str) -> str:
    """Where people read a system's alerts."""
    return f"{system}-{NAME}"


def mapping() -> dict[str, Any]:
    """Strict; texts as keywords, times in microseconds."""
    kinds = {
        "string": {"type": "keyword", "ignore_above": 1024},
        "int64": {"type": "long"},
        "double": {"type": "double"},
        "bool": {"type": "boolean"},
    }
    date = {"type": "date_nanos", "format": "rfc3339_lenient"}
    properties = {f.name: date if f.type == UTC_MICROS else kinds[str(f.type)] for f in SCHEMA if f.name not in HIDDEN}
    row = {"type": "alias", "path": "visible_to"}
    return {"dynamic": "strict", "properties": {**properties, ROW: row, PROGRESS: {"type": "object", "enabled": False}}}


def document(alert: Alert) -> dict[str, Any]:
    """What people see of an alert."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in asdict(alert).items()
        if name not in HIDDEN
    }


class AlertIndex:
    """One system's alerts in OpenSearch. Not for several threads."""

    def __init__(self, settings: Settings, system: str) -> None:
        self._settings = settings
        self._system = system
        self._alias = alerts_alias(system)
        self._name = ""  # of the index that serves; known while connected
        self._client: OpenSearch | None = None
        self._done = 0

    def close(self) -> None:
        """End the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def follow(self, store: AlertStore) -> int:
        """Bring the index to what the table holds; documents sent. Call again later when it raises.

        Raises SearchError; ForeignIndex when another lake has filled the index.
        """
        if _newest(store.load()) <= self._done:
            return 0
        with self._connection(f"writing to {self._alias}") as client:
            known, done = self._known(client, store)
            waiting = [alert for alert in known.values() if alert.revision > done]
            self._send(client, self._name, waiting)
            fault_point("alert_indexed")
            newest = _newest(known)
            advance(client, self._name, {}, newest, newest, history(store.table))
        self._done = newest
        return len(waiting)

    def forget(self, store: AlertStore) -> int:
        """Delete the documents of incidents that the table has forgotten; how many. Raises as `follow`, and may be repeated."""
        if not store.table.exists():
            return 0
        gone = 0
        with self._connection(f"deleting from {self._alias}") as client:
            self._known(client, store)
            for ids in self._resolved(client):
                known = store.load()  # after the index: what is in it was in the table before
                forgotten = [alert_id for alert_id in ids if alert_id not in known]
                if forgotten:
                    query = {"query": {"ids": {"values": forgotten}}}
                    params = {"conflicts": "proceed", "refresh": "true"}
                    gone += int(client.delete_by_query(index=self._name, body=query, params=params)["deleted"])
        return gone

    def rebuild(self, store: AlertStore) -> tuple[dict[str, int], list[str]]:
        """Build the index anew from the table, whatever has filled it; the old one serves until then.

        Documents by index, and the indices of a lake that has no alerts: they are deleted. Safe beside workers, and to be
        repeated. Raises SearchError.
        """
        with self._connection(f"building {self._alias} anew") as client:
            old = self._generations(client)
            if not store.table.exists():
                if old:
                    client.indices.delete(index=",".join(old), params={"ignore_unavailable": "true"})
                self.close()
                return {}, old
            made = self._create(client, old, serve=False)
            known = store.load()
            self._send(client, made, known.values())
            newest = _newest(known)
            advance(client, made, {}, newest, newest, history(store.table))
            actions: list[dict[str, Any]] = [
                {"add": {"index": made, "alias": self._alias, "filter": READ_FILTER}},
                *({"remove_index": {"index": name}} for name in old),
            ]
            client.indices.update_aliases(body={"actions": actions})
            self._name, self._done = made, newest
        self.follow(store)  # what a worker has sent to the old one meanwhile
        return {made: len(known)}, []

    @contextmanager
    def _connection(self, doing: str) -> Iterator[OpenSearch]:
        """The connection, for one piece of work; after any trouble the next makes another one, and looks for the index anew."""
        try:
            yield self._connected()
        except OpenSearchException as error:
            self.close()
            raise translate(error, doing) from error
        except SearchError:
            self.close()
            raise

    def _connected(self) -> OpenSearch:
        if self._client is None:
            self._client = connect(
                self._settings.opensearch_url,
                self._settings.opensearch_auth("ingest"),
                self._settings.opensearch_ca,
                timeout_s=TIMEOUT_S,
                pool=1,
            )
            self._name = ""
        return self._client

    def _known(self, client: OpenSearch, store: AlertStore) -> tuple[Incidents, int]:
        """The table's incidents, and the revision up to which the serving index has them. Raises ForeignIndex."""
        self._name = self._name or self._serving(client)
        progress = read(client, self._name, PROGRESS_ID)
        known = store.load()  # after the progress: another process may be ahead
        why = foreign(progress, history(store.table), store.table.transaction(REVISION) or 0)
        if why is not None:
            raise ForeignIndex(self._system, NAME, why)
        return known, progress.seq

    def _generations(self, client: OpenSearch) -> list[str]:
        """Every physical index, serving or half-built."""
        params = {"filter_path": "*.settings.index.uuid", "expand_wildcards": "all"}
        return sorted(client.indices.get(index=f"{self._alias}-*", params=params))

    def _serving(self, client: OpenSearch) -> str:
        """The index behind the alias, created when there is none."""
        found = client.indices.get(index=self._alias, params={"ignore": 404, "filter_path": "*.settings.index.uuid"})
        if found.get("status") == 404:
            return self._create(client, self._generations(client), serve=True)
        name = str(next(iter(found)))
        client.indices.put_mapping(index=name, body=mapping())  # fields of a newer release
        return name

    def _create(self, client: OpenSearch, known: list[str], *, serve: bool) -> str:
        """The next generation. One that is to serve may have been created by another worker at the same moment."""
        name = generation_name(self._alias, max(map(generation_of, known), default=0) + 1)
        shape = {"number_of_shards": 1, "number_of_replicas": 0, "auto_expand_replicas": "0-1"}
        body = {
            "settings": {"index": {**shape, "translog.durability": "request", "gc_deletes": "1d"}},
            "mappings": mapping(),
            "aliases": {self._alias: {"filter": READ_FILTER}} if serve else {},
        }
        try:
            client.indices.create(index=name, body=body)
        except RequestError as error:
            if error_type(error) != "resource_already_exists_exception":
                raise
            if not serve:
                raise Conflict(f"{name} is being built already", "wait until it is, or has ended") from error
        return name

    def _resolved(self, client: OpenSearch) -> Iterator[list[str]]:
        """The ids of documents of resolved incidents, page by page."""
        query = {"term": {"state": RESOLVED}}
        body: dict[str, Any] = {"size": BATCH, "query": query, "sort": ["alert_id"], "_source": False}
        while True:
            hits = client.search(index=self._name, body=body)["hits"]["hits"]
            if not hits:
                return
            yield [hit["_id"] for hit in hits]
            body["search_after"] = hits[-1]["sort"]

    def _send(self, client: OpenSearch, index: str, alerts: Iterable[Alert]) -> None:
        """Send the alerts, the oldest revision first."""
        ordered = sorted(alerts, key=lambda alert: alert.revision)
        for start in range(0, len(ordered), BATCH):
            self._bulk(client, index, ordered[start : start + BATCH])

    def _bulk(self, client: OpenSearch, index: str, alerts: list[Alert]) -> None:
        lines = []
        for alert in alerts:
            action = {"_id": alert.alert_id, "version": alert.revision, "version_type": "external"}
            lines += [json.dumps({"index": action}), json.dumps(document(alert), ensure_ascii=False)]
        answer = client.bulk(index=index, body="\n".join([*lines, ""]), params={"refresh": "true"})
        for item in answer["items"] if answer["errors"] else ():
            status, error = int(item["index"]["status"]), item["index"].get("error", {})
            if status < 300 or status == 409:
                continue
            what = f"{self._alias} did not take an alert: {status} {error.get('type', '')}"
            if status in (429, 502, 503, 504):
                raise Unavailable(what, "it is sent again")
            raise SearchError(what, "it is sent again; see the node's log")


def _newest(known: Incidents) -> int:
    return max((alert.revision for alert in known.values()), default=0)
