"""What retention has dropped from silver leaves the index too: documents where others stay, else the whole index.

Everything here follows from what silver and the index have stored (the mark of a dropped partition, the version that an index was
built from), and not from what a maintenance did: one that was killed leaves nothing behind.

Belongs here: which documents are forgotten, and which indices must be built anew. Does not belong here: how an index is changed
(`index/retire.py`, `reindex.py`), or what retention is (`maintain.py`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta

from platform_assets.contracts.model import Grain, Table
from platform_assets.core.settings import Settings
from platform_assets.core.transactions import dropped_mark, expired_mark
from platform_assets.index.checkpoints import read_checkpoint
from platform_assets.index.history import owned
from platform_assets.index.indices import Index, Indices
from platform_assets.index.names import holds, periods_of, span_of
from platform_assets.index.retire import retire, searchable
from platform_assets.ingest.reindex import periods_held, rebuild_index
from platform_assets.tables.layout import TableSet
from platform_assets.tables.session import session
from platform_assets.tables.table import LakeTable


@dataclass
class Forgotten:
    """Documents deleted, periods whose index was deleted, periods whose index was built anew."""

    documents: int = 0
    deleted: list[str] = field(default_factory=list)
    rebuilt: list[str] = field(default_factory=list)


def forget(settings: Settings, contract: Table, tables: TableSet, indices: Indices) -> Forgotten:
    """Bring the index to what silver has kept. Safe beside a worker. Raises SearchError; ForeignIndex for another lake's."""
    silver, report = tables.silver, Forgotten()
    if not silver.exists() or not (found := [index for index in indices.all(contract) if index.serving]):
        return report
    owned(read_checkpoint(indices.client, contract), contract, silver)
    for index in found:
        dropped = _dropped(contract, silver, index)
        if not dropped and not _empty(contract, silver, index.period):
            continue

        def empty(period: str = index.period) -> bool:
            return _empty(contract, silver, period)

        documents, gone = retire(indices, contract, index, [span_of(partition) for partition in dropped], empty)
        report.documents += documents
        report.deleted += [index.period] if gone else []
    report.rebuilt = sorted(_outdated(indices, contract, silver))
    for period in report.rebuilt:
        rebuild_index(settings, contract, tables, period)
    return report


def _empty(contract: Table, silver: LakeTable, period: str) -> bool:
    """Whether silver has no row now whose document the period's index might hold."""
    silver.refresh()
    return not holds(contract, period, silver.partitions())


def _dropped(contract: Table, silver: LakeTable, index: Index) -> list[str]:
    """Event partitions that retention has dropped since the index was built, and that silver does not have: by their mark."""
    begin, end = span_of(index.period)
    if not searchable(begin, end):
        return []
    silver.refresh()
    kept = silver.partitions()
    days = (begin + timedelta(days=n) for n in range(max(1, (end - begin).days)))
    return [
        partition
        for day in days
        if silver.transaction(expired_mark(day.date().isoformat())) is not None
        for partition in _partitions(contract, day.date().isoformat(), index.period)
        if partition not in kept and (silver.transaction(dropped_mark(partition)) or 0) > index.base
    ]


def _partitions(contract: Table, day: str, period: str) -> Collection[str]:
    """The event partitions of a day that the period's index may hold."""
    return holds(
        contract, period, [day] if contract.grain is Grain.DAY else [f"{day}T{hour:02d}" for hour in range(24)]
    )


def _outdated(indices: Indices, contract: Table, silver: LakeTable) -> set[str]:
    """Periods of partitions that have rows again since retention dropped them, and whose index was not built from silver since.

    Documents of theirs were deleted, perhaps while the rows came. An index that began empty since is built once too.
    """
    serving = {index.period: index for index in indices.all(contract) if index.serving}
    silver.refresh()
    partitions = silver.partitions()
    marks = {partition: silver.transaction(dropped_mark(partition)) for partition in partitions}
    again = {partition: at for partition, at in marks.items() if at is not None}
    with session() as con:
        held = periods_held(contract, silver, con, again.keys()) if again else set()
    return {
        period
        for partition, at in again.items()
        for period in periods_of(contract, partition)
        if period in held | serving.keys() and (serving[period].base if period in serving else -1) < at
    }
