"""The real command line against the real services: what a person would type, in processes of their own.

The system under test is the packaged one under a name of its own, with a lake of its own, so that nobody else's topics and
indices are touched.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil
import pytest
from confluent_kafka.admin import AdminClient
from opensearchpy import OpenSearch

from platform_assets.local import lifecycle
from platform_assets.settings import Settings

pytestmark = pytest.mark.services

PACKAGED = Path(__file__).parents[2] / "platform_assets" / "systems" / "logs"
GOOD = 40
LINES = [
    f'203.0.113.{n} - - [20/Nov/2026:09:30:{n:02d} +0000] "GET /products/{n}?q=x%20y HTTP/1.1" {500 if n % 10 == 0 else 200} '
    f'5120 "-" "agent {n}"'
    for n in range(GOOD)
] + ['203.0.113.99 - - [20/Nov/2026:09:31:00 +0000] "\\x16\\x03" 400 0 "-" "-"']


@dataclass(frozen=True)
class Shell:
    """Runs `assay` with a system, a lake and a home of its own choice."""

    environment: dict[str, str]
    system: str
    systems: Path

    def start(self, *arguments: str, stdin: int | IO[bytes] = subprocess.DEVNULL) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "platform_assets.cli", *arguments],
            env=self.environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=120)
        assert process.returncode == code, f"{arguments}: {out}{err}"
        return subprocess.CompletedProcess(arguments, code, out, err)

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", code=code).stdout)

    def fails(self, *arguments: str) -> str:
        """The one line that a failing command says."""
        done = self.run(*arguments, code=1)
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr


@pytest.fixture(scope="module")
def shell(services: Settings) -> Iterator[Shell]:
    """A system that is ready: contract in place, topics and templates made."""
    folder = Path(tempfile.mkdtemp(prefix="assay-cli-"))
    system = f"c{uuid.uuid4().hex[:8]}"
    shutil.copytree(PACKAGED, folder / "systems" / system)
    contract = folder / "systems" / system / "contract.yaml"
    text = contract.read_text()
    text = re.sub(r"^name: logs$", f"name: {system}", text, flags=re.MULTILINE)
    contract.write_text(text.replace("physicalName: logs.", f"physicalName: {system}."))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASSAY_")}
    environment |= {
        "ASSAY_HOME": str(services.home),
        "ASSAY_LAKE": str(folder / "lake"),
        "ASSAY_SYSTEMS": str(folder / "systems"),
    }
    shell = Shell(environment, system, folder / "systems")
    shell.run("up")
    yield shell
    admin = AdminClient(services.kafka_conf("admin"))
    for future in admin.delete_topics([f"{system}.{table}" for table in ("events", "access", "broker")]).values():
        future.result(20)
    client = search_client(services)
    client.indices.delete(index=f"{system}-*")
    client.close()
    shutil.rmtree(folder)


def search_client(settings: Settings) -> OpenSearch:
    return OpenSearch(
        [settings.opensearch_url], http_auth=settings.opensearch_auth("lane"), ca_certs=str(settings.opensearch_ca)
    )


@pytest.fixture(scope="module")
def sent(shell: Shell, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Forty good lines and a bad one, sent and carried to the index; the lane's report."""
    path = tmp_path_factory.mktemp("files") / "access.log"
    path.write_text("\n".join(LINES) + "\n")
    told = shell.json("send", f"{shell.system}.access", str(path))
    assert told["records"] == len(LINES)
    assert told["bytes"] == path.stat().st_size
    assert sum(last - first + 1 for first, last in told["offsets"].values()) == len(LINES)
    report: dict[str, Any] = shell.json("lane", shell.system, "--once")
    return report


def test_up_is_harmless_twice(shell: Shell) -> None:
    again = shell.json("up")
    assert again["healthy"]
    assert again["topics"]["created"] == []
    assert {service["name"] for service in again["services"]} == {"kafka", "opensearch"}


def test_a_file_goes_through(shell: Shell, sent: dict[str, Any]) -> None:
    access = sent["tables"]["access"]
    assert sum(access["silver"].values()) == GOOD
    assert access["rejected"] == {"no_match": 1}
    assert sum(access["indexed"].values()) == GOOD
    assert sent["reason"] == "caught_up"


def test_a_second_lane_finds_nothing(shell: Shell, sent: dict[str, Any]) -> None:
    again = shell.json("lane", shell.system, "--once")
    assert all(not table["bronze"] for table in again["tables"].values())


def test_it_is_proved(shell: Shell, sent: dict[str, Any]) -> None:
    proof = shell.json("prove", shell.system)
    assert proof["holds"]
    counts = proof["systems"][0]["tables"]["access"]["counts"]
    assert (counts["records"], counts["silver"], counts["quarantined"]) == (GOOD + 1, GOOD, 1)
    told = shell.run("prove", shell.system).stdout
    assert f"{GOOD + 1} records = {GOOD} silver + 1 quarantine" in told
    assert "it holds" in told


