"""The page for operators in a real browser: real API, real index, and documents written by somebody who means harm."""

from __future__ import annotations

import csv
import io
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import browser as chromium
import httpx
import pytest
import uvicorn
from browser import Visit
from playwright.sync_api import Browser, expect
from support import event, no_platform_alerts, private_system, publish

from platform_assets.alerts.incident import Sighting
from platform_assets.alerts.platform import PLATFORM_SYSTEM, RUN_FAILED, sighting
from platform_assets.alerts.read import parse_rules
from platform_assets.alerts.room import AlertRoom
from platform_assets.contracts.model import Contract
from platform_assets.contracts.read import load_contracts
from platform_assets.gold.marts import load_marts
from platform_assets.gold.project import project_folder
from platform_assets.lane.publish import connect_indices
from platform_assets.lane.run import Lane
from platform_assets.search.client import connect
from platform_assets.search.syntax import Clause, Value, parse
from platform_assets.serve.app import create_app
from platform_assets.serve.keys import KeyStore, Role
from platform_assets.settings import Settings

CHROMIUM = chromium.find()
pytestmark = [
    pytest.mark.services,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install the package chromium"),
]

EVENTS = 160
PAGE = 100
PHONE = 640
START = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=40)
HOSTILE = {
    "script": "<script>window.harmed = 1; alert(1)</script>",
    "image": '<img src=x onerror="window.harmed = 1; alert(1)">"\'><svg/onload=alert(1)>',
    "template": "${alert(1)} {{constructor.constructor('alert(1)')()}} javascript:alert(1)",
    "hidden": "paid \u202e0001 RUE\u202c zero\u200bwidth \x1b[2J bell\x07 \u2028 line \U0001f600 \u05e9\u05dc\u05d5\u05dd",
    "long": "x" * 20_000 + " " + "no-break" * 500,
    "formula": '=HYPERLINK("http://127.0.0.1/"&A1,"look")',
    "command": "  @SUM(1+1)*cmd|' /C calc'!A0",
    "fullwidth": "\uff1d1+1",
    "lines": 'first\nsecond\tcolumn "quoted", and a comma\r\nthird',
    "marks": "e" + "\u0301" * 60,
}
EVIL_SERVICE = '"><b onmouseover=alert(1)>\\"a:b,c'
RULES = """
rules:
  many:
    kind: window
    table: events
    by: [service]
    measure: count(*)
    window: 5m
    above: 10
    resolve_after: 1m
    cool_down: 1m
    summary: "{service}: {value:.0f} errors"
"""
INVENTED = "page-test"  # a service of the figures that nobody else writes


@dataclass
class Site:
    """A system with documents, an alert and rejects, its API on a real port, and keys for it."""

    url: str
    settings: Settings
    contract: Contract
    admin: str
    reader: str
    alert: str

    @property
    def system(self) -> str:
        return self.contract.system

    def send(self, *events: bytes) -> None:
        """Publish events, carried to the index by the lane."""
        publish(self.settings, self.contract.table("events"), events)
        self.drain()

    def drain(self) -> None:
        Lane(self.settings, self.contract).drain()
        indices = connect_indices(self.settings)
        indices.refresh(self.contract.table("events"))
        indices.client.close()

    def place(self, view: str = "search", **params: str) -> str:
        return f"#/{self.system}/{view}?{httpx.QueryParams(params)}"

    def key(self, role: Role, **rights: Any) -> dict[str, str]:
        return {"X-API-Key": KeyStore(self.settings.home).add("test", role, **rights)[1]}


