"""A running server takes changes of declarations, drops no request, and keeps the rest when one system is broken."""

from __future__ import annotations

import base64
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support import private_systems
from waiting import eventually

from platform_assets.core.settings import Settings
from platform_assets.serve import reload, server
from platform_assets.serve.keys import KeyStore, Role


class Running:
    """A server over a folder of systems."""

    def __init__(self, client: httpx.Client, systems: Path) -> None:
        self.client = client
        self.systems = systems

    def served(self) -> set[str]:
        return {one["system"] for one in self.client.get("/v1/systems").json()["systems"]}

    def described(self, path: str) -> bool:
        return path in self.client.get("/openapi.json").json()["paths"]


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr(reload, "LOOK_S", 0.05)
    systems = private_systems(tmp_path, "shop")
    home = tmp_path / "home"
    home.mkdir()
    values = {
        "ASSAY_OPENSEARCH_JWT_KEY": base64.b64encode(b"k" * 64).decode(),
        "ASSAY_OPENSEARCH_URL": "https://127.0.0.1:9",
        "ASSAY_SYSTEMS": str(systems),
    }
    key = KeyStore(home).add("test", Role.ADMIN)[1]
    made = server.make_server(reload.Reloading(Settings(home, home / "lake", values)), "127.0.0.1", 0)
    thread = threading.Thread(target=made.run)
    thread.start()
    try:
        eventually(lambda: made.started)
        port = made.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"X-API-Key": key}, timeout=600) as client:
            yield Running(client, systems)
    finally:
        made.should_exit = True
        thread.join()


def test_systems_come_go_break_and_change_without_a_restart(running: Running, tmp_path: Path) -> None:
    assert running.served() == {"shop"}
    private_systems(tmp_path / "beside", "stall")
    shutil.move(tmp_path / "beside" / "systems" / "stall", running.systems / "stall")
    eventually(lambda: running.served() == {"shop", "stall"})
    assert running.described("/v1/stall/search")
    contract = running.systems / "stall" / "contract.yaml"
    good = contract.read_text()
    contract.write_text(good.replace("\nversion: ", "\nversoin: ", 1))
    eventually(lambda: running.served() == {"shop"})
    assert not running.described("/v1/stall/search")
    assert running.client.get("/v1/stall/search").status_code == 404
    found = running.client.get("/v1/systems").json()["mistakes"]
    told = found[-1]
    assert (told["system"], told["part"], told["file"]) == ("stall", "contract", str(contract))
    assert told["line"] and "versoin" in told["message"]
    reader = {"X-API-Key": KeyStore(tmp_path / "home").add("reader", Role.READER)[1]}
    assert running.client.get("/v1/systems", headers=reader).json()["mistakes"] == [
        one | {"file": "contract.yaml"} for one in found
    ]
    of_shop = {"X-API-Key": KeyStore(tmp_path / "home").add("shop", Role.ADMIN, system="shop")[1]}
    assert running.client.get("/v1/systems", headers=of_shop).json()["mistakes"] == []
    contract.write_text(good)
    eventually(lambda: running.served() == {"shop", "stall"})
    shutil.rmtree(running.systems / "stall")
    eventually(lambda: running.served() == {"shop"})
    reports = running.systems / "shop" / "reports.yaml"
    reports.write_text(reports.read_text().replace("name: errors\n", "name: mishaps\n", 1))
    eventually(lambda: "mishaps" in {one["name"] for one in running.client.get("/v1/reports").json()["reports"]})


def test_a_request_on_its_way_is_answered_by_the_app_that_it_began_on(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(*_: object) -> dict[str, object]:
        begun.set()
        assert go_on.wait(600)
        return {"system": "shop", "tables": []}

    monkeypatch.setattr("platform_assets.serve.metrics.system_facts", slow)
    found: list[int] = []
    key = running.client.headers["X-API-Key"]
    url = f"{running.client.base_url}/v1/status".replace("//v1", "/v1")
    asking = threading.Thread(
        target=lambda: found.append(httpx.get(url, headers={"X-API-Key": key}, timeout=600).status_code)
    )
    asking.start()
    assert begun.wait(600)
    (running.systems / "shop" / "contract.yaml").unlink()
    eventually(lambda: running.served() == set())
    go_on.set()
    asking.join()
    assert found == [200]