def test_search_finds_and_trace_leads_back(shell: Shell, sent: dict[str, Any]) -> None:
    found = shell.json(
        "search", shell.system, "status:500", "--table", "access", "--from", "2026-11-20", "--to", "2026-11-21"
    )
    assert len(found["hits"]) == GOOD // 10
    assert {hit["status"] for hit in found["hits"]} == {500}
    day = ("search", shell.system, "status:500", "--table", "access", "--last", "24h", "--as-of")
    assert shell.json(*day, "2026-11-20")["hits"] == found["hits"], "a day is seen from its end"
    assert shell.json(*day, "2026-11-20T00:00:00Z")["hits"] == []
    trace = shell.run("trace", shell.system, found["hits"][0]["id"]).stdout
    assert f"{shell.system}.access" in trace
    assert "203.0.113" not in trace, "the value is shown on request only"
    assert "203.0.113" in shell.run("trace", shell.system, found["hits"][0]["id"], "--reveal").stdout


def test_a_clear_value_finds_its_hash(shell: Shell, sent: dict[str, Any]) -> None:
    (hit,) = shell.json("search", shell.system, "client_ip:203.0.113.7", "--table", "access")["hits"]
    assert hit["path"] == "/products/7?q=x%20y"
    assert "203.0.113" not in json.dumps(hit)


def test_search_without_a_table_asks_all_that_have_the_fields(shell: Shell, sent: dict[str, Any]) -> None:
    found = shell.json("search", shell.system, "status:500", "--from", "2026-11-20", "--limit", "2")
    assert found["tables"] == [f"{shell.system}.events", f"{shell.system}.access"]
    assert (len(found["hits"]), found["more"], found["cursor"]) == (2, True, None)
    assert f"{shell.system}.access" in shell.run("search", shell.system, "status:500", "--from", "2026-11-20").stdout


def test_search_pages_through_everything(shell: Shell, sent: dict[str, Any]) -> None:
    query = [
        "search",
        shell.system,
        "method:GET",
        "--table",
        "access",
        "--from",
        "2026-11-20",
        "--to",
        "2026-11-21",
        "--limit",
        "15",
    ]
    page = shell.json(*query)
    ids = [hit["id"] for hit in page["hits"]]
    while page["cursor"]:
        page = shell.json(*query, "--cursor", page["cursor"])
        ids += [hit["id"] for hit in page["hits"]]
    assert len(ids) == len(set(ids)) == GOOD


def test_wrong_questions_are_one_line(shell: Shell, sent: dict[str, Any]) -> None:
    assert "colour" in shell.fails("search", shell.system, "colour:red", "--table", "access")
    assert "00000000.0.1" in shell.fails("trace", shell.system, "00000000.0.1")
    assert "has no gap in partition 0" in shell.fails("accept-gap", shell.system, "access", "0", "--reason", "none")


def test_status_tells_how_far_everything_is(shell: Shell, sent: dict[str, Any]) -> None:
    status = shell.json("status", shell.system)
    assert status["healthy"]
    (system,) = status["systems"]
    access = next(table for table in system["tables"] if table["table"] == "access")
    assert (access["rows"], access["quarantined"], access["lag"], access["index_behind"]) == (GOOD, 1, 0, 0)
    assert access["error"] is None
    assert f"{shell.system}.access" in shell.run("status").stdout


def test_replay_looks_first(shell: Shell, sent: dict[str, Any]) -> None:
    report = shell.json("replay", shell.system, "--dry-run")
    assert report["tables"]["access"]["looked_at"] == 1
    assert report["tables"]["access"]["accepted"] == 0
    assert "nothing was changed" in shell.run("replay", shell.system, "--dry-run").stdout


def test_a_day_is_rebuilt_as_it_was(shell: Shell, sent: dict[str, Any]) -> None:
    report = shell.json("rebuild", shell.system, "access", "2026-11-20")
    assert sum(report["partitions"].values()) == report["documents"] == GOOD
    assert shell.json("prove", shell.system, "--table", "access")["holds"]


def test_damage_is_found(shell: Shell, services: Settings, sent: dict[str, Any]) -> None:
    """The last on this table: a document is taken away, and put back by a rebuild."""
    query = ["search", shell.system, "status:500", "--table", "access", "--from", "2026-11-20", "--limit", "1"]
    victim = shell.json(*query)["hits"][0]["id"]
    client = search_client(services)
    client.delete(index=f"{shell.system}-access-2026-11-20", id=victim, refresh=True)
    client.close()
    done = shell.run("prove", shell.system, "--table", "access", code=1)
    assert "IT DOES NOT HOLD" in done.stdout
    assert victim in done.stdout
    shell.run("rebuild", shell.system, "access", "2026-11-20")
    shell.run("prove", shell.system, "--table", "access")


