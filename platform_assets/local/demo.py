"""A demonstration: the platform of `dev.py`, one system's simulated flow, and its way to the proof.

Belongs here: what is fed, and what is waited for. Does not: starting and ending the platform (`dev.py`), or what a person
sees of it (`cli/demo.py`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from platform_assets.core.errors import AssayError
from platform_assets.core.settings import variable
from platform_assets.local.patience import Patience
from platform_assets.local.progress import waiting_for

if TYPE_CHECKING:
    from platform_assets.contracts.model import Contract
    from platform_assets.core.settings import Settings
    from platform_assets.local.dev import Platform, Say
    from platform_assets.local.simulation import Feed, Simulator
    from platform_assets.reconcile.state import TableState

SYSTEM = "logs"
RATE = 500.0
BAD, DUPLICATES = 0.002, 0.005
BURST = "payments:45"
"""A service has trouble from the start, so that an alert opens and, a minute or so later, resolves."""
BURST_ALERT = ("error_ratio", "payments")
FAILURES = 2
"""So many failed runs in a row are no accident: the worker would not come right by waiting."""
SAMPLES = {"access": "logs/apache_access.log", "broker": "logs/kafka-broker-1/*"}
"""Real logs, table by table, below the folder of shared data, for where there is one."""
QUIET_SECONDS = 180.0
"""The worker starts once a minute: it is stuck when no table, index or run has moved for so long."""
PATIENT_DATA = timedelta(minutes=10)
"""What should happen within a minute or two of data time never will once the data is so much further."""
SAMPLE_TABLE, SAMPLE_DAY = "access", "2015-05-20"
"""A day that they are of."""


class Stopped(Exception):
    """Somebody asked to stop while we waited."""


@dataclass
class Demo:
    """What runs: the platform, and the flow into one system."""

    platform: Platform
    contract: Contract
    simulator: Simulator
    feed: Feed

    @property
    def settings(self) -> Settings:
        """The platform's."""
        return self.platform.settings

    def burst_is_over(self) -> bool:
        """Whether the alert on the burst has opened and resolved: now, or minutes ago (then it cools down and opens no more)."""
        from platform_assets.alerts.incident import RESOLVED
        from platform_assets.alerts.service import AlertService

        alert_service = AlertService(self.settings, self.contract.system, index=False)
        try:
            return any((a.rule, a.visible_to, a.state) == (*BURST_ALERT, RESOLVED) for a in alert_service.alerts())
        finally:
            alert_service.close()


@contextmanager
def demonstration(
    settings: Settings, contracts: Mapping[str, Contract], *, rate: float, port: int | None, say: Say
) -> Iterator[Demo]:
    """Start the platform and a flow of simulated events, and end both at the end of the block. Main thread only.

    Raises AssayError when there is no system to simulate or a part does not start; what had started is ended.
    """
    from platform_assets.local.dev import platform
    from platform_assets.local.simulation import Feed, load_simulator

    if SYSTEM not in contracts:
        raise AssayError(
            f"the demonstration is of the system {SYSTEM!r}, which is not among yours ({', '.join(contracts) or 'none'})",
            "`assay dev` runs your systems; unset ASSAY_SYSTEMS for the demonstration",
        )
    simulator = load_simulator(contracts[SYSTEM], settings.systems)
    with platform(settings, contracts, port=port, say=say) as running:
        feed = Feed(running.settings, simulator, rate, bad=BAD, duplicates=DUPLICATES, burst=BURST)
        feed.start()
        try:
            yield Demo(running, contracts[SYSTEM], simulator, feed)
        finally:
            feed.end()


# -- the flow of `--once`, from the first event to the moment when everything can be proved ------------------------------


