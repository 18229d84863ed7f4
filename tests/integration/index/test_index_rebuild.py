"""A rebuilt index beside a writer that goes on, and after rebuilds that died."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import pyarrow as pa
import pytest
from opensearchpy import OpenSearch
from searchlab import DAY, TOPIC, bulk_rows, content, rows, same_ids, scanned

from platform_assets.contracts.model import Table
from platform_assets.index import lease
from platform_assets.index.bulk import BulkWriter
from platform_assets.index.checkpoints import read
from platform_assets.index.documents import to_ndjson
from platform_assets.index.errors import Conflict, SearchError, Unavailable
from platform_assets.index.indices import Indices
from platform_assets.index.names import PROGRESS_ID, index_name, period_alias
from platform_assets.index.rebuild import Snapshot, SnapshotLost, rebuild

pytestmark = pytest.mark.services


class Silver:
    """A stand-in for the lake's silver partition: versions, and the rows that each added."""

    def __init__(self) -> None:
        self.commits: list[pa.Table] = []
        self.lock = threading.Lock()
        self.reads = 0
        self.lose_at: int | None = None

    def commit(self, batch: pa.Table) -> int:
        with self.lock:
            self.commits.append(batch)
            return len(self.commits)

    def read(self, since: Snapshot | None) -> Snapshot:
        with self.lock:
            self.reads += 1
            if self.reads == self.lose_at:
                raise SnapshotLost
            done = since.version if since else 0
            added = self.commits[done:]
            return Snapshot(len(self.commits), {f"{TOPIC}:3": 1}, 0, added)


