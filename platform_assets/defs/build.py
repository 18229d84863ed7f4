"""All definitions from all contracts but gold's, which follow from the dbt project and are a code location of their own."""

from __future__ import annotations

from collections.abc import Mapping

from dagster import Definitions, in_process_executor

from platform_assets.contracts.model import Contract
from platform_assets.defs.alerts import alert_definitions
from platform_assets.defs.housekeeping import housekeeping_definitions
from platform_assets.defs.keys import key_check_definitions
from platform_assets.defs.lane import lane_definitions
from platform_assets.defs.reports import report_definitions


def build_definitions(contracts: Mapping[str, Contract]) -> Definitions:
    """The code location of these systems. Runs execute in one process: a process a step would cost seconds each minute."""
    return Definitions.merge(
        Definitions(executor=in_process_executor),
        housekeeping_definitions(contracts),
        key_check_definitions(contracts),
        alert_definitions(contracts),
        *(lane_definitions(contract) for contract in contracts.values()),
        report_definitions(contracts),
    )
