"""Incidents for people's queries: the index behind the alias `<system>-alerts`, which follows the table.

Belongs here: its mapping, and bringing it up to the table's revision. Does not: events' documents (search).
The id is the alert's, the external version its revision: a repetition changes nothing. How far the index is stands in the
index itself, so that one that was deleted is filled again.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any

from opensearchpy import OpenSearch
from opensearchpy.exceptions import OpenSearchException, RequestError

from platform_assets.alerts.incident import Alert
from platform_assets.alerts.store import SCHEMA, AlertStore
from platform_assets.contracts.arrow import UTC_MICROS
from platform_assets.faultpoints import fault_point
from platform_assets.search.client import connect
from platform_assets.search.errors import SearchError, Unavailable, error_type, translate
from platform_assets.search.indices import READ_FILTER
from platform_assets.search.mappings import PROGRESS
from platform_assets.search.names import PROGRESS_ID
from platform_assets.search.progress import advance, read
from platform_assets.settings import Settings

TIMEOUT_S = 10.0
BATCH = 500
"""Documents a request: a backlog after an outage comes in pieces."""
HIDDEN = ("cool_down_s", "send_after", "attempts", "delivered", "revision", "ordinal")
"""Bookkeeping of the table that nobody searches for."""


def alerts_alias(system: str) -> str:
    """Where people read a system's alerts."""
    return f"{system}-alerts"


def mapping() -> dict[str, Any]:
    """Strict; texts as keywords, times in microseconds."""
    kinds = {
        "string": {"type": "keyword", "ignore_above": 1024},
        "int64": {"type": "long"},
        "double": {"type": "double"},
    }
    date = {"type": "date_nanos", "format": "rfc3339_lenient"}
    properties = {f.name: date if f.type == UTC_MICROS else kinds[str(f.type)] for f in SCHEMA if f.name not in HIDDEN}
    return {"dynamic": "strict", "properties": {**properties, PROGRESS: {"type": "object", "enabled": False}}}


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
        self._alias = alerts_alias(system)
        self._name = f"{self._alias}-000001"
        self._client: OpenSearch | None = None
        self._done = 0

    def close(self) -> None:
        """End the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def follow(self, store: AlertStore) -> int:
        """Bring the index to what the table holds; documents sent. Raises SearchError; call again later."""
        known = store.load()
        newest = max((alert.revision for alert in known.values()), default=0)
        if newest <= self._done:
            return 0
        try:
            client = self._connected()
            done = read(client, self._name, PROGRESS_ID).seq
            waiting = sorted((a for a in known.values() if a.revision > done), key=lambda alert: alert.revision)
            for start in range(0, len(waiting), BATCH):
                self._send(client, waiting[start : start + BATCH])
            fault_point("alert_indexed")
            advance(client, self._name, {}, newest, newest)
        except OpenSearchException as error:
            self.close()
            raise translate(error, f"writing to {self._alias}") from error
        except SearchError:
            self.close()
            raise
        self._done = newest
        return len(waiting)

    def _connected(self) -> OpenSearch:
        if self._client is None:
            self._client = connect(
                self._settings.opensearch_url,
                self._settings.opensearch_auth("lane"),
                self._settings.opensearch_ca,
                timeout_s=TIMEOUT_S,
                pool=1,
            )
            self._ensure(self._client)
        return self._client

    def _ensure(self, client: OpenSearch) -> None:
        if client.indices.exists(index=self._name):
            client.indices.put_mapping(index=self._name, body=mapping())  # fields of a newer release
            return
        shape = {"number_of_shards": 1, "number_of_replicas": 0, "auto_expand_replicas": "0-1"}
        body = {
            "settings": {"index": {**shape, "translog.durability": "request", "gc_deletes": "1d"}},
            "mappings": mapping(),
            "aliases": {self._alias: {"filter": READ_FILTER}},
        }
        try:
            client.indices.create(index=self._name, body=body)
        except RequestError as error:
            if error_type(error) != "resource_already_exists_exception":
                raise

    def _send(self, client: OpenSearch, alerts: list[Alert]) -> None:
        lines = []
        for alert in alerts:
            action = {"_id": alert.alert_id, "version": alert.revision, "version_type": "external"}
            lines += [json.dumps({"index": action}), json.dumps(document(alert), ensure_ascii=False)]
        answer = client.bulk(index=self._name, body="\n".join([*lines, ""]), params={"refresh": "true"})
        for item in answer["items"] if answer["errors"] else ():
            status, error = int(item["index"]["status"]), item["index"].get("error", {})
            if status < 300 or status == 409:
                continue
            what = f"{self._alias} did not take an alert: {status} {error.get('type', '')}"
            if status in (429, 502, 503, 504):
                raise Unavailable(what, "it is sent again")
            raise SearchError(what, "it is sent again; see the node's log")
