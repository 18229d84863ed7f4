"""The whole platform on one machine for a demonstration: services, Dagster, a simulated flow, and their orderly end.

Belongs here: what is started, fed and ended, in which order. Does not: what a person sees of it (`cli/demo.py`), or any of
the parts. Services that ran before are used and left running; those that we started end with us, killed or not.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platform_assets.errors import AssayError

if TYPE_CHECKING:
    from platform_assets.contracts.model import Contract
    from platform_assets.local.dagster import Dagster
    from platform_assets.local.page import Page
    from platform_assets.local.simulation import Feed, Simulator
    from platform_assets.settings import Settings

SYSTEM = "logs"
RATE = 500.0
BAD, DUPLICATES = 0.002, 0.005
BURST = "payments:45"
"""A service has trouble from the start, so that an alert opens and, a minute or so later, resolves."""
BURST_ALERT = ("error_ratio", "payments")
FAILURES = 2
"""So many failed runs in a row are no accident: the lane would not come right by waiting."""
SAMPLES = {"access": "logs/apache_access.log", "broker": "logs/kafka-broker-1/*"}
"""Real logs, table by table, below the folder of shared data, for where there is one."""
SAMPLE_TABLE, SAMPLE_DAY = "access", "2015-05-20"
"""A day that they are of."""

Say = Callable[[str], None]


class Stopped(Exception):
    """Somebody asked to stop while we waited."""


@dataclass(frozen=True, slots=True)
class LaneRun:
    """A lane run as Dagster knows it; times in seconds since 1970, None when it has not come so far."""

    id: str
    status: str
    started: float | None
    ended: float | None

    @property
    def at_work(self) -> bool:
        """Whether it has begun and did not fail."""
        return self.status in ("STARTED", "SUCCESS")

    @property
    def failed(self) -> bool:
        """Whether it ended badly."""
        return self.status == "FAILURE"


@dataclass
class Demo:
    """What runs: Dagster, the page, the flow, and since when."""

    settings: Settings
    contract: Contract
    simulator: Simulator
    dagster: Dagster
    page: Page
    feed: Feed
    began: float
    _told: dict[str, str] = field(default_factory=dict)

    def page_of(self, run: LaneRun) -> str:
        """Where Dagster shows a run."""
        return f"{self.dagster.url}/runs/{run.id}"

    def news(self) -> list[str]:
        """Alerts that have opened or resolved since the last call, a line each."""
        from platform_assets.alerts.room import AlertRoom

        room = AlertRoom(self.settings, self.contract.system, index=False)
        try:
            alerts = room.alerts()
        finally:
            room.close()
        lines = []
        for alert in sorted(alerts, key=lambda alert: alert.revision):
            if alert.updated_at.timestamp() >= self.began and self._told.get(alert.alert_id) != alert.state:
                self._told[alert.alert_id] = alert.state
                lines.append(f"Alert {alert.state} [{alert.severity}] {alert.rule}: {alert.summary}")
        return lines

    def burst_is_over(self) -> bool:
        """Whether the alert on the burst has opened and resolved: now, or minutes ago (then it cools down and opens no more)."""
        from platform_assets.alerts.incident import RESOLVED
        from platform_assets.alerts.room import AlertRoom

        room = AlertRoom(self.settings, self.contract.system, index=False)
        try:
            return any((a.rule, a.service, a.state) == (*BURST_ALERT, RESOLVED) for a in room.alerts())
        finally:
            room.close()

    def lane_runs(self) -> list[LaneRun]:
        """The lane's runs of this demonstration, newest first. Raises AssayError when Dagster does not answer."""
        from platform_assets.local.dagster import query

        tag = f'{{key: "assay/lane", value: "{self.contract.system}"}}'
        text = f"""{{ runsOrError(filter: {{tags: [{tag}]}}, limit: 50) {{
            ... on Runs {{ results {{ runId status startTime endTime }} }} }} }}"""
        try:
            found: list[dict[str, Any]] = query(self.dagster.url, text)["runsOrError"]["results"]
        except (OSError, ValueError, KeyError) as error:
            folder = self.settings.home / "dagster"
            raise AssayError(f"Dagster at {self.dagster.url} does not answer", f"its logs are in {folder}") from error
        runs = [LaneRun(run["runId"], run["status"], run["startTime"], run["endTime"]) for run in found]
        return [run for run in runs if run.started is None or run.started >= self.began]


@contextmanager
def demonstration(
    settings: Settings, contracts: dict[str, Contract], *, rate: float, port: int | None, say: Say
) -> Iterator[Demo]:
    """Start everything, and end at the end of the block all that was started. Main thread only.

    Raises AssayError when a part does not start; what had started is ended.
    """
    from platform_assets.local import lifecycle
    from platform_assets.local.dagster import start_dagster
    from platform_assets.local.page import start_page
    from platform_assets.local.prepare import prepare
    from platform_assets.local.simulation import Feed, load_simulator
    from platform_assets.settings import Settings as Fresh

    contract = contracts[SYSTEM]
    simulator = load_simulator(contract)
    with ExitStack() as stack:
        # Those that are ending are of a demonstration that was killed: `up` waits for their end.
        ours = lifecycle.status(settings.home).phase in ("stopped", "stopping")
        if ours:
            say("Starting Kafka and OpenSearch (the first time they are downloaded)")
            stack.callback(_end_services, settings.home, say)
        lifecycle.up(settings.home, owned=ours)
        settings = Fresh.load(settings.home)
        prepare(settings, contracts.values())
        say("Starting Dagster")
        dagster = start_dagster(settings.home, port)
        stack.callback(dagster.stop)
        stack.callback(say, "Stopping Dagster; the lane commits what it holds")
        page = start_page(settings.home)
        stack.callback(page.end)
        feed = Feed(settings, simulator, rate, bad=BAD, duplicates=DUPLICATES, burst=BURST)
        began = time.time()
        feed.start()
        stack.callback(feed.end)
        yield Demo(settings, contract, simulator, dagster, page, feed, began)


