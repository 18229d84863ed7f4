"""How many search indices a table needs, by the period that one of them holds, and which period a contract gets by default.

Belongs here: the arithmetic of periods. Does not belong here: the names of indices (`index/names.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from platform_assets.contracts.model import Grain, IndexPeriod, Table
from platform_assets.contracts.values import choice
from platform_assets.core.errors import Mistakes

MAX_INDICES = 400
"""Indices of one table at a time. An OpenSearch node holds 1,000 shards by default, and not for one table alone."""
_SHORTEST = {
    IndexPeriod.HOUR: timedelta(hours=1),
    IndexPeriod.DAY: timedelta(days=1),
    IndexPeriod.MONTH: timedelta(days=28),
    IndexPeriod.YEAR: timedelta(days=365),
}
_OLDEST = timedelta(days=36_525)
"""No row is from before 1970, so that no table spreads over more than about a century."""


def with_periods(table: Table, custom: Mapping[str, Any], place: str, found: Mistakes) -> Table:
    """The table with the periods that its contract's custom properties declare; what is none is noted in `found`.

    Nothing says how much history there is: a year of it by default.
    """
    live = default_period(table.grain, table.retention + table.lateness + table.max_ahead)
    late = IndexPeriod.YEAR
    live = found.get(choice, IndexPeriod, custom.get("indexPeriod", live), f"{place}[indexPeriod]") or live
    late = found.get(choice, IndexPeriod, custom.get("historyPeriod", late), f"{place}[historyPeriod]") or late
    return replace(table, index_period=live, history_period=late)


def indices_needed(period: IndexPeriod, span: timedelta) -> int:
    """The most indices that rows of `span` (retention, lateness and maxAhead together) can need at a time."""
    return min(span, _OLDEST) // _SHORTEST[period] + 1


def default_period(grain: Grain, span: timedelta) -> IndexPeriod:
    """The period of a table that declares none: a month, or a day where partitions of an hour say that rows are many.

    A longer one where `span` would need too many indices.
    """
    shortest = IndexPeriod.MONTH if grain is Grain.DAY else IndexPeriod.DAY
    longer = list(IndexPeriod)[list(IndexPeriod).index(shortest) :]
    return next((period for period in longer if indices_needed(period, span) <= MAX_INDICES), IndexPeriod.YEAR)
