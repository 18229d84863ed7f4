"""What retention has dropped from silver leaves the index too, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from opensearchpy import OpenSearch
from searchlab import DAY, NOON, rows, same_ids, scanned

from platform_assets.contracts.model import IndexPeriod, Table
from platform_assets.core.errors import AssayError
from platform_assets.core.settings import Settings
from platform_assets.core.transactions import SEQ
from platform_assets.index.bulk import BulkWriter
from platform_assets.index.documents import to_ndjson
from platform_assets.index.indices import Indices
from platform_assets.ingest import forget as forgetting
from platform_assets.ingest import maintain as maintenance
from platform_assets.ingest.maintain import MaintenanceReport, maintain
from platform_assets.tables.layout import Lake, TableSet

pytestmark = pytest.mark.services


@dataclass
class Shop:
    """A table with its silver and its index, and rows that come to both."""

    settings: Settings
    table: Table
    tables: TableSet
    client: OpenSearch
    indices: Indices
    writer: BulkWriter

    def publish(self, day: str, offsets: range, landed: datetime, **values: Any) -> None:
        """Rows of a day into silver and index."""
        at = datetime.fromisoformat(day).replace(hour=12, tzinfo=UTC)
        batch = rows(
            self.table, len(offsets), start=offsets.start, partition=day, event_time=at, _landed_at=landed, **values
        )
        seq = max(batch.column("_seq").to_pylist())
        version = self.tables.silver.commit(self.tables.silver.write(batch), advance={SEQ: seq})
        self.writer.write(self.table, to_ndjson(self.table, batch, version))

    def forget(self, landed_before: datetime) -> MaintenanceReport:
        return maintain(self.settings, self.table, now=landed_before + self.table.retention)

    @property
    def found(self) -> pa.Table:
        return scanned(self.client, self.indices, self.table)

    @property
    def periods(self) -> list[str]:
        return [index.period for index in self.indices.all(self.table) if index.serving and not index.blocked]


@pytest.fixture
def shop(
    services: Settings, client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table, tmp_path: Path
) -> Shop:
    monthly = replace(table, index_period=IndexPeriod.MONTH)
    return Shop(replace(services, lake_path=tmp_path), monthly, Lake(tmp_path).tables(monthly), client, indices, writer)


def _dies(*_: object) -> None:
    raise AssayError("the maintenance dies here")


def _landed(day: int) -> datetime:
    return NOON + timedelta(days=day)


def test_a_day_leaves_the_index_of_its_month_and_the_last_one_takes_it_along(shop: Shop) -> None:
    shop.publish("2026-11-01", range(10), _landed(1))
    shop.publish("2026-11-02", range(10, 20), _landed(2))
    shop.publish("2026-12-01", range(20, 30), _landed(3))
    shop.publish("2025-11-03", range(30, 40), _landed(2), _history=True)
    report = shop.forget(_landed(2))
    assert (report.index.documents, report.index.deleted, report.index.rebuilt) == (10, [], [])
    assert same_ids(shop.found, range(10, 40))
    report = shop.forget(_landed(3))
    assert sorted(report.index.deleted) == ["2026-11", "history-2025"]
    assert same_ids(shop.found, range(20, 30))
    assert shop.periods == ["2026-12"]
    shop.publish("2026-11-02", range(40, 45), _landed(4))  # somebody sends the month again
    assert same_ids(shop.found, range(20, 30)) is False
    assert shop.forget(_landed(3)).index.rebuilt == ["2026-11"]  # once: it began empty since
    assert shop.forget(_landed(3)).index.rebuilt == []
    assert same_ids(shop.found, [*range(20, 30), *range(40, 45)])


def test_forgotten_documents_go_though_a_row_of_their_day_comes_back(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.publish(DAY, range(10), _landed(1))
    shop.publish("2026-11-22", range(10, 12), _landed(9))
    with monkeypatch.context() as patch, pytest.raises(AssayError):
        patch.setattr(maintenance, "connect_indices", _dies)
        shop.forget(_landed(2))
    shop.publish(DAY, range(20, 21), _landed(9))
    assert same_ids(shop.found, [*range(12), 20])
    assert shop.forget(_landed(2)).index.rebuilt == ["2026-11"]
    assert same_ids(shop.found, [10, 11, 20])
    assert shop.forget(_landed(2)).index.rebuilt == []  # built anew once


@pytest.mark.parametrize("other", [True, False], ids=["documents go", "the index goes"])
def test_a_row_that_comes_while_its_day_is_forgotten_is_found(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, other: bool
) -> None:
    """Between the look at silver and the deletion; and the maintenance dies before it could put that right."""
    shop.publish(DAY, range(10), _landed(1))
    if other:
        shop.publish("2026-11-22", range(10, 12), _landed(9))
    come: list[Callable[[], None]] = [partial(shop.publish, DAY, range(20, 23), _landed(9))]
    real = forgetting.retire

    def late(*given: Any) -> tuple[int, bool]:
        if come:
            come.pop()()
        return real(*given)

    monkeypatch.setattr(forgetting, "retire", late)
    with monkeypatch.context() as patch, pytest.raises(AssayError):
        patch.setattr(forgetting, "rebuild_index", _dies)
        shop.forget(_landed(2))
    assert shop.periods == ["2026-11"]  # silver has rows of it again
    shop.forget(_landed(2))
    assert same_ids(shop.found, [*([10, 11] if other else []), 20, 21, 22])


def test_a_row_that_comes_when_its_index_is_about_to_go_keeps_it(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.publish(DAY, range(10), _landed(1))
    asked: list[bool] = []
    real = forgetting._empty

    def empty(*given: Any) -> bool:
        asked.append(real(*given))
        if len(asked) == 1:  # the last look before the index is blocked
            shop.publish("2026-11-22", range(10, 12), _landed(9))
        return asked[-1]

    monkeypatch.setattr(forgetting, "_empty", empty)
    assert shop.forget(_landed(2)).index.deleted == []
    assert asked == [True, False]
    assert shop.periods == ["2026-11"]
    assert same_ids(shop.found, [10, 11])


def test_a_day_that_was_never_dropped_is_left_alone(shop: Shop) -> None:
    shop.publish(DAY, range(10), _landed(1))
    [index] = shop.indices.all(shop.table)
    report = shop.forget(_landed(0))
    assert (report.index.documents, report.index.deleted, report.index.rebuilt) == (0, [], [])
    assert shop.indices.all(shop.table) == [index]
