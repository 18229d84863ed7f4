"""The Dagster code location of gold: `dagster -m platform_assets.gold_definitions`. What is in it follows from the dbt project.

Apart from the workers' location, for dbt costs a second at import, and an ingest run, which imports its location, comes each
minute.
"""

from __future__ import annotations

from platform_assets.contracts.read import load_systems
from platform_assets.core.settings import Settings
from platform_assets.defs.gold import gold_definitions

defs = gold_definitions(load_systems(Settings.load().systems).contracts)
