"""The Dagster code location of everything but gold (`gold_definitions`): `dagster -m platform_assets.definitions`.

What is in it follows from the contracts.
"""

from __future__ import annotations

from platform_assets.contracts.read import load_contracts
from platform_assets.defs.build import build_definitions
from platform_assets.settings import Settings

defs = build_definitions(load_contracts(Settings.load().systems))
