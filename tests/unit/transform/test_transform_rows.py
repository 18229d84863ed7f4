"""What an accepted row looks like: typed columns, attributes, partition, history, hashes, keys."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transform_samples import ACCESS, EVENTS, LANDED, MASKER, accepted, bronze, encoded, transform, with_field

from platform_assets.contracts.arrow import silver_schema
from platform_assets.contracts.model import Field, FieldType, Grain, Table
from platform_assets.core.coordinates import COLUMNS
from platform_assets.transform import Transformer, hash_select, key_select


def recomputed(table: Table, silver: pa.Table, query: str) -> pa.Table:
    """The query's answer over stored silver rows, as another process would compute it."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'Asia/Tokyo'")  # the stored instant counts, not the session's clock
        connection.register("silver", silver)
        return connection.sql(query).to_arrow_table()


def test_columns_and_types_are_the_contracts() -> None:
    transformed = transform([encoded(), encoded(event_id="e-2", status=None)])
    names = silver_schema(EVENTS).names
    assert transformed.accepted.schema.names == [*names, "_key_hi", "_key_lo", "_content"]
    assert transformed.accepted.select(names).schema == silver_schema(EVENTS)
    assert [transformed.accepted.schema.field(name).type for name in ("_key_hi", "_key_lo")] == [pa.uint64()] * 2
    row = transformed.accepted.to_pylist()[0]
    assert row["event_time"] == datetime(2026, 11, 21, 8, 59, 30, 250_000, UTC)
    assert (row["status"], row["latency_ms"], row["level"], row["message"]) == (502, 12.5, "ERROR", "charge declined")
    assert (row["_landed_at"], row["_contract_version"], row["event_partition"]) == (
        LANDED,
        EVENTS.version,
        "2026-11-21",
    )
    assert row["attributes"] is None


def test_an_empty_batch_gives_empty_tables_of_the_right_schema() -> None:
    transformed = transform([])
    assert (transformed.accepted.num_rows, transformed.rejected.num_rows) == (0, 0)
    assert transformed.accepted.schema.names[-1] == "_content"


def test_only_records_are_transformed() -> None:
    batch = bronze([encoded(), None, encoded(event_id="e-3")])
    kinds = pa.array(["record", "skipped", "record"])
    batch = batch.set_column(batch.schema.get_field_index("kind"), batch.schema.field("kind"), kinds)
    with Transformer(EVENTS, MASKER) as transformer:
        transformed = transformer.transform(batch)
    assert transformed.accepted["_position"].to_pylist() == [0, 2]
    assert transformed.rejected.num_rows == 0


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("2026-11-21T08:00:00Z", 0),
        ("2026-11-21 08:00:00Z", 0),
        ("2026-11-21T10:00:00+02:00", 0),
        ("2026-11-21T10:00:00+0200", 0),
        ("2026-11-21T10:00:00+02", 0),
        ("2026-11-21T02:30:00.5-05:30", 500_000),
        ("2026-11-21T08:00:00.123456789Z", 123_456),
    ],
)
def test_zones_and_fractions_of_event_times(text: str, micros: int) -> None:
    assert accepted(encoded(event_time=text))["event_time"] == datetime(2026, 11, 21, 8, 0, 0, micros, UTC)


def test_the_event_partition_is_utc_and_by_grain() -> None:
    early = encoded(event_time="2026-11-21T00:30:00+02:00")
    assert accepted(early)["event_partition"] == "2026-11-20"
    assert accepted(early, replace(EVENTS, grain=Grain.HOUR))["event_partition"] == "2026-11-20T22"


def test_history_begins_beyond_the_lateness() -> None:
    edge = LANDED - EVENTS.lateness
    times = [edge, edge - timedelta(microseconds=1)]
    assert [accepted(encoded(event_time=time.isoformat()))["_history"] for time in times] == [False, True]


