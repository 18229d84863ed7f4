"""The macros that models share: percentiles from mergeable histograms, templates of texts."""

from __future__ import annotations

import math
import random
from typing import Any

import duckdb
import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.contracts.export import write_made
from platform_assets.contracts.read import load_contracts
from platform_assets.marts.project import project_folder

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


def routes(*paths: str) -> list[str]:
    """The routes of paths, with the macros of both files at hand as in dbt."""
    text = "".join((PROJECT / "macros" / f"{name}.sql").read_text(encoding="utf-8") for name in ("texts", "routes"))
    made = jinja2.Environment(autoescape=False).from_string(text).module  # noqa: S701 (SQL)
    sql = f"SELECT {made.route_of('path')} FROM (SELECT unnest($1) AS path, unnest(range(len($1))) AS n) ORDER BY n"  # noqa: S608
    return [found for (found,) in duckdb.execute(sql, [list(paths)]).fetchall()]


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
        ("\x1b]8;;http://x/5\x1b\\Time\x1b(Bout\x9d8;;\x9c\x1b7 \x1b]0;title\x078", "Timeout <n>"),
    ],
)
def test_like_messages_have_one_template(text: str, template: str) -> None:
    assert duckdb.execute(f"SELECT {TEXTS.template_of('$1')}", [text]).fetchone() == (template,)


UUID, ULID = "4bf92f35-77b3-4da6-a3ce-929d0e0e4736", "01ARZ3NDEKTSV4RRFFQ69G5FAV"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/products/42?ref=mail&id=7", "/products/:id"),
        ("/2015/05/20/notes.html", "/:id/:id/:id/notes.html"),
        (f"/u/{UUID}/cart", "/u/:id/cart"),
        (f"/u/{UUID.upper()}", "/u/:id"),
        (f"/u/{UUID.replace('-', '')}", "/u/:id"),
        (f"/order-{UUID}.pdf", "/order-:id.pdf"),
        (f"/e/{ULID}/{ULID.lower()}", "/e/:id/:id"),
        ("/c/5f2c1a9e", "/c/:id"),
        ("/api/deadbeef", "/api/:id"),  # no word has eight letters from a to f
        ("/t/dQw4w9WgXcQ", "/t/:id"),
        ("/t/Zm9vYmFyX2Jheg==", "/t/:id"),
        ("/t/cjld2cjxh0000qzrmn831i7rn/x", "/t/:id/x"),
        ("/pay/cus_NffrFeUfNV2Hib", "/pay/:id"),
        ("/log/2026-01-15", "/log/:id"),
        ("/log/2026-01-15T09:30:00.123Z/raw", "/log/:id/raw"),
        ("/item-4711/page-2", "/item-:id/page-:id"),
        ("/order12345", "/order:id"),
        ("/u/[email]/x", "/u/:id/x"),
        ("/u/ann@example/x", "/u/:id/x"),
        ("/s/hello%20world", "/s/:id"),
        ("/shop;jsessionid=A9F3.node1/cart;v=1?x=2", "/shop/cart"),
        ("/static/app.3f9a1c.js", "/static/app.:id.js"),
        ("/static/main-BX2kQ9aL.css", "/static/main-:id.css"),
        ("/static/index-B_x-9aQk.js", "/static/index-:id.js"),
        ("/static/chunk-vendors.0a1b2c3d4e.min.js", "/static/chunk-vendors.:id.min.js"),
        ("/v2/items#top", "/v2/items"),
        ("*", "*"),
        ("", ""),
    ],
)
def test_a_route_has_no_ids_and_no_query(path: str, expected: str) -> None:
    assert routes(path) == [expected]


@pytest.mark.parametrize(
    "path",
    [
        "/users/me",
        "/facade/decade",
        "/api/v2/oauth2/token",
        "/getUserById/findCustomersByIdAndName",
        "/covid/sha256",
        "/robots.txt",
        "/static/chunk-vendors.js",
        "/static/jquery.min.js",
        "/static/UserProfileCard.css",
        "/README.md",
        "/.well-known/security.txt",
        "/user-profile_settings/",
        "/a/{id}/:name",
        "/internationalization",
        "/how-to-write-a-good-commit-message",
        "/Html5player",
    ],
)
def test_real_words_stay_in_a_route(path: str) -> None:
    assert routes(path) == [path]


@pytest.mark.parametrize(
    "alphabet", ["0123456789", "0123456789abcdef", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"]
)
def test_random_ids_are_few_routes(alphabet: str) -> None:
    made = random.Random(7)
    paths = [f"/x/{''.join(made.choices(alphabet, k=22))}/y" for _ in range(500)]
    assert len(set(routes(*paths))) <= 5


def test_sources_are_those_of_the_contracts() -> None:
    assert write_made(PROJECT, load_contracts(), check=True) == [], "run `assay docs`"
