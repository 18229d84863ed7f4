"""Rules are read strictly: what is wrong is named with its place, and every rule has its page."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from samples import LOGS, RULES, rules
from support import burst_rules

from platform_assets.alerts.buckets import session
from platform_assets.alerts.declared import missing_runbooks, rules_of
from platform_assets.alerts.model import Aggregate, AlertError, Function, Measure, Severity
from platform_assets.alerts.platform import PLATFORM_RULES
from platform_assets.alerts.read import declared_rules, load_rules, parse_rules
from platform_assets.alerts.runbooks import MAX_BYTES, runbooks, runbooks_of
from platform_assets.alerts.sql import cells_of, check_rules
from platform_assets.contracts.arrow import silver_schema
from platform_assets.contracts.model import Field, FieldType, IndexType
from platform_assets.contracts.read import load_contracts
from platform_assets.core.settings import Settings


def test_a_rule_is_what_its_file_says() -> None:
    many, ratio = rules("many", "ratio")
    assert (many.table, many.by, many.above, many.window) == ("events", ("service",), Decimal(10), timedelta(minutes=1))
    assert many.measure == Measure(Aggregate(Function.COUNT))
    assert (many.severity_of(100), many.severity_of(101)) == (Severity.WARNING, Severity.CRITICAL)
    assert many.runbook == "many.md"
    assert ratio.measure == Measure(Aggregate(Function.COUNT, "", "level = 'ERROR'"), Aggregate(Function.COUNT))


def _less(text: str) -> Callable[[str], str]:
    return lambda whole: whole.replace(text, "", 1)


def _other(old: str, new: str) -> Callable[[str], str]:
    return lambda whole: whole.replace(old, new, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_other("    above: 10\n", "    abov: 10\n"), ("rules.many.abov", "not permitted")),
        (_less("    above: 10\n"), ("rules.many", "above and below")),
        (_other("table: events", "table: event"), ("rules.many.table", "'event'", "events, access, broker")),
        (_other("by: [service]", "by: [servce]"), ("rules.many.by", "'servce'", "service")),
        (_other("max(latency_ms)", "max(service)"), ("rules.slow.measure", "numeric column 'service'")),
        (_other("measure: count(*)", "measure: median(x)"), ("rules.many.measure", "count(*), sum(column)")),
        (_other("window: 1m", "window: 1 minute"), ("rules.many.window", "90s, 15m, 24h, 7d or 2w")),
        (_other("window: 1m", "window: 2d"), ("rules.many", "between 1s and 1d")),
        (_other("{value:,.0f}", "{value.__class__}"), ("rules.many.summary", "value.__class__")),
        (_other("{value:,.0f}", "{value:{threshold}}"), ("rules.many.summary", "format")),
        (_other("{service}:", "{servce}:"), ("rules.many.summary", "servce", "service")),
        (_other("  many:", "  gap:"), ("rules.gap", "the platform has")),
        (_other("kind: silence", "kind: quiet"), ("rules.silent", "kind")),
        (_other("    by: [service]\n", "    by: [service]\n    by: []\n"), ("line", "'by' is given twice")),
        (_other("cool_down: 5m", "runbook: ../../secrets.env"), ("rules.many.runbook", "no page")),
    ],
)
def test_an_error_names_its_place(change: Callable[[str], str], said: tuple[str, ...]) -> None:
    changed = change(RULES)
    assert changed != RULES
    with pytest.raises(AlertError) as raised:
        parse_rules(changed, LOGS)
    assert all(words in str(raised.value) for words in said), raised.value


@pytest.mark.parametrize(
    "where",
    [
        "levl = 'ERROR'",
        "level = 'ERROR') OR (true",
        "level = ",
        "level = 'ERROR' GROUP BY ALL) UNION (SELECT 1",
        "exists (FROM read_csv('/etc/passwd'))",
    ],
)
def test_sql_that_is_no_condition_on_the_columns_is_refused(where: str) -> None:
    changed = parse_rules(RULES.replace("level IN ('ERROR', 'FATAL')", f'"{where}"', 1), LOGS)
    with session() as con, pytest.raises(AlertError) as raised:
        check_rules(con, LOGS.table("events"), changed)
    assert "rules.many.where" in str(raised.value)


def test_a_rule_finds_its_page_in_its_systems_folder(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    (folder / "runbooks").mkdir(parents=True)
    (folder / "alerts.yaml").write_text(burst_rules("5m", "5m", "5m"))
    assert [rule.runbook for rule in load_rules(LOGS, tmp_path)] == ["many.md"]
    (folder / "runbooks" / "many.md").write_text("# Many\n")
    assert [rule.runbook for rule in load_rules(LOGS, tmp_path)] == ["logs/many.md"]


def test_every_rule_has_its_page_and_binds() -> None:
    pages = set(PLATFORM_RULES)
    for contract in load_contracts().values():
        own = load_rules(contract)
        with session() as con:
            for table in contract.tables:
                check_rules(con, table, [rule for rule in own if rule.table == table.name])
        assert all(rule.runbook.startswith("https://") or rule.runbook == f"{rule.name}.md" for rule in own)
        pages |= {rule.name for rule in own if not rule.runbook.startswith("https://")}
    assert set(runbooks()) == {f"{name}.md" for name in pages}
    for name in pages:
        text = runbooks()[f"{name}.md"]
        assert text.startswith("# ") and f"Rule `{name}`." in text
        assert "](" not in text, "a link that leads elsewhere where the API shows it"
        assert all(f"\n## {part}\n" in text for part in ("What it means", "Look here", "Do this"))


def test_a_wrong_rule_is_left_out_alone_and_every_mistake_is_told(tmp_path: Path) -> None:
    text = RULES.replace("    above: 10\n", "    abov: 10\n", 1).replace("max(latency_ms)", "max(service)")
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "alerts.yaml").write_text(text)
    found = declared_rules(LOGS, tmp_path)
    wrong = {mistake.place.split(".")[1] for mistake in found.mistakes}
    assert wrong == {"many", "slow"}
    assert set(found.valid) == {rule.name for rule in parse_rules(RULES, LOGS)} - wrong
    lines = text.splitlines()
    assert [lines[(mistake.line or 0) - 1].strip() for mistake in found.mistakes if "abov:" in mistake.message] == [
        "abov: 10"
    ]
    (folder / "alerts.yaml").write_text("rules: [")
    assert not declared_rules(LOGS, tmp_path).valid
    assert declared_rules(LOGS, tmp_path).mistakes


def test_a_rule_whose_sql_does_not_bind_is_left_out_alone(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    text = RULES.replace("level IN ('ERROR', 'FATAL')", "levl IN ('ERROR', 'FATAL')", 1)
    assert text != RULES
    (folder / "alerts.yaml").write_text(text)
    found = rules_of(Settings(tmp_path, tmp_path / "lake", {"ASSAY_SYSTEMS": str(tmp_path)}), LOGS)
    [mistake] = found.mistakes
    assert "levl" in mistake.message
    assert "levl" in text.splitlines()[(mistake.line or 0) - 1]
    assert mistake.file == str(folder / "alerts.yaml")
    assert len(found.valid) == len(parse_rules(RULES, LOGS)) - 1


def test_a_condition_may_multiply_decimals() -> None:
    """Left alone, DuckDB keeps the product of decimals of up to 18 digits within 18, and fails where it has more."""
    [events] = [table for table in LOGS.tables if table.name == "events"]
    price = Field("price", FieldType.DECIMAL, index=IndexType.NONE, precision=18, scale=8)
    events = replace(events, fields=(*events.fields, price))
    [many] = rules("many")
    many = replace(many, where="price * price > 1000000")
    now = datetime.now(UTC)
    row = {"event_time": now, "service": "payments", "price": Decimal("9999999999.99999999"), "_history": False}
    with closing(session()) as con:
        check_rules(con, events, [many])
        con.register("rows", pa.Table.from_pylist([row], schema=silver_schema(events)))
        [cell] = con.sql(cells_of(many, events)).to_arrow_table().to_pylist()
    assert (cell["grp"], cell["n"]) == ('{"service":"payments"}', 1)


def test_a_runbook_that_cannot_be_read_leaves_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "shop" / "runbooks"
    folder.mkdir(parents=True)
    (folder / "good.md").write_text("# Good")
    (folder / "broken.md").symlink_to("/proc/self/mem")  # a regular file of which every read fails
    assert runbooks_of("shop", tmp_path) == {"shop/good.md": "# Good"}


def test_a_page_that_a_rule_names_and_that_is_missing_is_told(tmp_path: Path) -> None:
    """The rule holds all the same. What it does not name is no mistake: it has no page."""
    folder = tmp_path / "logs"
    pages = folder / "runbooks"
    pages.mkdir(parents=True)
    named = {"many": "own.md", "ratio": "gap.md", "slow": "gone.md", "few": "https://wiki.example/few", "silent": ""}
    text = RULES
    for rule, page in named.items():
        text = text.replace(f"  {rule}:\n", f"  {rule}:\n    runbook: {page}\n" if page else f"  {rule}:\n")
    (folder / "alerts.yaml").write_text(text)
    (pages / "own.md").write_text("# Own")
    settings = Settings(tmp_path, tmp_path / "lake", {"ASSAY_SYSTEMS": str(tmp_path)})
    [mistake] = missing_runbooks(settings, LOGS)
    assert (mistake.place, mistake.file) == ("rules.slow.runbook", str(folder / "alerts.yaml"))
    assert "gone.md" in text.splitlines()[(mistake.line or 0) - 1]
    assert "slow" in rules_of(settings, LOGS).valid
    (pages / "gone.md").write_bytes(b"x" * (MAX_BYTES + 1))
    assert [one.place for one in missing_runbooks(settings, LOGS)] == ["rules.slow.runbook"]
    (pages / "gone.md").write_text("# There")
    assert not list(missing_runbooks(settings, LOGS))
