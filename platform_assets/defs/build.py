"""All definitions from all contracts but gold's, which follow from the dbt project and are a code location of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dagster import Definitions, in_process_executor

from platform_assets.contracts.model import Contract
from platform_assets.core.errors import Mistake
from platform_assets.defs.alerts import alert_definitions
from platform_assets.defs.declarations import declaration_definitions
from platform_assets.defs.housekeeping import housekeeping_definitions
from platform_assets.defs.ingest import ingest_definitions
from platform_assets.defs.keys import key_check_definitions
from platform_assets.defs.reports import report_definitions


def build_definitions(
    contracts: Mapping[str, Contract], broken: Mapping[str, Sequence[Mistake]] | None = None
) -> Definitions:
    """The code location of these systems; of those that are `broken` it has the contract alone, with its mistakes.

    Runs execute in one process: a process a step would cost seconds each minute.
    """
    return Definitions.merge(
        Definitions(executor=in_process_executor),
        declaration_definitions(broken or {}),
        housekeeping_definitions(contracts),
        key_check_definitions(contracts),
        alert_definitions(contracts),
        *(ingest_definitions(contract) for contract in contracts.values()),
        report_definitions(contracts),
    )