@pytest.fixture(scope="module")
def site(services: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with no_platform_alerts(services):
        yield from _site(services, tmp_path_factory)


def _site(services: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("page")
    own = replace(services, home=home, lake_path=home / "lake")
    contract = private_system(own)
    table = contract.table("events")
    times = [(START + timedelta(seconds=10 * n)).isoformat().replace("+00:00", "Z") for n in range(EVENTS)]
    evil = [
        event(
            1000 + n, event_time=times[-1], message=text, level="FATAL", service=EVIL_SERVICE, host="evil",
            what={"kind": name, text[:40]: text[:100]}, huge=2**60 + 1,
        )
        for n, (name, text) in enumerate(HOSTILE.items())
    ]  # fmt: skip
    bad = [b'{"event_id": "<script>alert(1)</script>", "event_time": "\xe2\x80\xae"}', b"<img src=x onerror=alert(1)>"]
    publish(own, table, [*(event(n, event_time=at, host="h1") for n, at in enumerate(times)), *evil, *bad])
    room = AlertRoom(own, contract.system)
    [rule] = parse_rules(RULES, contract)
    now = datetime.now(UTC)
    [alert] = room.see([Sighting(rule, {"service": EVIL_SERVICE}, now, now, True, 11.0, 10.0)])
    room.publish()
    room.close()
    with closing(AlertRoom(own, PLATFORM_SYSTEM)) as own_room:
        own_room.see([sighting(RUN_FAILED, "purge", now, breach=True, detail="run 1a2b failed")])
        own_room.publish()
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
        keys.add("Bo", Role.READER, system=contract.system)[1], alert.alert_id,
    )  # fmt: skip
    made.drain()
    yield made
    server.should_exit = True
    thread.join()
    lane = connect(own.opensearch_url, own.opensearch_auth("lane"), own.opensearch_ca)
    lane.indices.delete(index=f"{contract.system}-*")
    lane.close()


@pytest.fixture(scope="module")
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


def test_log_in_search_page_open_and_share(visit: Visit, site: Site, launched: Browser) -> None:
    page = visit.page
    page.goto(site.url)
    page.fill("#key", "assay_000000000000_" + "x" * 43)
    page.click("#enter")
    expect(page.locator("#said")).to_contain_text("not taken")
    assert visit.wrong.pop().startswith("Failed to load resource"), "the refusal, and nothing else"

    visit.log_in(site.reader, site.place(table="events", last="24h"))
    rows = page.locator("tr.hit")
    expect(page.locator("#total")).to_have_text(str(EVENTS + len(HOSTILE)))
    expect(rows).to_have_count(PAGE)
    page.click("#older")
    expect(rows).to_have_count(EVENTS + len(HOSTILE))
    expect(page.locator("#older")).to_have_count(0)
    times = [one.get_attribute("datetime") for one in page.locator("tr.hit td.time time").all()]
    assert times == sorted(times, key=str, reverse=True)
    assert "Here: " in str(page.locator("tr.hit time").first.get_attribute("title")), "the reader's own time"

    assert site.reader not in page.url
    stored = page.evaluate("() => [Object.values(sessionStorage), Object.values(localStorage), document.cookie]")
    assert stored == [[site.reader], [], ""]

    page.locator("tr.hit td button.value", has_text="payments").first.click()
    expect(page.locator("#q")).to_have_value("service:payments")
    expect(page.locator("#total")).to_have_text(str(len(range(1, EVENTS, 3))))
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator("tr.hit.open")).to_have_count(1)
    expect(page.locator(".event .fields").first).to_contain_text("payments")
    assert page.get_by_role("tab", name="Where it came from").count() == 0, "that is for administrators"
    page.get_by_role("tab", name="Around it").click()
    expect(page.locator(".around tr.here")).to_have_count(1)
    assert page.locator(".around tr").count() > 5
    shared = page.url
    page.keyboard.press("Escape")
    expect(page.locator(".event")).to_have_count(0)
    page.go_back()
    expect(page.locator("#q")).to_have_value("")

    other = Visit(launched, site.url)
    other.log_in(site.admin, shared.removeprefix(f"{site.url}/"))
    expect(other.page.locator("#q")).to_have_value("service:payments")
    other.page.get_by_role("tab", name="Where it came from").click()
    expect(other.page.locator(".trace")).to_contain_text(site.contract.table("events").topic)
    expect(other.page.locator(".verdict")).to_contain_text("It is in silver")
    other.page.get_by_role("button", name="Log out").click()
    expect(other.page.locator("#key")).to_be_visible()
    assert other.page.evaluate("() => sessionStorage.length") == 0
    other.context.close()
    assert other.wrong == []