def test_standard_input_and_a_rate(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"event_id":"1"}\n{"event_id":"2"}\n\xff\n')
    started = time.monotonic()
    with path.open("rb") as source:
        process = shell.start("send", f"{shell.system}.events", "-", "--rate", "2", "--json", stdin=source)
        told = json.loads(process.communicate(timeout=60)[0])
    assert told["records"] == 3
    assert time.monotonic() - started > 1.0, "three records at two a second take a second and a half"


def test_records_of_several_lines_stay_whole(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    stack = "java.io.IOException: gone\n\tat x.Y.z(Y.java:1)"
    path.write_text(
        f"[2026-11-20 09:30:00,123] ERROR no (kafka.X)\n{stack}\n[2026-11-20 09:30:01,123] INFO yes (kafka.X)\n"
    )
    assert shell.json("send", f"{shell.system}.broker", str(path))["records"] == 2


def test_ctrl_c_tells_what_was_sent(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "long.log"
    path.write_text("line\n" * 100_000)
    process = shell.start("send", f"{shell.system}.access", str(path), "--rate", "1000", "--json")
    time.sleep(2.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "")
    assert 0 < json.loads(out)["records"] < 100_000


def test_tail_goes_on_where_it_was(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "growing.log"
    path.write_text("one\ntwo\n")
    assert _tailed(shell, path, 2) == 2
    with path.open("a") as file:
        file.write("three\n")
    assert _tailed(shell, path, 1) == 1


def _tailed(shell: Shell, path: Path, expected: int) -> int:
    """Follow until the expected records are there, and a moment longer; how many it sent."""
    process = shell.start("tail", f"{shell.system}.access", str(path))
    assert process.stderr is not None
    assert "following" in process.stderr.readline()
    time.sleep(2)
    second = shell.run("tail", f"{shell.system}.access", str(path), code=1)
    assert "is being followed" in second.stderr
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    found = re.search(r"([\d,]+) records", err)
    assert found, err
    assert int(found[1]) >= expected
    return int(found[1])


def test_simulate_is_paced(shell: Shell) -> None:
    told = shell.run("simulate", shell.system, "--rate", "500", "--seconds", "2").stdout
    assert re.search(r"events: 1,000 events in [12]\.\d s", told), told


def test_a_topic_that_was_never_made(shell: Shell, tmp_path: Path) -> None:
    system = f"n{uuid.uuid4().hex[:8]}"
    text = (shell.systems / shell.system / "contract.yaml").read_text()
    (tmp_path / system).mkdir()
    (tmp_path / system / "contract.yaml").write_text(text.replace(shell.system, system))
    lonely = Shell({**shell.environment, "ASSAY_SYSTEMS": str(tmp_path)}, system, tmp_path)
    line = lonely.fails("send", f"{system}.access", "/etc/hostname")
    assert f"the broker has no topic {system}.access" in line
    assert "`assay up` creates the topics" in line


def test_a_wrong_password_is_said_and_not_shown(shell: Shell) -> None:
    wrong = Shell({**shell.environment, "ASSAY_KAFKA_PRODUCER_PASSWORD": "hunter2hunter2"}, shell.system, shell.systems)
    line = wrong.fails("send", f"{shell.system}.access", "/etc/hostname")
    assert "refused the credentials" in line
    assert "hunter2" not in line


def test_a_breaking_contract_stops_the_lane(shell: Shell, sent: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(shell.systems / shell.system, tmp_path / shell.system)
    contract = tmp_path / shell.system / "contract.yaml"
    narrowed = contract.read_text().replace("maximum: 599", "maximum: 499")
    contract.write_text(re.sub(r"(?m)^version: .*$", "version: 1.9.0", narrowed))
    changed = Shell({**shell.environment, "ASSAY_SYSTEMS": str(tmp_path)}, shell.system, tmp_path)
    verdict = changed.json("contract", "check", code=1)["systems"][0]
    assert verdict["state"] == "refused"
    assert any("status: its maximum fell from 599 to 499" in change for change in verdict["breaking"])
    assert "breaks readers" in changed.fails("lane", shell.system, "--once")
    assert shell.json("contract", "check")["systems"][0]["state"] == "unchanged"


def test_a_killed_demo_leaves_nothing_running(services: Settings) -> None:
    """SIGKILL while Dagster starts: the guard ends the services, the kernel ends Dagster."""
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
        time.sleep(3)
        ours = [p for p in psutil.Process(process.pid).children(recursive=True) if p.is_running()]
        assert ours
        process.kill()
        process.wait(10)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and (lifecycle.status(home).phase != "stopped" or any(map(_alive, ours))):
            time.sleep(0.5)
        assert lifecycle.status(home).phase == "stopped"
        assert not [p for p in ours if _alive(p)]
    finally:
        lifecycle.down(home)
        lifecycle.wipe(home)
        shutil.rmtree(home)


def _alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
