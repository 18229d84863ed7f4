"""Where each table of a system lives in the lake, and with which schema. Nothing else decides on a path."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from platform_assets.contracts.arrow import BRONZE_SCHEMA, FEED_SCHEMA, QUARANTINE_SCHEMA, silver_schema
from platform_assets.contracts.model import Table
from platform_assets.core.lake import require_layout
from platform_assets.tables.table import LakeTable

KEY_FOLDER = "_keys"
"""Where snapshots of keys lie, below the lake's root."""


@dataclass(frozen=True)
class TableSet:
    """The four Delta tables behind one contract table: what arrived, what is promised, what was refused, what fed what."""

    root: Path
    contract: Table

    def _path(self, layer: str) -> Path:
        return self.root / layer / self.contract.system / self.contract.name

    @cached_property
    def bronze(self) -> LakeTable:
        """Raw bytes with coordinates, by landing date."""
        return LakeTable(self._path("bronze"), BRONZE_SCHEMA, "landed_date", lake=self.root)

    @cached_property
    def silver(self) -> LakeTable:
        """The contract's rows, by event partition."""
        return LakeTable(self._path("silver"), silver_schema(self.contract), "event_partition", lake=self.root)

    @cached_property
    def quarantine(self) -> LakeTable:
        """Rejects with their reasons, by landing date."""
        return LakeTable(self._path("quarantine"), QUARANTINE_SCHEMA, "landed_date", lake=self.root)

    @cached_property
    def feed(self) -> LakeTable:
        """Which bronze ranges fed which silver partition (a superset)."""
        return LakeTable(self._path("feed"), FEED_SCHEMA, lake=self.root)


@dataclass(frozen=True)
class Lake:
    """The lake's root folder, readable by its owner only: bronze holds personal data in clear."""

    root: Path

    def tables(self, contract: Table) -> TableSet:
        """The Delta tables of one contract table (opened lazily, created on first use).

        Raises AssayError when the lake has another layout.
        """
        require_layout(self.root).mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)
        return TableSet(self.root, contract)