def _end_services(home: Path, say: Say) -> None:
    from platform_assets.local import lifecycle

    say("Stopping Kafka and OpenSearch")
    lifecycle.down(home)


# -- the flow of `--once`, from the first event to the moment when everything can be proved ------------------------------


def run_through(demo: Demo, stop: threading.Event, say: Say, *, runs: int = 2, events: int = 10_000) -> None:
    """Let the flow go through the sensor's lane, with bad input, until all has arrived.

    Raises AssayError when it does not come so far in time, `Stopped` when asked to stop.
    """

    def tell() -> None:
        for line in demo.news():
            say(line)

    say(f"Sent {send_bad(demo):,} records that are wrong, or there twice")
    say(f"Waiting for {runs} lane runs and {events:,} events")
    _until(stop, 240, f"{runs} lane runs and {events:,} events", lambda: _enough(demo, runs, events), tell)
    _until(stop, 180, "the alert on the burst to open and resolve", demo.burst_is_over, tell)
    tell()
    say(f"Stopped the flow after {demo.feed.end():,} events; waiting for the lane to catch up")
    _until(stop, 120, "the lane to catch up", lambda: caught_up(demo.settings, demo.contract))


def _enough(demo: Demo, runs: int, events: int) -> bool:
    try:
        known = demo.lane_runs()
    except AssayError:
        if not demo.dagster.alive():
            raise
        return False  # busy: a machine at its limit answers later
    ended = [run for run in known if run.ended is not None]
    if len(ended) >= FAILURES and all(run.failed for run in ended[:FAILURES]):
        raise AssayError(f"the lane's last {FAILURES} runs failed", f"see {demo.page_of(ended[0])}")
    return sum(run.at_work for run in known) >= runs and demo.feed.delivered >= events


def caught_up(settings: Settings, contract: Contract) -> bool:
    """Whether everything that the topics hold is in silver or quarantine, and in the index."""
    from platform_assets.trust.state import table_state

    states = [table_state(settings, table, services=True) for table in contract.tables]
    return all(
        state.lag is not None
        and not any(state.lag.values())
        and state.silver_seq == state.bronze_seq
        and state.index_behind == 0
        for state in states
    )


def shared_data() -> Path:
    """`$ASSAY_SHARED_DATA`, else `../shared/data` beside the checkout; it need not exist."""
    configured = os.environ.get("ASSAY_SHARED_DATA")
    return Path(configured) if configured else Path(__file__).resolve().parents[3] / "shared" / "data"


def send_samples(demo: Demo, folder: Path) -> dict[str, int]:
    """Publish the real logs below `folder`, once for a home; records by topic, empty where there are none."""
    from platform_assets.stream.files import frames
    from platform_assets.stream.produce import RecordProducer
    from platform_assets.trust.state import table_state

    sent = {}
    for name, pattern in SAMPLES.items():
        table = demo.contract.table(name)
        files = sorted(path for path in folder.glob(pattern) if path.is_file())
        if not files or table_state(demo.settings, table).rows:
            continue
        producer = RecordProducer(demo.settings.kafka_conf("producer"), table.topic)
        for path in files:
            for records, _ in frames(path, table, batch=2000):
                producer.send([(None, record) for record in records])
        producer.flush()
        sent[table.topic] = producer.delivered
    return sent


def sampled_day(demo: Demo, sent: Mapping[str, int]) -> str | None:
    """A day of the real web requests, when they were sent: now, or to this home before."""
    from platform_assets.trust.state import table_state

    table = demo.contract.table(SAMPLE_TABLE)
    there = table.topic in sent or SAMPLE_DAY in table_state(demo.settings, table).rows_by_partition
    return SAMPLE_DAY if there else None


def send_bad(demo: Demo) -> int:
    """Publish spoilt events, events sent twice, one too large and one too deep; how many records."""
    from platform_assets.stream.produce import RecordProducer

    table = demo.simulator.table
    spoilt = next(demo.simulator.simulate(1000.0, 1.0, bad=1.0))
    good = next(demo.simulator.simulate(1000.0, 1.0))
    large = b'{"message":"' + b"x" * (table.max_bytes + 1) + b'"}'
    deep = b'{"a":' * 10_000 + b"1" + b"}" * 10_000
    producer = RecordProducer(demo.settings.kafka_conf("producer"), table.topic)
    producer.send([*spoilt, *good, *good, (None, large), (None, deep)])
    producer.flush()
    return producer.delivered


def _until(
    stop: threading.Event,
    seconds: float,
    what: str,
    condition: Callable[[], bool],
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        meanwhile()
        if time.monotonic() > deadline:
            raise AssayError(f"waited {seconds:.0f} s in vain for {what}", "Dagster's page shows what its runs say")
        if stop.wait(1.0):
            raise Stopped
