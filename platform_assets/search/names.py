"""What things are called in the index: physical indices, aliases, documents.

Identifiers of systems and tables hold no hyphen, so that the parts of a name cannot run into each other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from platform_assets.contracts.model import Field

PROGRESS_INDEX = "assay-progress"
PROGRESS_ID = "_progress"
TOPIC_PREFIX = 8

_PARTITION = re.compile(r"\d{4}-\d{2}(-\d{2}(T\d{2})?)?")
_DOCUMENT_ID = re.compile(r"([0-9A-Za-z_-]{1,8})\.(\d+)\.(\d+)")


class DocumentSet(Protocol):
    """What documents are made from: a contract's table, or anything else with fields and a time."""

    @property
    def system(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def qualified_name(self) -> str: ...
    @property
    def fields(self) -> tuple[Field, ...]: ...
    @property
    def event_time(self) -> str: ...
    @property
    def attributes(self) -> str | None: ...
    @property
    def attributes_max_bytes(self) -> int: ...
    @property
    def max_depth(self) -> int: ...
    @property
    def summed(self) -> bool:
        """Whether sums over documents are asked for."""


@dataclass(frozen=True, slots=True)
class Coordinates:
    """Where a document came from; `topic` is the first 8 characters of the topic's id."""

    topic: str
    partition: int
    offset: int


def read_alias(table: DocumentSet) -> str:
    """Over every serving index of the table; people and dashboards read here."""
    return f"{table.system}-{table.name}"


def partition_alias(table: DocumentSet, event_partition: str) -> str:
    """Names the one physical index that serves this event partition. ValueError if it is no partition's name."""
    if not _PARTITION.fullmatch(event_partition):
        raise ValueError(f"not an event partition: {event_partition!r}")
    return f"{read_alias(table)}-{event_partition.lower()}"


def index_name(table: DocumentSet, event_partition: str, generation: int) -> str:
    """The physical index, e.g. `logs-events-2026-11-21t08-000001`."""
    return f"{partition_alias(table, event_partition)}-{generation:06d}"


def split_index_name(table: DocumentSet, name: str) -> tuple[str, int] | None:
    """(event partition, generation) of a physical index of this table; None if the name is not one."""
    head, _, generation = name.removeprefix(f"{read_alias(table)}-").rpartition("-")
    partition = head.upper()
    if not (generation.isdigit() and len(generation) == 6 and _PARTITION.fullmatch(partition)):
        return None
    return (partition, int(generation)) if name == index_name(table, partition, int(generation)) else None


def document_id(topic_id: str, partition: int, offset: int) -> str:
    """The id of the document of a record."""
    return f"{topic_id[:TOPIC_PREFIX]}.{partition}.{offset}"


def parse_document_id(text: str) -> Coordinates:
    """The coordinates in a document's id. ValueError if it is not one."""
    match = _DOCUMENT_ID.fullmatch(text)
    if match is None:
        raise ValueError(f"not a document id: {text!r} (topic.partition.offset)")
    return Coordinates(match[1], int(match[2]), int(match[3]))
