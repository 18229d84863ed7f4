"""Whatever grains a mart is made from: after any refreshes its rows are what a full recompute over silver gives."""

# ruff: noqa: S608 (made here)

from __future__ import annotations

import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from chainlab import DAY_ONE, ChainLab, Model

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
TRUNC = {
    "minute": "date_trunc('minute', {0})",
    "hour": "date_trunc('hour', {0})",
    "day": "cast({0} as date)",
}
SOURCE = "{{ source('market', 'trades') }}"
SUMS = "count(*) as trades, sum(size) as size"
ADDED = "sum(trades) as trades, sum(size) as size"


def summed(grain: str, source: str, time: str, sums: str = ADDED) -> str:
    return f"select {TRUNC[grain].format(time)} as {grain}, symbol, {sums} from {source} group by all"


def test_day_candles_of_minute_candles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trades by minute, by day from minutes and from silver; a backlog from the beginning of time; a change against yesterday."""
    candle = "count(*) as trades, sum(size) as size, min(price) as low, max(price) as high"
    again = "sum(trades) as trades, sum(size) as size, min(low) as low, max(high) as high"
    columns = ("trades", "size", "low", "high")
    backlog = "select day, symbol, sum(size) over (partition by symbol order by day) as backlog from {0}"
    change = (
        "select a.day, a.symbol, a.size - coalesce(b.size, 0) as change from {0} as a"
        " left join {0} as b on b.symbol = a.symbol and b.day = a.day - 1"
    )
    lab = ChainLab(
        tmp_path,
        {
            "candle_minute": Model("minute", summed("minute", SOURCE, "traded_at", candle), columns),
            "candle_day": Model("day", summed("day", "{{ ref('candle_minute') }}", "minute", again), columns),
            "trades_day": Model("day", summed("day", SOURCE, "traded_at", SUMS)),
            "backlog_day": Model("day", backlog.format("{{ ref('trades_day') }}"), ("backlog",), {"reads": "all"}),
            "change_day": Model(
                "day", change.format("{{ ref('trades_day') }}"), ("change",), {"reads": {"before": "1d"}}
            ),
        },
        monkeypatch,
    )
    plain = {
        "candle_minute": summed("minute", "trades", "traded_at", candle),
        "candle_day": summed("day", "candle_minute", "minute", again),
        "trades_day": summed("day", "trades", "traded_at", SUMS),
        "backlog_day": backlog.format("trades_day"),
        "change_day": change.format("trades_day"),
    }
    assert not lab.graph.refused
    everything = [(DAY_ONE + n * timedelta(minutes=97), "ab"[n % 2], 100 + n * 7 % 13, n % 5 - 2) for n in range(60)]
    lab.trade(*everything)
    lab.refresh()
    for late in (DAY_ONE + 5 * MINUTE, DAY_ONE + DAY + 13 * HOUR, DAY_ONE + 3 * DAY + HOUR):
        lab.trade((late, "a", 1, 10), (late + MINUTE, "c", 999, -3))
        lab.refresh()
        expected = lab.plain(plain)
        assert {name: lab.published(name) for name in plain} == expected
    # A running total changes from the late row on: slots before it are left as they were.
    lab.trade((DAY_ONE + 2 * DAY, "b", 1, 1))
    report = lab.refresh()
    assert report.slots == {"candle_minute": 1, "candle_day": 1, "trades_day": 1, "backlog_day": 2, "change_day": 2}


@pytest.mark.parametrize("seed", range(3))
def test_random_chains_of_grains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Random marts of random grains over silver and each other; random touched minutes, late ones too, by windows."""
    dice = random.Random(seed)
    models, plain = _chains(dice)
    lab = ChainLab(tmp_path, models, monkeypatch)
    assert not lab.graph.refused
    for _ in range(4):
        for _ in range(dice.randrange(1, 3)):
            lab.trade(*_trades(dice))
        while lab.refresh(window_rows=dice.choice((5, 1_000))).more:
            pass
        expected = lab.plain(plain)
        for name in plain:
            assert lab.published(name) == expected[name], (name, models[name].sql)


def _trades(dice: random.Random) -> list[tuple[datetime, str, int, int]]:
    return [
        (DAY_ONE + dice.choice((0, 1, 1, 2, 3, 9)) * DAY + dice.randrange(1440 * 60) * timedelta(seconds=1), dice.choice("ab"), 1,
         dice.randrange(-3, 9))
        for _ in range(dice.randrange(1, 12))
    ]  # fmt: skip


