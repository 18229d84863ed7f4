"""Where a record came from: the columns that say so, their order, and the ids made of them.

A *source* (a Kafka topic by its UUID) has numbered *shards* (Kafka partitions), and in each shard every record has a *position*
(an offset) that grows. All tables name these columns alike, whatever the source is; people see the words of the source's kind.

Belongs here: names, order, the document id in Python and SQL, and the words that are shown. Does not: reading a source, or the
transactions that record how far a shard was read (`transactions.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SOURCE, SHARD, POSITION, SPAN = "_source", "_shard", "_position", "_span"
"""Columns: the source's identity (string), the shard (int32), the position (int64), and bronze's number of positions (int64)."""
COLUMNS = (SOURCE, SHARD, POSITION)
COORDINATES = ", ".join(COLUMNS)
"""The columns as they stand in SQL."""
BRONZE_ORDER = f"seq, {SHARD}, {POSITION}"
"""The order of bronze records: by commit, and within a commit by shard and position."""
ORDER = f"_seq, {SHARD}, {POSITION}"
"""The same order in silver and quarantine."""
SOURCE_PREFIX = 8
"""How many characters of the source's identity a document's id holds."""

_DOCUMENT_ID = re.compile(rf"([0-9A-Za-z_-]{{1,{SOURCE_PREFIX}}})\.(\d{{1,9}})\.(\d{{1,18}})")
_RECORD_ID = re.compile(r"([0-9A-Za-z_-]{8,64}):(\d{1,9}):(\d{1,18})")


@dataclass(frozen=True, slots=True)
class Coordinates:
    """Where a record came from. `source` may be only the beginning of the source's identity, as in a document's id."""

    source: str
    shard: int
    position: int

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Coordinates:
        """The coordinates of a row of any table."""
        return cls(row[SOURCE], row[SHARD], row[POSITION])

    @property
    def document_id(self) -> str:
        """The id of the record's document."""
        return f"{self.source[:SOURCE_PREFIX]}.{self.shard}.{self.position}"

    @property
    def short(self) -> Coordinates:
        """The coordinates as far as a document's id tells them."""
        return Coordinates(self.source[:SOURCE_PREFIX], self.shard, self.position)


def document_id(source: str, shard: int, position: int) -> str:
    """The id of the document of a record."""
    return Coordinates(source, shard, position).document_id


def document_id_sql(relation: str = "") -> str:
    """SQL (DuckDB) for the document id of a row of a relation; without a name, of the one relation that is read."""
    source, shard, position = (f"{relation}.{name}" if relation else name for name in COLUMNS)
    return f"concat(left({source}, {SOURCE_PREFIX}), '.', {shard}, '.', {position})"


def parse_document_id(text: str) -> Coordinates:
    """The coordinates in a document's id. ValueError if it is not one."""
    return _parsed(_DOCUMENT_ID.fullmatch(text), text)


def parse_record_id(text: str) -> Coordinates:
    """The coordinates in a document's id, or in `source:shard:position` with the whole identity. ValueError if it is neither."""
    return _parsed(_DOCUMENT_ID.fullmatch(text) or _RECORD_ID.fullmatch(text), text)


def _parsed(match: re.Match[str] | None, text: str) -> Coordinates:
    if match is None:
        raise ValueError(f"not a document id: {text!r} (source.shard.position)")
    return Coordinates(match[1], int(match[2]), int(match[3]))


@dataclass(frozen=True, slots=True)
class ShownNames:
    """The words in which people know the coordinates of one kind of source; tables never use them."""

    name: str
    source: str
    shard: str
    position: str

    def named(self, coordinates: Coordinates) -> dict[str, Any]:
        """The coordinates by their shown names, in this order."""
        return {
            self.source: coordinates.source,
            self.shard: coordinates.shard,
            self.position: coordinates.position,
        }

    @property
    def source_words(self) -> str:
        """What the source's identity is called in a sentence."""
        return self.source.replace("_", " ")

    @property
    def shards(self) -> str:
        """Several shards."""
        return f"{self.shard}s"

    @property
    def positions(self) -> str:
        """Several positions."""
        return f"{self.position}s"

    @property
    def by_field(self) -> dict[str, str]:
        """Shown name by the field of an index document's system object (`shard`, `position`)."""
        return {SHARD[1:]: self.shard, POSITION[1:]: self.position}


SHOWN: Mapping[str, ShownNames] = {
    "kafka": ShownNames(name="topic", source="topic_id", shard="partition", position="offset"),
}
"""Shown names by the kind of source: what the command line, the API, the page and Dagster call the coordinates."""
