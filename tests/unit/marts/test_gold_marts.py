"""What each mart says, on hand-made silver through the real dbt run."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from goldlab import LOGS, MARTS, NOON, GoldLab, fail

from platform_assets.contracts.arrow import silver_schema
from platform_assets.core.errors import AssayError
from platform_assets.core.transactions import REFRESH, SEQ
from platform_assets.marts.build import BuildFailed
from platform_assets.marts.marts import declared_marts, load_marts
from platform_assets.marts.project import project_folder
from platform_assets.tables.layout import Lake

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> GoldLab:
    """Two days of one service, and a web request and a broker line, refreshed once."""
    lab = GoldLab(tmp_path_factory.mktemp("gold"))
    lab.log(
        {"at": NOON, "latency_ms": 10.0, "attributes": None, "route": "/pay/17"},
        {"at": NOON + timedelta(seconds=59.999999), "latency_ms": 1000.0, "route": "/pay/18?x=1", "user_id": "ann"},
        {"at": NOON + MINUTE, "status": 404, "level": "WARN", "user_id": "ann"},
        fail(NOON, user_id="ann", message="order 17 of 0xdeadbeef failed"),
        fail(NOON, user_id="ann", message="order 18 of 0xfeedbeef failed"),
        fail(NOON + MINUTE, user_id="bob", message=None),
        fail(NOON + HOUR, user_id="ann", level="FATAL", status=None),
        {"at": NOON + HOUR, "status": 503, "user_id": "cid"},
        fail(NOON - DAY, user_id="ann"),
        {"at": NOON - DAY, "status": 200},
    )
    _silver(
        lab, "access", event_time=NOON, method="GET", path="/a/12/b?secret=1", status=500, client_ip="x", protocol="H"
    )
    _silver(lab, "broker", event_time=NOON, level="ERROR", message="node 3 at 10.0.0.1:92 gone")
    lab.refresh()
    return lab


def _silver(lab: GoldLab, name: str, **values: object) -> None:
    """One row of another silver table, as its worker would commit it."""
    table = LOGS.table(name)
    silver = Lake(lab.root).tables(table).silver
    row: dict[str, object] = dict.fromkeys(f.name for f in silver_schema(table)) | {
        "_source": "BBBBBBBBBBBBBBBBBBBBBB", "_shard": 0, "_position": 7, "_seq": 1, "_landed_at": datetime.now(UTC),
        "_contract_version": "1.0.0", "_history": False, "_hash": 1, "event_partition": f"{NOON:%Y-%m-%d}", **values,
    }  # fmt: skip
    rows = pa.Table.from_pylist([row], silver_schema(table))
    silver.commit(silver.write(rows), advance={SEQ: 1})


def test_errors_by_minute_and_status(lab: GoldLab) -> None:
    shop = [row for row in lab.rows("errors_minute") if row[1] == "shop" and row[0] >= NOON]
    assert shop == [
        (NOON, "shop", 200, 2, 0),
        (NOON, "shop", 500, 2, 2),
        (NOON + MINUTE, "shop", 404, 1, 0),
        (NOON + MINUTE, "shop", 500, 1, 1),
        (NOON + HOUR, "shop", 0, 1, 1),  # FATAL without a status
        (NOON + HOUR, "shop", 503, 1, 1),  # a status says error, though the level does not
    ]


def test_web_and_broker_are_services(lab: GoldLab) -> None:
    assert [row for row in lab.rows("errors_hour") if row[1] in ("web", "broker")] == [
        (NOON, "broker", 0, 1, 1),
        (NOON, "web", 500, 1, 1),
    ]


def test_hours_are_the_sum_of_their_minutes(lab: GoldLab) -> None:
    shop = [row for row in lab.rows("errors_hour") if row[1] == "shop" and row[0] >= NOON]
    assert shop == [
        (NOON, "shop", 200, 2, 0),
        (NOON, "shop", 404, 1, 0),
        (NOON, "shop", 500, 3, 3),
        (NOON + HOUR, "shop", 0, 1, 1),
        (NOON + HOUR, "shop", 503, 1, 1),
    ]


def test_latency_by_route_template(lab: GoldLab) -> None:
    (row,) = lab.rows("latency_hour", "hour", "service", "route", "requests", "mean_ms", "p50_ms", "p99_ms", "max_ms")
    assert row[:5] == (NOON, "shop", "/pay/:id", 2, 505.0)
    assert row[5] == pytest.approx(10.0, rel=0.01)
    assert row[6] == pytest.approx(1000.0, rel=0.01)
    assert row[7] == 1000.0


def test_the_greatest_latencies_stay_finite(tmp_path: Path) -> None:
    """Silver takes any finite double, an index nothing else; their sums are infinite."""
    lab = GoldLab(tmp_path)
    most = 1.5e308
    lab.log({"at": NOON, "latency_ms": most}, *({"at": NOON, "latency_ms": most, "service": "pair"} for _ in range(2)))
    lab.refresh()
    for mart in ("latency_minute", "latency_hour"):
        for row in lab.rows(mart, "max_ms", "mean_ms", "p50_ms", "p95_ms", "p99_ms"):
            assert row[:2] == (most, most)
            assert row[2:] == pytest.approx((most, most, most), rel=0.01)
            assert max(row) == most
    assert [row[0] for row in lab.rows("errors_day", "service")] == ["pair", "shop"]
    for (p95,) in lab.rows("errors_day", "p95_ms"):
        assert p95 == pytest.approx(most, rel=0.01) and p95 <= most


def test_like_failures_count_together(lab: GoldLab) -> None:
    found = lab.rows("failures_hour", "service", "route", "message", "errors", "example")
    noon = [row for row in found if row[1] != "(none)" or row[2] != "done"]
    assert [row[:4] for row in noon] == [
        ("broker", "(none)", "node <n> at <n> gone", 1),
        ("shop", "(none)", "(none)", 1),
        ("shop", "(none)", "order <n> of <hex> failed", 2),
        ("web", "GET /a/:id/b", "GET /a/:id/b 500", 1),
    ]
    assert {row[4].split(".")[0] for row in noon} == {"AAAAAAAA", "BBBBBBBB"}  # ids of documents
    assert "secret" not in repr(found)


def test_users_are_counted_once_a_day(lab: GoldLab) -> None:
    today, before = (
        next(r for r in lab.rows("errors_day") if r[0] == day.date() and r[1] == "shop") for day in (NOON, NOON - DAY)
    )
    # events, errors, rate, users, p95, and the day before
    assert today[2:6] == (8, 5, 5 / 8, 3)
    assert today[6] == pytest.approx(1000.0, rel=0.01)
    assert today[7:] == (2, 1, 1, 4.0)
    assert before[2:6] == (2, 1, 0.5, 1)
    assert before[6:] == (None, 0, 0, 0, None)


def test_pseudonyms_only(lab: GoldLab) -> None:
    users = {row[0] for row in lab.rows("error_users_hour", "user_id")}
    assert len(users) == 3
    assert not users & {"ann", "bob", "cid"}


def test_only_the_most_frequent_failures_are_kept(tmp_path: Path) -> None:
    lab = GoldLab(tmp_path)
    letters = [chr(97 + n // 26) + chr(97 + n % 26) for n in range(70)]
    lab.log(
        *(fail(NOON, message=f"{text} broke") for text in letters), *(fail(NOON, message="zz broke") for _ in range(9))
    )
    lab.refresh()
    rows = lab.rows("failures_minute", "errors", "message")
    assert len(rows) == 51
    assert (9, "zz broke") in rows
    assert (21, "other") in rows
    assert sum(errors for errors, _ in rows) == 79


def test_routes_are_few_and_their_sums_agree(tmp_path: Path) -> None:
    """Three minutes of 80 routes each that no template makes alike; an hour keeps more of them than a minute."""
    lab = GoldLab(tmp_path)
    names = [chr(97 + n // 26) + chr(97 + n % 26) for n in range(80)]
    for minute in range(3):
        lab.log(
            *(
                fail(NOON + timedelta(minutes=minute), route=f"/{'pqr'[minute]}{name}", message="no", latency_ms=5.0)
                for n, name in enumerate(names)
                for _ in range(2 if n == 79 else 1)
            )
        )
    lab.refresh()
    for mart, measure in (("failures", "errors"), ("latency", "requests")):
        minutes = lab.rows(f"{mart}_minute", "minute", "route", measure)
        hours = dict(lab.rows(f"{mart}_hour", "route", measure))
        for minute in range(3):
            mine = {route: n for at, route, n in minutes if at == NOON + timedelta(minutes=minute)}
            assert (len(mine), mine["other"], sum(mine.values())) == (51, 30, 81)
            assert mine[f"/{'pqr'[minute]}db"] == 2  # by count
            assert f"/{'pqr'[minute]}bw" in mine and f"/{'pqr'[minute]}bx" not in mine  # then by name
        assert (len(hours), sum(hours.values())) == (101, 243)
        for route in hours.keys() - {"other"}:  # what keeps its name says the same in both
            assert hours[route] == sum(n for _, name, n in minutes if name == route)
    # As many when a minute is built again by itself, and nothing else changes.
    before = lab.everything()
    lab.log({"at": NOON + timedelta(minutes=1), "service": "else"})
    lab.refresh()
    after = lab.everything()
    assert [before[m] == after[m] for m in ("failures_minute", "failures_hour", "latency_minute", "latency_hour")] == [
        True
    ] * 4


def test_a_failing_test_publishes_nothing_and_is_named(tmp_path: Path) -> None:
    """Silver is made to break its promise: a status that no contract lets in."""
    lab = GoldLab(tmp_path)
    lab.log({"at": NOON})
    lab.refresh()
    before = lab.everything()
    _silver(lab, "access", event_time=NOON, method="GET", path="/", status=1000, client_ip="x", protocol="H")
    with pytest.raises(BuildFailed, match="in_range_errors_minute_status") as caught:
        lab.refresh()
    assert "nothing was published" in caught.value.message
    assert lab.everything() == before
    assert {MARTS[name].table(lab.root).transaction(REFRESH) for name in MARTS} == {1}
    assert not list((lab.root / "_runs").iterdir())


def test_a_mart_says_what_it_needs() -> None:
    assert replace(MARTS["errors_day"], name="x").schema.names[0] == "day"
    assert {mart.grain for mart in MARTS.values() if mart.index} == {"minute", "hour", "day"}


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("nothing", "has no column nothing"),
        ("events", "the row_policy events is of type bigint"),
        ("minute", "the row_policy minute is of type timestamptz"),
        ("[service]", "row_policy"),
    ],
)
def test_a_row_policy_is_a_column_of_text(tmp_path: Path, column: str, said: str) -> None:
    models = tmp_path / "models" / "logs"
    models.mkdir(parents=True)
    text = (project_folder() / "models" / "logs" / "marts.yml").read_text()
    assert {mart.row_policy for mart in MARTS.values()} == {"service"}
    first = "index: true, row_policy: service}"
    (models / "marts.yml").write_text(text.replace(first, first.replace("service", column), 1))
    found = declared_marts(tmp_path, "logs")
    [mistake] = found.mistakes
    assert mistake.message.startswith("the model errors_minute: ") and said in mistake.message
    assert set(found.valid) == set(MARTS) - {"errors_minute"}
    (models / "marts.yml").write_text(text.replace(first, "index: true}", 1))
    assert declared_marts(tmp_path, "logs").valid["errors_minute"].row_policy is None


def test_what_a_mart_declares_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = tmp_path / "models" / "logs"
    models.mkdir(parents=True)
    text = (project_folder() / "models" / "logs" / "marts.yml").read_text()
    (models / "marts.yml").write_text(text)
    assert {mart.name: mart.example for mart in load_marts(tmp_path, "logs")}["failures_hour"] == "example"
    (models / "marts.yml").write_text(text.replace("example: example", "example: nothing"))
    found = declared_marts(tmp_path, "logs")
    assert [mistake.message for mistake in found.mistakes] == [
        f"the model failures_{grain}: has no column nothing" for grain in ("minute", "hour")
    ]
    assert all(mistake.line and mistake.file.endswith("marts.yml") for mistake in found.mistakes)
    assert set(found.valid) == set(MARTS) - {"failures_minute", "failures_hour"}
    (models / "marts.yml").write_text(text.replace("example: example", "main: true"))
    found = declared_marts(tmp_path, "logs")
    [mistake] = found.mistakes
    assert "errors_hour and failures_minute and failures_hour are each" in mistake.message
    assert set(found.valid) == set(MARTS) and not any(mart.main for mart in found.valid.values())
    monkeypatch.setenv("ASSAY_DBT_PROJECT", str(tmp_path))
    with pytest.raises(AssayError, match="ASSAY_DBT_PROJECT does not name a dbt project"):
        project_folder()
    (tmp_path / "dbt_project.yml").touch()
    assert project_folder() == tmp_path