def _chains(dice: random.Random) -> tuple[dict[str, Model], dict[str, str]]:
    """Eight marts for dbt, and the same in plain SQL."""
    models: dict[str, Model] = {}
    plain: dict[str, str] = {}
    grains = list(TRUNC)
    for number in range(8):
        # What reads a running total is built whole too, and may not read silver: a test of its own.
        inputs: list[str | None] = [None, *(name for name, model in models.items() if model.meta.get("reads") != "all")]
        source = dice.choice(inputs[-4:])
        finest = 0 if source is None else grains.index(models[source].grain)
        grain = dice.choice(grains[finest:])
        name = f"m{number}_{grain}"
        kind = dice.choice(("sum", "sum", "two", "window", "around", "running"))
        if kind == "running" and source is None:
            kind = "sum"
        other = dice.choice(
            [one for one in inputs if one is None or grains.index(models[one].grain) <= grains.index(grain)]
        )
        meta: dict[str, Any] = {}
        texts = []
        for form, request in (
            ("{{{{ ref('{0}') }}}}", f"{{{{ requested('{grain}') }}}}"),
            ("{0}", f"(select slot from slots_{grain})"),
        ):
            base = form.format(source) if source else ("trades" if form == "{0}" else SOURCE)
            time, sums = ("traded_at", SUMS) if source is None else (models[source].grain, ADDED)
            if kind == "window":
                text = (
                    f"select {grain}, symbol, sum(n) as trades, sum(size) as size from (select *, {TRUNC[grain].format(time)} as"
                    f" slot_, row_number() over (partition by {TRUNC[grain].format(time)}, symbol order by {time}, size) as n,"
                    f" {TRUNC[grain].format(time)} as {'s' if time == grain else grain} from {base}) group by all"
                )
            elif kind == "two":
                second = form.format(other) if other else ("trades" if form == "{0}" else SOURCE)
                time2, sums2 = ("traded_at", SUMS) if other is None else (models[other].grain, ADDED)
                text = (
                    f"select coalesce(x.{grain}, y.{grain}) as {grain}, symbol, coalesce(x.trades, 0) - coalesce(y.trades, 0)"
                    f" as trades, coalesce(x.size, 0) + coalesce(y.size, 0) as size from ({summed(grain, base, time, sums)}) as x"
                    f" full join ({summed(grain, second, time2, sums2)}) as y on x.{grain} = y.{grain} and x.symbol = y.symbol"
                ).replace("as " + grain + ", symbol,", "as " + grain + ", coalesce(x.symbol, y.symbol) as symbol,", 1)
            elif kind == "around":
                meta = {"reads": {"before": {"minute": "7m", "hour": "3h", "day": "2d"}[grain]}}
                back = {"minute": "7 minute", "hour": "3 hour", "day": "2 day"}[grain]
                at = "cast(slot as timestamptz)"
                text = (
                    f"select slot as {grain}, symbol, {sums} from {request} as asked join {base} as data"
                    f" on data.{time} >= {at} - interval {back} and data.{time} < {at} + interval 1 {grain} group by all"
                )
            elif kind == "running":
                meta = {"reads": "all"}
                text = (
                    f"select {grain}, symbol, sum(trades) over w as trades, sum(size) over w as size from"
                    f" ({summed(grain, base, time, sums)}) window w as (partition by symbol order by {grain})"
                )
            else:
                text = summed(grain, base, time, sums)
            texts.append(text)
        models[name] = Model(grain, texts[0], meta=meta)
        plain[name] = texts[1]
    return models, plain


def test_what_would_differ_from_a_recompute_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables that no `ref` puts in sight, answers that follow the order of rows or the moment."""
    base = summed("minute", SOURCE, "traded_at", SUMS)
    answer = (
        f"select cast(traded_at as date) as day, symbol, ANSWER as trades, sum(size) as size from {SOURCE} group by all"
    )
    models = {
        "base_minute": Model("minute", base),
        "named_day": Model("day", summed("day", "main.base_minute", "minute")),
        "unordered_day": Model("day", answer.replace("ANSWER", "first(price)")),
        "texts_day": Model("day", answer.replace("ANSWER", "len(string_agg(symbol, ','))")),
        "aged_day": Model("day", answer.replace("ANSWER", "max(date_part('day', age(traded_at)))")),
        "ordered_day": Model("day", answer.replace("ANSWER", "first(price order by traded_at, _position)")),
        "sizes_day": Model("day", answer.replace("ANSWER", "len(list(price))")),
    }
    refused = ChainLab(tmp_path, models, monkeypatch).graph.refused
    assert refused.keys() == {"named_day", "unordered_day", "texts_day", "aged_day"}
    assert "main.base_minute, whose grain is not known; models read by ref" in refused["named_day"]
    assert "FIRST(price) without ORDER BY" in refused["unordered_day"]
    assert "without ORDER BY" in refused["texts_day"]
    assert "counts from the present day" in refused["aged_day"]
