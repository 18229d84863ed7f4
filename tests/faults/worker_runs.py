"""Starting and ending a worker in a process of its own."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path


def worker_process(
    contract: Path, lake: Path, fault: str, seconds: float = 30, file_limit: int | None = None
) -> subprocess.Popen[str]:
    """`fault` is `<point>:<count>` or empty; `file_limit` bounds the bytes of any file it writes."""

    def limited() -> None:
        if file_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

    environment = os.environ | ({"ASSAY_FAULT": fault} if fault else {})
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("worker_process.py")), str(contract), str(lake), str(seconds)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=limited,  # noqa: PLW1509 (no threads are forked into: it only sets a limit)
    )


def ready(worker: subprocess.Popen[str]) -> None:
    """Wait until it begins its work."""
    assert worker.stdout is not None
    said = ""
    for line in worker.stdout:
        if line == "ready\n":
            return
        said += line
    raise AssertionError(f"the worker ended with code {worker.wait()}\n{said}")


def reason(worker: subprocess.Popen[str]) -> str:
    """Why it ended, which must be an orderly end; waits for it."""
    assert worker.stdout is not None
    worker.wait()
    said = worker.stdout.read()  # communicate() would miss what `ready` has read ahead
    assert worker.returncode == 0, said
    return str(json.loads(said.splitlines()[-1])["reason"])


def stopped(worker: subprocess.Popen[str]) -> str:
    """Ask it to end; the reason it gives."""
    worker.terminate()
    return reason(worker)
