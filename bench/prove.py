"""How fast a topic's way is proved, without the index: its rows as they stand, then every row derived again from bronze."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from bench.common import fill, machine, private_lake, private_system, services
from platform_assets.core.settings import Settings
from platform_assets.ingest.worker import Worker
from platform_assets.reconcile.prove import prove


def run(home: Path | None = None, *, events: int = 2_000_000) -> dict[str, Any]:
    """`prove.*`: seconds and rows a second without the index, as every day (quick) and with rows derived again (deep)."""
    with services(home) as settings:
        return {"prove.events": events, **_run(settings, events), "machine": machine()}


def _run(settings: Settings, events: int) -> dict[str, Any]:
    contract = private_system(settings)
    fill(settings, contract, events)
    figures: dict[str, Any] = {}
    with private_lake(settings) as private:
        Worker(private, contract, index=False).drain()
        for name, deep in (("quick", False), ("deep", True)):
            started = time.perf_counter()
            proof = prove(private, contract, deep=deep, index=False)
            seconds = time.perf_counter() - started
            assert proof.holds
            figures |= {f"prove.{name}_s": round(seconds, 1), f"prove.{name}_rows_per_s": round(events / seconds)}
    return figures
