"""The morning's reports: what they say when gold lags behind silver."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lakes import SmallLake
from support import event
from webhook import receiver

from platform_assets.contracts.read import load_contracts
from platform_assets.core.settings import Settings
from platform_assets.core.transactions import marks_of
from platform_assets.defs.reports import make_reports, missing_rows
from platform_assets.marts.graph import marts_of
from platform_assets.marts.project import project_folder

LOGS = load_contracts()["logs"]
MARTS = marts_of(project_folder(), LOGS)
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
DAY = NOON.date()


def carry(lake: SmallLake, first: int, count: int, at: datetime) -> int:
    """The bronze commit of so many events of that time."""
    stamp = at.isoformat().replace("+00:00", "Z")
    return lake.settle(lake.land([event(n, event_time=stamp) for n in range(first, first + count)])).seq


def refreshed(lake: SmallLake, seq: int) -> None:
    """The marts say that they have consumed silver up to there."""
    for mart in MARTS:
        table = mart.table(lake.root)
        table.refresh()
        table.commit([], advance={marks_of("events")[0]: seq})


def test_what_the_marts_lack_of_a_day_is_counted(tmp_path: Path) -> None:
    lake = SmallLake(tmp_path)
    now = datetime.now(UTC)
    assert missing_rows(lake.root, LOGS, MARTS, DAY, now) == 0
    seq = carry(lake, 0, 7, NOON)
    landed = datetime.now(UTC)
    assert missing_rows(lake.root, LOGS, MARTS, DAY, landed) == 7
    refreshed(lake, seq)
    assert missing_rows(lake.root, LOGS, MARTS, DAY, landed) == 0
    carry(lake, 100, 5, NOON)
    seq = carry(lake, 200, 3, NOON + timedelta(days=1))
    assert missing_rows(lake.root, LOGS, MARTS, DAY, datetime.now(UTC)) == 5
    assert missing_rows(lake.root, LOGS, MARTS, DAY, landed) == 0  # they have only just come
    refreshed(lake, seq)
    assert missing_rows(lake.root, LOGS, MARTS, DAY, datetime.now(UTC)) == 0


@pytest.mark.parametrize("behind", [True, False])
def test_a_report_says_that_it_is_incomplete(behind: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = SmallLake(tmp_path / "lake")
    seq = carry(lake, 0, 7, NOON)
    refreshed(lake, 0 if behind else seq)
    monkeypatch.setattr("platform_assets.defs.reports.SETTLED", timedelta(0))
    with receiver() as people:
        settings = Settings(tmp_path, lake.root, {"ASSAY_ALERT_URLS": people.url})
        monkeypatch.setattr(Settings, "load", lambda: settings)
        pages, deaf, failed = make_reports(LOGS, DAY)
        [title] = people.titles()
    assert (deaf, failed) == ([], [])
    assert title == f"Error report{' (incomplete)' if behind else ''} of logs, {DAY}"
    page = Path(pages["errors"]).read_text(encoding="utf-8")
    assert ("<h1>Error report (incomplete)</h1>" in page) is behind
    assert ("Incomplete: 7 rows of this day" in page) is behind
