"""A reader's way over the page: log in, search, page, open, share, look closer, and say literally what was clicked."""

from __future__ import annotations

import csv
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from browser import Visit
from pagelab import EVENTS, EVIL_SERVICE, HOSTILE, PAGE, Site, needs_chromium
from playwright.sync_api import Browser, Route, expect
from waiting import eventually

from platform_assets.core.ansi import SEQUENCE
from platform_assets.index.syntax import Clause, Value, parse
from platform_assets.serve.keys import KeyStore, Role

pytestmark = [pytest.mark.services, needs_chromium]


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
    day = site.start.date()
    wanted = sum((site.start + timedelta(seconds=10 * n)).date() == day for n in range(EVENTS))
    page.get_by_role("button", name="Custom").click()
    panel = page.locator("#custom")
    panel.locator("[name=day]").fill(f"{day}")
    panel.get_by_role("button", name="Show").first.click()
    page.wait_for_url(re.compile(f"last=24h&as_of={day}"))
    expect(page.locator("#total")).to_have_text(str(wanted + len(HOSTILE) * (wanted == EVENTS)))
    shown = "Today" if day == datetime.now(UTC).date() else f"{day}"
    page.get_by_role("button", name=shown, exact=True).click()  # a row says its day among other things
    expect(panel.locator("[name=end]")).to_have_value(f"{day + timedelta(days=1)}T00:00")
    visit.go(site.place(table="events", last="24h", as_of="2015-05-20"))
    expect(page.locator(".empty")).to_contain_text("Nothing found")
    expect(page.get_by_role("button", name="2015-05-20")).to_have_attribute("aria-pressed", "true")


def test_a_person_is_found_by_a_clear_value_that_goes_no_further(visit: Visit, site: Site) -> None:
    page = visit.log_in(site.reader, site.place(table="events"))
    expect(page.locator("#total")).to_have_text(str(EVENTS + len(HOSTILE)))
    expect(page.get_by_role("button", name="Person…")).to_have_count(0)  # not with this key
    page.get_by_role("button", name="Log out").click()
    privileged = site.key(Role.READER, system=site.system, personal_data=True)["X-API-Key"]
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    visit.log_in(privileged, site.place(table="events"))
    page.get_by_role("button", name="Person…").click()
    panel = page.locator("#person")
    panel.locator("[name=value]").fill("u17")
    panel.get_by_role("button", name="Find").click()
    expect(page.locator("#total")).to_have_text("3")  # 17, 67 and 117
    expect(page.locator(".hits")).to_contain_text("request 117 done")
    page.locator("#q").fill("request 67")
    page.keyboard.press("Enter")
    expect(page.locator("#total")).to_have_text("1")
    trail = "".join(path.read_text() for path in (site.settings.home / "audit").glob("*.jsonl"))
    assert trail.count('"search_person"') == 4, "begun and done, twice"
    assert not re.search(r"\bu17\b", "\n".join([trail, page.url, page.content(), *addresses]))
    page.get_by_role("button", name="One user_id only").click()
    page.locator("#q").fill("")
    page.keyboard.press("Enter")
    expect(page.locator("#total")).to_have_text(str(EVENTS + len(HOSTILE)))


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


def test_a_file_is_of_the_answer_that_was_shown_whatever_is_asked_meanwhile(
    visit: Visit, site: Site, tmp_path: Path
) -> None:
    page = visit.log_in(site.reader, site.place(table="events", last="24h"))
    held: list[Route] = []

    def shorter(route: Route) -> None:
        """A page of the answer that holds less than was asked for, as the API may send it."""
        route.continue_(url=re.sub(r"size=\d+", "size=20", route.request.url))

    page.route(re.compile(r"/search\?.*cursor="), lambda route: shorter(route) if held else held.append(route))
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Export CSV").click()
        page.locator("#q").fill("service:payments")
        page.keyboard.press("Enter")
        expect(page.locator("#total")).to_have_text(str(len(range(1, EVENTS, 3))))
        shorter(held[0])
    waiting.value.save_as(tmp_path / "found.csv")
    with (tmp_path / "found.csv").open(encoding="utf-8-sig", newline="") as file:
        assert len(list(csv.DictReader(file))) == EVENTS + len(HOSTILE)


def test_what_fails_of_an_answer_is_not_said_of_the_next(visit: Visit, site: Site) -> None:
    page = visit.log_in(site.reader, site.place(table="events", last="24h"))
    expect(page.locator("tr.hit")).to_have_count(PAGE)
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    def holding(number: int) -> bool:
        page.wait_for_timeout(20)  # the browser's messages are handled meanwhile
        return len(held) == number

    page.route(re.compile(r"/search\?"), hold)
    page.click("#older")
    # A request is announced before it is held.
    eventually(lambda: holding(1), "the request for older events")
    page.locator("#q").fill("service:payments")
    page.keyboard.press("Enter")
    eventually(lambda: holding(2), "the new search")
    older, new = held
    assert "cursor=" in older.request.url
    assert "payments" in new.request.url
    older.abort()
    expect(page.locator(".notice.bad")).to_have_count(1)
    new.continue_()
    expect(page.locator("#total")).to_have_text(str(len(range(1, EVENTS, 3))))
    expect(page.locator(".notice.bad")).to_have_count(0)
    assert visit.wrong.pop().startswith("Failed to load resource"), "the request that failed, and nothing else"


