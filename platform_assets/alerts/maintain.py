"""Alerts' care: the index is built anew when asked.

Belongs here: what is done beside any lane. Does not: requests (`index.py`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from platform_assets.alerts.index import NAME, AlertIndex
from platform_assets.alerts.store import AlertStore
from platform_assets.search.rebuild import ReindexReport
from platform_assets.settings import Settings


def reindex_alerts(settings: Settings, system: str) -> ReindexReport:
    """Build a system's index of alerts anew from the lake, whatever has filled it. Safe beside lanes. Raises SearchError."""
    started = time.perf_counter()
    with _parts(settings, system) as (store, index):
        documents, deleted = index.rebuild(store)
    return ReindexReport(NAME, documents, deleted, time.perf_counter() - started)


@contextmanager
def _parts(settings: Settings, system: str) -> Iterator[tuple[AlertStore, AlertIndex]]:
    store, index = AlertStore(settings.lake_path, system), AlertIndex(settings, system)
    try:
        yield store, index
    finally:
        index.close()
        store.close()
