"""Every benchmark, one after the other, on the same services: what `make bench` writes to `bench/results/latest.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench import drain, gold, idle, live, rebuild
from bench.common import services

FASTER = (20_000, 30_000, 50_000)


def run(home: Path | None = None, *, live_seconds: float = 600, faster_seconds: float = 180) -> dict[str, Any]:
    """All keys; the live run at higher rates under `live.at_<rate>`. About forty minutes."""
    figures: dict[str, Any] = {}
    with services(home) as settings:
        figures |= drain.run(settings.home) | rebuild.run(settings.home)
        figures |= live.run(settings.home, seconds=live_seconds)
        for rate in FASTER:
            faster = live.run(settings.home, rate=rate, seconds=faster_seconds)
            figures[f"live.at_{rate}"] = {key: value for key, value in faster.items() if key.startswith("live.")}
        figures |= idle.run(settings.home) | gold.run(settings.home)
    return figures
