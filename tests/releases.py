"""Releases of a contract for tests: whatever version it has, the next one is higher."""

from __future__ import annotations

from dataclasses import replace

from platform_assets.contracts.model import Contract, Field, Table


def next_minor(version: str) -> str:
    """The next minor version after `version`."""
    major, minor, _ = version.split(".")
    return f"{major}.{int(minor) + 1}.0"


def next_release(contract: Contract, table: Table, fields: tuple[Field, ...]) -> Contract:
    """The contract's next minor version, with `table` as its only table and `fields` as the fields of that table."""
    version = next_minor(contract.version)
    return replace(contract, version=version, tables=(replace(table, version=version, fields=fields),))