def test_a_day_is_chosen_and_stays_in_the_address(visit: Visit, site: Site) -> None:
    page = visit.log_in(site.reader, site.place(table="events"))
    day = START.date()
    wanted = sum((START + timedelta(seconds=10 * n)).date() == day for n in range(EVENTS))
    page.get_by_role("button", name="Custom").click()
    panel = page.locator("#custom")
    panel.locator("[name=day]").fill(f"{day}")
    panel.get_by_role("button", name="Show").first.click()
    page.wait_for_url(re.compile(f"last=24h&as_of={day}"))
    expect(page.locator("#total")).to_have_text(str(wanted + len(HOSTILE) * (wanted == EVENTS)))
    page.get_by_role("button", name="Today" if day == datetime.now(UTC).date() else f"{day}").click()
    expect(panel.locator("[name=end]")).to_have_value(f"{day + timedelta(days=1)}T00:00")
    visit.go(site.place(table="events", last="24h", as_of="2015-05-20"))
    expect(page.locator(".empty")).to_contain_text("Nothing found")
    expect(page.get_by_role("button", name="2015-05-20")).to_have_attribute("aria-pressed", "true")


def test_what_is_asked_wrongly_or_of_nothing_is_said_in_words(visit: Visit, site: Site) -> None:
    page = visit.log_in(site.reader, site.place(q="no_such_field:1", last="1h"))
    expect(page.locator(".wrong")).to_contain_text("has no field 'no_such_field'")
    assert "422" in visit.wrong.pop()
    page.locator("#q").fill("nothinglikethat")
    page.keyboard.press("Enter")
    expect(page.locator(".empty")).to_contain_text("Nothing found")
    KeyStore(site.settings.home).revoke(site.key(Role.READER)["X-API-Key"].split("_")[1])  # another's: nothing happens
    page.keyboard.press("Enter")
    expect(page.locator(".empty")).to_contain_text("Nothing found")


def test_dragging_over_the_chart_looks_closer(visit: Visit, site: Site) -> None:
    page = visit.log_in(site.reader, site.place(table="events", last="1h"))
    expect(page.locator("#total")).to_have_text(str(EVENTS + len(HOSTILE)))
    expect(page.locator(".legend")).to_contain_text("ERROR 16")
    box = page.locator(".chart .u-over").bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.40, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.50, middle, steps=4)
    page.mouse.up()
    page.wait_for_url(re.compile(r"from=.*to="))
    expect(page.locator("#total")).not_to_have_text(str(EVENTS + len(HOSTILE)))
    assert 20 < int(page.locator("#total").inner_text()) < 60, "a tenth of an hour, an event every ten seconds"
    page.locator(".legend button", has_text="ERROR").click()
    expect(page.locator("#q")).to_have_value("level:ERROR")


@pytest.mark.parametrize("width", [1280, 360])
def test_what_others_wrote_stays_text(launched: Browser, site: Site, width: int) -> None:
    visit = Visit(launched, site.url, width=width, height=740)
    page = visit.log_in(site.admin, site.place(table="events", q="host:evil", last="24h"))
    rows = page.locator("tr.hit")
    expect(rows).to_have_count(len(HOSTILE))
    for number in range(len(HOSTILE)):
        rows.nth(number).locator(".opener button").click()
        expect(page.locator(".event .fields").first).to_be_visible()
        assert visit.overflow() <= 0, number
    for tab in ("Around it", "Where it came from", "JSON", "Fields"):
        page.get_by_role("tab", name=tab).click()
        page.locator(".loading").wait_for(state="detached")
        assert visit.overflow() <= 0, tab
        assert width > PHONE or visit.small() == [], tab
    shown = page.locator("#main").inner_text()
    assert HOSTILE["script"] in shown
    assert "\\u202e" in shown
    assert not set(shown) & set("\u202e\u202c\u200b\x1b\x07\u2028"), "a hidden character is on the page"
    page.locator("tr.hit", has_text="xxxxx").locator(".opener button").click()
    expect(page.get_by_role("button", name="Show all")).to_be_visible()
    assert "1152921504606846977" in page.locator(".event").inner_text(), "an integer that a double would round"

    page.locator("tr.hit", has_text="<script>").locator(".opener button").click()
    page.get_by_role("button", name="Only this service").click()
    expect(rows).to_have_count(len(HOSTILE))
    assert parse(page.locator("#q").input_value())[-1] == Clause("service", (Value(EVIL_SERVICE, quoted=True),))

    visit.go(site.place())
    expect(rows).to_have_count(PAGE)
    for view in ("tail", "alerts", "quarantine", "status", "figures", "search"):
        visit.go(site.place(view))
        expect(page.locator("nav a[aria-current]")).to_have_attribute("href", re.compile(view))
        page.locator(".loading").wait_for(state="detached")
        assert visit.overflow() <= 0, view
        assert width > PHONE or visit.small() == [], view
    visit.go(site.place("quarantine"))
    page.locator("details summary").first.click()
    expect(page.locator(".reject").first).to_be_visible()
    assert visit.overflow() <= 0
    found = page.evaluate(
        "() => [window.harmed, document.querySelectorAll('#app script, #app img, #app b[onmouseover]').length]"
    )
    assert found == [None, 0]
    visit.context.close()
    assert visit.wrong == []


