"""An ingest run of a minute says nothing of what it has not heard yet, and knows what the runs before it have settled."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lakes import SmallLake
from samples import LOGS, private_alert_service
from support import event

from platform_assets.alerts.platform import GAP, INDEX, sighting
from platform_assets.core.settings import Settings
from platform_assets.ingest.alerting import IngestAlerts, settled_before
from platform_assets.ingest.report import TableReport

BAD = b"{"


@pytest.fixture
def lake(tmp_path: Path) -> SmallLake:
    return SmallLake(tmp_path)


def ingest_run(lake: SmallLake, *batches: Sequence[bytes], gaps_asked: bool = False, index_asked: bool = False) -> None:
    """The watch beside one run that settles these batches."""
    lake.report = TableReport("events", gaps_asked=gaps_asked, index_asked=index_asked)
    alerts = IngestAlerts(Settings(lake.root, lake.root, {}), LOGS, (), index=False)
    alerts.start()
    for batch in batches:
        alerts.settled(lake.report, lake.settle(lake.land(batch)))
    alerts.check({"events": lake.report})
    alerts.finish()
    assert alerts.error == ""


def states(lake: SmallLake) -> dict[str, str]:
    with closing(private_alert_service(lake.root)) as alert_service:
        return {alert.rule: alert.state for alert in alert_service.alerts()}


def test_a_run_that_has_not_asked_yet_ends_no_incident(lake: SmallLake) -> None:
    before = datetime.now(UTC) - timedelta(minutes=5)
    with closing(private_alert_service(lake.root)) as alert_service:
        alert_service.see([sighting(rule, "logs.events", before, breach=True) for rule in (GAP, INDEX)], before)
    ingest_run(lake, [event(1)])
    assert states(lake) == {"gap": "open", "index_behind": "open"}
    ingest_run(lake, gaps_asked=True)
    assert states(lake) == {"gap": "resolved", "index_behind": "open"}
    ingest_run(lake, index_asked=True)
    assert states(lake) == {"gap": "resolved", "index_behind": "resolved"}


def test_rejects_of_several_runs_add_up(lake: SmallLake) -> None:
    ingest_run(lake, [BAD] * 6)
    assert states(lake) == {}
    ingest_run(lake, [event(1)], [BAD] * 6)
    assert states(lake) == {"quarantine_rate": "open"}


def test_a_few_rejects_after_many_good_records_are_few(lake: SmallLake) -> None:
    ingest_run(lake, [event(n) for n in range(2000)])
    ingest_run(lake, [event(5000), *[BAD] * 12])
    assert states(lake) == {}


def test_a_key_with_other_values_opens_an_alert(lake: SmallLake) -> None:
    ingest_run(lake, [event(1), event(1)])
    assert states(lake) == {}
    ingest_run(lake, [event(1, message="other")])
    assert states(lake) == {"key_conflict": "open"}


def test_a_conflict_that_a_killed_worker_did_not_tell_of_is_told_by_the_next(lake: SmallLake) -> None:
    lake.settle(lake.land([event(1), event(1, message="other")]))
    for _ in range(2):  # and once
        ingest_run(lake, [event(2)])
        with closing(private_alert_service(lake.root)) as alert_service:
            (alert,) = alert_service.alerts()
        assert (alert.rule, alert.ordinal) == ("key_conflict", 1)


def test_what_was_settled_before_is_counted_by_commit(lake: SmallLake) -> None:
    start = datetime.now(UTC)
    assert settled_before(lake.tables, None, start) == []
    good = [event(n) for n in range(5)]
    lake.settle(lake.land([*good, BAD, BAD]))
    lake.settle(lake.land(good))  # duplicates are no rejects
    lake.land([BAD])  # not settled: that is the next run's
    past = settled_before(lake.tables, None, start)
    assert [(counted.accepted, counted.rejected) for counted in past] == [(5, 2), (5, 0)]
    assert past[0].landed_at < past[1].landed_at
    assert settled_before(lake.tables, 1, start) == past[:1]
    assert settled_before(lake.tables, None, past[1].landed_at) == past[1:]
