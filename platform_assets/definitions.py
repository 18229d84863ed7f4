"""The Dagster code location of everything but gold (`gold_definitions`): `dagster -m platform_assets.definitions`.

What is in it follows from the contracts; a wrong one keeps no other from being loaded.
"""

from __future__ import annotations

from platform_assets.contracts.read import load_systems
from platform_assets.core.settings import Settings
from platform_assets.defs.build import build_definitions

_found = load_systems(Settings.load().systems)
defs = build_definitions(_found.contracts, _found.broken)
