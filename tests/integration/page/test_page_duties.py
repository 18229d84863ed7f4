"""What operators do on the page: alerts, rejects, figures, reports."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from browser import Visit
from pagelab import EVIL_SERVICE, INVENTED, Site, needs_chromium
from playwright.sync_api import expect

from platform_assets.alerts.service import AlertService
from platform_assets.core.settings import Settings
from platform_assets.index.client import connect
from platform_assets.index.syntax import Clause, Value, parse
from platform_assets.marts.marts import load_marts
from platform_assets.marts.project import project_folder
from platform_assets.serve.keys import Role

pytestmark = [pytest.mark.services, needs_chromium]


def test_alerts_are_acknowledged_and_muted_by_those_who_may(visit: Visit, site: Site) -> None:
    path = f"{site.url}/v1/{site.system}/alerts/{site.alert}"
    limited = site.key(Role.READER, only=("users",))
    reader, admin = site.key(Role.READER), site.key(Role.ADMIN)
    for key, rest, body, status in (
        ({}, "acknowledge", None, 401),
        (site.key(Role.WRITER, unlimited=True), "acknowledge", None, 403),
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
    expect(own).to_contain_text("purge: run 1a2b failed (see its log)")
    expect(own).not_to_contain_text("limit")
    expect(card).to_contain_text("value 11 (limit 10)")
    expect(card).to_contain_text("Runbook: many.md")  # a page that the API does not have
    with page.expect_popup() as opened:
        own.get_by_role("link", name="Runbook").click()
    expect(opened.value.get_by_role("heading", level=1)).to_have_text("A Dagster run failed")
    assert opened.value.url == f"{site.url}/runbooks/run_failed.md"
    opened.value.close()
    own.get_by_role("button", name="Acknowledge").click()
    expect(own).to_contain_text("acknowledged by Ada")
    card.get_by_role("button", name="Acknowledge").click()
    expect(card).to_contain_text("acknowledged by Ada")
    card.locator("select").select_option("8h")
    expect(card).to_contain_text("muted until")
    alert_service = AlertService(site.settings, site.system, index=False)
    stored = alert_service.store.load()[site.alert]
    alert_service.close()
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
    visit.go(site.place("alerts", last="24h", as_of=f"{site.start - timedelta(days=1):%Y-%m-%d}"))
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
    worker = connect(settings.opensearch_url, settings.opensearch_auth("ingest"), settings.opensearch_ca)
    made = []
    try:
        for mart in (one for one in load_marts(project_folder(), "logs") if one.index):
            columns = {c.name: {"type": kinds[c.type.upper()]} for c in mart.columns if c.type.upper() in kinds}
            made.append(f"logs-{mart.name}-page-000001")
            worker.indices.create(
                index=made[-1], body={"mappings": {"properties": columns}, "aliases": {f"logs-{mart.name}": {}}}
            )
            for row in rows.get(mart.name, []):
                worker.index(index=made[-1], body=row, params={"refresh": "true"})
        yield
    finally:
        for index in made:
            worker.indices.delete(index=index)
        worker.close()


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
    # What a script's objects have of themselves is a name like any other.
    minutes += [{**minutes[0], "service": name, "errors": n} for name, n in (("constructor", 30), ("__proto__", 20))]
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
            (INVENTED, "feed broke", 9),
            ("other", "no", 8),
        )
    ]
    no_alerts = re.compile(r"404.*/v1/alerts\?(.*&)?system=logs\b")  # `logs` may have no index of them here
    with mart_indices(site.settings, {"errors_minute": minutes, "failures_hour": failing}):
        page = visit.log_in(site.admin, "#/logs/figures?mart=errors_minute&sum=errors&by=service&last=24h")
        expect(page.get_by_role("table", name="Sums by service")).to_contain_text(f"{INVENTED}5010")
        for known in (f"{INVENTED} 10", "constructor 30", "__proto__ 20"):
            expect(page.locator(".legend")).to_contain_text(known)
        page.locator("#mart").select_option("failures_hour")
        page.get_by_role("table", name="Sums by service").get_by_role("button", name=INVENTED).click()
        reasons = page.get_by_role("table", name="Sums by route and message").locator("tbody tr")
        expect(reasons).to_have_text([re.compile("/pay.*feed broke.*9"), re.compile("/pay.*gateway timed out.*7")])
        expect(page.get_by_role("list", name="Chosen values")).to_contain_text(f"service {INVENTED}")
        link = str(reasons.first.get_by_role("link", name="one of them").get_attribute("href"))
        assert dict(httpx.QueryParams(link.partition("?")[2]))["q"] == 'id:"AAAAAAAA.0.9"'
        visit.go("#/logs/figures?report=errors&day=2015-05-19")  # as a message links to it
        expect(page.locator("#day")).to_have_value("2015-05-19")
        page.locator("#day").fill("2015-05-20")
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Download").click()
        assert waiting.value.suggested_filename == "logs-errors-2015-05-20.html"
        waiting.value.save_as(tmp_path / "report.html")
        assert "2015-05-20" in (tmp_path / "report.html").read_text()
    page.locator("#system").select_option(site.system)
    expect(page.locator("#main")).to_contain_text("declares no gold marts")
    assert page.get_by_role("button", name="Download").count() == 0
    visit.wrong[:] = [one for one in visit.wrong if not no_alerts.search(one)]
