"""The contract as the platform sees it: plain frozen values, no behaviour beyond simple look-ups.

Source: an ODCS 3.x document (`contracts/read.py` fills this model from it). Every other package derives its part (schemas,
SQL, mappings, assets) from these values and from nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum

from platform_assets.core.coordinates import SHOWN, ShownNames


class FieldType(StrEnum):
    """Logical types of the platform; `types.py` says what each is elsewhere."""

    STRING = "string"
    INTEGER = "integer"  # 64-bit signed
    NUMBER = "number"  # double, finite
    DECIMAL = "decimal"  # exact: `precision` digits in all, `scale` of them after the point
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"  # microseconds, UTC


class Format(StrEnum):
    """How a message's bytes are read."""

    JSON = "json"
    REGEX = "regex"  # one text record, by named-group RE2 expressions
    CSV = "csv"  # one row of separated values


class InvalidBytes(StrEnum):
    """What becomes of a text record with bytes that are not UTF-8, or with NUL."""

    REJECT = "reject"
    ESCAPE = "escape"  # NUL and every byte outside printable ASCII of such a record is read as \xNN


class Mask(StrEnum):
    """What becomes of personal data on its way to silver."""

    NONE = "none"
    HMAC = "hmac"  # whole value replaced by a keyed HMAC-SHA256, hex
    SCRUB = "scrub"  # free text: e-mails and card numbers replaced in place
    SCRUB_ADDRESSES = "scrub_addresses"  # free text in which network addresses are people's: those too

    @property
    def scrubs(self) -> bool:
        """Whether the text stays, without what in it is personal."""
        return self in (Mask.SCRUB, Mask.SCRUB_ADDRESSES)


ISO = "iso"
"""The time format of ISO 8601; without a zone too where the field declares one."""
EPOCHS = ("epoch_s", "epoch_ms", "epoch_us", "epoch_ns")
"""Time formats that are numbers: seconds, milliseconds, microseconds, nanoseconds since 1970 (UTC)."""
_UTC = (None, "UTC", "Etc/UTC")


class AmbiguousTime(StrEnum):
    """Which moment a time without a zone is that clocks show twice, as they are put back in between."""

    EARLIEST = "earliest"
    LATEST = "latest"
    REJECT = "reject"


class SkippedTime(StrEnum):
    """What becomes of a time without a zone that clocks skip, as they are put forward."""

    REJECT = "reject"
    SHIFT = "shift"  # forward, by as much as the clocks were put forward


class Grain(StrEnum):
    """The length of a silver partition in event time."""

    DAY = "day"
    HOUR = "hour"


class IndexPeriod(StrEnum):
    """The length of event time that one search index holds, the shortest first."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    YEAR = "year"


class SeverityRank(StrEnum):
    """How severe a row is, in rising order."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class IndexType(StrEnum):
    """How a field is searched; derived from its type unless the contract gives a hint."""

    KEYWORD = "keyword"
    TEXT = "text"
    LONG = "long"
    DOUBLE = "double"
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    DATE = "date"
    NONE = "none"  # stored, not searchable


@dataclass(frozen=True, slots=True)
class Field:
    """One promised column of silver.

    `source` is where the value is found in the message: a JSON member name or a regular expression's group name. It is empty for
    a computed column.
    """

    name: str
    type: FieldType
    description: str = ""
    required: bool = False
    source: str = ""
    mask: Mask = Mask.NONE
    pii: bool = False
    index: IndexType = IndexType.KEYWORD
    enum: tuple[str, ...] = ()
    pattern: str | None = None  # RE2, must match the whole value
    minimum: Decimal | None = None
    maximum: Decimal | None = None
    exclusive_minimum: Decimal | None = None
    exclusive_maximum: Decimal | None = None
    precision: int = 0  # of a decimal: digits in all
    scale: int = 0  # of a decimal: digits after the point
    text_too: bool = False  # a decimal that JSON messages may also give as a string
    max_length: int | None = None  # characters
    time_formats: tuple[str, ...] = ()  # DuckDB strptime formats, ISO, EPOCHS; the first that fits; empty: ISO
    time_zone: str | None = None  # IANA name, of times that are written without a zone; None: UTC, and ISO needs a zone
    ambiguous_time: AmbiguousTime = AmbiguousTime.EARLIEST
    skipped_time: SkippedTime = SkippedTime.REJECT
    composed_of: tuple[
        str, ...
    ] = ()  # integer fields of year, month, day, hour, minute, of which the last may be missing
    null_values: tuple[str, ...] = ()  # texts that stand for "absent", e.g. "-"; in JSON only strings do
    examples: tuple[str | int | float | bool, ...] = ()  # for people; never checked against data
    computed: str | None = None  # SQL over other fields of the row, for a column that is in no message

    @property
    def has_clock_changes(self) -> bool:
        """Whether times are of a zone whose clocks are put forward and back."""
        return self.time_zone not in _UTC


