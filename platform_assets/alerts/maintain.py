"""Alerts' care: what the table has forgotten goes from the index too, the disk is freed, and the index is built anew when asked.

Belongs here: what is done beside any worker. Does not: what is forgotten (`store.py`), requests (`index.py`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from platform_assets.alerts.buckets import FOLDER, forget_snapshots
from platform_assets.alerts.index import NAME, AlertIndex
from platform_assets.alerts.store import AlertStore
from platform_assets.core.settings import Settings
from platform_assets.index.rebuild import ReindexReport
from platform_assets.tables.maintain import vacuum


@dataclass(frozen=True, slots=True)
class AlertMaintenance:
    """Files deleted from the table's folder and of snapshots, documents deleted from the index."""

    files: int
    documents: int


def maintain_alerts(settings: Settings, system: str) -> AlertMaintenance:
    """Free the disk; delete the documents of incidents that the table has forgotten. Safe beside workers. Raises SearchError."""
    with _parts(settings, system) as (store, index):
        files = vacuum(store.table) + forget_snapshots(settings.lake_path / FOLDER)
        return AlertMaintenance(files, index.forget(store))


def reindex_alerts(settings: Settings, system: str) -> ReindexReport:
    """Build a system's index of alerts anew from the lake, whatever has filled it. Safe beside workers. Raises SearchError."""
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