class TestRebuild:
    def test_with_a_concurrent_writer(
        self, client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table
    ) -> None:
        silver = Silver()
        done = threading.Event()
        errors: list[Exception] = []
        per = 100  # a rebuild copies what has come until then, so small batches keep it short

        def live() -> None:
            number = 0
            try:
                with BulkWriter(Indices(client)) as own:
                    while not done.is_set():
                        batch = bulk_rows(table, number * per, per)
                        version = silver.commit(batch)
                        own.write(table, to_ndjson(table, batch, version))
                        number += 1
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=live)
        thread.start()
        reports = []
        while len(silver.commits) < 5 and not errors:
            time.sleep(0.05)
        for _ in range(3):
            reports.append(rebuild(indices, writer, table, DAY, silver.read))
        done.set()
        thread.join()
        assert errors == []
        total = pa.concat_tables(silver.commits)
        found = scanned(client, indices, table)
        assert content(found, table) == content(total, table)
        assert [(i.generation, i.serving, i.blocked) for i in indices.all(table)] == [(4, True, False)]
        assert [r.index for r in reports] == [index_name(table, DAY, n) for n in (2, 3, 4)]
        assert read(client, period_alias(table, DAY), PROGRESS_ID).silver_version >= reports[-1].version - 5

    def test_rows_that_silver_no_longer_has_stay_out(
        self, client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table
    ) -> None:
        silver = Silver()
        late = to_ndjson(table, rows(table, 100), 1)  # a worker that will wake up after the rebuild
        silver.commit(rows(table, 100))
        writer.write(table, late)
        silver.commits = [rows(table, 50), rows(table, 0)]  # silver was rewritten at version 2: 50 rows left it
        rebuild(indices, writer, table, DAY, silver.read)
        assert same_ids(scanned(client, indices, table), range(50))
        zombie = BulkWriter(Indices(client)).write(table, late)
        assert (zombie.indexed, zombie.present) == (0, 100)
        assert same_ids(scanned(client, indices, table), range(50))
        assert writer.write(table, to_ndjson(table, rows(table, 1, start=200), 3)).indexed == 1

    def test_a_rewrite_meanwhile_begins_again(
        self, client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table
    ) -> None:
        silver = Silver()
        silver.commit(rows(table, 30))
        silver.lose_at = 2
        report = rebuild(indices, writer, table, DAY, silver.read)
        assert report.documents == 30
        assert same_ids(scanned(client, indices, table), range(30))
        assert [(i.serving, i.blocked) for i in indices.all(table)] == [(True, False)]

    def test_what_a_dead_rebuild_left_is_removed(
        self, client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table
    ) -> None:
        silver = Silver()
        silver.commit(rows(table, 10))
        writer.write(table, to_ndjson(table, rows(table, 10), 1))
        half = indices.create(table, DAY, 2, serve=False)
        writer.write(table, to_ndjson(table, rows(table, 4, start=90), 1), into=half)
        assert same_ids(scanned(client, indices, table), range(10))  # it never serves
        rebuild(indices, writer, table, DAY, silver.read)
        assert [(i.generation, i.serving) for i in indices.all(table)] == [(3, True)]
        assert same_ids(scanned(client, indices, table), range(10))

    def test_a_failure_leaves_the_old_index_serving(
        self, client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table
    ) -> None:
        writer.write(table, to_ndjson(table, rows(table, 10), 1))
        silver = Silver()
        silver.commit(rows(table, 10))

        def fails_when_blocked(since: Snapshot | None) -> Snapshot:
            if indices.all(table)[0].blocked:
                raise OSError("the lake is away")
            return silver.read(since)

        with pytest.raises(OSError, match="the lake is away"):
            rebuild(indices, writer, table, DAY, fails_when_blocked)
        assert [(i.generation, i.serving, i.blocked) for i in indices.all(table)] == [(1, True, False)]
        assert writer.write(table, to_ndjson(table, rows(table, 1, start=10), 2)).indexed == 1

    def test_only_one_at_a_time(
        self,
        client: OpenSearch,
        indices: Indices,
        writer: BulkWriter,
        table: Table,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(lease, "BEAT_S", 0.2)
        with lease.Lease(client, table, DAY), pytest.raises(SearchError, match="another rebuild"):
            rebuild(indices, writer, table, DAY, Silver().read)

    def test_a_writer_ends_the_block_of_a_dead_rebuild(
        self, client: OpenSearch, indices: Indices, table: Table, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _hurry(monkeypatch)
        with BulkWriter(indices, patience_s=30) as writer:
            writer.write(table, to_ndjson(table, rows(table, 5), 1))
            dead = _killed_behind_its_block(client, table)
            report = writer.write(table, to_ndjson(table, rows(table, 5, start=5), 2))
            assert report.indexed == 5
            with pytest.raises(Conflict):
                dead.check()  # stopped, not dead after all: it may do nothing any more

    @pytest.mark.parametrize("step", ["find", "all"])
    def test_a_retry_that_fails_leaves_no_block_for_ever(
        self,
        client: OpenSearch,
        indices: Indices,
        writer: BulkWriter,
        table: Table,
        monkeypatch: pytest.MonkeyPatch,
        step: str,
    ) -> None:
        def away(*_: object) -> None:
            raise Unavailable("the index does not answer", "later")

        _hurry(monkeypatch)
        writer.write(table, to_ndjson(table, rows(table, 5), 1))
        _killed_behind_its_block(client, table)
        with monkeypatch.context() as patch, pytest.raises(Unavailable):
            patch.setattr(Indices, step, away)
            rebuild(indices, writer, table, DAY, Silver().read)
        assert writer.write(table, to_ndjson(table, rows(table, 5, start=5), 2)).indexed == 5
        assert [(i.generation, i.serving, i.blocked) for i in indices.all(table)] == [(1, True, False)]

    def test_a_retry_that_is_killed_leaves_no_block_for_ever(
        self, client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fills, ends = threading.Event(), threading.Event()

        def stands_still(_: Snapshot | None) -> Snapshot:
            fills.set()
            ends.wait()
            raise OSError("the end of the test")

        def retry() -> None:
            with BulkWriter(Indices(client)) as own, suppress(Conflict, OSError):
                rebuild(Indices(client), own, table, DAY, stands_still)

        _hurry(monkeypatch)
        writer.write(table, to_ndjson(table, rows(table, 5), 1))
        _killed_behind_its_block(client, table)
        monkeypatch.setattr(lease.Lease, "_keep", lambda _: None)  # no heartbeats: to others it is dead once it fills
        thread = threading.Thread(target=retry)
        thread.start()
        try:
            assert fills.wait(30)
            assert writer.write(table, to_ndjson(table, rows(table, 5, start=5), 2)).indexed == 5
            assert not indices.all(table)[0].blocked
        finally:
            ends.set()
            thread.join()


def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "STALE_S", 1.0)
    monkeypatch.setattr(lease, "BEAT_S", 0.2)


def _killed_behind_its_block(client: OpenSearch, table: Table) -> lease.Lease:
    """The lease of a rebuild that has blocked the first index, and was killed then."""
    dead = lease.Lease(client, table, DAY)
    dead.__enter__()
    dead.blocks(index_name(table, DAY, 1))
    lease.block(client, index_name(table, DAY, 1))
    dead._ended.set()  # no more heartbeats, and nothing is tidied up
    return dead
