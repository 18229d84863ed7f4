"""What a format of messages is, and how the formats are found.

Belongs here: the interface that each module of `platform_assets.formats` implements as its `FORMAT`, and the look-up by name.
Does not belong here: anything that only one format knows.

A format is found by its name, as a system is by its folder: the module `platform_assets.formats.<name>` is imported when a
contract uses it, so that a decoder that is costly to import is paid for by those who need it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, cast

from platform_assets.contracts.model import Field, Format, Table
from platform_assets.core.errors import AssayError, Mistake, Mistakes

Reader = Callable[[Any, str], Any]
"""Reads one value of a contract's document at a place of it; raises ContractError."""
Stage = tuple[str, str]
"""A CTE of the transform SELECT: its name and its query."""
Case = tuple[str, str]
"""A condition, and the reason code of the rows for which it holds, both as SQL."""


class BodyError(ValueError):
    """The body of a request holds no records of the format. The text says why, without the body's values."""


class FramingError(AssayError):
    """A file does not begin as the contract says; nothing of it is read."""


@dataclass(frozen=True, slots=True)
class FieldText:
    """Where a field's text stands: SQL columns for the text (null: absent) and, where values have types, its type."""

    field: Field
    text: str
    json_type: str | None = None


class Framer(Protocol):
    """Cuts a stream of bytes into records.

    `consumed` counts the bytes of the records handed out, what separates them included; `held` those fed and not yet handed out.
    `cut` counts the records that were longer than the limit and lost their end.
    """

    consumed: int
    cut: int

    @property
    def held(self) -> int: ...

    @property
    def in_line(self) -> bool:
        """Whether the bytes fed so far end within a line."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The records that this chunk completes."""

    def finish(self) -> list[bytes]:
        """The rest of the records: the file has ended."""

    def flush_lines(self) -> list[bytes]:
        """The record of whole lines that only a next record would complete; none while a line is being written."""


class RecordFormat(ABC):
    """How the bytes of a message become the texts of a contract's fields."""

    media_type: ClassVar[str]
    """Of a request's body with records of the format."""
    language: ClassVar[str]
    """Of an example, as Markdown names it."""
    properties: ClassVar[Mapping[str, tuple[str, Reader]]] = MappingProxyType({})
    """The custom properties of a table that belong to the format: the model's attribute of each, and how its value is read."""
    keeps_unknown: ClassVar[bool] = False
    """Whether messages have members that no field names, which a property of type object may keep."""
    typed: ClassVar[bool] = False
    """Whether a value has a type of its own; otherwise all are texts."""
    json_text: ClassVar[bool] = False
    """Whether the text of a message is JSON."""

    def read(self, custom: Mapping[str, Any], place: str, found: Mistakes) -> dict[str, Any]:
        """The attributes of the model that the format's properties give, as far as they are given and understood."""
        values = {
            attribute: found.get(read, custom[name], f"{place}.customProperties[{name}]")
            for name, (attribute, read) in self.properties.items()
            if name in custom
        }
        return {attribute: value for attribute, value in values.items() if value is not None}

    @abstractmethod
    def check(self, table: Table, place: str) -> Iterator[Mistake]:
        """What is wrong with the table's properties of this format."""

    @abstractmethod
    def describe(self, table: Table) -> str:
        """What one message is, in a few words: `one JSON object`."""

    def limits(self, table: Table) -> str:
        """What bounds a message beside its size, in a few words; empty for nothing."""
        return ""

    @abstractmethod
    def body_schemas(self, table: Table, most: int) -> list[dict[str, Any]]:
        """JSON Schemas of a request's body, any of which it may have: with one record, with up to `most`."""

    @abstractmethod
    def example(self, table: Table) -> Any:
        """The table's sample as OpenAPI shows a body."""

    @abstractmethod
    def records(self, table: Table, body: bytes, most: int) -> list[bytes]:
        """The records of a request's body; may stop once there are more than `most`. Raises BodyError."""

    @abstractmethod
    def framer(self, table: Table, limit: int, *, at_start: bool = True) -> Framer:
        """Cuts files into records of at most `limit` bytes. `at_start`: the first byte fed is the first of a file."""

    @abstractmethod
    def sources(self, table: Table) -> list[FieldText]:
        """Where each sent field's text stands after the stages."""

    @abstractmethod
    def stages(self, table: Table) -> list[Stage]:
        """From the relation `screened` (`_body`, `_fault`) on; the last one is the relation `decoded`.

        Adds `_structure` (a reason or null), the columns that `sources` names and, when the contract has it, `_attributes`.
        """

    @abstractmethod
    def last_faults(self, table: Table) -> list[Case]:
        """What is tested after single fields."""

    @abstractmethod
    def excerpt(self, table: Table, sources: list[FieldText], hidden: list[Field]) -> str:
        """SQL for what quarantine may show of a message, before personal data in texts is removed."""


@cache
def format_named(name: Format) -> RecordFormat:
    """The implementation of a format."""
    return cast(RecordFormat, import_module(f"platform_assets.formats.{name.value}").FORMAT)


def format_of(table: Table) -> RecordFormat:
    """The implementation of the table's format."""
    return format_named(table.format)
