"""What the containers run, where they listen and how they are asked: commands as their programs read them, the API for real."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from commandlines import parsed

from platform_assets.core.files import make_folder, write_private
from platform_assets.core.settings import SECRETS_FILE
from platform_assets.local.dagster import free_port

PROJECT = Path(__file__).parents[3]
COMPOSE = PROJECT / "deploy" / "compose"
DAGSTER = ("dagster", "dagster-daemon", "dagster-webserver")
EVERYWHERE = "0.0.0.0"  # noqa: S104 (within a container)


def lines(service: dict[str, Any]) -> list[list[str]]:
    """The command lines of a service that are the image's own programs: what it runs, and how its health is asked."""
    check = service.get("healthcheck", {}).get("test", ["CMD"])
    assert check[0] == "CMD"
    found = [service.get("command", []), check[1:]]
    return [line for line in found if line and line[0] in ("assay", *DAGSTER)]


@pytest.fixture
def inside(compose: dict[str, Any], generated: Path, tmp_path: Path) -> dict[str, Path]:
    """Of each service the root of its file system, as far as configs and secrets are put there."""
    roots = {}
    for name, service in compose["services"].items():
        roots[name] = tmp_path / name
        for kind, base in (("configs", COMPOSE), ("secrets", generated.parent)):
            for entry in service.get(kind, ()):
                named = {"source": entry, "target": f"/run/secrets/{entry}"} if isinstance(entry, str) else entry
                place = roots[name] / named["target"][1:]
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(base / compose[kind][named["source"]]["file"], place)
    return roots


def placed(line: Sequence[str], root: Path) -> list[str]:
    """A command line of a container, with its files where `inside` has put them."""
    return [str(root / word[1:]) if word.startswith("/") else word for word in line]


def test_every_command_is_one_that_its_program_takes(compose: dict[str, Any], inside: dict[str, Path]) -> None:
    read = {}
    for name, service in compose["services"].items():
        for line in lines(service):
            read[name, line[0]] = parsed(placed(line, inside[name])).params
    assert {name for name, _ in read} == {
        name for name, service in compose["services"].items() if service["image"].startswith("assay:")
    }
    for name in ("code", "gold"):  # the health check asks where the server listens
        asked = parsed(compose["services"][name]["healthcheck"]["test"][1:]).params
        assert asked["port"] == read[name, "dagster"]["port"]


@pytest.fixture
def listening(compose: dict[str, Any], generated: Path, inside: dict[str, Path]) -> dict[str, set[int]]:
    """On which ports each service listens, for other containers or for itself."""
    services = compose["services"]
    kafka = re.search(r"^listeners=(.*)$", (generated / "kafka/server.properties").read_text(encoding="utf-8"), re.M)
    assert kafka is not None
    node = json.loads((generated / "opensearch/opensearch.yml").read_text(encoding="utf-8"))
    dashboards = json.loads((generated / "dashboards/opensearch_dashboards.yml").read_text(encoding="utf-8"))
    sites = re.findall(r"^https?://[\w.]*:(\d+) \{", (COMPOSE / "Caddyfile").read_text(encoding="utf-8"), re.M)
    assert node["network.host"] == dashboards["server.host"] == EVERYWHERE
    found = {
        "kafka": set(map(int, re.findall(rf"://{re.escape(EVERYWHERE)}:(\d+)", kafka[1]))),
        "opensearch": {node.get("http.port", 9200)},
        "dashboards": {dashboards.get("server.port", 5601)},
        "postgres": {services["postgres"]["environment"].get("PGPORT", 5432)},
        "proxy": set(map(int, sites)),
    }
    for name in ("code", "gold", "dagster", "api"):
        told = parsed(placed(services[name]["command"], inside[name])).params
        assert told["host"] == EVERYWHERE, name
        found[name] = {told["port"]}
    return found


