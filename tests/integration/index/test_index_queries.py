"""The query language and its pages on the real node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from opensearchpy import OpenSearch
from opensearchpy.exceptions import TransportError
from searchlab import NOON, TOPIC, own_table, rows

from platform_assets.contracts.model import Table
from platform_assets.core.settings import Settings
from platform_assets.index import asking
from platform_assets.index.asking import Deadline, ask
from platform_assets.index.bulk import BulkWriter
from platform_assets.index.client import connect
from platform_assets.index.documents import to_ndjson
from platform_assets.index.errors import QueryError, SearchError, TimeExceeded
from platform_assets.index.indices import Indices
from platform_assets.index.names import read_alias
from platform_assets.index.query import search

pytestmark = pytest.mark.services
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def _pages(client: OpenSearch, table: Table, query: str = "", limit: int = 4) -> Iterator[list[int]]:
    """The offsets on each page, from the first to the last."""
    cursor: str | None = None
    while True:
        page = search(client, table, query, limit=limit, cursor=cursor)
        yield [row["_assay"]["offset"] for row in page.rows]
        cursor = page.cursor
        if cursor is None:
            return


class TestQueries:
    @pytest.fixture(scope="module")
    def filled(self, client: OpenSearch) -> Iterator[Table]:
        """A hundred events and three unlike them, which no test here changes."""
        indices = Indices(client)
        with own_table(client, indices) as table, BulkWriter(indices, patience_s=20) as writer:
            failed = {"message": "the payment failed twice", "level": "FATAL", "status": 503}
            slow = {"message": "failed to take the payment", "service": "payments: eu", "latency_ms": 9000.0}
            old = {"event_time": NOON - timedelta(days=1), "_history": True, "status": None}
            extra = [
                rows(table, 1, start=100, **failed),
                rows(table, 1, start=101, **slow),
                rows(table, 1, start=102, partition="2026-11-20", **old),
            ]
            writer.write(table, to_ndjson(table, pa.concat_tables([rows(table, 100), *extra]), 1))
            indices.refresh(table)
            yield table

    @pytest.mark.parametrize(
        ("query", "offsets"),
        [
            ("", range(103)),
            ("level:ERROR status:500", range(0, 100, 5)),
            ("level:ERROR,FATAL -service:users,delivery", [*range(10, 100, 15), 100]),
            ("NOT level:INFO AND status:>500", [100]),
            ('"payment failed"', [100]),
            ("payment failed", [100, 101]),
            ("-payment level:FATAL", []),
            ('service:"payments: eu"', [101]),
            ("service:pay* status:>=503", [100]),
            ("latency_ms:>=9000", [101]),
            ("latency_ms:10..12", [10, 11]),
            ("latency_ms:..1", [0]),
            ("retried:true latency_ms:<4", [0, 2]),
            ("-status:*", [102]),
            ("history:true", [102]),
            ("history:false offset:>98", [99, 100, 101]),
            ("-history:false", [102]),
            ("event_time:2026-11-20", [102]),
            ("event_time:..2026-11-20", [102]),
            ("event_time:>2026-11-20 offset:<3", [0, 1, 2]),
            ("event_time:2026-11-21T12:00:00.000007Z", [7]),
            ("event_time:>=2026-11-21T12:00:00.000007Z offset:<9", [7, 8]),
            ("attributes.region:eu offset:<=3", [1, 3]),
            ("attributes.deep.n:7", [7]),
            ("attributes.region:e* offset:1", [1]),
            ("attributes.nothing:*", []),
            (f"id:{TOPIC[:8]}.3.42", [42]),
            ("e42", [42]),
            ("user_id:hash3 offset:<20", [3, 13]),
            ("message:handled message:17", [17]),
            ('message:"handled 17"', []),
            ("level:* OFFSET", []),
        ],
    )
    def test_finds(self, client: OpenSearch, filled: Table, query: str, offsets: Sequence[int]) -> None:
        found = [row["_assay"]["offset"] for row in search(client, filled, query, limit=1000).rows]
        assert sorted(found) == sorted(offsets)

    def test_a_phrase_may_be_as_long_as_a_query(self, client: OpenSearch, filled: Table) -> None:
        words = "-".join(f"{first}{second}" for first in LETTERS for second in LETTERS)
        assert search(client, filled, f"message:{words}").rows == []

    def test_a_search_that_does_not_end_in_time_says_so(
        self,
        client: OpenSearch,
        indices: Indices,
        writer: BulkWriter,
        table: Table,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(asking, "_ANSWER_S", 30.0)  # the node looks at its clock before each segment only
        for number in range(8):
            writer.write(table, to_ndjson(table, rows(table, 100, start=100 * number), 1))
            indices.refresh(table)
        slow = {"source": "int n = 0; for (int i = 0; i < 900000; ++i) { n += i % 7 } return n >= 0"}
        body = {"size": 1, "query": {"script": {"script": slow}}}
        with pytest.raises(TimeExceeded, match="looking at each took too long") as late:
            ask(client, read_alias(table), body, Deadline(0.1), "looking at each")
        assert isinstance(late.value.__cause__, TransportError)  # the node itself said so
        assert late.value.__cause__.status_code == 500
        over = Deadline(0)
        with pytest.raises(TimeExceeded, match="searching"):
            search(client, table, deadline=over)
        assert len(search(client, table).rows) == 50

    def test_masked_values_are_found_by_who_can_mask(self, client: OpenSearch, filled: Table) -> None:
        masker = {"ann": ["hash3", "old3"]}
        found = search(client, filled, "user_id:ann offset:<20", mask=lambda value: masker.get(value, []))
        assert [row["_assay"]["offset"] for row in found.rows] == [13, 3]
        assert search(client, filled, "user_id:ann").rows == []

    def test_newest_first_page_by_page_without_gap_or_repetition(self, client: OpenSearch, filled: Table) -> None:
        pages = _pages(client, filled, "offset:<102", limit=17)
        assert [offset for page in pages for offset in page] == list(range(101, -1, -1))

    def test_equal_times_page_by_bronze_order(
        self, client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table
    ) -> None:
        writer.write(table, to_ndjson(table, rows(table, 30, event_time=NOON), 1))
        indices.refresh(table)
        first = search(client, table, limit=13)
        second = search(client, table, limit=30, cursor=first.cursor)
        assert [row["_assay"]["offset"] for row in first.rows + second.rows] == list(range(29, -1, -1))

    @pytest.mark.parametrize("piece", [1000, 3])
    def test_pages_are_whole_across_minutes_and_days(
        self,
        client: OpenSearch,
        indices: Indices,
        writer: BulkWriter,
        table: Table,
        monkeypatch: pytest.MonkeyPatch,
        piece: int,
    ) -> None:
        monkeypatch.setattr("platform_assets.index.query._rows_at_once", lambda _: piece)
        # A page is first looked for in the newest seconds: rows further apart than any such window must not be skipped.
        gaps = [
            timedelta(seconds=1),
            timedelta(seconds=20),
            timedelta(minutes=7),
            timedelta(hours=5),
            timedelta(days=90),
        ]
        times = [NOON]
        for number in range(59):
            times.append(times[-1] - gaps[number % len(gaps)])
        batches = [rows(table, 1, start=n, event_time=time) for n, time in enumerate(times)]
        batches.append(rows(table, 1, start=60, event_time=datetime(1960, 1, 1, tzinfo=UTC)))  # not sortable: last
        written = writer.write(table, to_ndjson(table, pa.concat_tables(batches), 1))
        assert (written.indexed, written.refused) == (61, [])
        indices.refresh(table)
        assert [offset for page in _pages(client, table) for offset in page] == list(range(61))
        assert [r["_assay"]["offset"] for r in search(client, table, "offset:<=9", until=times[3], limit=3).rows] == [
            4,
            5,
            6,
        ]

    def test_a_row_without_a_sortable_time_is_not_lost_between_segments(
        self, client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table
    ) -> None:
        """The node may pass over a segment whose times all lie before the cursor: its rows without one come after it."""
        ancient = datetime(1960, 1, 1, tzinfo=UTC)
        newer = [rows(table, 4, start=0), rows(table, 1, start=9, event_time=ancient)]
        writer.write(table, to_ndjson(table, pa.concat_tables(newer), 1))
        [index] = [each.name for each in indices.all(table)]
        client.indices.forcemerge(index=index, params={"max_num_segments": 1})
        # Otherwise, a refresh may merge small segments.
        client.indices.put_settings(index=index, body={"index.merge_on_flush.enabled": False})
        writer.write(table, to_ndjson(table, rows(table, 4, start=4, event_time=NOON - timedelta(days=1)), 1))
        indices.refresh(table)
        segments = client.indices.segments(index=index)["indices"][index]["shards"]["0"][0]["segments"]
        assert len(segments) > 1
        pages = list(_pages(client, table))
        assert pages == [[3, 2, 1, 0], [7, 6, 5, 4], [9]]

    def test_time_range(self, client: OpenSearch, filled: Table) -> None:
        found = search(client, filled, since=NOON + timedelta(microseconds=3), until=NOON + timedelta(microseconds=6))
        assert [row["event_id"] for row in found.rows] == ["e5", "e4", "e3"]
        assert search(client, filled, until=NOON - timedelta(days=2)).rows == []
        assert len(search(client, filled, since=NOON - timedelta(hours=1), limit=1000).rows) == 102

    def test_rows_carry_fields_id_and_coordinates(self, client: OpenSearch, filled: Table) -> None:
        row = search(client, filled, "offset:5").rows[0]
        assert row["id"] == f"{TOPIC[:8]}.3.5"
        assert (row["status"], row["payload"], row["attributes"]["deep"]) == (500, None, {"n": 5})
        assert row["_assay"] == {
            "seq": 0,
            "partition": 3,
            "offset": 5,
            "hash": 39590,
            "contract": "1.0.0",
            "key_id": "k1",
        }

    def test_a_table_without_documents_has_no_rows(self, client: OpenSearch, table: Table) -> None:
        assert search(client, table, "level:ERROR").rows == []

    def test_a_cursor_of_another_table_is_refused(self, client: OpenSearch, filled: Table) -> None:
        cursor = search(client, filled, limit=1).cursor
        with pytest.raises(QueryError, match="cursor"):
            search(client, replace(filled, name="other"), cursor=cursor)

    def test_the_reader_role_may_search_but_not_write(self, services: Settings, filled: Table) -> None:
        reader = connect(services.opensearch_url, services.opensearch_auth("reader"), services.opensearch_ca)
        assert len(search(reader, filled, "level:FATAL").rows) == 1
        with BulkWriter(Indices(reader)) as own, pytest.raises(SearchError, match="no right"):
            own.write(filled, to_ndjson(filled, rows(filled, 1, start=500), 1))
        reader.close()