def test_a_file_of_the_result_runs_nothing(visit: Visit, site: Site, tmp_path: Path) -> None:
    page = visit.log_in(site.reader, site.place(table="events", last="24h"))
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Export CSV").click()
    path = tmp_path / "found.csv"
    waiting.value.save_as(path)
    text = path.read_bytes().decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(rows) == EVENTS + len(HOSTILE), "all pages, not only what is shown"
    evil = {json.loads(row["attributes"])["what"]["kind"]: row for row in rows if row["host"] == "evil"}
    for name in ("formula", "command", "fullwidth"):
        assert evil[name]["message"] == "'" + HOSTILE[name]
    assert evil["lines"]["message"] == HOSTILE["lines"].replace("\r", "\\r")
    assert evil["long"]["message"] == HOSTILE["long"]
    assert "\\u202e" in evil["hidden"]["message"]
    for row in rows:
        for value in row.values():
            assert not re.match(r"\s*[=+@\uff1d]|\s*-\D", value), value[:40]


def test_the_live_tail_shows_what_arrives_until_it_is_paused(visit: Visit, site: Site) -> None:
    page = visit.log_in(site.reader, site.place("tail", q="service:tail"))
    expect(page.locator("#tail-state")).to_have_text("Live")
    expect(page.locator(".empty")).to_contain_text("Nothing yet")
    late = event(5002, service="tail", message="late, and new all the same", event_time=START.isoformat())
    page.locator("#q").fill("service:tail half typed")
    site.send(event(5001, service="tail", message="first to arrive"), late)
    expect(page.locator("tr.hit")).to_have_count(2)
    expect(page.locator("#q")).to_have_value("service:tail half typed")
    page.keyboard.press("Escape")
    page.keyboard.press("p")
    expect(page.locator("#tail-state")).to_have_text("Paused")
    site.send(event(5003, service="tail", message="while paused"))
    page.wait_for_timeout(2500)
    expect(page.locator("tr.hit")).to_have_count(2)
    page.keyboard.press("p")
    expect(page.locator("tr.hit")).to_have_count(3)
    expect(page.locator("tr.hit").first).to_contain_text("while paused")


