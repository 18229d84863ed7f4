"""A worker as a process of its own, so that it can be killed: `worker_process.py CONTRACT.json LAKE SECONDS`; SIGTERM stops
it.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path

from platform_assets.contracts.compat import from_json
from platform_assets.core.settings import Settings
from platform_assets.ingest.worker import Worker


def main() -> None:
    contract = from_json(Path(sys.argv[1]).read_text())
    settings = replace(Settings.load(), lake_path=Path(sys.argv[2]))
    worker = Worker(settings, contract, commit_seconds=0.2, compact_seconds=1.0)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    print("ready", flush=True)
    report = worker.follow(max_seconds=float(sys.argv[3]), stop=stop)
    print(json.dumps({"reason": report.reason}), flush=True)


if __name__ == "__main__":
    main()
