"""Beside the worker: each silver commit is evaluated as it comes, in threads of their own.

Belongs here: threads, the bounded queue, what becomes of an error. Does not: evaluating (`evaluator.py`, `platform.py`).
The worker never waits for an alert and never fails because of one. What the queue cannot hold is read from silver.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import pyarrow as pa

from platform_assets.alerts.evaluator import Evaluator, failing
from platform_assets.alerts.model import Rule
from platform_assets.alerts.platform import Counted, TableHealth, Vitals
from platform_assets.alerts.service import AlertService
from platform_assets.contracts.document import Declared
from platform_assets.contracts.model import Contract
from platform_assets.core.errors import one_line
from platform_assets.core.settings import Settings
from platform_assets.tables.table import LakeTable

MEMORY_BYTES = 64 * 1024 * 1024
"""Rows that wait to be evaluated; past that they are read from silver again."""
TICK_S = 5.0

Past = Callable[[str, int | None], Sequence[Counted]]
"""What was settled of a table in the last `RATE_WINDOW`, up to a bronze commit (None: all that silver holds)."""

_log = logging.getLogger("assay.alerts")


@dataclass(slots=True)
class _Commit:
    table: str
    after: int
    seq: int
    rows: pa.Table | None
    vitals: Vitals


class Monitor:
    """The alerts of one ingest run: `start` and `finish` once each, `offer` and `note` from the worker's threads."""

    def __init__(
        self,
        settings: Settings,
        contract: Contract,
        silver: Mapping[str, LakeTable],
        rules: Callable[[], Declared[Rule]],
        past: Past,
        *,
        index: bool,
    ) -> None:
        """Rules that cannot be read or bound are told in `error`; the others and the platform's own hold all the same."""
        self._past = past
        self._alert_service = AlertService(settings, contract.system, index=index)

        def evaluates(found: Sequence[Rule]) -> dict[str, Evaluator]:
            return {
                t.name: Evaluator(t, found, silver[t.name], settings.lake_path, self._alert_service)
                for t in contract.tables
            }

        declared = rules()
        self._broken = "; ".join(map(str, declared.mistakes))
        if declared.mistakes:
            _log.error("rules of %s are not evaluated: %s", contract.system, self._broken)
        self._evaluators = evaluates(tuple(declared.valid.values()))
        self._health = {t.name: TableHealth(t) for t in contract.tables}
        # By table: the last bronze commit before this run's own, None if it has none yet.
        self._begun: dict[str, int | None] = {}
        self._changed = threading.Condition()
        self._waiting: deque[_Commit] = deque()
        self._bytes = 0
        self._noted: dict[str, Vitals] = {}
        self._closing = False
        self._followers = [
            _Follower("publish", self._alert_service.publish),
            _Follower("tell", self._alert_service.tell),
        ]
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)
        self._trouble = ""

    # -- the worker's side -------------------------------------------------------------------------------------------------

    @property
    def error(self) -> str:
        """What does not work now, in one line; empty when all is well."""
        crowded = sorted(name for evaluate in self._evaluators.values() for name in evaluate.crowded)
        broken = {name: why for evaluate in self._evaluators.values() for name, why in evaluate.broken.items()}
        said = [
            self._broken,
            self._trouble,
            *(f.trouble for f in self._followers),
            f"too many groups: {', '.join(crowded)}" if crowded else "",
            failing(broken),
        ]
        return "; ".join(filter(None, said))

    def start(self) -> None:
        """Begin."""
        self._thread.start()
        for follower in self._followers:
            follower.start()

    def offer(self, table: str, after: int, seq: int, rows: pa.Table, vitals: Vitals) -> None:
        """A silver commit of bronze commits (`after`, `seq`]. Never waits."""
        with self._changed:
            self._waiting.append(_Commit(table, after, seq, rows, vitals))
            self._bytes += rows.nbytes
            for commit in self._waiting:
                if self._bytes <= MEMORY_BYTES:
                    break
                if commit.rows is not None:
                    self._bytes -= commit.rows.nbytes
                    commit.rows = None
            self._changed.notify()

    def note(self, table: str, vitals: Vitals) -> None:
        """How the table does while nothing is committed. Never waits."""
        with self._changed:
            self._noted[table] = vitals

    def finish(self, seconds: float) -> None:
        """Evaluate what was offered, for at most `seconds`, let index and people follow, and end."""
        until = time.monotonic() + seconds
        with self._changed:
            self._closing = True
            self._changed.notify()
        threads = [self._thread, *(follower.thread for follower in self._followers)]
        for position, thread in enumerate(threads):
            if thread.ident is not None:
                thread.join(max(0.1, until - time.monotonic()))
            if position == 0:
                for follower in self._followers:
                    follower.end()
        if not any(thread.is_alive() for thread in threads):
            for evaluate in self._evaluators.values():
                evaluate.close()
            self._alert_service.close()

    # -- the thread's side -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        looked = time.monotonic()
        self._safely(lambda: [change for evaluate in self._evaluators.values() for change in evaluate.catch_up()])
        while True:
            with self._changed:
                if not self._waiting and not self._closing:
                    self._changed.wait(TICK_S)
                commits, self._waiting, self._bytes = list(self._waiting), deque(), 0
                ending = self._closing
            for commit in commits:
                vitals = partial(self._see, commit.table, commit.vitals, datetime.now(UTC), commit.after)
                self._safely(vitals, partial(self._evaluate, commit))
            if ending or time.monotonic() - looked >= TICK_S:
                self._safely(self._look_at_vitals, self._look_at_rules)
                looked = time.monotonic()
            if ending and not self._waiting:
                self._safely(self._save)
                return

    def _evaluate(self, commit: _Commit) -> Sequence[object]:
        return self._evaluators[commit.table].offer(commit.after, commit.seq, commit.rows)

    def _see(self, table: str, vitals: Vitals, now: datetime, after: int | None = None) -> Sequence[object]:
        """Evaluate a table's vitals. Its first commit, behind bronze commit `after`, says where the past ends for sure."""
        if table not in self._begun or (self._begun[table] is None and after is not None):
            self._health[table].begin(self._past(table, after))
            self._begun[table] = after
        return self._alert_service.see(self._health[table].evaluate(vitals, now))

    def _look_at_vitals(self) -> Sequence[object]:
        with self._changed:
            noted, self._noted = self._noted, {}
        now = datetime.now(UTC)
        return [change for table, vitals in noted.items() for change in self._see(table, vitals, now)]

    def _look_at_rules(self) -> Sequence[object]:
        """By event time: that nothing comes may be the broker's trouble or the worker's own, and `look_once` asks about that."""
        now = datetime.now(UTC)
        return [change for evaluate in self._evaluators.values() for change in evaluate.look(now, idle=False)]

    def _save(self) -> list[object]:
        for evaluate in self._evaluators.values():
            evaluate.save()
        return []

    def _safely(self, *works: Callable[[], Sequence[object]]) -> None:
        """An error is told and tried again with the next commit, which finds in silver what this one missed."""
        trouble = []
        for work in works:
            try:
                if work():
                    for follower in self._followers:
                        follower.wake()
            except Exception as error:  # a thread that dies would say nothing any more
                trouble.append(one_line(error))
                _log.error("alerts are not evaluated: %s", trouble[-1])
        self._trouble = "; ".join(trouble)


class _Follower:
    """Work that follows the table of alerts, again and again in a thread; its errors are told and tried again."""

    def __init__(self, name: str, work: Callable[[], int]) -> None:
        self._name = name
        self._work = work
        self._wake = threading.Event()
        self._ending = False
        self.thread = threading.Thread(target=self._run, name=f"alerts-{name}", daemon=True)
        self.trouble = ""

    def start(self) -> None:
        self.thread.start()

    def wake(self) -> None:
        self._wake.set()

    def end(self) -> None:
        self._ending = True
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait(TICK_S)
            self._wake.clear()
            ending = self._ending
            try:
                self._work()
                self.trouble = ""
            except Exception as error:  # as above
                trouble = one_line(error)
                if trouble != self.trouble:
                    _log.error("alerts (%s): %s", self._name, trouble)
                self.trouble = trouble
            if ending:
                return
