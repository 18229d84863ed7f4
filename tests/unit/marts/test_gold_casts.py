"""Casts of a build: what may lose information without an error is refused, with the types; the rest is built."""

# ruff: noqa: S608 (made here)

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chainlab import DAY_ONE, ChainLab, Model

SOURCE = "{{ source('market', 'trades') }}"
LOSSY = {
    "mean": ("avg(price)", "bigint", "DOUBLE"),
    "cents": ("max(price::decimal(10,4))", "bigint", "DECIMAL(10,4)"),
    "word": ("max(price)::varchar", "double", "VARCHAR"),
    "seen": ("max(traded_at)", "date", "TIMESTAMP WITH TIME ZONE"),
    "text": ("max(price)::varchar", "bigint", "VARCHAR"),
    "flag": ("max(price)", "boolean", "BIGINT"),
    "nano": ("max(traded_at)::timestamp_ns", "timestamptz", "TIMESTAMP_NS"),
}
EXACT = {
    "total": ("sum(price)", "bigint"),
    "number": ("count(*)::integer", "double"),
    "half": ("0.5", "double"),
    "sum": ("sum(price)", "double"),
    "wide": ("sum(price::decimal(18,2))", "double"),
    "rounded": ("avg(price)", "decimal(18,2)"),
    "digits": ("sum(price::decimal(10,4))", "decimal(18,2)"),
    "money": ("sum(price)", "decimal(38,2)"),
    "finer": ("max(price::decimal(10,2))", "decimal(18,4)"),
    "mean": ("cast(round(avg(price)) as bigint)", "bigint"),
    "last": ("max(traded_at)", "timestamptz"),
    "plain": ("max(traded_at)::timestamp", "timestamptz"),
    "begun": ("min(traded_at)::date", "timestamptz"),
    "name": ("avg(price)", "varchar"),
    "nothing": ("null", "date"),
    "rest": ("count(*) > 1", "bigint"),
}


class Typed(Model):
    """A mart of one column of a type."""

    def properties(self, name: str) -> dict[str, Any]:
        found = super().properties(name)
        found["columns"][-1]["data_type"] = self.meta["type"]
        found["config"]["meta"].pop("type")
        return found


def model(expression: str, type_: str) -> Model:
    sql = f"select cast(traded_at as date) as day, symbol, {expression} as answer from {SOURCE} group by all"
    return Typed("day", sql, ["answer"], {"type": type_})


def test_a_cast_that_loses_something_is_refused_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = {f"{name}_day": model(sql, type_) for name, (sql, type_, _) in LOSSY.items()}
    models["good_day"] = model("sum(size)", "bigint")
    # A slot column is declared by its grain, whatever time the model makes it of.
    models["slot_day"] = replace(
        models["good_day"],
        sql=models["good_day"].sql.replace("cast(traded_at as date)", "date_trunc('day', traded_at)"),
    )
    lab = ChainLab(tmp_path, models, monkeypatch)
    assert {mart.name for mart in lab.graph.marts} == {"good_day", "slot_day"}
    for name, (_, type_, given) in LOSSY.items():
        assert f"answer: the model gives {given}, declared is {type_}" in lab.graph.refused[f"{name}_day"]


def test_a_cast_that_keeps_everything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = {f"{name}_day": model(sql, type_) for name, (sql, type_) in EXACT.items()}
    lab = ChainLab(tmp_path, models, monkeypatch)
    assert not lab.graph.refused
    lab.trade((DAY_ONE, "a", 3, 1), (DAY_ONE, "a", 4, 1))
    lab.refresh()
    assert all(len(lab.published(name)) == 1 for name in models)


def test_a_sum_that_does_not_fit_stops_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A narrower integer is no silent loss."""
    lab = ChainLab(tmp_path, {"total_day": model("sum(price)", "bigint")}, monkeypatch)
    lab.trade((DAY_ONE, "a", 2**62, 1), (DAY_ONE, "a", 2**62, 1))
    with pytest.raises(Exception, match="out of range"):
        lab.refresh()
