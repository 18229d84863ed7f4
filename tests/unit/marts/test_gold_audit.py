"""The audit finds what a refresh should never publish, and takes nothing that came later for a difference."""

# ruff: noqa: S608 (made here)

from __future__ import annotations

import json
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from chainlab import DAY_ONE, MARKET, ChainLab, Model
from click.testing import CliRunner
from test_gold_chains import SOURCE, SUMS, summed

from platform_assets.cli.app import assay
from platform_assets.cli.session import Session
from platform_assets.core.transactions import REWRITE, expired_mark, rewrite_mark
from platform_assets.marts.audit import GoldAudit, audit
from platform_assets.marts.marts import PARTITION

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
RUNNING = "select day, symbol, sum(size) over (partition by symbol order by day) as total from {{ ref('trades_day') }}"


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ChainLab:
    """Minutes, days from minutes, a running total, and two marts that are refused; refreshed once."""
    lab = ChainLab(
        tmp_path,
        {
            "trades_minute": Model("minute", summed("minute", SOURCE, "traded_at", SUMS)),
            "trades_day": Model("day", summed("day", "{{ ref('trades_minute') }}", "minute")),
            "total_day": Model("day", RUNNING, ("total",), {"reads": "all"}),
            "undeclared_day": Model("day", RUNNING, ("total",)),
            "after_day": Model("day", "select * from {{ ref('undeclared_day') }}", ("total",)),
        },
        monkeypatch,
    )
    lab.trade(*((DAY_ONE + n * timedelta(minutes=371), "ab"[n % 2], 1, n) for n in range(20)))
    report = lab.refresh()
    assert report.refused.keys() == {"undeclared_day", "after_day"}
    assert "PARTITION BY" in report.refused["undeclared_day"]
    assert "undeclared_day, which is refused" in report.refused["after_day"]
    return lab


def test_an_audit_in_all_its_cases(lab: ChainLab, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _audit(lab)
    assert {name: (one.holds, one.left_out) for name, one in found.marts.items()} == {
        name: (True, {}) for name in ("trades_minute", "trades_day", "total_day")
    }
    assert [one.slots for one in found.marts.values()] == [20, 5, 5]
    assert not found.holds  # marts are refused

    # Rows that wait for the next refresh are no difference.
    lab.trade((DAY_ONE, "a", 1, 100))
    assert all(one.holds and not one.left_out for one in _audit(lab).marts.values())
    # A day made anew by hand holds them already: that is none either.
    lab.refresh(day=DAY_ONE.date())
    assert all(one.holds and not one.left_out for one in _audit(lab).marts.values())
    lab.refresh()

    # A wrong value, a missing row and a doubled one.
    _publish(
        lab,
        "trades_day",
        "SELECT * REPLACE (size + 1 AS size) FROM rows WHERE day = DATE '2026-03-31' AND symbol = 'a'",
    )
    wrong = _audit(lab).marts["trades_day"]
    [difference] = wrong.differences
    assert (difference.slot, difference.column, difference.key["symbol"]) == ("2026-03-31", "size", "a")
    assert int(difference.published or 0) == int(difference.recomputed or 0) + 1
    assert _audit(lab).marts["trades_minute"].holds
    _publish(lab, "trades_minute", "SELECT * FROM rows WHERE false", drop=f"minute = TIMESTAMPTZ '{DAY_ONE}'")
    assert {(one.slot[:16], one.column) for one in _audit(lab).marts["trades_minute"].differences} == {
        ("2026-03-30 00:00", "row")
    }

    # The command names it, and fails.
    monkeypatch.setattr(Session, "chosen", lambda _self, _system: [MARKET])
    monkeypatch.setenv("ASSAY_LAKE", str(lab.root))
    done = CliRunner().invoke(
        assay, ["prove", "market", "--gold", "--sample", "100", "--json", "--home", str(lab.root.parent)]
    )
    assert done.exit_code == 1, done.output
    [system] = json.loads(done.stdout)["systems"]
    assert system["marts"]["trades_day"]["differences"][0]["column"] == "size"
    done = CliRunner().invoke(
        assay, ["prove", "market", "--gold", "--mart", "total_day", "--home", str(lab.root.parent)]
    )
    assert "total_day" in done.output and "trades_day:" not in done.output

    # A refresh that finds commits without rows of an open day builds nothing, and leaves the marts as they are.
    total = lab.published("total_day")
    lab.trade()
    assert lab.refresh().minutes == 0
    assert lab.published("total_day") == total

    # What cannot be repeated is left out.
    lab.silver.commit([], advance={REWRITE: 1, rewrite_mark("2026-03-31"): 1})
    assert _audit(lab).marts["trades_day"].left_out == {"moved": 1}
    lab.silver.commit([], advance={expired_mark("2026-03-30"): 1})
    assert _audit(lab).marts["trades_day"].left_out == {"moved": 1, "closed": 1}
    assert _audit(lab, max_rows=0).marts["trades_minute"].slots == 0


def _audit(lab: ChainLab, **options: Any) -> GoldAudit:
    return audit(lab.settings, MARKET, sample=100, dice=random.Random(1), **options)


def _publish(lab: ChainLab, name: str, changed: str, drop: str | None = None) -> None:
    """Replace the rows that `drop` names, or those that `changed` gives anew, as no refresh would."""
    mart = next(mart for mart in lab.graph.marts if mart.name == name)
    table = mart.table(lab.root)
    files = table.files()
    rows = table.read(lab.con, files=files)
    lab.con.register("rows", rows)
    keys = ", ".join(f'"{key}"' for key in mart.key)
    gone = f"({keys}) IN (SELECT ({keys}) FROM ({changed}))" if drop is None else drop
    whole = lab.con.sql(f"SELECT * FROM rows WHERE NOT ({gone}) UNION ALL {changed}").to_arrow_table()
    lab.con.unregister("rows")
    assert PARTITION in whole.column_names
    table.commit(table.write(pa.table(whole).cast(table.schema)), removes=files)
