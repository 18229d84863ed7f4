"""Gold in the index, and a real web server's log from its topic to the marts."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from lakes import SmallLake
from opensearchpy import OpenSearch
from support import event

from platform_assets.backup.backup import backup
from platform_assets.backup.restore import restore
from platform_assets.cli.app import assay
from platform_assets.contracts.model import Contract
from platform_assets.contracts.read import load_contracts
from platform_assets.core.settings import Settings
from platform_assets.index import rebuild as rebuilding
from platform_assets.index.asking import Deadline
from platform_assets.index.connect import connect_indices
from platform_assets.index.indices import Indices
from platform_assets.index.mappings import SYSTEM
from platform_assets.index.names import PROGRESS_INDEX, read_alias
from platform_assets.ingest.land import Landing
from platform_assets.ingest.report import TableReport
from platform_assets.ingest.settle import Settler
from platform_assets.local.demo import shared_data
from platform_assets.marts.graph import marts_of, read_graph
from platform_assets.marts.index import MartDocuments, publish_index
from platform_assets.marts.maintain import GoldMaintenance, maintain_gold
from platform_assets.marts.marts import REFRESH_LOG, Mart
from platform_assets.marts.project import project_folder
from platform_assets.marts.refresh import refresh
from platform_assets.marts.reindex import reindex_mart
from platform_assets.marts.rows import LakeMarts
from platform_assets.reports.build import build
from platform_assets.reports.declare import load_reports
from platform_assets.serve.marts import IndexMarts
from platform_assets.tables.layout import Lake
from platform_assets.tables.maintain import drop
from platform_assets.transform import Transformer

pytestmark = pytest.mark.services

ACCESS_LOG = shared_data() / "logs" / "apache_access.log"
COMBINED = re.compile(
    rb'\S+ \S+ \S+ \[(\d\d/\w{3}/\d{4}:\d\d):\d\d:\d\d \+0000\] "[A-Z]+ \S+ [^" ]+" (\d{3}) (?:\d+|-) '
    rb'"(?:[^"\\]|\\.)*" "(?:[^"\\]|\\.)*"'
)
NOON = (datetime.now(UTC) - timedelta(days=1)).replace(hour=12, minute=0, second=0, microsecond=0)
LOGS = load_contracts()["logs"]


class Gold:
    """A lake with gold, whose indices nobody else uses: the system `logs`, since its models are those of `logs`."""

    def __init__(self, settings: Settings, root: Path, indices: Indices) -> None:
        self.lake = SmallLake(root)
        self.settings = replace(settings, lake_path=root)
        self.indices = indices
        self.marts = {mart.name: mart for mart in marts_of(project_folder(), LOGS)}

    def log(self, *changes: dict[str, Any]) -> None:
        self.lake.settle(self.lake.land([event(self.lake.offset + n, **change) for n, change in enumerate(changes)]))

    def refresh(self, **options: Any) -> dict[str, int]:
        report = refresh(self.settings, LOGS, **options)
        assert report.index_error is None
        return report.documents

    def rows(self, mart: Mart) -> Counter[tuple[Any, ...]]:
        """The rows of the Delta table, as they should be in the index."""
        table = mart.table(self.settings.lake_path)
        table.refresh()
        names = [f.name for f in MartDocuments(mart, "1").fields]
        found = table.relation(self.lake.con).project(", ".join(f'"{n}"' for n in names)).fetchall()
        return Counter(tuple(map(_document_value, row)) for row in found)

    def documents(self, mart: Mart) -> Counter[tuple[Any, ...]]:
        """The documents behind the mart's alias."""
        documents = MartDocuments(mart, "1")
        self.indices.refresh(documents)
        found = self.indices.client.search(index=read_alias(documents), body={"size": 1000, "query": {"match_all": {}}})
        names = [f.name for f in documents.fields]
        sources = [hit["_source"] for hit in found["hits"]["hits"]]
        assert all(set(source) <= {*names, SYSTEM} for source in sources)
        return Counter(tuple(_moment(source.get(name)) for name in names) for source in sources)

    def equal(self) -> None:
        """Every indexed mart has exactly its rows as documents."""
        for mart in self.marts.values():
            if mart.index:
                assert self.documents(mart) == self.rows(mart), mart.name


