"""SIGKILL while an index of many days is built anew, and while retention takes days out of it; then the proof."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from beside import background, traffic
from support import event, publish
from waiting import eventually

from platform_assets.contracts.compat import to_json
from platform_assets.contracts.model import Contract, IndexPeriod
from platform_assets.core.faultpoints import REBUILD_POINTS, RETIRE_POINTS
from platform_assets.core.settings import Settings
from platform_assets.index.connect import connect_indices
from platform_assets.ingest.maintain import maintain
from platform_assets.ingest.rebuild import rebuild
from platform_assets.ingest.worker import Worker
from platform_assets.reconcile.prove import prove

pytestmark = [pytest.mark.services, pytest.mark.faults]
_OPEN = """
import sys
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from platform_assets.contracts.compat import from_json
from platform_assets.ingest.maintain import maintain
from platform_assets.ingest.rebuild import rebuild
from platform_assets.core.settings import Settings
table = from_json(Path(sys.argv[1]).read_text()).tables[0]
settings = replace(Settings.load(), lake_path=Path(sys.argv[2]))
"""


def dies(contract: Contract, settings: Settings, work: str, point: str, folder: Path) -> None:
    """Do the work in a process that dies at a point, to which it has to come."""
    described = folder / "contract.json"
    described.write_text(to_json(contract))
    command = [sys.executable, "-c", _OPEN + work, str(described), str(settings.lake_path)]
    done = subprocess.run(command, env={**os.environ, "ASSAY_FAULT": point}, check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL, point


def in_january(number: int) -> bytes:
    return event(number, event_time=f"2026-01-{1 + number % 5:02d}T12:00:00Z")


@pytest.fixture
def monthly(contract: Contract) -> Contract:
    """An index for each month, in which no row of these tests is late."""
    table = replace(contract.tables[0], index_period=IndexPeriod.MONTH, lateness=timedelta(days=36_000))
    return replace(contract, tables=(table,))


def test_a_rebuild_of_a_day_may_die_anywhere_beside_a_worker(
    settings: Settings, monthly: Contract, tmp_path: Path
) -> None:
    table = monthly.tables[0]
    with background(settings, monthly), traffic(settings, table, 0, in_january) as sent:
        for point in REBUILD_POINTS:
            before = sent.sent
            eventually(lambda before=before: sent.sent > before + 200)
            dies(monthly, settings, "rebuild(settings, table, date(2026, 1, 5))", point, tmp_path)
        rebuild(settings, table, date(2026, 1, 5))
    Worker(settings, monthly).drain()
    assert prove(settings, monthly).holds
    indices = connect_indices(settings)
    assert [(index.period, index.serving, index.blocked) for index in indices.all(table)] == [("2026-01", True, False)]
    indices.client.close()


@pytest.mark.parametrize("point", RETIRE_POINTS)
def test_retention_may_die_between_its_steps(settings: Settings, monthly: Contract, tmp_path: Path, point: str) -> None:
    table = monthly.tables[0]
    publish(settings, table, [in_january(n) for n in range(50)])
    Worker(settings, monthly).drain()
    now = datetime.now(UTC) + table.retention + timedelta(hours=1)
    work = f"maintain(settings, table, now=datetime.fromisoformat('{now.isoformat()}'))"
    dies(monthly, settings, work, point, tmp_path)
    fresh = [event(n, event_time="2026-01-30T12:00:00Z") for n in range(1000, 1010)]
    publish(settings, table, fresh)
    Worker(settings, monthly).drain()
    maintain(settings, table, now=now - timedelta(hours=2))  # what was dropped is dropped, and nothing more
    proof = prove(settings, monthly, deep=False, broker=False).tables["events"]  # whose records are not that old
    assert proof.checks["index"].failures == []
    assert (proof.counts["documents"], proof.counts.get("expired_documents", 0)) == (10, 0)