def test_alerts_are_acknowledged_and_muted_by_those_who_may(visit: Visit, site: Site) -> None:
    path = f"{site.url}/v1/{site.system}/alerts/{site.alert}"
    limited = site.key(Role.READER, services=("users",))
    reader, admin = site.key(Role.READER), site.key(Role.ADMIN)
    for key, rest, body, status in (
        ({}, "acknowledge", None, 401),
        (site.key(Role.WRITER, all_services=True), "acknowledge", None, 403),
        (site.key(Role.READER, system="logs"), "acknowledge", None, 403),
        (limited, "acknowledge", None, 404),
        (reader, "mute", {"length": "1h"}, 403),
        (admin, "mute", {"length": "31d"}, 422),
        (admin, "mute", {"length": "soon"}, 422),
        (admin, "mute", {}, 422),
    ):
        answer = httpx.post(f"{path}/{rest}", headers=key, json=body)
        assert answer.status_code == status, (rest, body, answer.text)
    assert httpx.post(f"{path.replace(site.alert, 'abc')}/acknowledge", headers=reader).status_code == 404

    page = visit.log_in(site.admin, site.place("alerts"))
    card = page.locator(f"[data-alert='{site.alert}']")
    expect(page.locator("nav .count")).to_have_text("2")
    own = page.locator(".alert", has_text="the platform itself")
    expect(own).to_contain_text("purge: run 1a2b failed")
    own.get_by_role("button", name="Acknowledge").click()
    expect(own).to_contain_text("acknowledged by Ada")
    card.get_by_role("button", name="Acknowledge").click()
    expect(card).to_contain_text("acknowledged by Ada")
    card.locator("select").select_option("8h")
    expect(card).to_contain_text("muted until")
    room = AlertRoom(site.settings, site.system, index=False)
    stored = room.store.load()[site.alert]
    room.close()
    assert str(stored.acknowledged_by).startswith("Ada (")
    assert stored.muted_until is not None
    assert timedelta(hours=7) < stored.muted_until - datetime.now(UTC) < timedelta(hours=8)
    again = httpx.post(f"{path}/acknowledge", headers=reader).json()["alert"]
    assert again["acknowledged_by"] == stored.acknowledged_by, "who was first stays"
    card.get_by_role("link", name="Its events").click()
    expect(page.locator("#total")).to_have_text(str(0), timeout=15_000)
    assert parse(page.locator("#q").input_value()) == [Clause("service", (Value(EVIL_SERVICE, quoted=True),))]
    trail = "".join(path.read_text() for path in (site.settings.home / "audit").glob("*.jsonl"))
    assert trail.count('"action": "acknowledge"') == 6, "begun and done, three times"
    assert "refused" in trail
    visit.page.get_by_role("button", name="Log out").click()
    visit.log_in(site.reader, site.place("alerts", last="24h"))
    expect(page.locator("nav .count")).to_have_text("1")
    expect(page.locator(".alert")).to_have_count(1)
    visit.go(site.place("alerts", last="24h", as_of=f"{START - timedelta(days=1):%Y-%m-%d}"))
    expect(page.locator("#open-alerts")).to_contain_text("Open at the end of that time 0")


def test_administrators_see_rejects_and_replay_them(visit: Visit, site: Site) -> None:
    page = visit.log_in(site.admin, site.place("quarantine"))
    section = page.locator("[data-table='events']")
    expect(section).to_contain_text("2 rejects")
    section.get_by_role("button", name="Try a replay").click()
    expect(section.locator("[role=status]")).to_contain_text("2 rejects looked at: 0 accepted")
    expect(section).to_contain_text("Nothing to replay")
    section.locator("tbody button").first.click()
    expect(section.locator(".reject").first).to_be_visible()
    visit.go(site.place("status"))
    expect(page.locator("[data-table='events']")).to_contain_text("in quarantine")


@contextmanager
def mart_indices(settings: Settings, rows: dict[str, list[dict[str, Any]]]) -> Iterator[None]:
    """An index for each mart of `logs`, with these rows, beside whatever the node has of them."""
    kinds = {
        "TIMESTAMPTZ": "date_nanos",
        "DATE": "date_nanos",
        "BIGINT": "long",
        "DOUBLE": "double",
        "VARCHAR": "keyword",
    }
    lane = connect(settings.opensearch_url, settings.opensearch_auth("lane"), settings.opensearch_ca)
    made = []
    try:
        for mart in (one for one in load_marts(project_folder(), "logs") if one.index):
            columns = {c.name: {"type": kinds[c.type.upper()]} for c in mart.columns if c.type.upper() in kinds}
            made.append(f"logs-{mart.name}-page-000001")
            lane.indices.create(
                index=made[-1], body={"mappings": {"properties": columns}, "aliases": {f"logs-{mart.name}": {}}}
            )
            for row in rows.get(mart.name, []):
                lane.index(index=made[-1], body=row, params={"refresh": "true"})
        yield
    finally:
        for index in made:
            lane.indices.delete(index=index)
        lane.close()


