"""Buckets say what silver says: in any order of commits, after a restart, and whatever memory did not hold."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from lakes import TOPIC, SmallLake
from samples import LOGS, private_alert_service, rules
from support import event

from platform_assets.alerts.buckets import FOLDER, KEPT, Buckets, forget_snapshots
from platform_assets.alerts.evaluator import IDLE, Ends, Evaluator, keeps_up, look_once
from platform_assets.alerts.incident import OPENED, Alert, Sighting
from platform_assets.alerts.index import document as document_of
from platform_assets.alerts.notify import message
from platform_assets.core.settings import Settings
from platform_assets.ingest.settle import Settled

Key = tuple[str, str | None]


@pytest.fixture
def lake(tmp_path: Path) -> SmallLake:
    return SmallLake(tmp_path)


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


class Follower(Buckets):
    """The buckets of a small lake."""

    def __init__(self, lake: SmallLake, *names: str) -> None:
        super().__init__(lake.contract, rules(*names), lake.tables.silver, lake.root / FOLDER)

    def hear(self, settled: Settled) -> None:
        self.offer(settled.after, settled.seq, settled.rows)

    @property
    def cells(self) -> list[dict[str, object]]:
        return sorted(self._cells.to_pylist(), key=lambda cell: (cell["rule"], cell["grp"], cell["bucket"]))


def errors(first: int, count: int, at: datetime, service: str = "payments", **more: object) -> list[bytes]:
    stamp = at.isoformat().replace("+00:00", "Z")
    return [event(n, event_time=stamp, service=service, level="ERROR", **more) for n in range(first, first + count)]


def carry(lake: SmallLake, values: Sequence[bytes | None]) -> Settled:
    return lake.settle(lake.land(values))


def by_key(seen: Iterator[Sighting]) -> dict[Key, Sighting]:
    return {(s.rule.name, s.group.get("service")): s for s in seen}


def test_late_rows_and_rows_sent_twice(lake: SmallLake, now: datetime) -> None:
    buckets = Follower(lake, "many")
    buckets.hear(carry(lake, errors(0, 6, now - timedelta(seconds=5))))
    assert not list(buckets.breaches())
    buckets.evaluated()
    buckets.hear(carry(lake, errors(0, 6, now - timedelta(seconds=5))))  # again: silver has them already
    assert not list(buckets.breaches())
    late = now - timedelta(seconds=40)
    buckets.hear(carry(lake, errors(100, 5, late)))  # behind the newest, inside the window
    (seen,) = buckets.breaches()
    assert (seen.group, seen.value, seen.breach) == ({"service": "payments"}, 11.0, True)
    buckets.evaluated()
    assert not list(buckets.breaches())


def test_rows_of_two_windows_do_not_add_up(lake: SmallLake, now: datetime) -> None:
    buckets = Follower(lake, "many")
    buckets.hear(carry(lake, errors(0, 6, now - timedelta(seconds=70)) + errors(10, 6, now - timedelta(seconds=5))))
    assert not list(buckets.breaches())
    assert not list(buckets.standing([], now, idle=False))


def test_a_window_that_was_full_before_the_newest_row_is_found(lake: SmallLake, now: datetime) -> None:
    """A worker that catches up gets minutes at once: what happened within them counts."""
    buckets = Follower(lake, "many")
    buckets.hear(carry(lake, errors(0, 11, now - timedelta(seconds=100)) + errors(50, 1, now)))
    (seen,) = buckets.breaches()
    assert seen.at == now - timedelta(seconds=100)
    (still,) = buckets.standing([seen.key], now, idle=False)
    assert (still.breach, still.value) == (False, 1.0)


def evaluated(lake: SmallLake, *commits: Settled) -> list[Alert]:
    """What a run that hears of these commits stores, with the looks in between; then it is killed, or ends."""
    with closing(private_alert_service(lake.root)) as alert_service:
        evaluate = Evaluator(lake.contract, rules("many"), lake.tables.silver, lake.root, alert_service)
        evaluate.catch_up()
        for commit in commits:
            evaluate.offer(commit.after, commit.seq, commit.rows)
            evaluate.look(datetime.now(UTC), idle=False)
        evaluate.look(datetime.now(UTC), idle=False)
        evaluate.save()
        evaluate.close()
        return alert_service.alerts()


@pytest.mark.parametrize("kept", [True, False])
def test_events_that_fill_a_window_that_has_passed_are_a_late_alert_once(
    lake: SmallLake, now: datetime, kept: bool
) -> None:
    """In two halves, with a restart between, which may have lost its snapshot; then again for the same windows."""
    then = now - timedelta(minutes=25)
    assert evaluated(lake, carry(lake, errors(0, 1, now)), carry(lake, errors(100, 6, then))) == []
    if not kept:
        for path in (lake.root / FOLDER).iterdir():
            path.unlink()
    (alert,) = evaluated(lake, carry(lake, errors(200, 6, then + timedelta(seconds=20)) + errors(1, 1, now)))
    assert (alert.visible_to, alert.late, alert.value, alert.notify) == ("payments", True, 12.0, OPENED)
    assert alert.opened_at == then + timedelta(seconds=20)
    assert document_of(alert)["late"] is True
    title, body, _ = message(alert, {})
    assert "(late)" in title and "late" in body
    for number in (300, 400):
        (again,) = evaluated(lake, carry(lake, errors(number, 2, then + timedelta(seconds=10))))
        assert again.alert_id == alert.alert_id and again.notify == OPENED and again.attempts == 0
    other = evaluated(lake, carry(lake, errors(500, 11, then, service="users")))
    assert sorted(a.visible_to or "" for a in other) == ["payments", "users"]


def test_late_events_that_come_while_nothing_hears_are_found_after_it(lake: SmallLake, now: datetime) -> None:
    """A worker that was killed between silver and its alerts."""
    evaluated(lake, carry(lake, errors(0, 1, now)))
    carry(lake, errors(100, 11, now - timedelta(minutes=25)))
    (alert,) = evaluated(lake)
    assert alert.late


def test_a_window_that_was_told_of_in_its_time_is_not_told_of_late(lake: SmallLake, now: datetime) -> None:
    then = now - timedelta(minutes=25)
    (known,) = evaluated(lake, carry(lake, errors(0, 11, then)))
    more = evaluated(lake, carry(lake, errors(100, 1, now)), carry(lake, errors(200, 11, then + timedelta(seconds=5))))
    assert [alert.alert_id for alert in more] == [known.alert_id]


def test_a_rule_that_fails_on_what_it_reads_again_is_left_out(lake: SmallLake, now: datetime) -> None:
    (many,) = rules("many")
    rule = replace(many, where="message::INT > 500")
    then = now - timedelta(minutes=25)
    first = carry(lake, errors(0, 1, now, message="501"))
    carry(lake, errors(100, 1, then, message="secret"))
    buckets = Buckets(lake.contract, (rule,), lake.tables.silver, lake.root / FOLDER)
    buckets.offer(first.after, first.seq, first.rows)  # reads silver: the cast fails there already
    assert buckets.broken == {"many": "ConversionException"}
    buckets.broken.clear()
    late = carry(lake, errors(200, 11, then, message="501"))
    buckets.offer(late.after, late.seq, late.rows)
    assert list(buckets.past()) == [] and buckets.broken == {"many": "ConversionException"}
    buckets.close()


def test_late_events_are_evaluated_up_to_lateness_and_history_never(lake: SmallLake, now: datetime) -> None:
    lateness = lake.contract.lateness
    evaluated(lake, carry(lake, errors(0, 1, now)))
    old = carry(lake, errors(100, 50, now - lateness - timedelta(minutes=5)))
    assert evaluated(lake, old) == []
    (alert,) = evaluated(lake, carry(lake, errors(200, 50, now - lateness + timedelta(minutes=5))))
    assert alert.late


def test_a_backlog_read_at_once_is_evaluated_window_by_window(lake: SmallLake, now: datetime) -> None:
    """An hour in one commit: what happened in it is found, although it is behind the newest row by then."""
    hour = [
        row
        for m in range(60, 0, -1)
        for row in errors(1000 * m, 12 if m in (50, 20) else 1, now - timedelta(minutes=m))
    ]
    found = evaluated(lake, carry(lake, hour))
    assert sorted(alert.opened_at for alert in found) == [now - timedelta(minutes=m) for m in (50, 20)]
    assert all(alert.late for alert in found)


def test_history_moves_nothing(lake: SmallLake, now: datetime) -> None:
    buckets = Follower(lake)
    buckets.hear(carry(lake, errors(0, 50, now - timedelta(days=3))))
    assert buckets.cells == []
    assert not list(buckets.breaches()) and not list(buckets.standing([], now, idle=True))


def test_history_is_not_heard(lake: SmallLake, now: datetime) -> None:
    buckets = Follower(lake)
    buckets.hear(carry(lake, errors(0, 1, now)))
    heard = buckets.heard
    assert heard is not None and heard >= now
    buckets.hear(carry(lake, errors(0, 5, now - timedelta(days=3))))
    assert buckets.heard == heard
    buckets.evaluated()
    buckets.save()
    again = Follower(lake)
    again.catch_up()
    assert again.heard == heard


def test_the_wall_clock_takes_over_only_when_nothing_waits(
    lake: SmallLake, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the broker is away, or the worker behind it, an open window may be as full as ever."""
    monkeypatch.setattr("platform_assets.alerts.evaluator.IDLE", timedelta(0))
    carry(lake, errors(0, 11, now - timedelta(minutes=6)))
    end, told = lake.offset, list[Ends]()
    with closing(private_alert_service(lake.root)) as alert_service:

        def look(ends: Ends) -> str:
            told.append(ends)
            look_once(Settings(lake.root, lake.root, {}), LOGS, rules("many"), alert_service, told.pop)
            assert not told  # it was asked
            return alert_service.alerts()[0].state

        assert look({}) == "open"
        assert look({"events": {TOPIC.app_id(0): (0, end + 1)}}) == "open"
        assert look({"events": {TOPIC.app_id(0): (0, end), TOPIC.app_id(1): (7, 8)}}) == "open"
        assert look({"events": {TOPIC.app_id(0): (0, end), TOPIC.app_id(1): (7, 7)}}) == "resolved"