@pytest.mark.parametrize(
    ("changes", "attributes"),
    [
        ({"more": 1}, {"more": 1}),
        ({"more": None, "deep": {"a": [1, None]}}, {"more": None, "deep": {"a": [1, None]}}),
        ({"attributes": {"a": 1}}, {"a": 1}),
        ({"attributes": {"a": 1}, "more": "x"}, {"a": 1, "more": "x"}),
        ({"attributes": {}, "more": "x"}, {"more": "x"}),
        ({"attributes": {}}, None),
        ({"attributes": None}, None),
        ({"attributes": "text"}, {"attributes": "text"}),
        ({"attributes": [1], "more": 2}, {"attributes": [1], "more": 2}),
        ({'odd "name"\\': "é\n\t"}, {'odd "name"\\': "é\n\t"}),
        ({"": 1}, {"": 1}),
        ({"big": 12345678901234567890123}, {"big": 12345678901234567890123}),
    ],
)
def test_unknown_members_are_kept(changes: dict[str, object], attributes: dict[str, object] | None) -> None:
    stored = accepted(encoded(**changes))["attributes"]
    assert (json.loads(stored) if stored else None) == attributes


UNUSUAL_NAMES = [
    "",
    "/",
    "~",
    "~1",
    "a/b~c",
    "0",
    "-",
    "$",
    "$.x",
    "*",
    "#",
    " ",
    'say "x"',
    "back\\slash",
    "tab\t",
    "\u00e9\u2028",
]
UNUSUAL_VALUES = [
    None,
    True,
    0,
    -1,
    1.0,
    1e22,
    10**18,
    0.1 + 0.2,
    "",
    '\u00e9\t"\\',
    [],
    {},
    {"a": None, "b": [{"c": 1.50}]},
]


def test_one_unknown_member_is_kept_as_each_of_several_is() -> None:
    members = [{name: 1} for name in UNUSUAL_NAMES] + [{"more": value} for value in UNUSUAL_VALUES]
    alone = transform([encoded(**member) for member in members]).accepted["attributes"].to_pylist()
    beside = transform([encoded(**member, zz=1) for member in members]).accepted["attributes"].to_pylist()
    assert [json.loads(stored) for stored in alone] == members
    assert beside == [f'{stored[:-1]},"zz":1}}' for stored in alone]


def test_a_fields_source_may_be_any_member_name() -> None:
    table = with_field("host", source='a/b~c."d" é')
    assert accepted(encoded(**{'a/b~c."d" é': "node-9"}), table)["host"] == "node-9"


def test_null_values_stand_for_absent() -> None:
    table = with_field("host", null_values=("-", ""))
    rows = [accepted(encoded(host=host), table)["host"] for host in ("-", "", " ", "--")]
    assert rows == [None, None, " ", "--"]


def test_only_strings_of_json_are_null_values() -> None:
    table = with_field("status", null_values=("-", "502"))
    assert [accepted(encoded(status=status), table)["status"] for status in ("-", "502", 502)] == [None, None, 502]


@pytest.mark.parametrize("absent", ["-", '""', '"-"'])
def test_an_absent_user_of_a_web_request_is_nobody(absent: str) -> None:
    line = f'203.0.113.7 - {absent} [15/Jan/2026:09:30:00 +0000] "GET / HTTP/1.1" 200 - "-" ""'
    row = accepted(line.encode(), ACCESS)
    assert [row[name] for name in ("user", "bytes", "referrer", "agent")] == [None] * 4
    assert row["client_ip"] == MASKER.mask("203.0.113.7", "client_ip")


@pytest.mark.parametrize("absent", ["-", "", None])
def test_an_absent_user_of_an_event_has_no_pseudonym(absent: str | None) -> None:
    row = accepted(encoded(user_id=absent))
    assert (row["user_id"], row["_key_id"]) == (None, None)


