"""The macros that models share: percentiles from mergeable histograms, templates of texts."""

from __future__ import annotations

import math
from typing import Any

import duckdb
import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.contracts.export import write_sources
from platform_assets.contracts.read import load_contracts
from platform_assets.gold.project import project_folder

PROJECT = project_folder()
LATENCIES = st.lists(
    st.floats(0, 1e9, allow_subnormal=False) | st.sampled_from([0.0, 0.5, 1.0, 100.0, 1.7e308]), min_size=1, max_size=60
)


def macros(name: str) -> Any:
    """The macros of a file, as dbt would call them."""
    text = (PROJECT / "macros" / f"{name}.sql").read_text(encoding="utf-8")
    return jinja2.Environment(autoescape=False).from_string(text).module  # noqa: S701 (SQL)


HISTOGRAMS = macros("histograms")
TEXTS = macros("texts")


def summary(con: duckdb.DuckDBPyConnection, relation: str) -> tuple[Any, ...]:
    """p50, p95, p99 and histogram of a relation with `bucket` and `requests`."""
    found = con.execute(f"SELECT * EXCLUDE k FROM ({HISTOGRAMS.percentiles(relation, 'k')})").fetchone()  # noqa: S608
    assert found is not None
    return found


@settings(max_examples=60, deadline=None)
@given(LATENCIES, st.integers(0, 60))
def test_percentiles_are_within_one_percent_and_merge(values: list[float], cut: int) -> None:
    counted = f"{HISTOGRAMS.bucket_of('v')} AS bucket, count(*) AS requests FROM raw GROUP BY ALL"
    with duckdb.connect() as con:
        con.execute("CREATE TABLE raw AS SELECT unnest($values)::DOUBLE AS v, 1 AS k", {"values": values})
        con.execute("ALTER TABLE raw ADD COLUMN part INTEGER")
        con.execute("UPDATE raw SET part = CASE WHEN rowid < $cut THEN 0 ELSE 1 END", {"cut": cut})
        con.execute(f"CREATE VIEW whole AS SELECT k, {counted}")
        con.execute(f"CREATE VIEW parts AS SELECT part AS k, {counted}")
        con.execute(f"CREATE TABLE stored AS {HISTOGRAMS.percentiles('parts', 'k')}")
        con.execute(
            "CREATE VIEW merged AS SELECT 1 AS k, entry.bucket AS bucket, sum(entry.requests) AS requests "
            "FROM (SELECT unnest(histogram) AS entry FROM stored) GROUP BY ALL"
        )
        found, merged = summary(con, "whole"), summary(con, "merged")
    assert merged == found
    ordered = sorted(values)
    for share, ours in zip((50, 95, 99), found[:3], strict=True):
        exact = ordered[math.ceil(share * len(values) / 100) - 1]
        assert ours == pytest.approx(exact, rel=0.0101, abs=0.001)


@pytest.mark.parametrize(
    ("text", "template"),
    [
        ("no connection on node-3: pool exhausted", "no connection on node-<n>: pool exhausted"),
        ("took 12.5 ms, 1,000 rows, at 10:30:59", "took <n> ms, <n> rows, at <n>"),
        ("id 4bf92f35-77b3-4da6-a3ce-929d0e0e4736 gone", "id <uuid> gone"),
        ("trace 4bf92f3577b34da6a3ce929d0e0e4736, flag 0xFF", "trace <hex>, flag <hex>"),
        ("first line\n\tat java.io", "first line"),
        ("Straße ≠ 7", "Straße ≠ <n>"),
        ("\x1b[31mERROR\x1b[0m \x1b[38;5;208mtook\x1b[K 5 ms", "ERROR took <n> ms"),
        ("\x9b1mTime\x9bmout 7", "Timeout <n>"),
    ],
)
def test_like_messages_have_one_template(text: str, template: str) -> None:
    assert duckdb.execute(f"SELECT {TEXTS.template_of('$1')}", [text]).fetchone() == (template,)


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/products/42?ref=mail&id=7", "/products/:id"),
        ("/2015/05/20/notes.html", "/:id/:id/:id/notes.html"),
        ("/u/4bf92f35-77b3-4da6-a3ce-929d0e0e4736/cart", "/u/:id/cart"),
        ("/v2/items#top", "/v2/items"),
        ("*", "*"),
    ],
)
def test_a_route_has_no_numbers_and_no_query(path: str, route: str) -> None:
    assert duckdb.execute(f"SELECT {TEXTS.route_of('$1')}", [path]).fetchone() == (route,)


def test_sources_are_those_of_the_contracts() -> None:
    assert write_sources(PROJECT / "models", load_contracts(), check=True) == [], "run `assay docs`"