@dataclass(frozen=True, slots=True)
class SeverityField:
    """The field that says how severe a row is, and the rank of each of its allowed values."""

    field: str
    ranks: tuple[tuple[str, SeverityRank], ...]


@dataclass(frozen=True, slots=True)
class CsvDialect:
    """How rows of separated values are written."""

    columns: tuple[
        str, ...
    ] = ()  # their names in a row's order; empty: what the fields are read from, in the contract's order
    header: bool = False  # whether each file begins with a row of the columns' names
    delimiter: str = ","  # one character of ASCII
    quote: str = '"'  # one character of ASCII, which stands twice for itself within a quoted value
    decimal_comma: bool = False  # 3,14 is a number, 3.14 is none


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition over the fields of a row, in SQL. A row for which it is false is rejected; unknown (NULL) passes."""

    name: str
    expression: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a system: a topic, its messages, and the promise made for its rows."""

    system: str
    name: str
    version: str  # the contract's semantic version
    description: str
    topic: str
    format: Format
    fields: tuple[Field, ...]
    event_time: str  # name of the timestamp field that says when it happened
    key: tuple[str, ...] = ()  # identity within a dedupe window; empty: no duplicates exist
    dedupe_window: timedelta | None = None  # of event time, a divisor of the grain; None: the whole event partition
    grain: Grain = Grain.DAY
    index_period: IndexPeriod = IndexPeriod.MONTH  # of rows that arrived in time
    history_period: IndexPeriod = IndexPeriod.YEAR  # of rows that are history, which may be of any age
    patterns: tuple[str, ...] = ()  # RE2 with named groups, for Format.REGEX; the first that matches is taken
    invalid_bytes: InvalidBytes = InvalidBytes.REJECT
    csv: CsvDialect = CsvDialect()
    encoding: str = "utf-8"  # of texts; others are read as UTF-8 before anything looks at them
    attributes: str | None = None  # name of the column for unknown fields (JSON), None: unknown fields reject
    attributes_max_bytes: int = 8192
    attributes_mask: Mask = Mask.SCRUB  # one that scrubs
    max_bytes: int = 1_048_576  # of a message's value
    max_depth: int = 32
    max_fields: int = 1000
    max_ahead: timedelta = timedelta(minutes=10)  # event time later than landing by more: rejected
    lateness: timedelta = timedelta(days=2)  # older than this at landing: history
    freshness_warn: timedelta = timedelta(minutes=3)
    freshness_fail: timedelta = timedelta(minutes=10)
    retention: timedelta = timedelta(days=30)  # silver and index
    bronze_retention: timedelta = timedelta(days=30)
    quarantine_rate: float = 0.05  # a larger share of rejects raises an alert, and fails the check of a run
    topic_partitions: int = 4
    frame_start: str | None = None  # RE2: a line that begins a new record when files are sent (multi-line records)
    display: tuple[str, ...] = ()  # columns shown by default to people
    row_policy: str | None = None  # field whose value limits who sees a row; None: only readers without a limit
    severity: SeverityField | None = None
    origin: tuple[str, ...] = ()  # fields that say who wrote a row
    rules: tuple[Rule, ...] = ()  # tested in this order, after the checks of single fields
    sample: str = ""  # one message as it arrives (invented), for the documentation

    @property
    def qualified_name(self) -> str:
        """`system.table`."""
        return f"{self.system}.{self.name}"

    @property
    def shown(self) -> ShownNames:
        """What people call the coordinates of the records: a table follows a Kafka topic."""
        return SHOWN["kafka"]

    @property
    def sent(self) -> tuple[Field, ...]:
        """The fields that are read from messages."""
        return tuple(field for field in self.fields if field.computed is None and not field.composed_of)

    @property
    def composed(self) -> tuple[Field, ...]:
        """The times that are composed of other fields."""
        return tuple(field for field in self.fields if field.composed_of)

    @property
    def computed(self) -> tuple[tuple[Field, str], ...]:
        """The columns that are computed from other fields, each with its expression, in the order of computation."""
        return tuple((field, field.computed) for field in self.fields if field.computed is not None)

    @property
    def summed(self) -> bool:
        """Whether sums over its documents are asked for: of events there are none, marts hold them."""
        return False

    def field(self, name: str) -> Field:
        """The field of that name; KeyError if the contract has none."""
        for candidate in self.fields:
            if candidate.name == name:
                return candidate
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class Contract:
    """A system's contract: one version, one owner, one or more tables, carried by one worker."""

    system: str
    version: str
    description: str
    owner: str
    tables: tuple[Table, ...] = field(default_factory=tuple)

    def table(self, name: str) -> Table:
        """The table of that name; KeyError if the system has none."""
        for candidate in self.tables:
            if candidate.name == name:
                return candidate
        raise KeyError(name)
