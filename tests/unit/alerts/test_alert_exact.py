"""Measures of integers and decimals are exact, and so are their thresholds; doubles stay doubles."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from lakes import SmallLake
from samples import LOGS, private_alert_service
from support import event

from platform_assets.alerts import sql
from platform_assets.alerts.buckets import FOLDER, Buckets
from platform_assets.alerts.evaluator import Evaluator
from platform_assets.alerts.incident import Alert
from platform_assets.alerts.model import AlertError, Rule
from platform_assets.alerts.read import parse_rules
from platform_assets.contracts.model import Contract, Field, FieldType, IndexType

MORE = (
    Field("price", FieldType.DECIMAL, source="price", index=IndexType.NONE, precision=18, scale=8),
    Field("fraction", FieldType.DECIMAL, source="fraction", index=IndexType.NONE, precision=8, scale=8),
    Field("amount", FieldType.DECIMAL, source="amount", index=IndexType.NONE, precision=38, scale=0),
    Field("count", FieldType.INTEGER, source="count", index=IndexType.NONE),
    Field("weight", FieldType.NUMBER, source="weight", index=IndexType.NONE),
)
PAST_DOUBLES = 2**53


@pytest.fixture
def lake(tmp_path: Path) -> SmallLake:
    return SmallLake(tmp_path, more=MORE)


def rule(measure: str, limits: str) -> Rule:
    text = (
        "rules: {money: {kind: window, table: events, window: 1m, resolve_after: 30s, summary: '{value}', "
        f"measure: {measure}, {limits}}}}}"
    )
    [found] = parse_rules(text, wide())
    return found


def wide() -> Contract:
    """The contract of `logs` with the further fields."""
    tables = [replace(t, fields=(*t.fields, *MORE)) if t.name == "events" else t for t in LOGS.tables]
    return replace(LOGS, tables=tuple(tables))


def evaluated(lake: SmallLake, rule: Rule, at: datetime, *rows: dict[str, str]) -> list[Alert]:
    """The incidents after rows with these numbers, as they stand in a message, one commit each."""
    stamp = at.isoformat().replace("+00:00", "Z")
    with closing(private_alert_service(lake.root)) as service:
        evaluate = Evaluator(lake.contract, [rule], lake.tables.silver, lake.root, service)
        for row in rows:
            members = "".join(f", {json.dumps(name)}: {value}" for name, value in row.items())
            message = event(lake.offset, event_time=stamp)[:-1] + members.encode() + b"}"
            settled = lake.settle(lake.land([message]))
            assert settled.rows.num_rows == 1, lake.quarantine_reasons()
            evaluate.offer(settled.after, settled.seq, settled.rows)
            evaluate.look(datetime.now(UTC), idle=False)
        evaluate.save()
        evaluate.close()
        return service.alerts()


EXACT = [
    ("sum(price)", "above: 0.3", [{"price": "0.1"}, {"price": "0.2"}], None),
    ("sum(price)", "above: 0.3", [{"price": "0.1"}, {"price": "0.20000001"}], "0.30000001"),
    ("sum(price)", "above: 0.299999999", [{"price": "0.1"}, {"price": "0.2"}], "0.3"),
    ("sum(price)", "above: -0.3", [{"price": "-0.1"}, {"price": "-0.2"}], "-0.1"),  # with the first row alone
    ("sum(fraction)", "above: -0.04", [{"fraction": "-0.05"}, {"fraction": "0.02"}], "-0.03"),
    ("max(price)", "above: 0.1", [{"price": "0.1"}], None),
    ("max(price)", "above: 0.1", [{"price": "0.1"}, {"price": "0.10000001"}], "0.10000001"),
    ("sum(count)", f"above: {PAST_DOUBLES}", [{"count": str(PAST_DOUBLES)}, {"count": "1"}], str(PAST_DOUBLES + 1)),
    ("sum(count)", f"above: {PAST_DOUBLES + 1}", [{"count": str(PAST_DOUBLES + 1)}], None),
    ("max(amount)", f"above: {10**30}", [{"amount": f"{10**30}"}], None),
    ("max(amount)", f"above: {10**30}", [{"amount": f"{10**30 + 1}"}], str(10**30 + 1)),
    ("sum(amount)", f"above: '{10**30}.5'", [{"amount": f"{10**30}"}], None),
    ("count(*)", "above: 1.5", [{}, {}], "2"),
    ("{ratio: [sum(price), sum(count)]}", "above: 0.1", [{"price": "0.1", "count": "1"}] * 3, None),
    ("{ratio: [sum(price), sum(amount)]}", "above: 0.1", [{"price": "0.1", "amount": "1"}] * 3, None),
    ("{ratio: [sum(amount), sum(price)]}", "above: 9.99", [{"price": "0.1", "amount": "1"}] * 3, "10"),
    ("sum(weight)", "above: 0.3", [{"weight": "0.1"}, {"weight": "0.2"}], "0.30000000000000004"),
    ("{ratio: [sum(weight), count(*)]}", "above: 0.25", [{"weight": "0.1"}, {"weight": "0.5"}], "0.3"),
]


@pytest.mark.parametrize(("measure", "limits", "rows", "breach"), EXACT)
def test_a_measure_breaches_when_its_exact_value_does(
    lake: SmallLake, measure: str, limits: str, rows: list[dict[str, str]], breach: str | None
) -> None:
    alerts = evaluated(lake, rule(measure, limits), datetime.now(UTC), *rows)
    assert [alert.value for alert in alerts] == ([] if breach is None else [float(breach)])


@pytest.mark.parametrize(("last", "severity"), [("0.2", "warning"), ("0.20000001", "critical")])
def test_an_escalation_is_exact(lake: SmallLake, last: str, severity: str) -> None:
    limits = "above: 0.05, escalate: {threshold: 0.3, severity: critical}"
    [alert] = evaluated(lake, rule("sum(price)", limits), datetime.now(UTC), {"price": "0.1"}, {"price": last})
    assert alert.severity == severity


@pytest.mark.parametrize(("last", "breach"), [("0.2", False), ("0.19999999", True)])
def test_too_little_is_exact(lake: SmallLake, last: str, breach: bool) -> None:
    then = datetime.now(UTC) - timedelta(minutes=5)
    money = rule("sum(price)", "below: 0.3")
    evaluated(lake, money, then - timedelta(minutes=2), {"price": "5"})
    evaluated(lake, money, then, {"price": "0.1"}, {"price": last})
    buckets = Buckets(lake.contract, [money], lake.tables.silver, lake.root / FOLDER)
    buckets.catch_up()
    found = [seen.value for seen in buckets.standing([], then + timedelta(seconds=15), idle=True) if seen.breach]
    buckets.close()
    assert found == ([Decimal("0.29999999")] if breach else [])


def test_windows_that_have_passed_are_exact_too(lake: SmallLake) -> None:
    now = datetime.now(UTC)
    money = rule("sum(price)", "above: 0.3")
    evaluated(lake, money, now, {"price": "0.1"})
    late = now - timedelta(minutes=25)
    assert evaluated(lake, money, late, {"price": "0.1"}, {"price": "0.2"}) == []
    [alert] = evaluated(lake, money, late, {}, {}, {"price": "0.00000001"})
    assert (alert.late, alert.value) == (True, 0.30000001)


def test_a_sum_that_no_decimal_can_hold_leaves_its_rule_out(lake: SmallLake) -> None:
    """Alone: the others hold, and the sum is neither wrapped nor rounded."""
    most = str(10**38 - 1)
    now = datetime.now(UTC)
    both = (rule("sum(amount)", "above: 1"), replace(rule("count(*)", "above: 1"), name="many"))
    stamp = now.isoformat().replace("+00:00", "Z")
    rows = [event(n, event_time=stamp)[:-1] + f', "amount": {most}}}'.encode() for n in range(2)]
    buckets = Buckets(lake.contract, both, lake.tables.silver, lake.root / FOLDER)
    for row in rows:
        settled = lake.settle(lake.land([row]))
        buckets.offer(settled.after, settled.seq, settled.rows)
    assert buckets.broken == {"money": "OutOfRangeException"}
    assert [seen.rule.name for seen in buckets.breaches()] == ["many"]
    buckets.close()


def test_thresholds_have_all_the_digits_that_are_written() -> None:
    def above(written: str) -> Decimal | None:
        return rule("sum(price)", f"above: {written}").above

    digits = "12345678901234567890.12345678"
    for written in (digits, f"'{digits}'", f"-{digits}", "0.3", "1_000", "1e3", "7"):
        assert above(written) == Decimal(written.strip("'"))
    assert (above("0x10"), above("010")) == (Decimal(16), Decimal(8))
    for written in (".inf", "-.inf", ".nan"):
        with pytest.raises(AlertError, match=r"rules\.money\.above"):
            above(written)


def test_a_snapshot_of_another_layout_is_not_used(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor one whose numbers mean something else, since a column has more digits than it had."""
    now = datetime.now(UTC)
    money = rule("sum(price)", "above: 100")
    evaluated(lake, money, now, {"price": "50.5"})
    with monkeypatch.context() as patch:
        patch.setattr(sql, "CELLS", pa.schema([pa.field("rule", pa.string())]))
        other = Buckets(lake.contract, [money], lake.tables.silver, lake.root / FOLDER)
        assert not other._load(0, 1)
        other.close()
    fields = tuple(replace(f, scale=7) if f.name == "price" else f for f in lake.contract.fields)
    coarse = Buckets(replace(lake.contract, fields=fields), [money], lake.tables.silver, lake.root / FOLDER)
    assert not coarse._load(0, 1)
    coarse.close()
    same = Buckets(lake.contract, [money], lake.tables.silver, lake.root / FOLDER)
    assert same._load(0, 1)
    same.close()
