"""The real command line against the real services: what goes in, and what is ended from outside."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from clilab import Shell, prepared, published
from support import alive
from waiting import eventually

from platform_assets.core.settings import Settings
from platform_assets.local import lifecycle
from platform_assets.local.demo import shared_data

pytestmark = pytest.mark.services

ACCESS_LOG = shared_data() / "logs" / "apache_access.log"
BROKER_LOGS = shared_data() / "logs" / "kafka-broker-1"


@pytest.fixture(scope="module")
def shell(services: Settings) -> Iterator[Shell]:
    """A system for all tests of input."""
    with prepared(services) as made:
        yield made


@pytest.mark.skipif(not ACCESS_LOG.is_file(), reason="the shared data is not here")
def test_real_logs_of_old_are_proved_and_are_history(shell: Shell) -> None:
    """The first on these tables: a web server's log with a broken line, and a broker's with records of several lines."""
    files = sorted(BROKER_LOGS.iterdir())
    starts = sum(len(re.findall(rb"^\[\d{4}-", path.read_bytes(), re.MULTILINE)) for path in files)
    expected = {"access": (9_999, 1), "broker": (starts, 0)}
    assert shell.json("send", f"{shell.system}.access", str(ACCESS_LOG), own=True)["records"] == 10_000
    assert shell.json("send", f"{shell.system}.broker", *map(str, files))["records"] == starts > 2_000
    worker = shell.json("ingest", shell.system, "--once")["tables"]
    proof = shell.json("prove", shell.system)
    assert proof["holds"]
    (status,) = shell.json("status", shell.system)["systems"]
    watermarks = {table["table"]: table["watermark"] for table in status["tables"]}
    for name, (silver, quarantined) in expected.items():
        assert sum(worker[name]["silver"].values()) == worker[name]["history"] == silver
        counts = proof["systems"][0]["tables"][name]["counts"]
        assert (counts["silver"], counts["documents"], counts["quarantined"]) == (silver, silver, quarantined)
        assert worker[name]["watermark"] is watermarks[name] is None, "history says nothing of freshness"


def test_standard_input_and_a_rate(shell: Shell, services: Settings, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    lines = [b'{"event_id":"1"}', b'{"event_id":"2"}', b"\xff"]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    with path.open("rb") as source:
        process = shell.start("send", f"{shell.system}.events", "-", "--rate", "2", "--json", stdin=source)
        told = json.loads(process.communicate()[0])
    assert told["records"] == 3
    rows = published(services, f"{shell.system}.events").to_pylist()
    times = [row["record_time"] for row in rows if row["value"] in lines]
    assert len(times) == 3
    assert max(times) - min(times) > timedelta(seconds=0.8), "two a second"


def test_records_of_several_lines_stay_whole(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    stack = "java.io.IOException: gone\n\tat x.Y.z(Y.java:1)"
    path.write_text(
        f"[2026-11-20 09:30:00,123] ERROR no (kafka.X)\n{stack}\n[2026-11-20 09:30:01,123] INFO yes (kafka.X)\n"
    )
    assert shell.json("send", f"{shell.system}.broker", str(path))["records"] == 2


def test_ctrl_c_tells_what_was_sent(shell: Shell, services: Settings, tmp_path: Path) -> None:
    path = tmp_path / "long.log"
    path.write_text("line\n" * 100_000)
    before = published(services, f"{shell.system}.access").num_rows
    process = shell.start("send", f"{shell.system}.access", str(path), "--rate", "1000", "--json")
    eventually(lambda: published(services, f"{shell.system}.access").num_rows > before)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, err) == (130, "")
    assert 0 < json.loads(out)["records"] < 100_000


def test_tail_goes_on_where_it_was(shell: Shell, services: Settings, tmp_path: Path) -> None:
    path = tmp_path / "growing.log"
    path.write_text("one\ntwo\n")
    assert _tailed(shell, services, path, 2) == 2
    with path.open("a") as file:
        file.write("three\n")
    assert _tailed(shell, services, path, 1) == 1


def _tailed(shell: Shell, services: Settings, path: Path, expected: int) -> int:
    """Follow until the expected records are there, and a moment longer; how many it sent."""
    before = published(services, f"{shell.system}.access").num_rows
    process = shell.start("tail", f"{shell.system}.access", str(path))
    assert process.stderr is not None
    assert "following" in process.stderr.readline()
    eventually(lambda: published(services, f"{shell.system}.access").num_rows >= before + expected)
    time.sleep(0.5)
    second = shell.run("tail", f"{shell.system}.access", str(path), code=1)
    assert "is being followed" in second.stderr
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    found = re.search(r"([\d,]+) records?", err)
    assert found, err
    assert int(found[1]) >= expected
    return int(found[1])


def test_simulate_is_paced(shell: Shell) -> None:
    told = shell.run("simulate", shell.system, "--rate", "500", "--seconds", "2", own=True).stdout
    found = re.search(r"events: 1,000 events in (\d+\.\d) s", told)
    assert found, told
    assert 1.5 <= float(found[1]) < 10


def test_a_killed_demo_leaves_nothing_running(services: Settings) -> None:
    """SIGKILL while Dagster starts: the services end with their owner, the kernel ends Dagster."""
    home = Path(tempfile.mkdtemp(prefix="assay-demo-"))
    home.chmod(0o711)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASSAY_")}
    environment |= {"ASSAY_HOME": str(home), "ASSAY_OPENSEARCH_HEAP_MB": "512", "ASSAY_KAFKA_HEAP_MB": "256"}
    try:
        process = Shell(environment, "logs", home).start("demo")
        assert process.stderr is not None
        while (line := process.stderr.readline()) and "Starting Dagster" not in line:
            pass
        assert line
        family = psutil.Process(process.pid)
        eventually(lambda: sum(map(_of_dagster, family.children(recursive=True))) >= 3)
        ours = family.children(recursive=True)
        process.kill()
        process.wait()
        eventually(lambda: lifecycle.status(home).phase == "stopped" and not any(map(alive, ours)), "the end of all")
    finally:
        lifecycle.down(home)
        lifecycle.wipe(home)
        shutil.rmtree(home)


def _of_dagster(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return "dagster" in " ".join(process.cmdline())
    return False
