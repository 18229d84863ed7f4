"""A made-up system, what its worker might report, and stand-ins for worker, rebuild and state.

The stand-ins speak the interface of `platform_assets.ingest`; that the real ones do too is the integration test's matter.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from platform_assets.contracts.model import Contract, Field, FieldType, Format, Grain, IndexType, Mask, Table
from platform_assets.ingest.report import IngestReport, TableReport

ORDERS = Table(
    system="shop",
    name="orders",
    version="1.2.0",
    description="Orders as they are placed.",
    topic="shop.orders",
    format=Format.JSON,
    event_time="placed_at",
    key=("order_id",),
    grain=Grain.HOUR,
    attributes="attributes",
    fields=(
        Field("order_id", FieldType.STRING, "Identity of the order.", required=True, max_length=64),
        Field("placed_at", FieldType.TIMESTAMP, "When it was placed.", required=True, index=IndexType.DATE),
        Field("buyer", FieldType.STRING, "Who placed it.", pii=True, mask=Mask.HMAC),
        Field("state", FieldType.STRING, "Where it stands.", enum=("open", "paid")),
        Field("amount", FieldType.NUMBER, "Sum in euros.", minimum=Decimal(0), index=IndexType.DOUBLE),
        Field("note", FieldType.STRING, "Not searchable.", index=IndexType.NONE),
    ),
)
VISITS = Table(
    system="shop",
    name="visits",
    version="1.2.0",
    description="Visits, a line each.",
    topic="shop.visits",
    format=Format.REGEX,
    event_time="at",
    patterns=(r"^(?P<at>\S+)$",),
    fields=(Field("at", FieldType.TIMESTAMP, "When.", required=True, source="at", index=IndexType.DATE),),
)
SHOP = Contract("shop", "1.2.0", "What a shop tells.", "shop-team", (ORDERS, VISITS))


def empty_report() -> IngestReport:
    """An ingest run that found nothing."""
    now = datetime.now(UTC)
    tables = {table.name: TableReport(table.name, "topic-id") for table in SHOP.tables}
    return IngestReport("shop", now, 1, now, "handed_over", tables)


def busy_report() -> IngestReport:
    """An ingest run that landed today and reached back: late rows of yesterday, of 2016, and of 1999 (which is no partition)."""
    report = empty_report()
    now = datetime.now(UTC)
    yesterday = (now - timedelta(days=1)).date()
    orders = report.tables["orders"]
    orders.positions = {0: (10, 60), 1: (0, 53)}
    orders.lag = {0: 3, 1: 0}
    orders.bronze = Counter({now.date().isoformat(): 103})
    orders.bronze_bytes = 20_000
    orders.silver = Counter(
        {
            f"{now:%Y-%m-%dT%H}": 50,
            f"{yesterday}T03": 20,
            f"{yesterday}T04": 10,
            "2016-02-29T00": 10,
            "1999-12-31T23": 5,
        }
    )
    orders.indexed = Counter({f"{now:%Y-%m-%dT%H}": 50, f"{yesterday}T03": 20})
    orders.rejected = Counter({"missing:order_id": 3})
    orders.duplicates = 5
    orders.watermark = now - timedelta(seconds=5)
    orders.seconds["bronze"] = 0.25
    return report


@dataclass
class State:
    """The facts that `reconcile.state.table_state` gives."""

    watermark: datetime | None = None
    rows_by_partition: dict[str, int] = field(default_factory=dict)
    bronze_seq: int = 7
    silver_seq: int = 7
    index_behind: int | None = 0
    lag: dict[int, int] | None = None


@dataclass
class Rebuilt:
    """What a rebuild reports."""

    table: str
    day: date
    partitions: dict[str, int]
    bronze_rows: int = 12
    rejected: int = 0
    duplicates: int = 1
    conflicts: int = 0
    documents: int = 11
    index_refused: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {"silver": 0.5})


@dataclass
class AlertServices:
    """What the stand-ins give and what was asked of them."""

    report: Callable[[], IngestReport] = empty_report
    work: Callable[[threading.Event, Callable[[TableReport], None]], None] = lambda stop, tell: None
    rebuild: Callable[[], None] = lambda: None
    states: dict[str, State] = field(default_factory=dict)
    calls: list[tuple[Any, ...]] = field(default_factory=list)
