"""SIGKILL at every named point and anywhere else, in random order from a printed seed, under traffic; then the proof."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support import event, private_system
from worker_runs import ready, worker_process

from platform_assets.contracts.compat import to_json
from platform_assets.contracts.model import Contract
from platform_assets.core.faultpoints import INGEST_POINTS
from platform_assets.core.settings import Settings
from platform_assets.ingest.worker import Worker
from platform_assets.reconcile.prove import prove
from platform_assets.sources.kafka.produce import RecordProducer
from platform_assets.tables.layout import Lake
from platform_assets.tables.session import session

pytestmark = [pytest.mark.services, pytest.mark.faults]

KILLS = int(os.environ.get("ASSAY_KILLS", "25"))
PATIENCE = 300.0
"""Seconds until a worker has come to any point. Compaction, the last, wants two dozen commits."""
ANYWHERE = ""
PLACES = (*INGEST_POINTS, ANYWHERE, ANYWHERE)
SEED = int(os.environ.get("ASSAY_SEED", "0")) or random.SystemRandom().randrange(1, 10**9)


@dataclass
class Traffic:
    """Events, some twice and some bad, until told to stop; remembers what it was told is safe."""

    settings: Settings
    contract: Contract
    seed: int
    unique: int = 0
    sent: int = 0
    bad: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        chance = random.Random(self.seed)
        producer = RecordProducer(self.settings.kafka_conf("producer"), self.contract.tables[0].topic)
        while not self.stop.is_set():
            fresh = [event(self.unique + i) for i in range(100)]
            again = [event(chance.randrange(self.unique)) for _ in range(5)] if self.unique else []
            broken = [b"{", event(0, status="x"), None][: chance.randrange(4)]
            self.sent += producer.send([(None, value) for value in [*fresh, *again, *broken]])
            producer.flush()
            self.unique += 100
            self.bad += len(broken)
            time.sleep(0.05)


def die(described: Path, lake: Path, place: str, chance: random.Random) -> None:
    """A worker that dies at a named point, to which it has to come, or anywhere."""
    fault = f"{place}:{chance.randrange(1, 4)}" if place else ""
    process = worker_process(described, lake, fault, seconds=2 * PATIENCE)
    reached = True
    if place == ANYWHERE:
        ready(process)
        time.sleep(chance.uniform(0.2, 4))
        process.kill()
    else:
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            reached = False
            process.kill()
    output = process.communicate()[0]
    assert process.returncode == -signal.SIGKILL, f"{place or 'anywhere'}: ended by itself\n{output}"
    assert reached, f"{fault}: not reached in {PATIENCE:.0f} s\n{output}"


@pytest.mark.timeout(4 * 3600)
def test_nothing_lost_nothing_doubled_whatever_dies(settings: Settings, tmp_path: Path) -> None:
    print(f"seed {SEED} (ASSAY_SEED repeats it), {KILLS} kills")
    chance = random.Random(SEED)
    contract = private_system(settings, partitions=3)
    described = tmp_path / "contract.json"
    described.write_text(to_json(contract))
    traffic = Traffic(settings, contract, SEED)
    plan = [PLACES[i % len(PLACES)] for i in range(KILLS)]
    chance.shuffle(plan)
    with ThreadPoolExecutor(1) as pool:
        flow = pool.submit(traffic.run)
        try:
            for place in plan:
                die(described, settings.lake_path, place, chance)
                assert not flow.done(), flow.exception()
        finally:
            traffic.stop.set()
    flow.result()
    assert traffic.unique >= 1000

    report = Worker(settings, contract).drain()
    assert report.reason == "caught_up"
    proof = prove(settings, contract)
    assert proof.holds, proof.to_dict()

    # Beside the platform's own proof: the producer's count of what it was told is safe.
    tables = Lake(settings.lake_path).tables(contract.tables[0])
    ids = tables.silver.read(session(), columns=["event_id"]).column("event_id").to_pylist()
    assert len(ids) == len(set(ids)) == traffic.unique
    rejected = tables.quarantine.read(session(), columns=["_position"]).num_rows
    assert rejected == traffic.bad
    bronze = tables.bronze.read(session(), columns=["_position"], where="kind = 'record'").num_rows
    assert bronze == traffic.sent
