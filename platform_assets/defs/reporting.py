"""Reports as Dagster events: which partitions a run touched, and the figures beside each.

Belongs here: turning an `IngestReport` or `RebuildReport` into metadata. Does not: evaluating it (`checks`), or running
(`run`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from dagster import AssetMaterialization, MetadataValue, TableSchema

from platform_assets.contracts.model import Table
from platform_assets.defs.partitions import FIRST_DAY, by_day, known
from platform_assets.defs.specs import Layer, columns, key, topic_key

if TYPE_CHECKING:
    from platform_assets.ingest.rebuild import RebuildReport
    from platform_assets.ingest.report import TableReport

Metadata = dict[str, Any]
PARTITION_ROWS = "dagster/partition_row_count"
_schema = cache(columns)


def ingest_days(report: TableReport, day: str) -> Mapping[Layer, dict[str, int]]:
    """Rows or documents that an ingest run wrote, by layer and day; the run's own day is there even when nothing came.

    Rejects are counted by run, not by day, and shown at the run's day.
    """
    none = {day: 0}
    return {
        Layer.BRONZE: none | by_day(report.bronze),
        Layer.SILVER: none | by_day(report.silver),
        Layer.QUARANTINE: {day: sum(report.rejected.values())},
        Layer.INDEX: none | by_day(report.indexed),
    }


def ingest_metadata(table: Table, report: TableReport, layer: Layer, rows: int, reason: str) -> Metadata:
    """The figures of one layer after an ingest run; `rows` are those of the partition they are shown at.

    `reason` tells why the run ended."""
    return {
        "rows" if layer is not Layer.INDEX else "documents": rows,
        **_LAYER_FIGURES[layer](table, report),
        "lag": sum(report.lag.values()),
        table.shown.positions: _by_shard({shard: [start, end] for shard, (start, end) in report.positions.items()}),
        "seconds": MetadataValue.json({phase: round(s, 3) for phase, s in report.seconds.items()}),
        "commits": report.commits,
        "contract_version": table.version,
        "ended_by": reason,
        **_column_schema(table, layer),
    }


def _bronze(table: Table, report: TableReport) -> Metadata:
    figures: Metadata = {
        "bytes": report.bronze_bytes,
        f"skipped_{table.shown.positions}": report.skipped,
        "gaps": len(report.gaps),
    }
    if report.trouble:
        figures["trouble"] = "; ".join(report.trouble.values())
    return figures


def _silver(_: Table, report: TableReport) -> Metadata:
    figures: Metadata = {
        "duplicates": report.duplicates,
        "conflicts": report.conflicts,
        "rejected": sum(report.rejected.values()),
        "history_rows": report.history,
    }
    if report.watermark is not None:
        figures["watermark"] = MetadataValue.timestamp(report.watermark)
    return figures


def _quarantine(_: Table, report: TableReport) -> Metadata:
    return {"rate": report.quarantine_rate, "reasons": MetadataValue.json(dict(report.rejected))}


def _index(_: Table, report: TableReport) -> Metadata:
    figures: Metadata = {"refused": report.index_refused}
    if report.index_behind is not None:
        figures["commits_behind"] = report.index_behind
    if report.index_error:
        figures["trouble"] = report.index_error
    return figures


_LAYER_FIGURES = {Layer.BRONZE: _bronze, Layer.SILVER: _silver, Layer.QUARANTINE: _quarantine, Layer.INDEX: _index}


def _column_schema(table: Table, layer: Layer) -> dict[str, TableSchema]:
    return {"dagster/column_schema": _schema(table, layer)}


def _by_shard(figures: Mapping[int, object]) -> MetadataValue:
    return MetadataValue.json({str(shard): figure for shard, figure in sorted(figures.items())})


def topic_event(table: Table, report: TableReport) -> AssetMaterialization:
    """The topic as the run left it."""
    return AssetMaterialization(
        topic_key(table),
        metadata={
            table.shown.source: report.source,
            "records": report.records,
            "lag": sum(report.lag.values()),
            f"lag_by_{table.shown.shard}": _by_shard(report.lag),
        },
    )


def ingest_events(
    table: Table, report: TableReport, reason: str, day: str, own: Collection[Layer]
) -> Iterator[AssetMaterialization]:
    """What an ingest run touched besides its own day of the layers in `own`, which it reports as its results."""
    for layer, days in ingest_days(report, day).items():
        for touched, rows in days.items():
            if rows and known(touched) and not (touched == day and layer in own):
                figures = ingest_metadata(table, report, layer, rows, reason)
                yield AssetMaterialization(key(layer, table), partition=touched, metadata=figures)


def summary(table: Table, report: TableReport, reason: str) -> str:
    """One line for the run's log."""
    hidden = sum(1 for day in by_day(report.silver) if not known(day))
    return (
        f"{table.name}: {report.records:,} landed, {sum(report.silver.values()):,} to silver, {report.duplicates:,} duplicates "
        f"({report.conflicts:,} with other values), "
        f"{sum(report.rejected.values()):,} refused, {sum(report.indexed.values()):,} indexed, "
        f"{report.index_refused:,} refused by the index, lag {sum(report.lag.values()):,}, "
        f"ended by {reason}" + (f"; {hidden} days before {FIRST_DAY} have no partition here" if hidden else "")
    )


def rebuild_metadata(table: Table, report: RebuildReport, layer: Layer) -> Metadata:
    """The figures of silver or index after a rebuild of a day."""
    rows = sum(report.partitions.values())
    return {
        **(
            {"documents": report.documents, "refused": report.index_refused}
            if layer is Layer.INDEX
            else {"rows": rows, PARTITION_ROWS: rows}
        ),
        "partitions": MetadataValue.json(report.partitions),
        "bronze_rows": report.bronze_rows,
        "duplicates": report.duplicates,
        "conflicts": report.conflicts,
        "rejected": report.rejected,
        "seconds": MetadataValue.json({phase: round(s, 3) for phase, s in report.seconds.items()}),
        "contract_version": table.version,
        "ended_by": "rebuild",
        **_column_schema(table, layer),
    }
