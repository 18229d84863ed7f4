"""What every source can do: say what it has, begin at positions, and give batches of records whose ranges leave no hole.

A source reads named *streams* (for Kafka: topics). A stream has numbered shards and an identity: one that is made anew under the
same name has another. In a shard every record has a position. Positions grow, and marker rows cover those that hold no record, so
that the ranges of consecutive batches tile the shard. A source is told where to begin, since positions live in the lake's
tables, and never decides by itself to skip anything.

Belongs here: the words between ingest and sources. Does not: any client of a source.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from platform_assets.contracts.arrow import BRONZE_SCHEMA
from platform_assets.core.errors import AssayError
from platform_assets.core.transactions import app_id

Watermarks = Mapping[int, tuple[int, int]]
"""By shard: the earliest position that the source still has, and the next that it will give."""
Positions = Mapping[tuple[str, int], int]
"""Positions by (stream's name, shard)."""
Headers = Mapping[str, str | bytes | None] | Iterable[tuple[str, str | bytes | None]]

RECORD_SCHEMA: pa.Schema = pa.schema(
    [field for field in BRONZE_SCHEMA if field.name not in ("seq", "landed_at", "landed_date")]
)
"""Bronze's columns without those that landing adds."""
RECORD, SKIPPED = "record", "skipped"
"""Kinds of rows: a record, and a stretch of positions that holds none that can be read."""


class SourceError(AssayError):
    """A source cannot be reached, refuses, or answers what a worker cannot go on from."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream as it is now. `id` is its identity (for Kafka the topic's UUID): one deleted and made again has another."""

    name: str
    id: str
    shards: tuple[int, ...]

    def app_id(self, shard: int) -> str:
        """The application transaction under which tables record the next position of this shard."""
        return app_id(self.id, shard)


@dataclass(frozen=True, slots=True)
class Marks:
    """A stream, and the watermarks of its shards."""

    stream: Stream
    marks: Watermarks


@dataclass(frozen=True, slots=True)
class Gap:
    """The source no longer has `expected`; the oldest record that it holds is at `earliest`."""

    stream: str
    shard: int
    expected: int
    earliest: int


@dataclass
class SourceBatch:
    """What one stream gave since the last batch.

    `rows` are of RECORD_SCHEMA, by shard and position, with a row of kind `skipped` for every range of positions that holds no
    readable record. `start` and `next` are the half-open range of positions by shard; the rows cover it exactly. `bytes` is
    the size of the values.
    """

    stream: Stream
    rows: pa.Table
    start: dict[int, int]
    next: dict[int, int]
    bytes: int


class Source(Protocol):
    """Reads some streams from given positions. Not thread-safe; one a worker."""

    gaps: dict[tuple[str, int], Gap]
    """What the source lost of the shards that it was told to read, since the last `seek`."""

    def describe(self, names: Sequence[str]) -> dict[str, Stream]:
        """The streams of those names that exist. Raises SourceError when the source cannot answer."""

    def look(self, names: Sequence[str]) -> dict[str, Stream] | None:
        """As `describe`; None while the source is away for a moment. Raises SourceError once it is away for too long."""

    def reaches(self, stream: Stream) -> bool:
        """Whether every shard can be read already, which may take a moment after they were made."""

    def holds_since(self, stream: Stream, moment: int) -> bool:
        """Whether the stream holds a record stamped at or after `moment` (microseconds since 1970). Raises SourceError."""

    def watermarks(self, stream: Stream) -> Watermarks:
        """Earliest and next position by shard, asked of the source now. Raises SourceError."""

    def seek(self, positions: Mapping[str, tuple[Stream, Mapping[int, int | None]]]) -> None:
        """Read from these positions on: {name: (stream, {shard: next position, None for the earliest})}.

        Replaces what was read before. A shard whose next position the source no longer has is left out and named in `gaps`.
        """

    def empty(self) -> set[tuple[str, int]]:
        """Shards that held no record when they were last sought."""

    def ends(self) -> dict[tuple[str, int], int]:
        """The next position by (stream, shard), as last heard; no request is made."""

    def read(
        self, *, max_rows: int, max_bytes: int, seconds: float, until: Positions | None = None
    ) -> list[SourceBatch]:
        """Collect for up to `seconds`, `max_rows` or `max_bytes`, whichever is first; one batch a stream that moved.

        With `until` (exclusive ends) records at or past the end are given back and the read stops once all ends are reached
        (bounded mode), at once if they were before. Raises SourceError.
        """

    def close(self) -> None:
        """Leave the source."""


def encode_headers(headers: Headers) -> bytes:
    """Headers as a JSON list of [name, value as latin-1 text or null]: order and repeats kept, every byte recoverable."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return json.dumps([[k, v.decode("latin-1") if isinstance(v, bytes) else v] for k, v in pairs]).encode()
