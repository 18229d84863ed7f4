"""What Dagster costs when no event comes, with and without ingest runs; how long the code location takes to import."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.common import machine, median, services
from bench.processes import sleep_measured
from platform_assets.contracts.read import load_contracts
from platform_assets.local.dagster import dagster_home, start_dagster
from platform_assets.local.prepare import prepare

DAGSTER = (sys.executable, "-m", "dagster")


def run(home: Path | None = None, *, seconds: float = 120, repeats: int = 5) -> dict[str, Any]:
    """`import_s` (a fresh interpreter); `idle_cores` (the sensors of worker and gold stopped) and
    `idle_ingest_cores` (a run every minute).
    """
    imports = [_import() for _ in range(repeats)]
    with services(home) as settings:
        prepare(settings, load_contracts().values())
        dagster = start_dagster(settings.home)
        try:
            time.sleep(90)  # the first ingest runs pay for caches
            following = sleep_measured(dagster, seconds)
            _sensors(settings.home, "stop")
            time.sleep(200)  # the last ingest run ends
            idle = sleep_measured(dagster, seconds)
            _sensors(settings.home, "start")  # it outlives this Dagster: who comes next would wait in vain
        finally:
            dagster.stop()
    return {
        "import_s": round(median(imports), 2),
        "idle_cores": round(idle, 3),
        "idle_ingest_cores": round(following, 3),
        "machine": machine(),
    }


def _sensors(home: Path, what: str) -> None:
    for sensor, location in (("logs_ingest", "assay"), ("logs_gold", "gold")):
        subprocess.run(
            [*DAGSTER, "sensor", what, sensor, "-w", "workspace.yaml", "-l", location],
            env=os.environ | {"DAGSTER_HOME": str(dagster_home(home))},
            check=True,
            capture_output=True,
        )


def _import() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import platform_assets.definitions"], check=True)
    return time.perf_counter() - started
