"""Everything around the worker fails, one thing at a time; afterwards the proof holds."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from beside import background
from opensearchpy.exceptions import TransportError
from support import event, narrow_index, publish, today
from waiting import eventually
from worker_runs import ready, reason, stopped, worker_process

from platform_assets.contracts.model import Contract
from platform_assets.core.settings import Settings
from platform_assets.index import bulk
from platform_assets.index.connect import connect_indices
from platform_assets.index.names import read_alias
from platform_assets.ingest.worker import Worker
from platform_assets.local import lifecycle
from platform_assets.local.layout import Layout
from platform_assets.local.state import read_state
from platform_assets.reconcile.prove import prove
from platform_assets.reconcile.state import table_state
from platform_assets.sources.kafka import consume
from platform_assets.tables.layout import Lake
from platform_assets.tables.session import session

pytestmark = [pytest.mark.services, pytest.mark.faults, pytest.mark.timeout(1800)]

SLEEP = float(os.environ.get("ASSAY_SLEEP", "2"))
"""Seconds for which a worker stands still; whatever waits for somebody who is silent gives up within a minute."""


def service_pid(settings: Settings, name: str) -> int:
    (service,) = [s for s in lifecycle.status(settings.home).services if s.name == name]
    assert service.pid
    return service.pid


@contextmanager
def unattended(settings: Settings) -> Iterator[None]:
    """The services' supervisor is stopped for the block: what dies stays dead."""
    state = read_state(Layout.of(settings.home).state)
    assert state is not None
    state.supervisor.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        state.supervisor.signal(signal.SIGCONT)


@pytest.mark.parametrize("name", ["kafka", "opensearch"])
def test_a_service_dies_and_comes_back(
    settings: Settings, contract: Contract, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        consume, "PATIENCE_S", 3600.0
    )  # on a busy machine a broker takes longer than half a minute to start
    table = contract.tables[0]
    with background(settings, contract) as worker:
        publish(settings, table, [event(n) for n in range(200)])
        eventually(lambda: sum(worker.part.indexed.values()) == 200)
        with unattended(settings):
            os.kill(service_pid(settings, name), signal.SIGKILL)
            if name == "opensearch":
                publish(settings, table, [event(n) for n in range(200, 400)])
                eventually(lambda: sum(worker.part.silver.values()) == 400)
                assert sum(worker.part.indexed.values()) == 200, "the lake does not wait for the index"
        eventually(lambda: lifecycle.status(settings.home).healthy)
        publish(settings, table, [event(n) for n in range(400, 600)])
        expected = 600 if name == "opensearch" else 400
        eventually(lambda: sum(worker.part.indexed.values()) >= expected)
    assert prove(settings, contract).holds