def _document_value(value: Any) -> Any:
    """A value of a row as its document has it: a histogram is JSON text."""
    return json.dumps(value, separators=(",", ":")) if isinstance(value, list) else _moment(value)


def _moment(value: Any) -> Any:
    """Times of either side in one form."""
    if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\dT", value):
        return datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return datetime(value.year, value.month, value.day, tzinfo=UTC) if hasattr(value, "isoformat") else value


@pytest.fixture
def gold(services: Settings, tmp_path: Path) -> Iterator[Gold]:
    indices = connect_indices(services)
    mine = Gold(services, tmp_path / "lake", indices)
    _forget(mine)
    try:
        yield mine
    finally:
        _forget(mine)
        indices.client.close()


def _forget(gold: Gold) -> None:
    """Drop the indices and the progress of the marts."""
    for mart in gold.marts.values():
        documents = MartDocuments(mart, "1")
        gold.indices.delete([index.name for index in gold.indices.all(documents)])
        gold.indices.client.delete(index=PROGRESS_INDEX, id=read_alias(documents), params={"ignore": [404]})


def failure(minute: int, **changes: Any) -> dict[str, Any]:
    at = NOON + timedelta(minutes=minute)
    return {"event_time": at.isoformat(), "level": "ERROR", "status": 500, "message": "broke", **changes}


def test_the_index_equals_gold_through_change_removal_and_catch_up(gold: Gold) -> None:
    gold.log(failure(0), failure(1, message="fell"), {"event_time": NOON.isoformat()})
    sent = gold.refresh()
    assert sent["errors_minute"] > 0
    gold.equal()
    gold.log(failure(1, status=503))  # a document more
    gold.refresh()
    gold.equal()
    assert gold.refresh() == dict.fromkeys(sent, 0)  # nothing new: nothing is sent

    gold.log(failure(2))
    gold.refresh(index=False)  # as if the index were away
    gold.log(failure(61))
    gold.refresh(index=False)
    behind = gold.rows(gold.marts["errors_minute"]) - gold.documents(gold.marts["errors_minute"])
    assert len(behind) >= 2
    assert gold.refresh()["errors_minute"] == 2  # only the slots that were replaced meanwhile
    gold.equal()

    silver = gold.lake.tables.silver
    silver.refresh()
    silver.commit([], removes=silver.files())
    gold.refresh(day=NOON.date())  # recomputed from nothing: the documents go too
    gold.equal()
    assert not gold.documents(gold.marts["errors_hour"])

    gold.log(failure(0))  # comes back under an id that was deleted
    gold.refresh()
    gold.equal()
    assert gold.documents(gold.marts["errors_hour"])


def test_an_index_that_lost_its_progress_is_filled_from_whole_tables(gold: Gold) -> None:
    gold.log(failure(0), failure(70))
    gold.refresh()
    _forget(gold)
    log = gold.settings.lake_path / "gold" / "logs" / REFRESH_LOG
    assert log.is_dir()
    sent = dict(publish_index(gold.settings, LOGS, list(gold.marts.values())))
    assert sent["errors_minute"] == gold.rows(gold.marts["errors_minute"]).total()
    gold.equal()


