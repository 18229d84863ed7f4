"""Which queries keep to slots: proved from their text, or refused with the reason."""

# ruff: noqa: E501 (queries)

from __future__ import annotations

import pytest
import sqlglot

from platform_assets.marts.relation import Relation
from platform_assets.marts.slotwise import why_not

GRAINS = {"minute": 1, "hour": 60, "day": 1440}
TABLES = {
    ("s", "t"): Relation(("at", "k", "n"), {"at": 1}, timed=True),
    ("main", "m"): Relation(("minute", "k", "n"), {"minute": 1}, {"minute": 1}, timed=True),
    ("main", "h"): Relation(("hour", "k", "n"), {"hour": 60}, {"hour": 60}, timed=True),
    ("main", "d"): Relation(("day", "k", "n"), {"day": 1440}, {"day": 1440}, timed=True),
    **{("request", g): Relation(("slot",), {"slot": m}, timed=True, request=m) for g, m in GRAINS.items()},
}
KEEPS = [
    ("day", "select cast(minute as date) as day, k, sum(n) as n from main.m group by all"),
    ("day", "select day, k, lag(n) over (partition by day order by k) as n from main.d"),
    ("day", "select d.day, d.k, d.n + y.n as n from main.d join main.d as y using (day, k)"),
    ("day", "select d.day, d.k, x.n from main.d join (select cast(minute as date) as day, k, sum(n) as n from main.m group by 1, 2)"
     " as x on x.day = d.day and x.k = d.k"),
    ("hour", "select hour, h.k, h.n / d.n as n from main.h join main.d on d.day = cast(hour as date) and d.k = h.k"),
    ("day", "select cast(at as date) as day, count(*) as n from s.t where cast(at as date) in (select slot from request.day)"
     " group by all"),
    ("hour", "select date_trunc('hour', at) as hour, count(*) as n from s.t where cast(at as date) in (select slot from request.day)"
     " group by all"),
    ("hour", "select time_bucket(interval '15 minutes', minute) as hour, sum(n) as n from main.m group by all"),
    ("day", "select coalesce(a.day, b.day) as day, k from main.d as a full join main.d as b using (day, k)"),
    ("day", "select day, k, n from main.d union all select cast(hour as date), k, n from main.h"),
    ("day", "select day, k from main.d except select cast(hour as date), k from main.h"),
    ("day", "select day, k, n from main.d qualify row_number() over (partition by day order by n desc) <= 3"),
    ("day", "select cast(a.minute as date) as day, sum(b.n) as n from main.m as a, main.m as b where a.minute = b.minute group by all"),
    ("day", "select day, k, unnest([1, 2]) as n from main.d"),
    ("hour", "select date_trunc('hour', at) as hour, k, count(*) as n from s.t group by all"
     " qualify row_number() over (partition by hour order by count(*) desc) <= 10"),
    ("hour", "select date_trunc('hour', at) as hour, row_number() over (partition by hour, k order by n) as n from s.t"),
    ("day", "select day, n from main.d where (day, n) in (select day, max(n) from main.d group by day)"),
    ("day", "select DAY, K, Sum(N) as n from main.D group by Day, k"),
    ("day", "select * from main.d cross join unnest([1, 2]) as u(x)"),
    ("day", "select * from main.d semi join main.h on d.day = cast(h.hour as date)"),
    ("day", "select day, sum(n) over (partition by day) as n from main.d full join main.d as y using (day)"),
    ("day", "select coalesce(a.day, b.day) as day, sum(a.n) over (partition by coalesce(a.day, b.day)) as n from main.d as a"
     " full join main.d as b on a.day = b.day and a.k = b.k"),
    ("day", "with x as (select * replace (n + 1 as n) from main.d) select * exclude (k) from x"),
]  # fmt: skip
MIXES = [
    ("day", "select day, k, lag(n) over (partition by k order by day) as n from main.d", "no slot in its PARTITION BY"),
    ("day", "select day, lag(n) over w as n from main.d window w as (partition by k order by day)", "no slot in its PARTITION BY"),
    ("day", "select d.day, d.n - y.n as n from main.d join main.d as y on y.day = d.day - 1", "without comparing the slots"),
    ("day", "select cast(a.minute as date) as day, sum(b.n) as n from main.m as a, main.m as b where a.k = b.k group by all",
     "without comparing the slots"),
    ("hour", "select hour, n / sum(n) over (partition by cast(hour as date)) as n from main.h", "1440 minutes"),
    ("day", "select cast(minute as date) as day, n from main.m where minute > (select max(minute) from main.m) - interval 1 day",
     "subquery over other slots"),
    ("day", "select day, n from main.d where exists (select 1 from main.h)", "subquery over other slots"),
    ("day", "select cast(at + interval 2 hour as date) as day, count(*) as n from s.t group by all", "no slot among its columns"),
    ("day", "select cast(at at time zone 'Europe/Berlin' as date) as day, count(*) as n from s.t group by all", "no slot among"),
    ("day", "select date_trunc('week', day) as day, sum(n) as n from main.d group by all", "no slot among its columns"),
    ("hour", "select time_bucket(interval '90 minutes', minute) as hour, sum(n) as n from main.m group by all", "90 minutes"),
    ("day", "select day, n from main.d order by n limit 10", "LIMIT"),
    ("day", "with x as (select k, max(n) as top from main.d group by k) select day, top from main.d join x using (k)", "GROUP BY"),
    ("day", "select distinct k, date '2026-01-01' as day from main.d", "DISTINCT"),
    ("day", "select a.day, b.n from main.d as a asof join main.d as b on a.day >= b.day", "ASOF"),
    ("day", "with recursive r as (select day from main.d union all select day + 1 from r) select * from r", "recursive"),
    ("day", "select max(day) as day, sum(n) as n from main.d", "not made of the times"),
    ("day", "select date '2026-01-01' as day, 1 as n", "reads no table"),
    # What an outer join leaves null is one group of all days.
    ("day", "select a.day, sum(a.n) over (partition by b.day) as n from main.d as a left join main.d as b on a.day = b.day and b.n > 9",
     "no slot in its PARTITION BY"),
    ("day", "select a.day, sum(a.n) over (partition by cast(coalesce(b.day, c.day) as date)) as n from main.d as a left join main.d as b"
     " on a.day = b.day and b.n > 9 left join main.d as c on a.day = c.day and c.n > 9", "no slot in its PARTITION BY"),
    ("day", "select distinct on (b.day) a.day, a.n from main.d as a left join main.d as b on a.day = b.day and b.n > 9", "DISTINCT ON"),
    ("day", "with x as (select a.day, b.day as other, a.n from main.d as a left join main.d as b on a.day = b.day and b.n > 9)"
     " select day, sum(n) over (partition by other) as n from x", "no slot in its PARTITION BY"),
    ("day", "select day, n from main.d where day not in (select b.day from main.d as a left join main.d as b on a.day = b.day and b.n > 0)",
     "subquery over other slots"),
    # Subqueries in any place.
    ("day", "select day, n from main.d where n >= all (select n from main.d)", "subquery in a place"),
    ("day", "select day, list_max(array(select n from main.d)) as n from main.d", "subquery in a place"),
    ("day", "select a.day, a.n from main.d as a join main.d as b on a.day = b.day and a.n > (select max(n) from main.d)", "subquery over"),
    ("day", "select day, x as n from main.d, unnest((select list(n) from main.d)) as u(x)", "subquery in a place"),
    ("day", "select day, x as n from main.d, generate_series(1, (select max(n) from main.d)) as u(x)", "subquery in a place"),
    ("day", "select day, x as n from main.d, (values ((select max(n) from main.d))) as u(x)", "subquery in a place"),
    ("day", "select day, n from main.d group by day, n, (select max(n) from main.d)", "subquery over"),
    ("day", "select day, sum(n) over w as n from main.d window w as (partition by day order by (select max(n) from main.d))",
     "subquery in a place"),
    # Of two columns of one name the first keeps it, in upper or lower case.
    ("day", "select day, n from (select cast(k as date) as Day, day, n from main.d)", "not made of the times"),
    ("day", "select day, n from (select cast(k as date) as day, * from main.d)", "not made of the times"),
    ("hour", "select time_bucket(interval '1 hour', minute, interval '30 minutes') as hour, sum(n) as n from main.m group by all",
     "no slot among its columns"),
    ("hour", "select time_bucket(interval '1 hour', minute, 'Asia/Kolkata') as hour, sum(n) as n from main.m group by all",
     "no slot among its columns"),
    ("minute", "select cast(day as timestamptz) as minute, n from main.d", "1440 minutes"),
]  # fmt: skip


@pytest.mark.parametrize(("grain", "sql"), KEEPS)
def test_keeps_to_its_slots(grain: str, sql: str) -> None:
    assert why_not(sqlglot.parse_one(sql, dialect="duckdb"), TABLES, grain, GRAINS[grain]) is None


@pytest.mark.parametrize(("grain", "sql", "reason"), MIXES)
def test_mixes_slots(grain: str, sql: str, reason: str) -> None:
    assert reason in (why_not(sqlglot.parse_one(sql, dialect="duckdb"), TABLES, grain, GRAINS[grain]) or "")
