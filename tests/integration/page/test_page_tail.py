"""The live tail. It writes events, so no other test counts in its system."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from browser import Visit
from pagelab import Site, needs_chromium
from playwright.sync_api import expect
from support import event

pytestmark = [pytest.mark.services, needs_chromium]


def test_the_live_tail_shows_what_arrives_until_it_is_paused(visit: Visit, site: Site) -> None:
    page = visit.log_in(site.reader, site.place("tail", q="service:tail"))
    expect(page.locator("#tail-state")).to_have_text("Live")
    expect(page.locator(".empty")).to_contain_text("Nothing yet")
    late = event(5002, service="tail", message="late, and new all the same", event_time=site.start.isoformat())
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


def test_the_live_tail_shows_what_clocks_date_ahead_and_what_is_late_among_much(visit: Visit, site: Site) -> None:
    page = visit.log_in(site.reader, site.place("tail", q="service:busy"))
    expect(page.locator(".empty")).to_contain_text("Nothing yet")
    rows = page.locator("tr.hit")
    fast = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    site.send(event(6000, service="busy"), event(6001, service="busy", message="ahead of now", event_time=fast))
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("ahead of now")
    site.send(*(event(6100 + n, service="busy") for n in range(210)))
    expect(rows).to_have_count(212)
    late = event(6400, service="busy", message="late among much", event_time=site.start.isoformat())
    site.send(late, *(event(6401 + n, service="busy") for n in range(20)))
    expect(rows).to_have_count(233)
    expect(page.locator("tr.hit", has_text="late among much")).to_have_count(1)
    expect(page.locator(".notice")).to_have_count(0)
    site.send(*(event(7000 + n, service="busy") for n in range(600)))
    expect(page.locator(".notice")).to_contain_text("late ones may be missing")