def test_after_a_restore_an_index_is_refused_until_it_is_built_anew(
    gold: Gold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = replace(gold.settings, home=tmp_path / "first")
    gold.log(failure(0), failure(70))
    gold.refresh()
    backup(first, tmp_path / "copy")
    offset = gold.lake.offset
    gold.log(failure(0, message="known there only"), failure(-60 * 24 * 60))
    gold.refresh()
    theirs = {name: gold.documents(mart) for name, mart in gold.marts.items() if mart.index}

    there = replace(first, home=tmp_path / "second", lake_path=tmp_path / "second" / "lake")
    restore(there, tmp_path / "copy")
    mine = Gold(there, there.lake_path, gold.indices)
    mine.lake.offset = offset
    mine.log(failure(3, message="known here only"))
    for number in range(2):  # it overtakes the index's number, and yet it is another history
        mine.log(failure(4 + number))
        error = refresh(there, LOGS).index_error
        assert error is not None and "another lake" in error and "assay reindex logs errors_minute" in error
    assert {name: mine.documents(mine.marts[name]) for name in theirs} == theirs  # nothing is mixed

    monkeypatch.setenv("ASSAY_LAKE", str(there.lake_path))
    unknown = CliRunner().invoke(assay, ["reindex", "logs", "error_users_hour", "--home", str(gold.settings.home)])
    assert unknown.exit_code != 0  # it has no index
    done = CliRunner().invoke(assay, ["reindex", "logs", "errors_minute", "--json", "--home", str(gold.settings.home)])
    assert done.exit_code == 0, done.output
    [report] = json.loads(done.stdout)
    long_ago = NOON - timedelta(days=60)
    assert report["deleted"] == [f"{long_ago:%Y-%m}"]
    assert sum(report["documents"].values()) == mine.rows(mine.marts["errors_minute"]).total()
    mine.log(failure(6))
    after = refresh(there, LOGS)  # this one follows again, whatever the others do
    assert (set(after.documents), set(after.index_errors)) == ({"errors_minute"}, set(theirs) - {"errors_minute"})
    assert mine.documents(mine.marts["errors_minute"]) == mine.rows(mine.marts["errors_minute"])
    for mart in mine.marts.values():
        if mart.index:
            reindex_mart(there, LOGS, mart)
    mine.equal()
    mine.log(failure(5), failure(200))
    mine.refresh()
    mine.equal()
    gold.log(failure(9))  # the lake that was lost comes back to life
    assert "another lake" in str(refresh(gold.settings, LOGS).index_error)
    mine.equal()


def test_a_refresh_in_the_middle_of_building_anew_loses_nothing(gold: Gold, monkeypatch: pytest.MonkeyPatch) -> None:
    gold.log(failure(0))
    gold.refresh()
    real, meanwhile = rebuilding.block, [failure(1)]

    def block(client: OpenSearch, index: str) -> None:
        if meanwhile:  # the new index has been filled, the old one still takes documents
            gold.log(meanwhile.pop())
            gold.refresh()
        real(client, index)

    monkeypatch.setattr(rebuilding, "block", block)
    mart = gold.marts["errors_minute"]
    reindex_mart(gold.settings, LOGS, mart)
    assert not meanwhile
    gold.equal()
    assert gold.rows(mart).total() == 2


def test_retention_takes_out_of_the_indices_what_the_tables_have_dropped(gold: Gold) -> None:
    _log_history(gold)
    before = {name: gold.rows(mart) for name, mart in gold.marts.items()}
    assert not any(_retain(gold).rows.values())  # silver has all of it
    gold.equal()
    _drop_from_silver(gold, "2019-12-31", "2020-03-05")
    report = _retain(gold)
    kept = read_graph(project_folder(), LOGS).kept
    for name, mart in gold.marts.items():
        assert (gold.rows(mart) == before[name]) is (name in kept), name
    gold.equal()
    assert gold.documents(gold.marts["errors_minute"]).total() == 1
    assert {"errors_minute 2019-12", "errors_hour 2019"} <= set(report.indices)
    shorter = [mart for name, mart in gold.marts.items() if mart.index and name not in kept]
    expected = sum(before[mart.name].total() - gold.rows(mart).total() for mart in shorter)
    assert report.documents == expected > 0
    again = _retain(gold)
    assert (again.documents, again.indices) == (0, [])
    assert not any(gold.refresh().values())
    gold.log(failure(0), _ago("2019-12-31T23:30"))  # an index that is gone is made anew
    gold.refresh()
    gold.equal()


def _ago(minute: str) -> dict[str, Any]:
    """An error in a minute of long ago."""
    return failure(0, event_time=f"{minute}:00+00:00")


def _log_history(gold: Gold) -> None:
    """Errors in a year of their own, in a month of the next, and on two days of one month; then a refresh."""
    gold.log(*map(_ago, ("2019-12-31T23:59", "2020-03-05T10:00", "2020-03-05T10:01", "2020-03-20T10:00")))
    gold.refresh()
    gold.equal()


def _drop_from_silver(gold: Gold, *days: str) -> None:
    silver = gold.lake.tables.silver
    silver.refresh()
    assert drop(silver, [f for f in silver.files() if str(f.partition)[:10] in days])


def _retain(gold: Gold) -> GoldMaintenance:
    return maintain_gold(gold.settings, LOGS, tuple(gold.marts.values()), read_graph(project_folder(), LOGS).kept)


@pytest.mark.skipif(not ACCESS_LOG.is_file(), reason="the shared data is not here")
def test_a_real_access_log_counted_independently(gold: Gold) -> None:
    lines = ACCESS_LOG.read_bytes().splitlines()
    _land(gold, LOGS, lines)
    assert refresh(gold.settings, LOGS, index=False).more is False
    table = gold.marts["errors_hour"].table(gold.settings.lake_path)
    counted = table.relation(gold.lake.con).filter("service = 'web'").aggregate(
        "hour, sum(events)::INTEGER, sum(errors)::INTEGER", "hour"
    )  # fmt: skip
    ours = {hour.astimezone(UTC): (events, errors) for hour, events, errors in counted.fetchall()}
    events: Counter[datetime] = Counter()
    errors: Counter[datetime] = Counter()
    for line in lines:  # with no part of the platform
        match = COMBINED.fullmatch(line)
        if match:
            hour = datetime.strptime(match[1].decode(), "%d/%b/%Y:%H").replace(tzinfo=UTC)
            events[hour] += 1
            errors[hour] += int(match[2]) >= 500
    theirs = {hour: (n, errors[hour]) for hour, n in events.items()}
    assert len([hour for hour in theirs if hour.date().isoformat() == "2015-05-20"]) > 10
    assert ours == theirs


def _land(gold: Gold, contract: Contract, lines: list[bytes]) -> None:
    """Lines of a file as the records of `logs.access`, through bronze to silver."""
    from lakes import MASKER, topic_batch

    from platform_assets.sources.base import Stream

    table = contract.table("access")
    topic = Stream(table.topic, "CCCCCCCCCCCCCCCCCCCCCC", (0,))
    tables = Lake(gold.settings.lake_path).tables(table)
    landing = Landing(tables.bronze, topic, table.qualified_name)
    with Transformer(table, MASKER) as transformer:
        settler = Settler(table, tables, transformer, gold.lake.con, gold.settings.lake_path / "_keys")
        landed = landing.land(topic_batch(lines, 0, topic=topic), landing.next_positions())
        settler.settle(landed.rows, landed.seq - 1, landed.seq, TableReport("access"))


def test_a_report_says_the_same_from_the_lake_and_from_the_index(gold: Gold) -> None:
    gold.log(failure(0), failure(1, message="fell"), failure(70, service="users"), {"event_time": NOON.isoformat()})
    gold.log(failure(-24 * 60), failure(-3 * 24 * 60))
    gold.refresh()
    for mart in gold.marts.values():
        if mart.index:
            gold.indices.refresh(MartDocuments(mart, "1"))
    report = load_reports("logs")["errors"]
    lake = LakeMarts(gold.settings.lake_path, list(gold.marts.values()))
    sides = [
        build("logs", report, NOON.date(), side)
        for side in (lake, IndexMarts(gold.indices.client, gold.marts.values(), Deadline()))
    ]
    rows = [
        [[{n: _moment(v) for n, v in row.items()} for row in filled.rows.to_pylist()] for filled in side.sections]
        for side in sides
    ]
    assert rows[0] == rows[1]
    totals = dict(zip((f.section.title for f in sides[0].sections), rows[0], strict=True))
    assert totals["The day"] == [{"events": 4, "errors": 3, "previous_errors": 1}]
    assert sum(row["errors"] for row in totals["The week"]) == 5