def test_a_read_only_index_holds_up_the_index_and_not_the_lake(
    settings: Settings, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform_assets.ingest.publish.BULK_PATIENCE_S", 2.0)
    table = contract.tables[0]
    publish(settings, table, [event(n) for n in range(100)])
    Worker(settings, contract).drain()
    client = connect_indices(settings).client
    # Not `read_only_allow_delete`: the node itself lifts that one when its disk has room.
    client.indices.put_settings(index=read_alias(table), body={"index.blocks.read_only": True})
    publish(settings, table, [event(n) for n in range(100, 200)])
    with background(settings, contract) as worker:
        eventually(lambda: "takes no writes" in worker.part.index_error or "did not take" in worker.part.index_error)
        assert sum(worker.part.silver.values()) == 100
        client.indices.put_settings(index=read_alias(table), body={"index.blocks.read_only": None})
        eventually(lambda: sum(worker.part.indexed.values()) == 100)
    assert prove(settings, contract).holds


def test_an_overloaded_index_is_asked_again(
    settings: Settings, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """429 cannot be had from an idle node on demand: the answer is put in, everything behind it is real."""
    real, refusals = bulk.request_text, iter(range(5))

    def overloaded(*args: object, **kwargs: object) -> str:
        if next(refusals, None) is not None:
            raise TransportError(
                429, "es_rejected_execution_exception", {"error": {"type": "es_rejected_execution_exception"}}
            )
        return real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(bulk, "request_text", overloaded)
    publish(settings, contract.tables[0], [event(n) for n in range(100)])
    report = Worker(settings, contract).drain()
    assert sum(report.tables["events"].indexed.values()) == 100
    assert next(refusals, None) is None
    assert prove(settings, contract).holds


def test_documents_that_the_index_refuses_become_quarantine(settings: Settings, contract: Contract) -> None:
    table = contract.tables[0]
    day = today().isoformat()
    narrow_index(connect_indices(settings).client, table, day)
    publish(settings, table, [event(n, host="7" if n % 2 else "h1") for n in range(100)])
    report = Worker(settings, contract).drain().tables["events"]
    assert (report.index_refused, dict(report.indexed)) == (50, {day: 50})
    state = table_state(settings, table)
    assert (state.index_refused, state.quarantined) == (50, {})
    tables = Lake(settings.lake_path).tables(table)
    rows = tables.quarantine.read(session()).to_pylist()
    assert {(r["stage"], r["reason"]) for r in rows} == {("index", "index:mapper_parsing_exception")}
    assert sum(tables.silver.partitions().values()) == 100
    assert prove(settings, contract).holds


def test_two_workers_at_once(settings: Settings, contract: Contract, described: Path) -> None:
    tables = Lake(settings.lake_path).tables(contract.tables[0])
    workers = [worker_process(described, settings.lake_path, "", seconds=120) for _ in range(4)]
    for n, worker in enumerate(workers):
        ready(worker)
        publish(settings, contract.tables[0], [event(i) for i in range(n * 100, n * 100 + 150)])
    eventually(lambda: sum(worker.poll() is not None for worker in workers) == 3)
    eventually(lambda: sum(_rows(tables).values()) == 450)
    [last] = [worker for worker in workers if worker.poll() is None]
    assert stopped(last) == "stopped"
    assert [reason(worker) for worker in workers if worker is not last] == ["handed_over"] * 3
    Worker(settings, contract).drain()
    assert sum(_rows(tables).values()) == 450
    assert prove(settings, contract).holds


def test_a_worker_that_slept_while_another_took_over_does_no_harm(
    settings: Settings, contract: Contract, described: Path
) -> None:
    table = contract.tables[0]
    sleeper = worker_process(described, settings.lake_path, "", seconds=SLEEP + 120)
    tables = Lake(settings.lake_path).tables(table)
    number = 0
    for _ in range(3):
        publish(settings, table, [event(n) for n in range(number, number + 300)])
        number += 300
    eventually(lambda: sum(_rows(tables).values()) > 0)
    sleeper.send_signal(signal.SIGSTOP)
    publish(settings, table, [event(n) for n in range(number, number + 300)])
    successor = worker_process(described, settings.lake_path, "", seconds=SLEEP + 120)
    eventually(lambda: sum(_rows(tables).values()) == number + 300)
    time.sleep(SLEEP)
    sleeper.send_signal(signal.SIGCONT)
    publish(settings, table, [event(n) for n in range(number + 300, number + 600)])
    assert reason(sleeper) == "handed_over"
    eventually(lambda: sum(_rows(tables).values()) == number + 600)
    assert stopped(successor) == "stopped"
    Worker(settings, contract).drain()
    assert sum(_rows(tables).values()) == number + 600
    assert prove(settings, contract).holds


def _rows(tables: object) -> dict[str, int]:
    silver = tables.silver  # type: ignore[attr-defined]
    silver.refresh()
    return silver.partitions()


def test_a_full_disk_is_one_clear_error_and_the_next_run_goes_on(
    settings: Settings, contract: Contract, described: Path
) -> None:
    """A limit on file size stands in for a full disk: the write fails part-way, as it does there."""
    table = contract.tables[0]
    Worker(settings, contract).drain()
    publish(settings, table, [event(n, message="x" * 500) for n in range(3000)])
    full = worker_process(described, settings.lake_path, "", seconds=600, file_limit=20_000)
    output = full.communicate()[0]
    assert full.returncode not in (0, -signal.SIGXFSZ), output
    assert "File too large" in output
    Worker(settings, contract).drain()
    assert sum(_rows(Lake(settings.lake_path).tables(table)).values()) == 3000
    assert prove(settings, contract).holds


def test_a_batch_that_is_all_poison_is_reported_and_the_worker_goes_on(settings: Settings, contract: Contract) -> None:
    table = contract.tables[0]
    deep = b'{"a":' * 10_000 + b"1" + b"}" * 10_000
    wide = b"{" + b",".join(b'"k%d":1' % i for i in range(50_000)) + b"}"
    poison = [b"", None, b"\xff\xfe", b"\x00", b'{"event_id": NaN}', deep, wide, b"[" * 100_000, b"x" * 10_000_000]
    publish(settings, table, poison)
    report = Worker(settings, contract).drain().tables["events"]
    assert sum(report.rejected.values()) == len(poison)
    assert report.quarantine_rate == 1.0
    publish(settings, table, [event(1)])
    assert sum(Worker(settings, contract).drain().tables["events"].silver.values()) == 1
    assert prove(settings, contract).holds
