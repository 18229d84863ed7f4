"""The real command line against the real services: the state of a system, and every question about it."""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clilab import Shell, prepared, search_client

from platform_assets.core.settings import Settings

pytestmark = pytest.mark.services

GOOD = 40
LINES = [
    f'203.0.113.{n} - - [20/Nov/2026:09:30:{n:02d} +0000] "GET /products/{n}?q=x%20y HTTP/1.1" {500 if n % 10 == 0 else 200} '
    f'5120 "-" "agent {n}"'
    for n in range(GOOD)
] + ["no line that a web server writes"]


@pytest.fixture(scope="module")
def shell(services: Settings) -> Iterator[Shell]:
    """A system for all tests of its state."""
    with prepared(services) as made:
        yield made


@pytest.fixture(scope="module")
def sent(shell: Shell, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Forty good lines and a bad one, sent and carried to the index; the worker's report."""
    path = tmp_path_factory.mktemp("files") / "access.log"
    path.write_text("\n".join(LINES) + "\n")
    told = shell.json("send", f"{shell.system}.access", str(path), own=True)
    assert told["records"] == len(LINES)
    assert told["bytes"] == path.stat().st_size
    assert sum(last - first + 1 for first, last in told["offsets"].values()) == len(LINES)
    report: dict[str, Any] = shell.json("ingest", shell.system, "--once", own=True)
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


def test_a_second_worker_finds_nothing(shell: Shell, sent: dict[str, Any]) -> None:
    again = shell.json("ingest", shell.system, "--once")
    assert all(not table["bronze"] for table in again["tables"].values())


def test_it_is_proved(shell: Shell, sent: dict[str, Any]) -> None:
    proof = shell.json("prove", shell.system)
    assert proof["holds"]
    counts = proof["systems"][0]["tables"]["access"]["counts"]
    assert (counts["records"], counts["silver"], counts["quarantined"]) == (GOOD + 1, GOOD, 1)
    told = shell.run("prove", shell.system, own=True).stdout
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
    told = shell.run("search", shell.system, "status:500", "--from", "2026-11-20", own=True)
    assert f"{shell.system}.access" in told.stdout


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
    wrong = shell.run("search", shell.system, "colour:red", "--table", "access", code=1).stderr.splitlines()
    assert wrong[:2] == ["  colour:red", "  ^"], "the place in the query, then the line"
    assert len(wrong) == 3 and "has no field 'colour'" in wrong[2]
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
    [hit] = client.search(index=f"{shell.system}-access", body={"query": {"ids": {"values": [victim]}}})["hits"]["hits"]
    client.delete(index=hit["_index"], id=victim, refresh=True)
    client.close()
    done = shell.run("prove", shell.system, "--table", "access", code=1)
    assert "IT DOES NOT HOLD" in done.stdout
    assert victim in done.stdout
    shell.run("rebuild", shell.system, "access", "2026-11-20")
    shell.run("prove", shell.system, "--table", "access")


def test_a_topic_that_was_never_made(shell: Shell, tmp_path: Path) -> None:
    system = f"n{uuid.uuid4().hex[:8]}"
    text = (shell.systems / shell.system / "contract.yaml").read_text()
    (tmp_path / system).mkdir()
    (tmp_path / system / "contract.yaml").write_text(text.replace(shell.system, system))
    lonely = Shell({**shell.environment, "ASSAY_SYSTEMS": str(tmp_path)}, system, tmp_path)
    line = lonely.fails("send", f"{system}.access", "/etc/hostname", own=True)
    assert f"the broker has no topic {system}.access" in line
    assert "`assay up` creates the topics" in line


def test_a_wrong_password_is_said_and_not_shown(shell: Shell) -> None:
    wrong = Shell({**shell.environment, "ASSAY_KAFKA_PRODUCER_PASSWORD": "hunter2hunter2"}, shell.system, shell.systems)
    line = wrong.fails("send", f"{shell.system}.access", "/etc/hostname", own=True)
    assert "refused the credentials" in line
    assert "hunter2" not in line


def test_a_worker_whose_index_refuses_it_says_what_to_do(shell: Shell) -> None:
    wrong = Shell(
        {**shell.environment, "ASSAY_OPENSEARCH_INGEST_PASSWORD": "hunter2hunter2"}, shell.system, shell.systems
    )
    done = wrong.run("ingest", shell.system, "--once", code=1)
    assert "check secrets.env" in done.stdout and "index failed after" in done.stdout
    assert "run it again" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr


def test_a_breaking_contract_stops_the_worker(shell: Shell, sent: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(shell.systems / shell.system, tmp_path / shell.system)
    contract = tmp_path / shell.system / "contract.yaml"
    narrowed = contract.read_text().replace("maximum: 599", "maximum: 499")
    major, minor = re.findall(r"(?m)^version: (\d+)\.(\d+)\.\d+$", narrowed)[0]
    contract.write_text(re.sub(r"(?m)^version: .*$", f"version: {major}.{int(minor) + 1}.0", narrowed))
    changed = Shell({**shell.environment, "ASSAY_SYSTEMS": str(tmp_path)}, shell.system, tmp_path)
    verdict = changed.json("contract", "check", code=1)["systems"][0]
    assert verdict["state"] == "refused"
    assert any("status: its maximum fell from 599 to 499" in change for change in verdict["breaking"])
    assert "breaks readers" in changed.fails("ingest", shell.system, "--once")
    assert shell.json("contract", "check")["systems"][0]["state"] == "unchanged"
