"""A site for each module of the page's tests, one browser for all, and a tab for each test."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import browser as chromium
import pytest
import uvicorn
from browser import Visit
from pagelab import CHROMIUM, EVENTS, EVIL_SERVICE, HOSTILE, Site
from playwright.sync_api import Browser
from support import burst_rules, event, no_platform_alerts, private_system, publish

from platform_assets.alerts.incident import Sighting
from platform_assets.alerts.platform import PLATFORM_SYSTEM, RUN_FAILED, sighting
from platform_assets.alerts.read import parse_rules
from platform_assets.alerts.service import AlertService
from platform_assets.alerts.text import neutral
from platform_assets.contracts.read import load_contracts
from platform_assets.core.settings import Settings
from platform_assets.index.client import connect
from platform_assets.serve.app import create_app
from platform_assets.serve.keys import KeyStore, Role


@pytest.fixture(scope="module")
def site(services: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with no_platform_alerts(services):
        yield from _site(services, tmp_path_factory)


def _site(services: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("page")
    own = replace(services, home=home, lake_path=home / "lake")
    contract = private_system(own)
    table = contract.table("events")
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=40)
    times = [(start + timedelta(seconds=10 * n)).isoformat().replace("+00:00", "Z") for n in range(EVENTS)]
    evil = [
        event(
            1000 + n, event_time=times[-1], message=text, level="FATAL", service=EVIL_SERVICE, host="evil",
            what={"kind": name, text[:40]: text[:100]}, huge=2**60 + 1,
        )
        for n, (name, text) in enumerate(HOSTILE.items())
    ]  # fmt: skip
    bad = [b'{"event_id": "<script>alert(1)</script>", "event_time": "\xe2\x80\xae"}', b"<img src=x onerror=alert(1)>"]
    publish(own, table, [*(event(n, event_time=at, host="h1") for n, at in enumerate(times)), *evil, *bad])
    alert_service = AlertService(own, contract.system)
    [rule] = parse_rules(burst_rules("5m", resolve_after="1m", cool_down="1m"), contract)
    now = datetime.now(UTC)
    [alert] = alert_service.see([Sighting(rule, {"service": EVIL_SERVICE}, now, now, True, 11.0, 10.0)])
    alert_service.publish()
    alert_service.close()
    with closing(AlertService(own, PLATFORM_SYSTEM)) as own_alert_service:
        own_alert_service.see(
            [sighting(RUN_FAILED, "purge", now, breach=True, detail=neutral("run 1a2b failed (see its log)"))]
        )
        own_alert_service.publish()
    keys = KeyStore(home)
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(own, {contract.system: contract, "logs": load_contracts()["logs"]}),
            port=0,
            access_log=False,
            log_config=None,
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
        assert thread.is_alive(), "the server did not start"
    port = server.servers[0].sockets[0].getsockname()[1]
    made = Site(
        f"http://127.0.0.1:{port}", own, contract, keys.add("Ada", Role.ADMIN)[1],
        keys.add("Bo", Role.READER, system=contract.system)[1], alert.alert_id, start,
    )  # fmt: skip
    made.drain()
    yield made
    server.should_exit = True
    thread.join()
    worker = connect(own.opensearch_url, own.opensearch_auth("ingest"), own.opensearch_ca)
    worker.indices.delete(index=f"{contract.system}-*")
    worker.close()


@pytest.fixture(scope="package")
def launched() -> Iterator[Browser]:
    with chromium.browser(str(CHROMIUM)) as made:
        yield made


@pytest.fixture
def visit(launched: Browser, site: Site) -> Iterator[Visit]:
    """A desktop reader's tab; nothing may have gone wrong in it."""
    made = Visit(launched, site.url)
    yield made
    made.context.close()
    assert made.wrong == []