def test_a_worker_keeps_up_that_takes_what_waits_in_a_minute(lake: SmallLake, now: datetime) -> None:
    carry(lake, errors(0, 50, now - timedelta(days=3)))  # an archive comes
    landed = datetime.now(UTC)
    for waiting, later, expected in ((50, 0, True), (51, 0, False), (50, 70, False), (0, 70, True)):
        ends = {TOPIC.app_id(0): (0, lake.offset + waiting)}
        lake.tables.silver.refresh()
        assert keeps_up(lake.tables.silver, ends, landed + timedelta(seconds=later)) is expected
    assert timedelta(seconds=60) == IDLE
    assert not keeps_up(lake.tables.silver, None, landed)


def test_ratio_maximum_too_few_and_silence(lake: SmallLake, now: datetime) -> None:
    buckets = Follower(lake, "ratio", "slow", "few", "silent")
    old = now - timedelta(seconds=90)
    few_rows = errors(0, 9, now, latency_ms=901.5)  # all of them errors, but fewer than the rule evaluates
    buckets.hear(carry(lake, errors(900, 1, old, service="users", latency_ms=1.0) + few_rows))
    seen = by_key(buckets.breaches())
    assert {key: s.value for key, s in seen.items()} == {("slow", "payments"): 901.5}
    buckets.hear(carry(lake, errors(100, 20, now, latency_ms=1.0)))
    assert by_key(buckets.breaches())[("ratio", None)].value == 1.0
    standing = by_key(buckets.standing([], now + timedelta(seconds=15), idle=True))
    assert {key: s.value for key, s in standing.items() if s.breach} == {("few", "users"): 0.0}
    later = by_key(buckets.standing([], now + timedelta(minutes=6), idle=True))
    assert later[("silent", "payments")].breach and later[("silent", "users")].breach
    forgotten = by_key(buckets.standing([("silent", '{"service":"users"}')], now + timedelta(days=2), idle=True))
    assert not forgotten[("silent", "users")].breach