def run_through(demo: Demo, stop: threading.Event, say: Say, *, runs: int = 2, events: int = 10_000) -> None:
    """Let the flow go through the sensor's worker, with bad input, until all has arrived.

    Raises AssayError when it does not come so far in time, `Stopped` when asked to stop.
    """

    def tell() -> None:
        for line in demo.platform.news():
            say(line)

    say(f"Sent {send_bad(demo):,} records that are wrong, or there twice")
    wanted = f"{runs} ingest runs and {events:,} events"
    _until(stop, demo, f"Waiting for {wanted}", lambda: _enough(demo, runs, events), tell)
    _until(stop, demo, "Waiting for the alert on the burst to open and resolve", demo.burst_is_over, tell)
    tell()
    say(f"Stopped the flow after {demo.feed.end():,} events")
    _until(stop, demo, "Waiting for the worker to catch up", lambda: caught_up(demo.settings, demo.contract))


def _enough(demo: Demo, runs: int, events: int) -> bool:
    try:
        known = demo.platform.ingest_runs(demo.contract.system)
    except AssayError:
        if not demo.platform.dagster.alive():
            raise
        return False  # busy: a machine at its limit answers later
    ended = [run for run in known if run.ended is not None]
    if len(ended) >= FAILURES and all(run.failed for run in ended[:FAILURES]):
        raise AssayError(f"the worker's last {FAILURES} runs failed", f"see {demo.platform.page_of(ended[0])}")
    return sum(run.at_work for run in known) >= runs and demo.feed.delivered >= events


def caught_up(settings: Settings, contract: Contract) -> bool:
    """Whether everything that the topics hold is in silver or quarantine, and in the index."""
    from platform_assets.reconcile.state import table_state

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
    configured = variable("ASSAY_SHARED_DATA")
    return Path(configured) if configured else Path(__file__).resolve().parents[3] / "shared" / "data"


def send_samples(demo: Demo, folder: Path) -> dict[str, int]:
    """Publish the real logs below `folder`, once for a home; records by topic, empty where there are none."""
    from platform_assets.reconcile.state import table_state
    from platform_assets.sources.files.framing import frames
    from platform_assets.sources.kafka.produce import RecordProducer

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
    from platform_assets.reconcile.state import table_state

    table = demo.contract.table(SAMPLE_TABLE)
    there = table.topic in sent or SAMPLE_DAY in table_state(demo.settings, table).rows_by_partition
    return SAMPLE_DAY if there else None


def send_bad(demo: Demo) -> int:
    """Publish spoilt events, events sent twice, one too large and one too deep; how many records."""
    from platform_assets.sources.kafka.produce import RecordProducer

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
    demo: Demo,
    what: str,
    condition: Callable[[], bool],
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Wait until `condition`, as long as the worker moves and its data is not `PATIENT_DATA` past the beginning of the wait.

    Time is measured in the data, not on the clock: a worker that is slow on a busy machine is given all the time it needs.
    """
    patience = Patience(lambda: _positions(demo), QUIET_SECONDS)
    began = datetime.now(UTC)
    with waiting_for(what) as tell:
        while not condition():
            meanwhile()
            state = _state(demo)
            tell(f"{state.rows:,} rows in silver, {demo.feed.delivered:,} events sent")
            if patience.exhausted():
                raise AssayError(
                    f"{what[0].lower()}{what[1:]}: nothing has moved for {QUIET_SECONDS:.0f} s",
                    "Dagster's page shows what its runs say",
                )
            if state.watermark is not None and state.watermark > began + PATIENT_DATA:
                raise AssayError(
                    f"{what[0].lower()}{what[1:]}: in vain, although the data is {PATIENT_DATA} further",
                    "Dagster's page shows what its runs say",
                )
            if stop.wait(1.0):
                raise Stopped


def _state(demo: Demo) -> TableState:
    from platform_assets.reconcile.state import table_state

    return table_state(demo.settings, demo.simulator.table)


def _positions(demo: Demo) -> object:
    """How far the tables and the runs are; it changes as long as the platform works."""
    from platform_assets.reconcile.state import table_state

    states = [table_state(demo.settings, table, services=True) for table in demo.contract.tables]
    try:
        runs = [(run.id, run.status) for run in demo.platform.ingest_runs(demo.contract.system)]
    except AssayError:  # Dagster is busy: it is asked again
        runs = []
    return [(state.bronze_seq, state.silver_seq, state.index_seq, state.lag) for state in states], runs
