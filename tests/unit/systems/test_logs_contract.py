"""The expressions of the logs contract, run by the engine that will run them, on invented and on real lines."""

from __future__ import annotations

import os
import re
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from platform_assets.contracts.model import Table
from platform_assets.contracts.read import load_contracts
from platform_assets.sources.files.framing import frames
from platform_assets.transform.times import moment

ROOT = Path(__file__).parents[3]
REAL = Path(os.environ.get("ASSAY_SHARED_DATA") or ROOT.parent / "shared" / "data") / "logs"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the shared data is not beside this checkout")

ACCESS = """\
203.0.113.7 - - [15/Jan/2026:09:30:00 +0000] "GET /a?b=c HTTP/1.1" 200 5120 "-" "curl/8.1"
2001:db8::1 - anna [15/Jan/2026:09:30:00 +0100] "POST /pay HTTP/2.0" 502 - "https://example.com/?q=1" "Mozilla/5.0 (X11)"
203.0.113.8 - - [15/Jan/2026:09:30:01 +0000] "GET / HTTP/1.1" 200 1 "-" "says \\"hello\\" twice"
203.0.113.9 - - [15/Jan/2026:09:30:01 +0000] "GET / HTTP/1.1" 200 1 "-" "cut off
203.0.113.9 - - [15/Jan/2026:09:30:01 +0000] "\\x16\\x03\\x01" 400 1 "-" "-"
"""
BROKER = """\
[2026-01-15 09:30:00,001] INFO started (kafka.server.KafkaServer)
[2026-01-15 09:30:00,002] INFO KafkaConfig values:\x20
\tbroker.id = 1
\tport = 9092
 (kafka.server.KafkaConfig)
[2026-01-15 09:30:00,003] WARN [Fetcher-0], Error in fetch (id 3) of x (kafka.server.Fetcher)
java.io.IOException: gone
\tat a.B.c(B.scala:112)
\tat a.B$$anonfun$1.apply(B.scala:9)
[2026-01-15 09:30:00,004] ERROR no logger here
[2026-01-15 09:30:00,005] INFO shut down (kafka.server.KafkaServer)"""


@pytest.fixture(scope="module")
def tables() -> dict[str, Table]:
    return {table.name: table for table in load_contracts()["logs"].tables}


def records(path: Path, table: Table) -> list[str]:
    return [record.decode() for batch, _ in frames(path, table) for record in batch]


def extract(table: Table, lines: list[str]) -> list[dict[str, str] | None]:
    """The groups of each line by DuckDB's RE2, of the first pattern that matches; None where none does."""
    database = duckdb.connect()
    database.register("lines", pa.table({"line": lines}))
    found: list[dict[str, str] | None] = [None] * len(lines)
    for pattern in table.patterns:
        groups = ", ".join(f"'{name}'" for name in re.compile(pattern).groupindex)
        query = f"SELECT CASE WHEN regexp_matches(line, $p) THEN regexp_extract(line, $p, [{groups}]) END FROM lines"  # noqa: S608
        rows = database.execute(query, {"p": pattern}).fetchall()
        found = [before or row[0] for before, row in zip(found, rows, strict=True)]
    return found


def times(table: Table, found: list[dict[str, str] | None]) -> list[str]:
    field = table.field(table.event_time)
    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'")
    values = [groups[field.source] for groups in found if groups]
    database.register("times", pa.table({"t": values}))
    query = f"SELECT CAST({moment(field, 't')} AS VARCHAR) FROM times"  # noqa: S608
    return [row[0] for row in database.execute(query).fetchall()]


def test_every_sample_matches_in_duckdb(tables: dict[str, Table]) -> None:
    for table in tables.values():
        if table.patterns:
            assert extract(table, [table.sample])[0], table.name


def test_access_lines(tables: dict[str, Table], tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_text(ACCESS)
    found = extract(tables["access"], records(path, tables["access"]))
    assert found[3] is None
    first, second, third, _, unreadable = found
    assert first and second and third and unreadable
    assert (unreadable["status"], unreadable["path"]) == ("400", "")
    assert (first["client_ip"], first["user"], first["path"], first["bytes"]) == ("203.0.113.7", "-", "/a?b=c", "5120")
    assert (second["client_ip"], second["user"], second["status"], second["bytes"]) == (
        "2001:db8::1",
        "anna",
        "502",
        "-",
    )
    assert third["agent"] == 'says \\"hello\\" twice'
    assert times(tables["access"], found)[:2] == ["2026-01-15 09:30:00+00", "2026-01-15 08:30:00+00"]


def test_broker_records(tables: dict[str, Table], tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    path.write_text(BROKER)
    found = extract(tables["broker"], records(path, tables["broker"]))
    assert len(found) == 5
    plain, config, trace, bare, last = found
    assert plain and config and trace and bare and last
    assert (plain["message"], plain["logger"], plain["stack"]) == ("started", "kafka.server.KafkaServer", "")
    assert config["message"].endswith("port = 9092")
    assert (config["logger"], config["stack"]) == ("kafka.server.KafkaConfig", "")
    assert trace["message"] == "[Fetcher-0], Error in fetch (id 3) of x"
    assert trace["stack"].splitlines()[0] == "java.io.IOException: gone"
    assert trace["stack"].endswith("(B.scala:9)")
    assert (bare["level"], bare["message"], bare.get("logger")) == ("ERROR", "no logger here", None)
    assert times(tables["broker"], found)[0] == "2026-01-15 09:30:00.001+00"


@needs_real
def test_the_real_web_server(tables: dict[str, Table]) -> None:
    found = extract(tables["access"], records(REAL / "apache_access.log", tables["access"]))
    assert len(found) == 10_000
    assert sum(groups is None for groups in found) == 1
    assert None not in times(tables["access"], found)


@needs_real
def test_the_real_broker(tables: dict[str, Table]) -> None:
    table = tables["broker"]
    for path in sorted((REAL / "kafka-broker-1").iterdir()):
        lines = path.read_text().splitlines()
        found = extract(table, records(path, table))
        assert len(found) == sum(line.startswith("[20") for line in lines), path.name
        assert None not in found, path.name
        assert all(groups and groups["logger"] for groups in found), path.name
        assert {groups["level"] for groups in found if groups} <= set(table.field("level").enum)
        assert None not in times(table, found)
