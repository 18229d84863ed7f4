"""Reports: what a declaration may say, what the sections hold, and that data stays data in every format."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from webhook import receiver

from platform_assets.core.errors import AssayError
from platform_assets.core.serialization import FORMULA
from platform_assets.reports.build import Built, build
from platform_assets.reports.charts import svg
from platform_assets.reports.declare import Kind, declared_reports, load_reports, parse_reports
from platform_assets.reports.render import to_csv, to_html, to_json
from platform_assets.reports.send import keep, message, send
from platform_assets.serve.page import FOLDER

DAY = date(2026, 3, 5)
MIDNIGHT = datetime(2026, 3, 5, tzinfo=UTC)
MONEY = pa.decimal128(18, 8)
HOSTILE = '=1+1"<script>alert(1)</script>'


class InMemory:
    """Marts given as rows, cut to the time asked for."""

    def __init__(self, **marts: list[dict[str, Any]]) -> None:
        self.marts = {name: pa.Table.from_pylist(rows) for name, rows in marts.items()}

    def rows(self, mart: str, begin: datetime, end: datetime) -> pa.Table | None:
        found = self.marts.get(mart)
        if found is None:
            return None
        time = next(name for name in ("minute", "hour", "day") if name in found.schema.names)
        keep = [begin <= value < end for value in found.column(time).to_pylist()]
        return found.filter(pa.array(keep))


def hours(service: str, errors: list[int], start: datetime = MIDNIGHT) -> list[dict[str, Any]]:
    return [
        {"hour": start + timedelta(hours=h), "service": service, "status": 500, "events": 10 + n, "errors": n}
        for h, n in enumerate(errors)
    ]


def one(text: str, marts: InMemory) -> Built:
    (report,) = parse_reports(f"reports: [{{name: r, title: R, sections: [{text}]}}]", "here").values()
    return build("logs", report, DAY, marts)


def test_groups_are_summed_ordered_and_limited() -> None:
    marts = InMemory(
        errors_hour=hours("a", [1, 2]) + hours("b", [5]) + hours("c", [4]) + hours("b", [9], MIDNIGHT - timedelta(1))
    )
    built = one(
        "{title: T, kind: table, mart: errors_hour, group: [service], sum: [errors], max: [events], order: -errors, "
        "limit: 2, columns: [service, errors, events]}",
        marts,
    )
    assert built.sections[0].rows.to_pylist() == [
        {"service": "b", "errors": 5, "events": 15},
        {"service": "c", "errors": 4, "events": 14},
    ]


def test_a_section_may_look_back() -> None:
    marts = InMemory(
        errors_hour=hours("a", [1])
        + hours("a", [7], MIDNIGHT - timedelta(days=2))
        + hours("a", [100], MIDNIGHT - timedelta(days=3))
    )
    built = one("{title: T, kind: figures, mart: errors_hour, days: 3, columns: [errors]}", marts)
    assert built.sections[0].rows.to_pylist() == [{"errors": 8}]


def test_a_chart_sums_bars_and_draws_the_greatest_of_a_line() -> None:
    marts = InMemory(errors_hour=hours("a", [1, 2]) + hours("a", [3, 4]))
    for kind, expected in ((Kind.BARS, [4, 6]), (Kind.LINES, [3, 4])):
        built = one(f"{{title: T, kind: {kind}, mart: errors_hour, x: hour, y: errors, color: service}}", marts)
        assert [row["errors"] for row in built.sections[0].rows.to_pylist()] == expected
        assert svg(built.sections[0]).startswith("<svg")


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("{title: T, kind: pie, mart: m, columns: [a]}", "kind"),
        ("{title: T, kind: table, mart: 'm; DROP', columns: [a]}", "mart"),
        ("{title: T, kind: table, mart: m}", "columns are missing"),
        ("{title: T, kind: bars, mart: m, x: hour}", "x and y"),
        ("{title: T, kind: table, mart: m, columns: [a], sum: [a]}", "group"),
        ("{title: T, kind: table, mart: m, columns: [a], days: 400}", "31"),
        ("{title: T, kind: table, mart: m, columns: [a], sql: 'SELECT 1'}", "sql"),
    ],
)
def test_a_mistake_in_a_declaration_is_named(section: str, words: str) -> None:
    with pytest.raises(AssayError, match=words):
        parse_reports(f"reports: [{{name: r, title: R, sections: [{section}]}}]", "here")


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("{title: T, kind: table, mart: absent, columns: [a]}", "no mart absent"),
        ("{title: T, kind: table, mart: errors_hour, columns: [nothing]}", "no column nothing"),
        (
            "{title: T, kind: table, mart: errors_hour, columns: [hour], group: [service], sum: [errors]}",
            "no column hour",
        ),
        ("{title: T, kind: table, mart: errors_hour, columns: [service], order: nothing}", "no column nothing"),
        ("{title: T, kind: bars, mart: errors_hour, x: day, y: errors}", "no column day"),
    ],
)
def test_what_the_mart_lacks_is_named(section: str, words: str) -> None:
    with pytest.raises(AssayError, match=words):
        one(section, InMemory(errors_hour=hours("a", [1])))


def test_text_from_data_stays_text() -> None:
    marts = InMemory(errors_hour=hours(HOSTILE, [3]))
    table = "{title: T, kind: table, mart: errors_hour, group: [service], sum: [errors], columns: [service, errors]}"
    chart = "{title: C, kind: bars, mart: errors_hour, x: hour, y: errors, color: service}"
    built = one(f"{table}, {chart}", marts)
    page = to_html(built)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "<script" not in svg(built.sections[1])
    rows = list(csv.reader(io.StringIO(to_csv(built))))
    assert rows[2] == ["'" + HOSTILE, "3"]
    assert json.loads(json.dumps(to_json(built)))["sections"][0]["rows"] == [{"service": HOSTILE, "errors": 3}]


def test_what_a_spreadsheet_would_run_is_made_text() -> None:
    blanks = ("", " ", "\n", " \t\x1c\ufeff\u3000\0")
    run = [f"{blank}{sign}1" for sign in "=+-@|%\uff1d\uff0b\uff0d\uff20" for blank in blanks] + ["\t1", "\r1", "\n1"]
    left = ["a=1", "1-1", " 1", "(=1)"]
    marts = InMemory(errors_hour=[row for text in (*run, *left) for row in hours(text, [0])])
    built = one("{title: T, kind: table, mart: errors_hour, columns: [service]}", marts)
    rows = csv.reader(io.StringIO(to_csv(built), newline=""))
    assert {row[0] for row in [*rows][2:-1]} == {*left, *(f"'{text}" for text in run)}


def test_the_page_takes_the_same_for_a_formula() -> None:
    module = (FOLDER / "js" / "text.js").read_text(encoding="utf-8")
    assert re.findall(r"^const FORMULA = /(.+)/;$", module, re.MULTILINE) == [FORMULA.pattern]


def test_a_change_is_read_in_percent(tmp_path: Path) -> None:
    changes = {"a": 0.35, "b": 2.4, "c": -1.0, "d": 0.0, "e": None}
    said = ["+35 %", "+240 %", "-100 %", "+0 %", "n/a"]
    figures = {"events": 10, "errors": 5, "error_rate": 0.5, "users_hit": 1, "p95_ms": 2.5}
    marts = InMemory(
        errors_day=[{"day": MIDNIGHT, "service": name, "error_change": c, **figures} for name, c in changes.items()]
    )
    report = load_reports("logs")["errors"]
    table = [one for one in report.sections if one.mart == "errors_day" and one.kind is Kind.TABLE]
    built = build("logs", report.model_copy(update={"sections": tuple(table)}), DAY, marts)
    cells = re.findall(r'<td class="n">([^<]*)</td>', to_html(built))
    assert cells[2::6] == said
    lines = message(built, keep(built, tmp_path), {})[1].splitlines()[:-1]
    assert [re.findall("([^,]+) change", line) for line in lines] == [[f" {text}"] for text in said]


def test_a_day_without_rows_says_so() -> None:
    built = one(
        "{title: T, kind: table, mart: errors_hour, columns: [service]}",
        InMemory(errors_hour=hours("a", [1], MIDNIGHT + timedelta(2))),
    )
    assert built.empty
    assert "Nothing on this day" in to_html(built)


def test_a_report_is_kept_for_its_owner_and_told_without_markup(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    marts = InMemory(errors_hour=hours("<!here> @channel", [3]) + hours("b", [2]))
    figures = "{title: F, kind: figures, mart: errors_hour, columns: [errors]}"
    table = (
        "{title: T, kind: table, mart: errors_hour, group: [service], sum: [errors], order: -errors, "
        "columns: [service, errors]}"
    )
    built = one(f"{figures}, {table}", marts)
    page = keep(built, tmp_path)
    assert page.stat().st_mode & 0o777 == 0o600
    assert page.read_text(encoding="utf-8") == to_html(built)
    title, body = message(built, page, {})
    assert title == "R of logs, 2026-03-05"
    assert body.splitlines()[0] == "5 errors"
    assert len(body.splitlines()) == 4
    assert body.splitlines()[-1] == f"page: {page}"
    link = message(built, page, {"ASSAY_API_URL": "https://assay.example/"})[1].splitlines()[-1]
    assert link == "page: https://assay.example/#/logs/figures?report=r&day=2026-03-05"
    assert "@" not in body
    assert "<" not in body
    with caplog.at_level("WARNING", "assay.alerts"):
        assert send(built, page, {}) == []
    assert title in caplog.text


def test_who_takes_attachments_gets_the_page_with_its_data_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marts = InMemory(errors_hour=hours(HOSTILE, [3]))
    table = "{title: T, kind: table, mart: errors_hour, group: [service], sum: [errors], columns: [service, errors]}"
    built = one(table, marts)
    page = keep(built, tmp_path)
    with receiver() as hook, receiver(500) as deaf:
        values = {"ASSAY_ALERT_URLS": f"{hook.url}, {deaf.url}"}
        assert send(built, page, values) == ["target 2 (json)"]
        monkeypatch.setattr("platform_assets.reports.send._ATTACHED_BYTES", 10)
        send(built, page, values)
    with_page, too_large = (json.loads(body) for body in hook.bodies)
    [attached] = with_page["attachments"]
    assert (attached["filename"], attached["mimetype"]) == ("logs-r-2026-03-05.html", "text/html")
    arrived = base64.b64decode(attached["base64"]).decode()
    assert arrived == page.read_text(encoding="utf-8")
    assert "&lt;script&gt;" in arrived and "<script" not in arrived
    assert too_large["attachments"] == []
    for told in (with_page, too_large):
        assert told["title"] == "R of logs, 2026-03-05"
        assert "<" not in told["message"] and "3 errors" in told["message"]


def test_the_reports_of_logs_are_well_formed() -> None:
    assert set(load_reports("logs")) == {"errors"}
    assert load_reports("nothing_declared") == {}


def test_a_wrong_report_is_left_out_alone_and_every_mistake_is_told(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    good = "{title: S, kind: table, mart: m, columns: [a]}"
    (tmp_path / "shop" / "reports.yaml").write_text(
        "reports:\n"
        f"  - {{name: good, title: G, sections: [{good}]}}\n"
        "  - name: bad\n"
        "    sections:\n"
        "      - {title: S, kind: tabel, mart: m, columns: [a]}\n"
        "      - {title: S, kind: table, mart: m, columns: [a], limt: 3}\n"
        f"  - {{name: twice, title: T, sections: [{good}]}}\n"
        f"  - {{name: twice, title: T, sections: [{good}]}}\n"
    )
    found = declared_reports("shop", tmp_path)
    assert set(found.valid) == {"good"}
    told = {(mistake.place, mistake.line) for mistake in found.mistakes}
    assert told == {
        ("reports[bad].title", 3),
        ("reports[bad].sections[0].kind", 5),
        ("reports[bad].sections[1].limt", 6),
        ("reports[twice]", 7),
    }


def test_money_is_exact_in_every_section_and_form() -> None:
    rows = [
        {"hour": MIDNIGHT, "shop": shop, "revenue": Decimal(value), "orders": orders}
        for shop, value, orders in (("a", "9999999999.99999999", 2**62), ("a", "0.00000001", 1), ("b", "-1.5", 1))
    ]
    table = pa.Table.from_pylist(
        rows,
        pa.schema(
            [
                ("hour", pa.timestamp("us", "UTC")),
                ("shop", pa.string()),
                ("revenue", pa.decimal128(18, 8)),
                ("orders", pa.int64()),
            ]
        ),
    )
    marts = InMemory(sales_hour=[])
    marts.marts["sales_hour"] = table
    built = one(
        "{title: Sum, kind: figures, mart: sales_hour, columns: [revenue, orders]}, "
        "{title: Shops, kind: table, mart: sales_hour, group: [shop], sum: [revenue], columns: [shop, revenue], order: shop}, "
        "{title: Chart, kind: bars, mart: sales_hour, x: hour, y: revenue, color: shop}, "
        "{title: Lines, kind: lines, mart: sales_hour, x: hour, y: revenue, color: shop}",
        marts,
    )
    sections = to_json(built)["sections"]
    assert json.loads(json.dumps(sections[0]["rows"])) == [{"revenue": "9999999998.50000000", "orders": 2**62 + 2}]
    assert [row["revenue"] for row in sections[1]["rows"]] == ["10000000000.00000000", "-1.50000000"]
    assert "b,-1.50000000\r\n" in to_csv(built)
    page = to_html(built)
    assert "9,999,999,998.50000000" in page
    assert svg(built.sections[2]).startswith("<svg")
    assert svg(built.sections[3]).startswith("<svg")


def test_a_sum_of_texts_is_refused_in_one_line() -> None:
    with pytest.raises(AssayError, match="service of errors_hour is no number"):
        one("{title: T, kind: figures, mart: errors_hour, columns: [service]}", InMemory(errors_hour=hours("a", [1])))
