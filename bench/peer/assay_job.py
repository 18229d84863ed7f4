"""Our side: drains a topic to bronze and silver for each line on standard input, in one process (`worker.py` asks)."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.common import named
from platform_assets.core.settings import Settings
from platform_assets.ingest.worker import Worker


def drain(request: dict[str, Any]) -> None:
    """Everything that the topic of `system` holds now into the lake at `lake`."""
    settings = replace(Settings.load(Path(request["home"])), lake_path=Path(request["lake"]))
    Worker(settings, named(request["system"]), index=False).drain()


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever prints goes to the log
    for line in sys.stdin:
        drain(json.loads(line))
        print("{}", file=answers)
