"""Marts as reports read them from the lake: the rows of a time range, for whoever may see all of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from platform_assets.marts.marts import Mart, Slot
from platform_assets.tables.session import session


class LakeMarts:
    """The marts of a system by name, in the newest snapshot of their Delta tables."""

    def __init__(self, lake: Path, marts: Sequence[Mart]) -> None:
        self._lake = lake
        self._marts = {mart.name: mart for mart in marts}

    def rows(self, mart: str, begin: datetime, end: datetime) -> pa.Table | None:
        """The rows whose slots begin in [begin, end), without columns of nested types; None for an unknown mart.

        A mart that was never refreshed has no rows.
        """
        found = self._marts.get(mart)
        if found is None:
            return None
        plain = [f.name for f in found.schema if not pa.types.is_nested(f.type)]
        table = found.table(self._lake)
        if not table.exists():
            return found.schema.empty_table().select(plain)
        table.refresh()
        if found.grain is Slot.DAY:
            where = f"\"day\" >= DATE '{begin:%Y-%m-%d}' AND \"day\" < DATE '{end:%Y-%m-%d}'"
        else:
            where = f"\"{found.grain}\" >= TIMESTAMPTZ '{begin}' AND \"{found.grain}\" < TIMESTAMPTZ '{end}'"
        with session() as con:
            return table.read(con, columns=plain, where=where)