def test_hashes_and_keys_survive_parquet(tmp_path: Path) -> None:
    values = [
        encoded(),
        encoded(event_id="e-2", status=None, user_id=None, message=None),
        encoded(event_id="e-3", latency_ms=1e-7, more={"a": 1}),
        encoded(event_id="", latency_ms=0.1 + 0.2, host="", message="é'\"\n"),
    ]
    for table, lines in ((EVENTS, values), (ACCESS, [b'::1 - - [15/Jan/2026:09:30:00 +0000] "GET / X" 200 1 "-" "-"'])):
        stored = transform(lines, table).accepted
        pq.write_table(stored.select(silver_schema(table).names), tmp_path / "silver.parquet")
        silver = pq.read_table(tmp_path / "silver.parquet")
        assert silver.num_rows == len(lines)
        again = recomputed(table, silver, hash_select(table))
        assert again["_hash"].to_pylist() == stored["_hash"].to_pylist()
        assert again.schema.names == ["_source", "_shard", "_position", "_hash"]
    stored = transform(values).accepted
    keys = recomputed(EVENTS, stored.select(silver_schema(EVENTS).names), key_select(EVENTS, "k1"))
    for name in ("_key_hi", "_key_lo", "_content", "event_partition", "_seq"):
        assert keys[name].to_pylist() == stored[name].to_pylist()


def test_the_hash_changes_with_every_value_and_with_no_coordinate() -> None:
    base = transform([encoded(more=1)]).accepted.select(silver_schema(EVENTS).names)
    (before,) = recomputed(EVENTS, base, hash_select(EVENTS))["_hash"].to_pylist()
    other = {pa.string(): "x", pa.int64(): 7, pa.int32(): 7, pa.float64(): 7.5, pa.timestamp("us", "UTC"): LANDED}
    values = [*(field.name for field in EVENTS.fields), "attributes"]
    for name in [*values, *COLUMNS]:
        at = base.schema.get_field_index(name)
        changed = base.set_column(at, name, pa.array([other[base.schema.field(at).type]], base.schema.field(at).type))
        (after,) = recomputed(EVENTS, changed, hash_select(EVENTS))["_hash"].to_pylist()
        assert (after != before) is (name in values), name


def test_the_hash_is_unambiguous_between_columns() -> None:
    rows = transform(
        [encoded(host="a", trace_id=None), encoded(host=None, trace_id="a"), encoded(host="", trace_id="a")]
    )
    assert len(set(recomputed(EVENTS, rows.accepted, hash_select(EVENTS))["_hash"].to_pylist())) == 3


def test_a_new_optional_field_keeps_old_hashes() -> None:
    old = transform([encoded()]).accepted
    grown = replace(EVENTS, fields=(*EVENTS.fields, Field("region", FieldType.STRING, source="region")))
    silver = old.append_column("region", pa.nulls(1, pa.string()))
    assert recomputed(grown, silver, hash_select(grown))["_hash"].to_pylist() == old["_hash"].to_pylist()


def test_the_hash_is_the_same_in_every_version() -> None:
    # A change of this value means that stored rows no longer prove.
    assert accepted(encoded())["_hash"] == -8348006509505815135


def test_equal_keys_have_equal_hashes_and_parts_do_not_run_together() -> None:
    table = replace(EVENTS, key=("event_id", "service"))
    pairs = [("a", "bc"), ("ab", "c"), ("a", "bc")]
    stored = transform(
        [encoded(event_id=one, service=two, status=200 + i) for i, (one, two) in enumerate(pairs)], table
    ).accepted
    keys = list(zip(stored["_key_hi"].to_pylist(), stored["_key_lo"].to_pylist(), strict=True))
    assert keys[0] == keys[2] != keys[1]


def test_a_table_without_a_key_has_no_key_columns() -> None:
    row = accepted(b'::1 - - [15/Jan/2026:09:30:00 +0000] "GET / X" 200 1 "-" "-"', ACCESS)
    assert "_key_hi" not in row
    with pytest.raises(ValueError, match="no key"):
        key_select(ACCESS)