def test_dragging_over_the_chart_looks_closer(visit: Visit, site: Site) -> None:
    page = visit.log_in(site.reader, site.place(table="events", last="1h"))
    expect(page.locator("#total")).to_have_text(str(EVENTS + len(HOSTILE)))
    expect(page.locator(".legend")).to_contain_text("error 16")
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
    page.locator(".legend button", has_text="error").click()
    expect(page.locator("#q")).to_have_value("level:ERROR")


def test_an_address_that_leads_nowhere_says_so(visit: Visit, site: Site) -> None:
    page = visit.log_in(site.reader, site.place())
    expect(page.locator("tr.hit").first).to_be_visible()
    for place in (f"{site.system}/serach?last=1h", "nosystem/search", f"{site.system}/quarantine"):
        page.goto(f"{site.url}/#/{place}")
        expect(page.locator(".empty")).to_contain_text("There is no such page")
        expect(page.locator("tr.hit")).to_have_count(0)
    page.get_by_role("link", name="Search", exact=True).click()
    expect(page.locator("tr.hit").first).to_be_visible()


def test_a_limited_key_is_told_of_the_tables_that_it_sees_nothing_of(visit: Visit, site: Site) -> None:
    limited = site.key(Role.READER, only=("payments", "users"))["X-API-Key"]
    page = visit.log_in(limited, "#/logs/search?table=access")
    expect(page.locator("#closed")).to_contain_text("limited to payments and users. It sees no row of access")
    page.goto(f"{site.url}/#/logs/search?table=events")
    expect(page.locator("#closed")).to_have_count(0)
    assert all("404" in said for said in visit.wrong), "logs has no index here"
    visit.wrong.clear()


def test_the_help_speaks_of_the_system_s_own_fields(visit: Visit, site: Site) -> None:
    page = visit.log_in(site.reader, site.place())
    page.get_by_role("button", name="Help and keys").click()
    expect(page.locator("#help")).to_contain_text("level:ERROR,FATAL")
    expect(page.locator("#help")).to_contain_text("attributes.region:eu")


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
    names = [
        "x-request-id",
        "x request id",
        'q"q',
        "a:b",
        "",
        "OR",
        "*",
        "back\\slash",
        "ключ",
        "(p)",
        "a.b",
        "~x",
        "a,b",
    ]
    name = "async ([path, names]) => { const m = await import(path); return names.map(n => m.clause(`attributes.${n}`, 7)) }"
    for member, said in zip(names, page.evaluate(name, [module, names]), strict=True):
        assert parse(said) == [Clause(f"attributes.{member}", (Value("7"),))], said
    narrow = "async ([path, query]) => { const m = await import(path); return m.narrowed(query, 'b:c', false) }"
    for query, wanted in (
        ('a -b:c d:"x y"', 'a d:"x y" b:c'),
        ("a OR b", "(a OR b) b:c"),
        ("(a OR b) NOT c", "(a OR b) NOT c b:c"),
        ('"a OR b" level:(A B)', '"a OR b" level:(A B) b:c'),
    ):
        assert page.evaluate(narrow, [module, query]) == wanted


def test_colours_are_no_part_of_a_text(visit: Visit, site: Site) -> None:
    page = visit.log_in(site.reader, site.place())
    module = str(page.locator("script[type=module]").get_attribute("src")).replace("main.js", "text.js")
    say = "async ([path, text, block]) => { const m = await import(path); return m.visible(text, { block }) }"
    text = "\x1b[31mERROR\x1b[0m Time\x9b1mout \x1b[Kx"
    assert page.evaluate(say, [module, text, False]) == re.sub(SEQUENCE, "", text) == "ERROR Timeout x"
    assert page.evaluate(say, [module, text, True]).startswith("\\u001b[31mERROR\\u001b[0m")
    text = "\x1b]0;t\u202e\x07Time\x1b(Bout\x1b]8;;http://x\x1b\\ at\x9d8;;\x9c \x1b7x\x1b]0;no end"
    assert page.evaluate(say, [module, text, False]) == "Timeout at x\\u001b]0;no end"
    assert page.evaluate(say, [module, text, True]).startswith(
        "\\u001b]0;t\\u202e\\u0007Time\\u001b(Bout\\u001b]8;;http://x\\u001b\\ at"
    )


def test_the_place_of_a_mistake_is_marked(visit: Visit, site: Site) -> None:
    page = visit.log_in(site.reader, site.place(q="😀 nosuch:x y"))
    expect(page.locator(".wrong mark")).to_have_text("nosuch:x")
    visit.wrong.clear()  # the browser's own line about the status 422
