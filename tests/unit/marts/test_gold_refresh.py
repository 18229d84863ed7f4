"""A refresh replaces what was touched, once, whoever dies or comes late."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from goldlab import LOGS, MARTS, NOON, GoldLab, fail
from lakes import SmallLake

from platform_assets.cli.app import assay
from platform_assets.core.errors import AssayError
from platform_assets.core.transactions import REFRESH, REWRITE, rewrite_mark
from platform_assets.ingest.maintain import maintain
from platform_assets.ingest.rebuild import rebuild
from platform_assets.marts.build import build
from platform_assets.marts.graph import read_graph
from platform_assets.marts.maintain import maintain_gold
from platform_assets.marts.marts import refresh_log_table
from platform_assets.marts.plan import consumed, plan
from platform_assets.marts.prepare import prepare
from platform_assets.marts.project import project_folder
from platform_assets.marts.publish import Overtaken, publish
from platform_assets.reconcile.replay import replay
from platform_assets.tables.maintain import drop

MINUTE = timedelta(minutes=1)
ALL = list(MARTS.values())
GRAPH = read_graph(project_folder(), LOGS)


def test_late_rows_change_their_minute_and_nothing_else(tmp_path: Path) -> None:
    lab = GoldLab(tmp_path)
    lab.log({"at": NOON}, fail(NOON + 5 * MINUTE), {"at": NOON + timedelta(hours=2)})
    lab.refresh()
    files = {name: _files(lab, name) for name in MARTS}
    lab.log(fail(NOON + 5 * MINUTE, user_id="ann"))
    report = lab.refresh()
    assert (report.minutes, report.slots["errors_minute"], report.slots["errors_day"]) == (1, 1, 2)
    assert lab.rows("errors_minute", "minute", "errors") == [
        (NOON, 0), (NOON + 5 * MINUTE, 2), (NOON + timedelta(hours=2), 0),
    ]  # fmt: skip
    assert lab.rows("errors_day", "events", "errors", "users_hit") == [(4, 2, 1)]
    untouched = f"{NOON + timedelta(hours=2):%Y-%m-%dT%H}"
    assert _files(lab, "errors_minute")[untouched] == files["errors_minute"][untouched]


def _files(lab: GoldLab, mart: str) -> dict[str, str]:
    """The one file of each partition."""
    table = MARTS[mart].table(lab.root)
    files = {str(f.partition): f.path for f in table.files()}
    assert len(files) == len(table.files())
    return files


def test_a_second_refresh_changes_nothing(tmp_path: Path) -> None:
    lab = GoldLab(tmp_path)
    lab.log({"at": NOON}, fail(NOON))
    lab.refresh()
    before, versions = lab.everything(), [mart.table(lab.root).version for mart in ALL]
    report = lab.refresh()
    assert (report.minutes, report.rows) == (0, {})
    assert [mart.table(lab.root).version for mart in ALL] == versions
    assert lab.refresh(day=NOON.date()).minutes == 1440  # recomputed by hand: the same rows
    assert lab.everything() == before


def test_a_slot_without_rows_is_cleared(tmp_path: Path) -> None:
    lab = GoldLab(tmp_path)
    lab.log({"at": NOON, "latency_ms": 3.0}, fail(NOON, user_id="ann"))
    lab.refresh()
    silver = lab.tables.silver
    silver.refresh()
    drop(silver, silver.files())  # by hand: gold keeps what it has
    assert lab.refresh().rows == {}
    assert lab.rows("errors_minute")
    lab.refresh(day=NOON.date())  # asked for: nothing is left of the day
    assert not any(lab.everything().values())


def test_a_large_silver_is_taken_in_by_windows(tmp_path: Path) -> None:
    lab, whole = GoldLab(tmp_path / "a"), GoldLab(tmp_path / "b")
    for target in (lab, whole):
        for batch in range(2):
            target.log(*(fail(NOON + (batch + n) * MINUTE, user_id=f"u{n}") for n in range(4)))
    reports = [lab.refresh(window_rows=4)]
    while reports[-1].more:
        reports.append(lab.refresh(window_rows=4))
    assert [report.more for report in reports] == [True, False]
    whole.refresh()
    hidden = {"failures_minute", "failures_hour"}  # `example` may be any of them
    ours, theirs = lab.everything(), whole.everything()
    assert {n: r for n, r in ours.items() if n not in hidden} == {n: r for n, r in theirs.items() if n not in hidden}


def test_kills_between_marts_are_made_good(tmp_path: Path) -> None:
    """Killed after the claim, after the first mart, after the last but one: the next refresh does all of it again."""
    lab = GoldLab(tmp_path)
    lab.log({"at": NOON})
    lab.refresh()
    lab.log(fail(NOON), fail(NOON + timedelta(hours=1), user_id="ann"))
    for fault in ("gold_claimed:1", "gold_mart_committed:1", f"gold_mart_committed:{len(ALL) - 1}"):
        assert _killed(lab, fault)
        assert lab.rows("errors_day", "errors") == [(0,)]
        assert consumed(lab.root, LOGS, ALL)["events"].behind
    assert lab.refresh().number == 5
    assert lab.rows("errors_day", "events", "errors", "users_hit") == [(3, 2, 1)]
    assert not consumed(lab.root, LOGS, ALL)["events"].behind
    assert {mart.table(lab.root).transaction(REFRESH) for mart in ALL} == {5}


def _killed(lab: GoldLab, fault: str) -> bool:
    """Refresh in a process that dies at a fault point."""
    code = (
        "from pathlib import Path; from platform_assets.contracts.read import load_contracts\n"
        "from platform_assets.marts.refresh import refresh; from platform_assets.core.settings import Settings\n"
        f"root = Path({str(lab.root)!r}); refresh(Settings(root, root, {{}}), load_contracts()['logs'], index=False)"
    )
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "ASSAY_FAULT": fault}, check=False)
    return done.returncode == -signal.SIGKILL


def test_an_older_run_cannot_overwrite_a_newer_one(tmp_path: Path) -> None:
    """It has read, built and tested; then it sleeps while another refresh takes in a later row."""
    lab = GoldLab(tmp_path)
    lab.log({"at": NOON})
    project, folder = project_folder(), tmp_path / "asleep"
    folder.mkdir()
    old = plan(lab.root, LOGS, GRAPH, lab.con)
    database = prepare(folder, lab.root, old, GRAPH)
    build(project, database, folder / "target", "logs", list(MARTS))
    lab.log(fail(NOON))
    lab.refresh()
    after = lab.everything()
    with pytest.raises(Overtaken):
        list(publish(database, lab.root, old, ALL))
    assert lab.everything() == after


def test_an_older_run_that_has_claimed_cannot_either(tmp_path: Path) -> None:
    lab = GoldLab(tmp_path)
    lab.log({"at": NOON})
    folder = tmp_path / "asleep"
    folder.mkdir()
    old = plan(lab.root, LOGS, GRAPH, lab.con)
    database = prepare(folder, lab.root, old, GRAPH)
    build(project_folder(), database, folder / "target", "logs", list(MARTS))
    steps_of_old = publish(database, lab.root, old, ALL)
    next(steps_of_old)  # claimed, and one mart written
    lab.log(fail(NOON))
    lab.refresh()
    after = lab.everything()
    with pytest.raises(Overtaken):
        list(steps_of_old)
    assert lab.everything() == after


def test_a_rebuild_is_noticed(tmp_path: Path) -> None:
    lab = GoldLab(tmp_path)
    lab.log({"at": NOON}, fail(NOON + MINUTE))
    lab.log({"at": NOON + timedelta(hours=12)})  # another day, and never one to come
    lab.refresh()
    day = f"{NOON:%Y-%m-%d}"
    silver = lab.tables.silver
    silver.refresh()
    drop(silver, silver.files(day))  # lost, and only bronze has it
    lab.log({"at": NOON})
    lab.refresh()
    assert lab.rows("errors_day", "day", "events", "errors")[0][1:] == (2, 1)  # noon again, the lost error still shown
    rebuild(lab.settings, lab.contract, NOON.date(), index=False)
    silver.refresh()
    assert silver.transaction(rewrite_mark(day)) == silver.transaction(REWRITE) == 1
    report = lab.refresh()
    assert report.minutes == 1440
    assert lab.rows("errors_day", "day", "events", "errors")[0] == (NOON.date(), 3, 1)
    assert sum(row[0] for row in lab.rows("errors_minute", "events")) == len(lab.silver_ids()) == 4


def test_a_replay_is_noticed(tmp_path: Path) -> None:
    lab = GoldLab(tmp_path)
    lab.log({"at": NOON}, {"at": NOON + MINUTE, "latency_ms": -5.0})
    lab.refresh()
    assert sum(row[0] for row in lab.rows("errors_minute", "events")) == 1
    later = SmallLake(tmp_path, tolerant=True).contract  # lets negative latencies in
    tolerant = replace(LOGS, version=later.version, tables=(later,))
    assert replay(lab.settings, tolerant, index=False).tables["events"].accepted == 1
    lab.refresh()
    assert sum(row[0] for row in lab.rows("errors_minute", "events")) == 2


def test_gold_lives_as_long_as_silver_and_reports_for_good(tmp_path: Path) -> None:
    lab = GoldLab(tmp_path)
    long_ago = NOON - timedelta(days=400)
    lab.log({"at": long_ago}, {"at": NOON})  # history: silver keeps it from its landing
    lab.refresh()
    before = lab.everything()
    assert not any(maintain_gold(lab.settings, LOGS, tuple(ALL), GRAPH.kept, index=False).rows.values())
    assert lab.everything() == before
    silver = lab.tables.silver
    silver.refresh()
    drop(silver, silver.files(f"{long_ago:%Y-%m-%d}"))
    maintain_gold(lab.settings, LOGS, tuple(ALL), GRAPH.kept, index=False)
    assert lab.rows("errors_minute", "minute") == lab.rows("errors_hour", "hour") == [(NOON,)]
    assert lab.rows("errors_day") == before["errors_day"]
    assert lab.refresh().minutes == 0


@pytest.mark.parametrize("in_gold_too", [True, False])
def test_a_late_row_changes_no_day_that_retention_has_dropped(tmp_path: Path, in_gold_too: bool) -> None:
    """Made anew from what silver still has, its report would lose what was dropped."""
    lab = GoldLab(tmp_path)
    old, day = NOON - timedelta(days=1), timedelta(days=1)
    lab.log({"at": old}, fail(old, user_id="ann", latency_ms=5.0), fail(old + MINUTE, user_id="bob"))
    lab.refresh()
    report = lab.rows("errors_day")
    later = datetime.now(UTC) + lab.contract.retention
    assert maintain(lab.settings, lab.contract, now=later, index=False).rows["silver"] == 3
    if in_gold_too:
        maintain_gold(lab.settings, LOGS, tuple(ALL), GRAPH.kept, now=later, index=False)
        assert lab.rows("errors_hour") == []
    hours = lab.rows("errors_hour")
    lab.log(fail(old), {"at": NOON})
    days = lab.refresh().days
    assert [row for row in lab.rows("errors_day") if row in report] == report
    assert days == (f"{NOON:%Y-%m-%d}",)
    assert [row for row in lab.rows("errors_hour") if row in hours] == hours
    beside = ("day", "events", "previous_events", "previous_errors", "previous_users_hit")
    assert lab.rows("errors_day", *beside)[1:] == [(NOON.date(), 1, 3, 2, 2)]
    lab.log({"at": old - day})  # its report is the day before's neighbour, and is not made anew for that
    assert len(lab.refresh().days) == 1
    with pytest.raises(AssayError, match="retention has dropped rows"):
        lab.refresh(day=old.date())
    assert [row for row in lab.rows("errors_day") if row in report] == report
    assert len(lab.rows("errors_day")) == 3
    assert not consumed(lab.root, LOGS, ALL)["events"].behind


def test_the_refresh_log_says_which_refresh_replaced_what(tmp_path: Path) -> None:
    lab = GoldLab(tmp_path)
    lab.log({"at": NOON})
    lab.refresh()
    lab.log({"at": NOON + timedelta(days=-1)})
    lab.refresh()
    refresh_log = refresh_log_table(lab.root, "logs")
    found = refresh_log.relation(lab.con).filter("model = 'errors_minute'").project("refresh, slot").order("refresh")
    assert found.fetchall() == [(1, NOON), (2, NOON - timedelta(days=1))]
    days = (
        refresh_log.relation(lab.con)
        .filter("model = 'errors_day' AND refresh = 2")
        .project("slot")
        .order("slot")
        .fetchall()
    )
    assert [row[0].date() for row in days] == [(NOON - timedelta(days=1)).date(), NOON.date()]


def test_slots_follow_from_minutes(tmp_path: Path) -> None:
    lab = GoldLab(tmp_path)
    lab.log({"at": NOON}, {"at": NOON + 59 * MINUTE}, {"at": NOON + 60 * MINUTE})
    found = plan(lab.root, LOGS, GRAPH, lab.con)
    assert [len(found.slots[name]) for name in ("errors_minute", "errors_hour", "errors_day")] == [3, 2, 2]
    assert np.all(np.diff(found.minutes) > 0)


def test_the_command_refreshes_and_tells(tmp_path: Path) -> None:
    lab = GoldLab(tmp_path)
    lab.log(fail(NOON))
    lab.refresh()
    lab.log(fail(NOON))

    def told(*arguments: str) -> Any:
        done = CliRunner().invoke(assay, ["gold", *arguments, "logs", "--json", "--home", str(tmp_path / "home")])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_LAKE", str(tmp_path))
        assert told("status")["behind"] is True
        report = told("refresh")
        assert (report["number"], report["minutes"], report["rows"]["errors_minute"]) == (2, 1, 1)
        assert "OpenSearch is not known" in report["index_error"]  # told, and no reason to fail
        state = told("status")
    assert state["behind"] is False
    assert {mart["refresh"] for mart in state["marts"]} == {2}