def test_figures_sum_a_mart_by_a_column_and_reports_are_files(visit: Visit, site: Site, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    minutes = [
        {
            "minute": f"{now - timedelta(minutes=n + 1):%Y-%m-%dT%H:%M:00Z}",
            "service": INVENTED,
            "status": 500,
            "events": 10,
            "errors": n,
        }
        for n in range(5)
    ]
    hour = f"{now:%Y-%m-%dT%H:00:00Z}"
    failing = [
        {
            "hour": hour,
            "service": service,
            "route": "/pay",
            "message": message,
            "errors": n,
            "example": f"AAAAAAAA.0.{n}",
        }
        for service, message, n in (
            (INVENTED, "gateway timed out", 7),
            (INVENTED, "ledger broke", 9),
            ("other", "no", 8),
        )
    ]
    with mart_indices(site.settings, {"errors_minute": minutes, "failures_hour": failing}):
        page = visit.log_in(site.admin, "#/logs/figures?mart=errors_minute&sum=errors&by=service&last=1h")
        expect(page.get_by_role("table", name="Sums by service")).to_contain_text(f"{INVENTED}5010")
        expect(page.locator(".legend")).to_contain_text(f"{INVENTED} 10")
        page.locator("#mart").select_option("failures_hour")
        page.get_by_role("table", name="Sums by service").get_by_role("button", name=INVENTED).click()
        reasons = page.get_by_role("table", name="Sums by route and message").locator("tbody tr")
        expect(reasons).to_have_text([re.compile("/pay.*ledger broke.*9"), re.compile("/pay.*gateway timed out.*7")])
        expect(page.get_by_role("list", name="Chosen values")).to_contain_text(f"service {INVENTED}")
        link = str(reasons.first.get_by_role("link", name="one of them").get_attribute("href"))
        assert dict(httpx.QueryParams(link.partition("?")[2]))["q"] == 'id:"AAAAAAAA.0.9"'
        page.locator("#day").fill("2015-05-20")
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Download").click()
        assert waiting.value.suggested_filename == "logs-errors-2015-05-20.html"
        waiting.value.save_as(tmp_path / "report.html")
        assert "2015-05-20" in (tmp_path / "report.html").read_text()
    page.locator("#system").select_option(site.system)
    expect(page.locator("#main")).to_contain_text("declares no gold marts")
    assert page.get_by_role("button", name="Download").count() == 0
    assert {"404" in one for one in visit.wrong} <= {True}, "`logs` may have no index of alerts here"
    visit.wrong.clear()


def test_the_documentation_of_the_api_comes_from_here_too(visit: Visit, site: Site) -> None:
    visit.page.goto(f"{site.url}/docs")
    expect(visit.page.get_by_text(f"/v1/{site.system}/search", exact=True)).to_be_visible()
    expect(visit.page.get_by_role("button", name="Authorize")).to_be_visible()


def test_a_click_says_literally_what_was_clicked(visit: Visit, site: Site) -> None:
    page = visit.log_in(site.reader, site.place())
    module = str(page.locator("script[type=module]").get_attribute("src")).replace("main.js", "text.js")
    values = [
        *(text for text in HOSTILE.values() if len(text) < 500 and not re.search(r"[\x00-\x1f]", text)),
        *(
            'a"b',
            "a\\",
            '\\"',
            "*",
            "a*",
            "-a",
            ">=5",
            "1..5",
            "a,b",
            "a:b",
            "NOT",
            "OR",
            "x y",
            "é漢",
            EVIL_SERVICE,
            "5",
            "0.5",
        ),
    ]
    say = "async ([path, values]) => { const m = await import(path); return values.map(v => m.clause('service', v)) }"
    for value, said in zip(values, page.evaluate(say, [module, values]), strict=True):
        [found] = parse(said)
        assert (found.field, [one.text for one in found.values]) == ("service", [value]), said
        assert found.values[0].quoted or re.fullmatch(r"[\w-]+", value)
    twice = "async ([path]) => { const m = await import(path); return m.narrowed('a -b:c d:\"x y\"', 'b:c', false) }"
    assert page.evaluate(twice, [module]) == 'a d:"x y" b:c'
