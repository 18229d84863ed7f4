"""An index that holds many days: rebuilt, replaced and proved beside a worker; and a cluster that has no more shards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from beside import background, traffic
from opensearchpy import OpenSearch
from support import event, private_settings, private_system, publish
from waiting import eventually

from platform_assets.contracts.model import Contract, IndexPeriod
from platform_assets.core.settings import Settings
from platform_assets.defs.alerts import _shards
from platform_assets.index.client import connect
from platform_assets.index.connect import ask_shards, connect_indices
from platform_assets.index.names import period_alias
from platform_assets.index.query import search
from platform_assets.ingest.rebuild import rebuild
from platform_assets.ingest.reindex import reindex
from platform_assets.ingest.worker import Worker
from platform_assets.reconcile.overview import shard_facts
from platform_assets.reconcile.prove import prove
from platform_assets.tables.layout import Lake

pytestmark = pytest.mark.services
DAYS = [f"2026-{month:02d}-{day:02d}" for month in (1, 2, 3) for day in range(1, 6)]


def monthly(contract: Contract, **changes: object) -> Contract:
    """The contract with an index for each month, in which no row of these tests is late."""
    tables = tuple(
        replace(table, index_period=IndexPeriod.MONTH, lateness=timedelta(days=36_000), **changes)
        for table in contract.tables
    )
    return replace(contract, tables=tables)


@pytest.fixture
def settings(services: Settings, tmp_path: Path) -> Settings:
    return private_settings(services, tmp_path)


def spread(first: int = 0, each: int = 5) -> list[bytes | None]:
    """Events of 15 days in three months, in no order of time."""
    return [event(first + n, event_time=f"{DAYS[n * 7 % len(DAYS)]}T10:00:00Z") for n in range(each * len(DAYS))]


def periods(settings: Settings, contract: Contract) -> list[str]:
    indices = connect_indices(settings)
    try:
        return [index.period for index in indices.all(contract.tables[0]) if index.serving]
    finally:
        indices.client.close()


def test_a_day_in_the_index_of_a_month_is_rebuilt_beside_a_worker_and_proved(settings: Settings) -> None:
    contract = monthly(private_system(settings))
    table = contract.tables[0]
    publish(settings, table, spread())
    Worker(settings, contract).drain()
    assert periods(settings, contract) == ["2026-01", "2026-02", "2026-03"]
    assert prove(settings, contract).holds

    indices = connect_indices(settings)
    alias = period_alias(table, "2026-01")
    found = indices.client.search(index=alias, body={"query": {"match_all": {}}, "size": 2, "version": True})
    [hit, other] = found["hits"]["hits"]
    indices.client.index(
        index=alias, id=hit["_id"], body={**hit["_source"], "level": "FATAL"},
        params={"version": hit["_version"] + 1, "version_type": "external"},
    )  # fmt: skip
    indices.client.delete(index=alias, id=other["_id"])
    failed = {f.code: f.count for f in prove(settings, contract).tables["events"].checks["index"].failures}
    assert failed == {"altered": 1, "missing": 1}
    day = date.fromisoformat(hit["_source"]["event_time"][:10])
    with background(settings, contract), traffic(settings, table, 10_000, _in_january) as sent:
        eventually(lambda: sent.sent > 500)
        report = rebuild(settings, table, day)
        before = sent.sent
        eventually(lambda: sent.sent > before + 200)
    assert set(report.partitions) == {day.isoformat()}
    assert report.documents > 5 * 5  # of the whole month
    Worker(settings, contract).drain()
    assert prove(settings, contract).holds
    assert periods(settings, contract) == ["2026-01", "2026-02", "2026-03"]
    indices.client.close()


def _in_january(number: int) -> bytes:
    return event(number, event_time=f"2026-01-{1 + number % 5:02d}T12:00:00Z")


def test_history_shares_an_index_for_each_year(settings: Settings) -> None:
    contract = private_system(settings)
    publish(settings, contract.tables[0], [*spread(), *(event(9000 + n) for n in range(10))])
    publish(settings, contract.tables[0], [event(9100, event_time="1970-01-01T00:00:00Z")])
    Worker(settings, contract).drain()
    today, *history = periods(settings, contract)
    assert len(today) == len("2026-11-21")
    assert history == ["history-1970", "history-2026"]
    assert prove(settings, contract).holds


def test_a_contract_with_other_periods_waits_for_its_index_to_be_built_anew(settings: Settings) -> None:
    before = monthly(private_system(settings))
    publish(settings, before.tables[0], spread())
    Worker(settings, before).drain()
    contract = replace(before, tables=(replace(before.tables[0], index_period=IndexPeriod.YEAR),))
    publish(settings, contract.tables[0], spread(5000, each=1))
    report = Worker(settings, contract).drain()
    assert report.reason == "index_failed"
    assert "is laid out as month" in report.tables["events"].index_error
    assert periods(settings, contract) == ["2026-01", "2026-02", "2026-03"]
    assert {f.code for f in prove(settings, contract).tables["events"].checks["index"].failures} >= {"foreign"}
    done = reindex(settings, contract.tables[0])
    assert (list(done.documents), done.deleted) == (["2026"], ["2026-01", "2026-02", "2026-03"])
    Worker(settings, contract).drain()
    assert prove(settings, contract).holds


def test_a_search_asks_only_the_indices_whose_times_it_touches(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = monthly(private_system(settings))
    publish(settings, contract.tables[0], spread())
    Worker(settings, contract).drain()
    indices = connect_indices(settings)
    table = contract.tables[0]
    indices.refresh(table)
    asked: list[dict[str, int]] = []
    real = indices.client.search

    def counted(*given: object, **named: object) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = real(*given, **named)
        asked.append(found["_shards"])
        return found

    monkeypatch.setattr(indices.client, "search", counted)
    page = search(
        indices.client, table, since=datetime(2026, 2, 3, tzinfo=UTC), until=datetime(2026, 2, 4, tzinfo=UTC), limit=100
    )
    assert len(page.rows) == 5
    assert all(shards["skipped"] == 2 for shards in asked if shards["total"] == 3 and shards is not asked[0])
    indices.client.close()


# -- the limit of shards ---------------------------------------------------------------------------------------------------


@contextmanager
def limited(settings: Settings, more: int) -> Iterator[None]:
    """The cluster takes `more` shards than it has, for the block."""
    client: OpenSearch = connect(
        settings.opensearch_url, settings.opensearch_auth("admin"), settings.opensearch_ca, check=False
    )
    name = "cluster.max_shards_per_node"
    try:
        client.cluster.put_settings(body={"persistent": {name: ask_shards(settings).open + more}})
        yield
    finally:
        client.cluster.put_settings(body={"persistent": {name: None}})
        client.close()


def test_at_the_limit_of_shards_others_go_on_and_the_index_catches_up(expendable: Settings, tmp_path: Path) -> None:
    settings = private_settings(expendable, tmp_path)
    there, late = monthly(private_system(settings)), monthly(private_system(settings))
    publish(settings, there.tables[0], [_in_january(n) for n in range(100)])
    Worker(settings, there).drain()
    with limited(settings, 1):
        publish(settings, late.tables[0], spread())
        report = Worker(settings, late).drain()
        assert report.reason == "index_failed"
        said = report.tables["events"].index_error
        assert "no room for another index" in said and "cluster.max_shards_per_node" in said
        assert sum(Lake(settings.lake_path).tables(late.tables[0]).silver.partitions().values()) == len(spread())
        publish(settings, there.tables[0], [_in_january(n) for n in range(100, 200)])
        assert Worker(settings, there).drain().tables["events"].index_behind == 0  # it has its index
        assert prove(settings, there).holds
        facts = shard_facts(settings)
        assert (facts["exceeded"], facts["unanswered"]) == (True, None)
        [seen] = _shards(settings, datetime.now(UTC))
        assert seen.breach and "shards are open" in seen.words["detail"]
    [seen] = _shards(settings, datetime.now(UTC))
    assert not seen.breach
    assert Worker(settings, late).drain().tables["events"].index_behind == 0
    assert prove(settings, late).holds
    assert periods(settings, late) == ["2026-01", "2026-02", "2026-03"]


def test_history_leaves_the_last_shards_to_rows_that_arrive_in_time(expendable: Settings, tmp_path: Path) -> None:
    settings = private_settings(expendable, tmp_path)
    contract, other = private_system(settings), private_system(settings)
    with limited(settings, 1):  # one is left, and more than 80 % are open
        publish(settings, contract.tables[0], spread())
        report = Worker(settings, contract).drain()
        assert "history leaves the last 20%" in report.tables["events"].index_error
        publish(settings, other.tables[0], [event(n) for n in range(10)])
        assert Worker(settings, other).drain().tables["events"].index_behind == 0
    Worker(settings, contract).drain()
    assert prove(settings, contract).holds
