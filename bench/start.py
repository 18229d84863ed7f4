"""How long a newcomer waits: from `git clone` until the page shows live data."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from bench.common import machine

ROOT = Path(__file__).resolve().parents[1]
STEPS = {
    "Creating .venv": "cloned",
    "Starting Kafka": "installed",
    "Starting Dagster": "services",
    "Page ": "page",
}
"""The first words of what the demonstration says when the step before is done, and that step's name."""


def run(home: Path | None = None, *, cold: bool = False) -> dict[str, Any]:
    """Seconds since `git clone` began, at the end of each step of `make demo`; `start.live_s`: an event was found by the API.

    `cold`: with empty caches, so that everything is downloaded. `home` is not used: a newcomer has none.
    """
    with tempfile.TemporaryDirectory(prefix="assay-start-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)  # a root launcher runs the services as another user
        caches = {"UV_CACHE_DIR": "uv", "PIP_CACHE_DIR": "pip", "ASSAY_CACHE": "assay"} if cold else {}
        environment = os.environ | {name: f"{folder}/cache/{value}" for name, value in caches.items()}
        environment = {name: value for name, value in environment.items() if name != "ASSAY_HOME"}
        began = time.monotonic()
        subprocess.run(["git", "clone", "--quiet", str(ROOT), f"{folder}/assay"], check=True)
        figures = {}
        with _demo(Path(folder) / "assay", environment) as lines:
            for step, seconds, page in _steps(lines, began):
                figures[f"start.{step}_s"] = round(seconds, 1)
                if page:
                    _searchable(*page)
                    figures["start.live_s"] = round(time.monotonic() - began, 1)
                    break
        return {**figures, "start.cold": cold, "machine": machine()}


@contextmanager
def _demo(checkout: Path, environment: dict[str, str]) -> Iterator[Iterator[str]]:
    """The lines that `make demo` says; it is ended with the block."""
    process = subprocess.Popen(
        ["make", "demo", f"PYTHON={sys.base_prefix}/bin/python3"],
        cwd=checkout,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        yield iter(process.stdout.readline, "")
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.communicate()


def _steps(lines: Iterator[str], began: float) -> Iterator[tuple[str, float, tuple[str, str] | None]]:
    """Steps that have ended, when, and for the last one the page's address and key."""
    left, url = dict(STEPS), ""
    for line in lines:
        print(line, end="", file=sys.stderr)
        said = re.sub(r"^\d\d:\d\d:\d\d ", "", line)
        url = line.split()[1] if said.startswith("Page ") else url
        for words in [words for words in left if said.startswith(words)]:
            if words != "Page ":
                yield left.pop(words), time.monotonic() - began, None
        if said.strip().startswith("its key"):
            yield left.pop("Page "), time.monotonic() - began, (url, said.split()[2])
            return
    raise RuntimeError("the demonstration ended before its page was there")


def _searchable(url: str, key: str) -> None:
    """Wait until a search through the API finds an event."""
    with httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=60) as client:
        while True:
            answer = client.get("/v1/logs/search", params={"table": "events", "size": 1})
            if answer.status_code == 200 and answer.json()["hits"]:
                return
            if answer.status_code not in (200, 503):
                raise RuntimeError(f"the API answered {answer.status_code}: {answer.text[:200]}")
            time.sleep(0.5)
