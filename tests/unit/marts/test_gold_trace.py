"""A figure leads to exactly the silver rows that it counts, whatever the model does: the real dbt on hand-made silver."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from goldlab import LOGS, MARTS, NOON, GoldLab, fail

from platform_assets.cli.app import assay
from platform_assets.contracts.arrow import silver_schema
from platform_assets.core.errors import AssayError
from platform_assets.core.transactions import SEQ
from platform_assets.index.documents import keyed_ndjson
from platform_assets.ingest.maintain import maintain
from platform_assets.marts.figure import find_document, find_rows
from platform_assets.marts.index import MartDocuments
from platform_assets.marts.marts import Slot, load_marts
from platform_assets.marts.project import project_folder
from platform_assets.marts.trace import FigureTrace, NoLongerTraceable, trace_figure
from platform_assets.tables.layout import Lake
from platform_assets.tables.maintain import drop

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
ALL = list(MARTS.values())
TEXT = {Slot.MINUTE: "%Y-%m-%dT%H:%M", Slot.HOUR: "%Y-%m-%dT%H", Slot.DAY: "%Y-%m-%d"}


def traced(
    lab: GoldLab, mart: str, at: datetime, column: str | None = None, sample: int = 5, **where: Any
) -> FigureTrace:
    found = find_rows(
        lab.root, MARTS[mart], at.strftime(TEXT[MARTS[mart].grain]), {k: str(v) for k, v in where.items()}
    )
    return trace_figure(lab.settings, LOGS, found, column=column, sample=sample)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> GoldLab:
    """Noon's hour and the next of three services, in two commits; 70 kinds of failures in one minute."""
    lab = GoldLab(tmp_path_factory.mktemp("figures"))
    letters = [chr(97 + n // 26) + chr(97 + n % 26) for n in range(70)]
    lab.log(
        {"at": NOON, "latency_ms": 10.0, "route": "/pay/17"},
        {"at": NOON + timedelta(seconds=59.999999), "latency_ms": 1000.0, "route": "/pay/18?x=1", "user_id": "ann"},
        {"at": NOON + MINUTE, "status": 404, "level": "WARN", "user_id": "ann"},
        fail(NOON, user_id="ann", message="order 17 of 0xdeadbeef failed"),
        fail(
            NOON + 30 * MINUTE, user_id="ann", message="order 18 of 0xfeedbeef failed", latency_ms=3.0, route="/pay/19"
        ),
        fail(NOON + 2 * MINUTE, service="cart"),
        {"at": NOON - MINUTE},
    )
    lab.log(
        fail(NOON + MINUTE, user_id="bob", message=None),
        fail(NOON + HOUR, level="FATAL", status=None),
        {"at": NOON + HOUR, "status": 503, "user_id": "cid"},
        *(fail(NOON + 3 * MINUTE, message=f"{text} broke") for text in letters),
        *(fail(NOON + 3 * MINUTE, service="cart", message=f"{text} broke") for text in letters[:60]),
        *(fail(NOON + 4 * MINUTE, message="cb broke") for _ in range(3)),
    )
    row: dict[str, object] = dict.fromkeys(f.name for f in silver_schema(LOGS.table("access"))) | {
        "event_time": NOON, "method": "GET", "path": "/a/12/b?secret=1", "status": 500, "client_ip": "x", "protocol": "H",
        "_source": "BBBBBBBBBBBBBBBBBBBBBB", "_shard": 3, "_position": 7, "_seq": 1, "_landed_at": datetime.now(UTC),
        "_contract_version": "1.0.0", "_history": False, "_hash": 1, "event_partition": f"{NOON:%Y-%m-%d}",
    }  # fmt: skip
    silver = Lake(lab.root).tables(LOGS.table("access")).silver
    silver.commit(silver.write(pa.Table.from_pylist([row], silver_schema(LOGS.table("access")))), advance={SEQ: 1})
    lab.refresh()
    return lab


@pytest.mark.parametrize(
    ("mart", "count", "rows"),
    [("errors_hour", "events", 5), ("errors_day", "events", 3)],
)
def test_every_figure_leads_to_as_many_rows_as_it_says(lab: GoldLab, mart: str, count: str, rows: int) -> None:
    """Each row of the mart at noon by itself; together they count no row of silver twice."""
    whole = traced(lab, mart, NOON)
    assert (whole.verdict, len(whole.rows)) == ("proved", rows)
    assert whole.counted == sum(row[count] for row in whole.rows)
    ids: Counter[str] = Counter()
    for row in whole.rows:
        key = {name: row[name] for name in MARTS[mart].key if name != MARTS[mart].grain}
        found = traced(lab, mart, NOON, sample=1000, **key)
        assert (found.verdict, found.counted, found.differs, found.rows) == ("proved", row[count], [], [row])
        assert found.counted == sum(part["rows"] for part in found.silver.values()) == len(found.sample)
        assert (found.adds["events"], found.adds["errors"]) == (row["events"], row["errors"])
        ids.update(found.sample)
    assert len(ids) == whole.counted and set(ids.values()) == {1}


def test_keys_that_silver_does_not_have_are_those_of_the_model(lab: GoldLab) -> None:
    """A route and a message as templates, and the pseudonym of a user."""
    routes = traced(lab, "latency_hour", NOON, service="shop", route="/pay/:id")
    assert (routes.verdict, routes.counted, routes.rows[0]["requests"]) == ("proved", 3, 3)
    like = traced(lab, "failures_hour", NOON, message="order <n> of <hex> failed")
    assert (like.verdict, like.counted) == ("proved", 2)
    assert like.rows[0]["example"] in like.sample
    user = next(row[0] for row in lab.rows("error_users_hour", "user_id", "errors") if row[1] == 2)
    found = traced(lab, "error_users_hour", NOON, user_id=user)
    assert (found.verdict, found.counted, found.sample) == ("proved", 2, like.sample)


def test_rows_that_the_model_merged_belong_to_what_they_were_merged_into(lab: GoldLab) -> None:
    """Of 70 kinds of failures of `shop` in a minute the last 20 are `other`; `cb broke` is one, and kept apart a minute later."""
    at = NOON + 3 * MINUTE
    for mart, moment in (("failures_minute", at), ("failures_hour", NOON)):
        other = traced(lab, mart, moment, service="shop", message="other", sample=1000)
        assert (other.verdict, other.counted, other.rows[0]["errors"]) == ("proved", 20, 20)
        kept = traced(lab, mart, moment, service="shop", message="ab broke", sample=1000)
        assert (kept.verdict, kept.counted) == ("proved", 1) and not set(kept.sample) & set(other.sample)
    apart = traced(lab, "failures_hour", NOON, service="shop", message="cb broke")
    assert (apart.verdict, apart.counted, apart.rows[0]["errors"]) == ("proved", 3, 3)


def test_what_an_hour_merges_beyond_its_minutes_is_not_called_proved(tmp_path: Path) -> None:
    """Of 3 x 80 routes the minutes make 90 rows `other`, and the hour 50 more: their rows are not found."""
    lab = GoldLab(tmp_path)
    names = [chr(97 + n // 26) + chr(97 + n % 26) for n in range(80)]
    for minute in range(3):
        at = NOON + minute * MINUTE
        lab.log(*(fail(at, route=f"/{'pqr'[minute]}{name}", message="no") for name in names))
    lab.refresh()
    other = traced(lab, "failures_hour", NOON, service="shop", route="other")
    assert (other.verdict, other.counted, other.rows[0]["errors"]) == ("differs", 90, 140)
    assert "errors" in other.differs
    assert traced(lab, "failures_hour", NOON, service="shop", route="/paa").verdict == "proved"


def test_the_answer_leads_to_topics_offsets_and_commits(lab: GoldLab) -> None:
    found = traced(lab, "errors_hour", NOON, status=500)
    assert (found.refresh, found.consumed["events"]) == (1, {"commits": 2, "rewrites": 0})
    events, access = found.silver["events"], found.silver["access"]
    assert events["topic"] == "logs.events"
    (part,) = events["partitions"]
    assert (part["topic_id"], part["partition"], part["offsets"]) == ("AAAAAAAAAAAAAAAAAAAAAA", 0, [3, 142])
    days = [date.fromisoformat(day) for day in lab.tables.bronze.partitions()]  # one, unless midnight was between
    assert events["bronze"] == {"commits": [1, 2], "landed": days}
    assert (access["rows"], access["partitions"][0]["offsets"]) == (1, [7, 7])
    assert found.sample[:2] == ["AAAAAAAA.0.3", "BBBBBBBB.3.7"]  # one of each table first
    assert any("bronze no longer has" in note for note in found.notes), (
        "of the web request, which came without a bronze row"
    )


def test_a_number_leads_to_the_rows_that_add_to_it(lab: GoldLab) -> None:
    found = traced(lab, "errors_day", NOON, column="errors", service="shop", sample=1000)
    whole = traced(lab, "errors_day", NOON, service="shop")
    errors = found.rows[0]["errors"]
    assert whole.counted == found.rows[0]["events"] > errors == found.silver["events"]["rows"] == len(found.sample)
    assert found.adds["p95_ms"] == 3 and found.adds["users_hit"] == 4  # rows with a latency, failed rows with a user
    with pytest.raises(AssayError, match="has no number 'service'") as caught:
        traced(lab, "errors_day", NOON, column="service")
    assert caught.value.hint.startswith("it has events, errors")


def test_the_document_of_a_mart_is_known_by_its_id(lab: GoldLab) -> None:
    for name in ("errors_hour", "errors_day"):
        mart = MARTS[name]
        documents = MartDocuments(mart, LOGS.version)
        table = mart.table(lab.root)
        rows = documents.rows(table.relation(lab.con).filter("service = 'web'"))
        (body,) = next(iter(keyed_ndjson(documents, rows, 1, mart.key, con=lab.con).bodies.values()))
        action = json.loads(body.data.splitlines()[0])
        found = find_document(lab.root, mart, action["index"]["_id"])
        assert (found.mart.name, found.rows.num_rows, found.rows.column("service").to_pylist()) == (name, 1, ["web"])
        assert found.slot == (NOON if name == "errors_hour" else NOON.replace(hour=0))
    with pytest.raises(AssayError, match="errors_hour has no row whose document is"):
        find_document(lab.root, MARTS["errors_hour"], "0" * 32)


def test_rows_after_the_refresh_are_told_apart(tmp_path: Path) -> None:
    lab = GoldLab(tmp_path)
    lab.log(fail(NOON), fail(NOON), {"at": NOON})
    lab.refresh()
    lab.log(fail(NOON + MINUTE), {"at": NOON + MINUTE}, fail(NOON, service="cart"))
    found = traced(lab, "errors_hour", NOON, service="shop", status=500)
    assert (found.verdict, found.counted, found.rows[0]["errors"], found.silver["events"]["late"]) == (
        "proved",
        2,
        2,
        1,
    )
    lab.refresh(day=NOON.date())  # reads what came late, and leaves it to the next refresh all the same
    found = traced(lab, "errors_hour", NOON, service="shop", status=500)
    assert (found.verdict, found.counted, found.rows[0]["errors"], found.silver["events"]["late"]) == (
        "proved",
        3,
        3,
        0,
    )
    assert found.consumed["events"]["commits"] == 1 and "beyond the commits" in found.notes[0]
    lab.refresh()
    found = traced(lab, "errors_hour", NOON, service="shop", status=500)
    assert (found.refresh, found.counted, found.notes) == (3, 3, [])
    silver = lab.tables.silver
    silver.refresh()
    drop(silver, silver.between("_seq", 2, 2))  # lost, and gold still counts it
    found = traced(lab, "errors_hour", NOON, service="shop", status=500)
    assert (found.verdict, found.counted, found.differs) == ("differs", 2, ["events", "errors"])
    assert (found.rows[0]["errors"], found.again[0]["errors"]) == (3, 2)


def test_what_silver_no_longer_holds_is_said(tmp_path: Path) -> None:
    lab = GoldLab(tmp_path)
    lab.log(fail(NOON), fail(NOON + HOUR))
    lab.refresh()
    silver = lab.tables.silver
    silver.refresh()
    drop(silver, silver.files())
    with pytest.raises(NoLongerTraceable, match=f"silver no longer holds a row of {NOON:%Y-%m-%dT%H}:00"):
        traced(lab, "errors_hour", NOON)
    lab.log({"at": NOON})
    later = datetime.now(UTC) + lab.contract.retention
    assert maintain(lab.settings, lab.contract, now=later, index=False).rows["silver"] == 1
    with pytest.raises(NoLongerTraceable, match=f"retention has dropped rows of {NOON:%Y-%m-%d} from silver"):
        traced(lab, "errors_day", NOON)
    assert not list((lab.root / "_runs").iterdir())


def test_a_model_that_counts_no_row_by_itself_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Services with two errors in a minute: one row alone makes none."""
    project = tmp_path / "dbt"
    shutil.copytree(project_folder(), project, ignore=shutil.ignore_patterns("target"))
    (project / "models" / "logs" / "repeated_minute.sql").write_text(
        "select minute, service, count(*) as errors from {{ ref('stg_logs') }} where is_error group by all having count(*) > 1"
    )
    (project / "models" / "logs" / "repeated.yml").write_text(
        "models: [{name: repeated_minute, description: d, config: {meta: {grain: minute, key: [minute, service]}},"
        " columns: [{name: minute, description: d, data_type: timestamptz}, {name: service, description: d, data_type: varchar},"
        " {name: errors, description: d, data_type: bigint}]}]"
    )
    monkeypatch.setenv("ASSAY_DBT_PROJECT", str(project))
    lab = GoldLab(tmp_path / "lake")
    lab.log(fail(NOON), fail(NOON), {"at": NOON})
    lab.refresh()
    marts = load_marts(project, "logs")
    mart = next(mart for mart in marts if mart.name == "repeated_minute")
    found = trace_figure(lab.settings, LOGS, find_rows(lab.root, mart, f"{NOON:%Y-%m-%dT%H:%M}", {}))
    assert (found.verdict, found.counted, found.rows[0]["errors"], found.adds) == ("slot", 3, 2, {})
    assert "count no row by itself" in found.notes[0]


def test_the_command_follows_a_figure(lab: GoldLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_LAKE", str(lab.root))

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(assay, ["trace", "logs", *arguments, "--home", str(tmp_path / "home")])

    hour = f"{NOON:%Y-%m-%dT%H}"
    told = run("errors_hour", "--where", "service=shop", "--where", "status=500", "--at", hour, "--json")
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)
    assert (found["verdict"], found["counted"], found["rows"][0]["errors"]) == ("proved", 76, 76)
    assert found["slot"] == NOON.isoformat()
    text = run("logs.errors_hour", "--where", "service=web", "--at", hour).output
    for piece in (
        "service=web  status=500",
        "events=1  errors=1",
        "1 row of silver",
        "partition 3: 1 row of offsets 7 to 7",
    ):
        assert piece in text
    assert "assay trace logs BBBBBBBB.3.7" in text
    for arguments, words in (
        (("errors_our", "--at", hour), "logs has no mart 'errors_our' - known: error_users_minute"),
        (("errors_hour",), "which hour of errors_hour? Name it with --at"),
        (("errors_hour", "--at", hour[:10]), "errors_hour has rows for each hour"),
        (("errors_hour", "--at", "noon"), "not a time: 'noon'"),
        (("errors_hour", "--at", "2001-01-01T00"), "errors_hour has no row at 2001-01-01T00:00"),
        (("errors_hour", "--at", hour, "--where", "service=nobody"), "has no row with service=nobody at"),
        (("errors_hour", "--at", hour, "--where", "status=many"), "Could not convert string 'many' to INT64"),
        (("errors_hour", "--at", hour, "--where", "host=a"), "errors_hour has no column 'host' - it has hour, service"),
        (("errors_hour", "--at", hour, "--where", "status"), "--where is COLUMN=VALUE, not 'status'"),
        (("errors_hour", "--at", hour, "--reveal"), "--reveal is for a document"),
        (("errors_hour", "--at", hour, "--id", "a"), "--id stands for --at and --where"),
        (("AAAAAAAA.0.1", "--at", hour), "--at, --where, --id and --column are for a mart"),
    ):
        done = run(*arguments)
        assert done.exit_code != 0
        assert words in " ".join(done.stderr.split()) and len(done.stderr.strip().splitlines()) == 1, done.stderr
