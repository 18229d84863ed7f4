"""Which figures may be asked of a mart: what its columns mean decides, and the refusal says what is possible."""

from __future__ import annotations

import pytest

from platform_assets.index.errors import QueryError
from platform_assets.index.stats import Figure, Function
from platform_assets.marts.marts import Mart, load_marts
from platform_assets.marts.project import project_folder
from platform_assets.serve.figures import WrongAggregate, every_of, wanted
from platform_assets.serve.problems import from_error

MARTS: dict[str, Mart] = {mart.name: mart for mart in load_marts(project_folder(), "logs")}
LATENCY, DAILY = MARTS["latency_hour"], MARTS["errors_day"]


def test_figures_are_named_after_their_columns() -> None:
    found = wanted(
        LATENCY,
        ["service"],
        {"sum": ["requests"], "mean": ["mean_ms"], "max": ["max_ms"], "count": ["route"], "distinct": ["route"],
         "percentile": ["p95_ms", "histogram:99.9"]},
    )  # fmt: skip
    assert found.names == [
        "requests", "mean_ms", "max_ms", "count_route", "distinct_route", "p95_ms", "histogram_p99.9",
    ]  # fmt: skip
    assert found.figures[1] == Figure("mean_ms", Function.MEAN, "mean_ms", "requests")
    assert [(one.column, one.percent, one.most) for one in found.percentiles] == [
        ("histogram", 95.0, "max_ms"), ("histogram", 99.9, "max_ms"),
    ]  # fmt: skip


WRONG = [
    (LATENCY, [], "sum", "mean_ms", "possible: mean=mean_ms"),
    (LATENCY, [], "sum", "p95_ms", "possible: percentile=p95_ms"),
    (LATENCY, [], "mean", "p95_ms", "mean is for mean=mean_ms"),
    (LATENCY, [], "max", "mean_ms", "max is for max=max_ms"),
    (LATENCY, [], "sum", "service", "possible: count=service, distinct=service"),
    (DAILY, ["service"], "sum", "users_hit", "possible: distinct=users_hit"),
    (DAILY, ["service"], "distinct", "users_hit", "group by day too"),
    (DAILY, [], "sum", "error_rate", "possible: mean=error_rate"),
    (DAILY, [], "percentile", "p95_ms", "possible: count=p95_ms"),
    (DAILY, [], "sum", "error_change", "sum is for sum=events, sum=errors"),
]


@pytest.mark.parametrize(("mart", "by", "function", "column", "hint"), WRONG)
def test_what_would_be_wrong_is_refused(mart: Mart, by: list[str], function: str, column: str, hint: str) -> None:
    with pytest.raises(WrongAggregate) as caught:
        wanted(mart, by, {function: [column]})
    assert hint in caught.value.hint
    assert from_error(caught.value, "r").status_code == 400


def test_distinct_values_of_whole_rows_are_told() -> None:
    [one] = wanted(DAILY, ["day", "service"], {"distinct": ["users_hit"]}).figures
    assert (one.name, one.column) == ("users_hit", "users_hit")


@pytest.mark.parametrize(
    ("by", "asked"),
    [
        ([], {"sum": ["nothing"]}),
        (["requests"], {"sum": ["requests"]}),
        ([], {"sum": ["requests", "requests"]}),
        ([], {"percentile": ["histogram"]}),
        ([], {"percentile": ["histogram:0"]}),
        ([], {"percentile": ["p95_ms:99"]}),
        ([], {"sum": ["requests:9"]}),
    ],
)
def test_what_cannot_be_meant_is_refused(by: list[str], asked: dict[str, list[str]]) -> None:
    with pytest.raises(QueryError) as caught:
        wanted(LATENCY, by, asked)
    assert not isinstance(caught.value, WrongAggregate)


def test_steps_are_multiples_of_the_grain() -> None:
    assert every_of(LATENCY, "6h", ["hour"]) == "21600s"
    assert every_of(LATENCY, None, []) is None
    for every, by in (("90m", ["hour"]), ("6h", ["service"]), ("0h", ["hour"])):
        with pytest.raises(QueryError):
            every_of(LATENCY, every, by)