def test_every_address_is_one_that_somebody_listens_on(
    compose: dict[str, Any], generated: Path, listening: dict[str, set[int]]
) -> None:
    texts = [json.dumps(service.get("environment", {})) for service in compose["services"].values()]
    texts += [(COMPOSE / entry["file"]).read_text(encoding="utf-8") for entry in compose["configs"].values()]
    texts += [
        (generated.parent / entry["file"]).read_text(encoding="utf-8")
        for name, entry in compose["secrets"].items()
        if name in ("kafka_properties", "dashboards_settings", "pgpass")
    ]
    names = "|".join(map(re.escape, compose["services"]))
    named = {
        (host, int(port)) for text in texts for host, port in re.findall(rf"(?<![\w.-])({names}):(\d+)(?![\w-])", text)
    }
    workspace = yaml.safe_load((COMPOSE / "workspace.yaml").read_text(encoding="utf-8"))
    named |= {(entry["grpc_server"]["host"], entry["grpc_server"]["port"]) for entry in workspace["load_from"]}
    assert [(host, port) for host, port in sorted(named) if port not in listening.get(host, ())] == []
    assert {host for host, _ in named} == {*listening} - {"proxy"}  # that one is asked from outside


def test_health_is_asked_and_ports_are_published_where_something_listens(
    compose: dict[str, Any], listening: dict[str, set[int]]
) -> None:
    unnamed = set()
    for name, service in compose["services"].items():
        for port in service.get("ports", ()):
            assert int(port.rpartition(":")[2]) in listening[name], (name, port)
        check = " ".join(service.get("healthcheck", {}).get("test", ()))
        asked = {
            int(port)
            for port in re.findall(r"(?:localhost|127\.0\.0\.1)[:/](\d+)| -p (\d+)", check)
            for port in port
            if port
        }
        assert asked <= listening.get(name, set()), (name, asked)
        unnamed |= set() if asked else {name}
    assert unnamed == {"prepare", "daemon", "postgres"}  # the last is asked on its usual port


def test_the_api_starts_as_in_its_container_and_answers_its_health_check(
    compose: dict[str, Any], generated: Path, listening: dict[str, set[int]], tmp_path: Path
) -> None:
    """With its own arguments, secrets and environment; only its port is one that is free here."""
    service = compose["services"]["api"]
    [usual] = listening["api"]
    # Below the ports of outgoing connections, one of which could take it before the server does.
    port = free_port(None, random.randrange(20_000, 30_000))
    home = make_folder(tmp_path / "home", 0o700)
    write_private(home / SECRETS_FILE, (generated / "roles" / "serve.env").read_bytes())
    environment = {"PATH": os.environ["PATH"], "ASSAY_HOME": str(home), **service["environment"]}
    arguments = [str(port) if word == str(usual) else word for word in service["command"][1:]]
    _, program, *check = service["healthcheck"]["test"]
    assert program == "python"
    ask = [sys.executable, *(word.replace(f":{usual}/", f":{port}/") for word in check)]
    with (tmp_path / "output").open("w+") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "platform_assets.cli", *arguments],
            cwd=home, env=environment, stdout=output, stderr=output,
        )  # fmt: skip
        try:
            while subprocess.run(ask, capture_output=True, check=False).returncode != 0:
                output.seek(0)
                assert server.poll() is None, output.read()
                time.sleep(0.2)
        finally:
            server.terminate()
            assert server.wait() in (0, -15)


def test_the_guide_says_what_compose_says(compose: dict[str, Any]) -> None:
    guide = (PROJECT / "docs" / "deploy.md").read_text(encoding="utf-8")
    services = compose["services"]
    sizes = {"m": 1 / 1024, "g": 1.0}
    limits = {
        name: float(service["mem_limit"][:-1]) * sizes[service["mem_limit"][-1]] for name, service in services.items()
    }
    said = re.search(r"memory limits add up to ([\d.]+) GiB", guide)
    assert said is not None
    assert float(said[1]) == sum(limits.values()) - limits["prepare"]  # which ends
    rows = re.findall(r"^\| `(\w+)`[^|]*\| ([\w, ]+) \|.*\| (yes)? ?\|$", guide, re.M)
    assert {name for name, _, _ in rows} == {
        name for name, s in services.items() if s["image"].startswith("assay:")
    } | {"proxy"}
    for name, networks, lake in rows:
        assert networks.split(", ") == services[name]["networks"], name
        assert bool(lake) == any("assay-home" in volume for volume in services[name].get("volumes", ())), name
