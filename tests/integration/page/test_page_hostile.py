"""What others wrote stays text: on the page, whatever its width, and in a file of the result."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from browser import Visit
from pagelab import EVENTS, EVIL_SERVICE, HOSTILE, PAGE, PHONE, Site, needs_chromium
from playwright.sync_api import Browser, expect

from platform_assets.index.syntax import Clause, Value, parse

pytestmark = [pytest.mark.services, needs_chromium]


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
