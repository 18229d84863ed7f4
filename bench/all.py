"""Every benchmark, one after the other, on the same services: what `make bench` writes to `bench/results/latest.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from bench import alert, api, drain, gold, idle, live, peer, prove, rebuild
from bench.common import services

FASTER = (15_000, 30_000, 50_000)


def run(home: Path | None = None, *, live_seconds: float = 600, faster_seconds: float = 180) -> dict[str, Any]:
    """All keys; the live run at higher rates under `live.at_<rate>`. About seventy minutes; each result is told as it comes.

    Spark takes part when it is installed (`make peer`). What floods the index comes last: the worker works on that for minutes
    after the benchmark.
    """
    figures: dict[str, Any] = {}
    with services(home) as settings:
        quiet = (idle, alert, api, gold, *([peer] if peer.installed() else []))
        for benchmark in (*quiet, drain, rebuild, prove):
            figures |= _told(benchmark.run(settings.home))
        figures |= _told(live.run(settings.home, seconds=live_seconds))
        for rate in FASTER:
            faster = live.run(settings.home, rate=rate, seconds=faster_seconds)
            figures |= _told(
                {
                    f"live.at_{rate}": {
                        key: value for key, value in faster.items() if key.startswith(("live.", "worker."))
                    }
                }
            )
    return figures


def _told(figures: dict[str, Any]) -> dict[str, Any]:
    print(json.dumps(figures), file=sys.stderr, flush=True)
    return figures
