"""What every source promises the worker, whatever it reads: ranges without holes, bounds that hold, losses that are told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from sourcelab import SourceLab
from waiting import eventually

from platform_assets.core.transactions import app_id
from platform_assets.sources.base import RECORD, RECORD_SCHEMA, SKIPPED, Positions, Source, SourceBatch

pytestmark = pytest.mark.services

LARGE = 10_000_000


@pytest.fixture
def source(lab: SourceLab) -> Iterator[Source]:
    opened = lab.open()
    yield opened
    opened.close()


def sought(source: Source, *names: str, at: Mapping[int, int | None] | None = None) -> None:
    """Begin all of these streams at the earliest record, or where `at` says."""
    found = source.describe(names)
    source.seek({name: (found[name], at or dict.fromkeys(found[name].shards)) for name in names})


def read(
    source: Source, until: Positions | None = None, *, max_rows: int = 10_000, seconds: float = 0.5
) -> list[SourceBatch]:
    return source.read(max_rows=max_rows, max_bytes=1 << 26, seconds=seconds, until=until)


def read_to(source: Source, ends: Positions, until: Positions | None = None) -> list[SourceBatch]:
    """All batches until the ranges of these shards end there."""
    batches: list[SourceBatch] = []

    def there() -> bool:
        batches.extend(read(source, until))
        reached = {(batch.stream.name, shard): end for batch in batches for shard, end in batch.next.items()}
        return all(reached.get(where, 0) >= end for where, end in ends.items())

    eventually(there)
    return batches


def tiled(batches: list[SourceBatch]) -> dict[tuple[str, int], tuple[int, int]]:
    """The range that the batches cover by (stream, shard); asserts that rows and ranges leave no hole and do not overlap."""
    covered: dict[tuple[str, int], tuple[int, int]] = {}
    for batch in batches:
        assert batch.rows.schema.equals(RECORD_SCHEMA)
        rows = batch.rows.select(["_source", "_shard", "_position", "_span", "kind"]).to_pylist()
        assert rows == sorted(rows, key=lambda row: (row["_shard"], row["_position"]))
        assert {row["_source"] for row in rows} == {batch.stream.id}
        assert batch.start.keys() == batch.next.keys() == {row["_shard"] for row in rows}
        for shard, start in batch.start.items():
            at = start
            for row in (row for row in rows if row["_shard"] == shard):
                assert row["_position"] == at
                assert row["_span"] == 1 if row["kind"] == RECORD else row["_span"] >= 1
                at += row["_span"]
            assert at == batch.next[shard]
            where = (batch.stream.name, shard)
            assert covered.get(where, (0, start))[1] == start, "a batch begins where the one before it ended"
            covered[where] = (covered.get(where, (start, start))[0], at)
    return covered


def values(batches: list[SourceBatch], shard: int = 0) -> list[bytes | None]:
    rows = [row for batch in batches for row in batch.rows.to_pylist()]
    return [row["value"] for row in rows if row["kind"] == RECORD and row["_shard"] == shard]


def test_a_stream_tells_its_identity_shards_and_watermarks(lab: SourceLab, source: Source) -> None:
    name = lab.make(shards=2)
    lab.write(name, [b"a", b"b"], shard=1)
    assert source.describe([f"{name}.none"]) == {}
    (found,) = source.describe([name, f"{name}.none"]).values()
    assert (found.name, found.shards) == (name, (0, 1))
    assert found.app_id(1) == app_id(found.id, 1)
    assert dict(source.watermarks(found)) == {0: (0, 0), 1: (0, 2)}
    eventually(lambda: source.reaches(found))


def test_at_the_end_of_data_there_is_nothing_and_it_goes_on(lab: SourceLab, source: Source) -> None:
    name = lab.make()
    sought(source, name)
    assert source.empty() == {(name, 0)}
    assert read(source) == []
    lab.write(name, [b"a", b"b"])
    first = read_to(source, {(name, 0): 2})
    assert read(source) == []
    lab.write(name, [b"c"])
    last = read_to(source, {(name, 0): 3})
    assert values(first + last) == [b"a", b"b", b"c"]
    assert tiled(first + last) == {(name, 0): (0, 3)}
    assert source.ends() == {(name, 0): 3}
    sought(source, name)
    assert source.empty() == set()


def test_every_shard_is_read_by_itself(lab: SourceLab, source: Source) -> None:
    name = lab.make(shards=3)
    for shard in range(3):
        lab.write(name, [b"%d.%d" % (shard, n) for n in range(shard * 5)], shard=shard)
    sought(source, name)
    batches = read_to(source, {(name, 1): 5, (name, 2): 10})
    assert tiled(batches) == {(name, 1): (0, 5), (name, 2): (0, 10)}
    assert values(batches, 2) == [b"2.%d" % n for n in range(10)]


def test_shards_that_are_added_are_seen(lab: SourceLab, source: Source) -> None:
    name = lab.make()
    lab.grow(name, 2)
    eventually(lambda: source.describe([name])[name].shards == (0, 1))
    found = source.describe([name])[name]
    eventually(lambda: source.reaches(found))
    lab.write(name, [b"new"], shard=1)
    sought(source, name)
    assert values(read_to(source, {(name, 1): 1}), 1) == [b"new"]


def test_seek_begins_at_any_position_and_forgets_what_was_read(lab: SourceLab, source: Source) -> None:
    name = lab.make()
    lab.write(name, [b"%d" % n for n in range(10)])
    sought(source, name, at={0: 4})
    first = read_to(source, {(name, 0): 10})
    assert (values(first)[0], tiled(first)) == (b"4", {(name, 0): (4, 10)})
    sought(source, name, at={0: 2})
    again = read_to(source, {(name, 0): 10})
    assert (values(again)[0], tiled(again)) == (b"2", {(name, 0): (2, 10)})
    sought(source, name, at={0: 10})
    assert read(source) == []


def test_bounded_reading_stops_at_the_end_and_gives_the_rest_back(lab: SourceLab, source: Source) -> None:
    name, other = lab.make(), lab.make()
    for each in (name, other):
        lab.write(each, [b"%d" % n for n in range(500)])
    sought(source, name, other)
    until = {(name, 0): 200, (other, 0): 500}
    batches = read_to(source, until, until)
    assert tiled(batches) == {(name, 0): (0, 200), (other, 0): (0, 500)}
    # At the end there is nothing to wait for: pytest's own limit ends a test that does.
    assert read(source, until, seconds=86_400) == []
    assert tiled(read_to(source, {(name, 0): 500})) == {(name, 0): (200, 500)}


def test_batches_are_no_longer_than_asked(lab: SourceLab, source: Source) -> None:
    name = lab.make()
    lab.write(name, [b"%d" % n for n in range(1000)])
    sought(source, name)
    batches: list[SourceBatch] = []
    while not batches or batches[-1].next[0] < 1000:
        found = read(source, max_rows=300)
        assert sum(batch.rows.num_rows for batch in found) <= 300
        batches += found
    assert tiled(batches) == {(name, 0): (0, 1000)}


def test_positions_without_a_record_are_covered(lab: SourceLab, source: Source) -> None:
    name = lab.make()
    lab.write(name, [b"a"])
    skipped = lab.skip(name)
    lab.write(name, [b"b"])
    skipped += lab.skip(name)
    sought(source, name)
    batches = read_to(source, {(name, 0): 2 + skipped})
    assert tiled(batches) == {(name, 0): (0, 2 + skipped)}
    assert values(batches) == [b"a", b"b"]
    rows = [row for batch in batches for row in batch.rows.to_pylist() if row["kind"] == SKIPPED]
    assert sum(row["_span"] for row in rows) == skipped
    assert all(row["value"] is None and row["record_time"] is None for row in rows)


def test_an_end_among_positions_without_a_record_is_reached(lab: SourceLab, source: Source) -> None:
    name = lab.make()
    lab.write(name, [b"a"])
    lab.skip(name)
    lab.write(name, [b"b"])
    sought(source, name)
    batches = read_to(source, {(name, 0): 3}, {(name, 0): 3})
    assert tiled(batches) == {(name, 0): (0, 3)}
    assert values(batches) == [b"a"]


def test_what_retention_took_is_a_gap_and_other_shards_go_on(lab: SourceLab, source: Source) -> None:
    name = lab.make(shards=2)
    for shard in (0, 1):
        lab.write(name, [b"%d" % n for n in range(10)], shard=shard)
    lab.forget(name, before=6)
    sought(source, name, at={0: 2, 1: 2})
    gap = source.gaps[(name, 0)]
    assert (gap.stream, gap.shard, gap.expected, gap.earliest) == (name, 0, 2, 6)
    assert tiled(read_to(source, {(name, 1): 10})) == {(name, 1): (2, 10)}
    sought(source, name)
    assert source.gaps == {}, "the earliest is what there is"
    assert tiled(read_to(source, {(name, 0): 10, (name, 1): 10})) == {(name, 0): (6, 10), (name, 1): (0, 10)}


def test_a_position_that_was_never_written_is_a_gap(lab: SourceLab, source: Source) -> None:
    name = lab.make()
    lab.write(name, [b"a"])
    sought(source, name, at={0: 5})
    assert source.gaps[(name, 0)].expected == 5
    assert read(source) == []


def test_a_stream_that_is_made_anew_is_another(lab: SourceLab, source: Source) -> None:
    name = lab.make()
    lab.write(name, [b"old", b"old"])
    before = source.describe([name])[name]
    lab.remake(name)
    eventually(lambda: name in source.describe([name]))
    after = source.describe([name])[name]
    assert (after.name, after.id != before.id) == (name, True)
    assert after.app_id(0) != before.app_id(0)
    lab.write(name, [b"new"])
    fresh = lab.open()
    try:
        sought(fresh, name)
        batches = read_to(fresh, {(name, 0): 1})
        assert values(batches) == [b"new"]
        assert tiled(batches) == {(name, 0): (0, 1)}
    finally:
        fresh.close()


def test_records_pass_as_they_are(lab: SourceLab, source: Source) -> None:
    """Neither an empty record, nor one without a value, nor bytes that are no text end a worker."""
    name = lab.make()
    sent = [b"", None, b"\xff\xfe\x00", b"{", b"\n", "é".encode("utf-16")]
    lab.write(name, sent)
    sought(source, name)
    assert values(read_to(source, {(name, 0): len(sent)})) == sent


def test_a_large_record_passes_and_counts(lab: SourceLab, source: Source) -> None:
    name = lab.make()
    lab.write(name, [b"x" * LARGE, b"small"])
    sought(source, name)
    batches = read_to(source, {(name, 0): 2})
    assert [len(value or b"") for value in values(batches)] == [LARGE, 5]
    assert sum(batch.bytes for batch in batches) >= LARGE + 5


def test_a_stream_tells_whether_it_holds_a_record_since_a_moment(lab: SourceLab, source: Source) -> None:
    name = lab.make()
    found = source.describe([name])[name]
    assert not source.holds_since(found, 0)
    lab.write(name, [b"a"])
    sought(source, name)
    (batch,) = read_to(source, {(name, 0): 1})
    at = int(batch.rows.column("record_time")[0].value)
    assert source.holds_since(found, at)
    assert not source.holds_since(found, at + 1_000_000)


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_a_source_that_goes_away_and_comes_back_goes_on(
    expendable_lab: SourceLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = expendable_lab
    source = lab.open()
    try:
        name = lab.make()
        lab.write(name, [b"a", b"b"])
        sought(source, name)
        first = read_to(source, {(name, 0): 2})
        lab.interrupt(monkeypatch)
        eventually(lambda: name in (source.look([name]) or {}))
        lab.write(name, [b"c"])
        batches = first + read_to(source, {(name, 0): 3})
        assert values(batches) == [b"a", b"b", b"c"]
        assert tiled(batches) == {(name, 0): (0, 3)}
    finally:
        source.close()