def test_a_new_run_knows_what_the_old_one_knew(lake: SmallLake, now: datetime) -> None:
    """From a snapshot and the rest of silver, from silver alone, and with a torn snapshot."""
    first = Follower(lake)
    first.hear(carry(lake, errors(0, 8, now - timedelta(seconds=20))))
    list(first.breaches())
    first.evaluated()
    first.save()
    first.hear(carry(lake, errors(100, 8, now)))
    second = Follower(lake)
    second.catch_up()
    assert second.cells == first.cells
    assert ("many", "payments") in by_key(second.breaches())  # not evaluated by the first: evaluated now
    (snapshot,) = (lake.root / FOLDER).glob("*.arrow")
    snapshot.write_bytes(snapshot.read_bytes()[:100])
    third = Follower(lake)
    third.catch_up()
    assert third.cells == first.cells


def test_old_snapshots_and_halves_of_killed_workers_are_forgotten(lake: SmallLake, now: datetime) -> None:
    buckets = Follower(lake, "many")
    buckets.hear(carry(lake, errors(0, 1, now)))
    buckets.evaluated()
    buckets.save()
    folder = lake.root / FOLDER
    assert forget_snapshots(lake.root / "nothing") == forget_snapshots(folder) == 0
    old = (now - KEPT).timestamp() - 1
    for name in ("tmpdead.tmp", "logs.events.11111111-1111-1111-1111-111111111111.arrow"):
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (old, old))
    (folder / "tmpalive.tmp").touch()
    assert forget_snapshots(folder) == 2
    assert sorted(path.suffix for path in folder.iterdir()) == [".arrow", ".tmp"]


