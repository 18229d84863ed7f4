"""What the publisher takes together: pieces from memory, without an index."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from lakes import SmallLake

from platform_assets.core.settings import Settings
from platform_assets.ingest.publish import Publisher


@pytest.fixture
def lake(tmp_path: Path) -> SmallLake:
    return SmallLake(tmp_path)


def test_pieces_are_joined_up_to_a_rewrite(lake: SmallLake) -> None:
    """A chunk has one version: rows that a rewrite replaced must not be sent as newer than the index that it rebuilt."""
    settings = Settings(lake.root, lake.root, {})
    publisher = Publisher(settings, lake.contract, lake.tables, lake.report, enabled=False)
    for first, rewrite in ((0, None), (10, None), (20, 1), (30, 1)):
        publisher.offer(replace(lake.land_and_settle(range(first, first + 10)), rewrite=rewrite))
    chunks = []
    done = 0
    while (chunk := publisher._next(done, wait=False)) is not None:
        chunks.append((done, chunk.seq, chunk.version, chunk.rows.num_rows))
        done = chunk.seq
    versions = {seq: version for _, seq, version, _ in chunks}
    assert [(after, seq, rows) for after, seq, _, rows in chunks] == [(0, 2, 20), (2, 4, 20)]
    assert versions[2] < versions[4]
    publisher.finish(0.0)


def test_a_commit_knows_the_rewrite_that_it_follows(lake: SmallLake) -> None:
    assert lake.land_and_settle(range(5)).rewrite is None
    silver = lake.tables.silver
    silver.commit([], advance={"rewrite": 1}, expect={"rewrite": None})
    assert lake.land_and_settle(range(5, 9)).rewrite == 1
