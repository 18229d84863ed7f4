"""Versions: what another contract or masking key made, and what that excuses. Everything else has to be as it is today.

Within a major version the contract only widens (`contracts/compat.py`): the same record keeps its key, and what was accepted is
accepted, but for what a field that has come since rejects. So a record in neither silver nor quarantine needs its survivor there,
whichever version settled it, except where its key was another one.

Belongs here: SQL that says so of rows and commits. Does not: the checks (`rows.py`, `duplicates.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from platform_assets.contracts.formats import format_of
from platform_assets.contracts.model import Mask, Table
from platform_assets.transform.sql import literal

VERSIONS = """
    CREATE OR REPLACE TABLE versions (_seq BIGINT, other_version BOOLEAN, other_major BOOLEAN, other_key BOOLEAN)
"""
"""For each bronze commit of a window, and the last one before it: what made its rows. A commit without any goes by the nearest
before it."""
NEXT_VERSIONS = """
    DELETE FROM versions WHERE _seq < (SELECT max(_seq) FROM versions);
    INSERT INTO versions
    SELECT _seq, bool_or(other_version), bool_or(other_major), bool_or(other_key)
    FROM (SELECT _seq, other_version, other_major, other_key FROM s
        UNION ALL SELECT _seq, other_version, other_major, other_key FROM q WHERE other_key IS NOT NULL)
    GROUP BY _seq
"""
"""Of the session's tables `s` and `q`, the next window's rows in silver and quarantine."""


@dataclass(frozen=True, slots=True)
class Made:
    """SQL over a row of silver or quarantine: whether another contract than the present one made it."""

    contract: Table
    other_version: str
    other_major: str

    @classmethod
    def of(cls, contract: Table, column: str) -> Made:
        """`column` holds the row's contract version."""
        version, major = literal(contract.version), literal(contract.version.partition(".")[0])
        return cls(
            contract,
            f"coalesce({column} <> {version}, true)",
            f"coalesce(split_part({column}, '.', 1) <> {major}, false)",
        )

    def columns(self, other_mask: str) -> str:
        """`other_version`, `other_major` and `other_key`: whether the keys of that time may have been others.

        `other_mask` says whether another masking key was at work; NULL where nothing tells.
        """
        masks = {self.contract.field(name).mask for name in self.contract.key}
        other_key = [self.other_major] if masks else ["false"]
        if any(mask.scrubs for mask in masks):  # a scrubbing mask may have become a stronger one
            other_key.append(self.other_version)
        if Mask.HMAC in masks:
            other_key.append(other_mask)
        key = " OR ".join(other_key)
        return f"{self.other_version} AS other_version, {self.other_major} AS other_major, {key} AS other_key"


def key_only(contract: Table) -> Table:
    """The contract without rules, and with those fields only that make a record's key and partition: whatever else it holds."""
    wanted = {*contract.key, contract.event_time}
    kept = tuple(field for field in contract.fields if field.name in wanted)
    loose = replace(contract, fields=kept, rules=())
    if not format_of(contract).keeps_unknown:
        return loose
    return replace(loose, attributes=contract.attributes or "other members", attributes_max_bytes=contract.max_bytes)