def test_commits_that_were_missed_are_read_from_silver(lake: SmallLake, now: datetime) -> None:
    commits = [carry(lake, errors(100 * n, 4, now - timedelta(seconds=n))) for n in range(5)]
    whole = Follower(lake)
    for commit in commits:
        whole.hear(commit)
    patchy = Follower(lake)
    patchy.hear(commits[0])
    patchy.hear(commits[3])  # 1 and 2 never came; silver holds 4 as well
    patchy.hear(commits[4])
    patchy.hear(commits[2])
    assert patchy.cells == whole.cells
    assert {c["rule"]: c["n"] for c in whole.cells if c["bucket"] == -1} == {"few": 20, "silent": 20}


def test_nothing_loaded_is_not_nothing_there(lake: SmallLake, now: datetime) -> None:
    """After an error the buckets are empty until silver has been read again: that must resolve nothing."""
    alert_service = private_alert_service(lake.root)
    evaluate = Evaluator(lake.contract, rules("many"), lake.tables.silver, lake.root, alert_service)
    settled = carry(lake, errors(0, 11, now))
    assert [a.state for a in evaluate.offer(settled.after, settled.seq, settled.rows)] == ["open"]
    with pytest.raises(KeyError):
        evaluate.offer(settled.seq, settled.seq + 1, _Broken())  # type: ignore[arg-type]
    assert evaluate.look(now + timedelta(minutes=5), idle=True) == []
    assert evaluate.catch_up() == []
    assert [a.state for a in evaluate.look(now + timedelta(minutes=5), idle=True)] == ["resolved"]
    alert_service.close()
    evaluate.close()


def test_a_rule_that_fails_on_data_is_left_out_and_no_other(
    lake: SmallLake, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it opened stays open, the next run knows of it without reading silver, and it is tried again later."""
    (many,) = rules("many")
    both = (replace(many, name="cast", where="message::INT > 500"), many)
    with closing(private_alert_service(lake.root)) as alert_service:

        def look() -> set[tuple[str, str]]:
            look_once(Settings(lake.root, lake.root, {}), LOGS, both, alert_service, dict)
            return {(alert.rule, alert.state) for alert in alert_service.alerts()}

        carry(lake, errors(0, 11, now - timedelta(minutes=6), message="501"))
        assert look() == {("many", "open"), ("cast", "open")}
        carry(lake, errors(100, 1, now - timedelta(minutes=5), message="secret"))
        assert look() == {("many", "resolved"), ("cast", "open"), ("check_failed", "open")}
        (told,) = [alert for alert in alert_service.alerts() if alert.rule == "check_failed"]
        assert (
            told.summary == "alerts/logs:rules: rules that fail on data are not evaluated: cast (ConversionException)"
        )
        evaluate = Evaluator(lake.contract, both, lake.tables.silver, lake.root, alert_service)
        settled = carry(lake, errors(200, 11, now, service="users", message="501"))
        assert {alert.rule for alert in evaluate.offer(settled.after, settled.seq, settled.rows)} == {"many"}
        evaluate.close()
        monkeypatch.setattr("platform_assets.alerts.buckets.RETRY", timedelta(0))
        monkeypatch.setattr("platform_assets.alerts.buckets.LANDED", timedelta(0))
        later = Evaluator(
            lake.contract, both, lake.tables.silver, lake.root, alert_service
        )  # its windows have no such row any more
        assert {(a.rule, a.visible_to) for a in later.catch_up()} == {("cast", "users")}
        assert later.broken == {}
        later.close()


class _Broken:
    """Rows that cannot be read."""

    @property
    def num_rows(self) -> int:
        raise KeyError("broken")


def test_rules_cannot_read_files(lake: SmallLake) -> None:
    buckets = Follower(lake, "many")
    with pytest.raises(Exception, match="disabled by configuration"):
        buckets._con.execute("SELECT * FROM read_csv('/etc/passwd')")
    assert isinstance(buckets._cells, pa.Table)
