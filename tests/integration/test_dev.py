"""`assay dev` with a folder of systems outside the package: from a start on nothing to the end of every process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from clilab import Shell
from support import alive
from waiting import eventually

from platform_assets.local import lifecycle
from platform_assets.local.patience import family

pytestmark = pytest.mark.services


@pytest.fixture
def shell() -> Iterator[Shell]:
    """A home without anything, and beside it a folder with one system from `assay init`."""
    # Not below pytest's own folder: that one is closed to the user as whom a root launcher runs the services.
    folder = Path(tempfile.mkdtemp(prefix="assay-dev-"))
    folder.chmod(0o711)
    home, systems = folder / "home", folder / "systems"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASSAY_")}
    environment |= {
        name: os.environ[name] for name in ("ASSAY_CACHE", "ASSAY_JAVA_HOME", "ASSAY_RUN_AS") if name in os.environ
    }
    environment |= {
        "ASSAY_HOME": str(home),
        "ASSAY_SYSTEMS": str(systems),
        "ASSAY_OPENSEARCH_HEAP_MB": "1024",
        "ASSAY_KAFKA_HEAP_MB": "512",
    }
    yield Shell(environment, "shop", systems)
    lifecycle.down(home)
    lifecycle.wipe(home)
    shutil.rmtree(folder)


def of_home(home: Path) -> list[psutil.Process]:
    """Processes anywhere on the machine whose command or environment names that home."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if process.pid != os.getpid() and alive(process) and any(str(home) in word for word in words):
            found.append(process)
    return found


def test_it_carries_a_record_and_leaves_no_process_behind(shell: Shell, tmp_path: Path) -> None:
    shell.run("init", shell.system)
    home = Path(shell.environment["ASSAY_HOME"])
    said = tmp_path / "said.txt"
    with said.open("wb") as out:
        dev = subprocess.Popen(
            [sys.executable, "-m", "platform_assets.cli", "dev"], env=shell.environment, stdout=out, stderr=out
        )
    try:
        eventually(lambda: "Systems     shop" in said.read_text() or dev.poll() is not None, "the start of everything")
        assert dev.poll() is None, said.read_text()
        record = tmp_path / "one.jsonl"
        record.write_text(
            f'{{"event_id": "e-1", "event_time": "{datetime.now(UTC).isoformat()}", "source": "till-1", "status": "ok",'
            ' "amount": 12.50, "message": "paid by card"}\n'
        )
        shell.run("send", f"{shell.system}.events", str(record))

        def found() -> Any:
            assert dev.poll() is None, said.read_text()
            return shell.json("search", shell.system, "card", "--table", "events")["hits"]

        [row] = eventually(found, "the record in the index", every_s=1)
        assert (row["event_id"], row["amount"]) == ("e-1", "12.50")
        processes = family(dev.pid)
        assert len(processes) > 3
        dev.send_signal(signal.SIGINT)
        eventually(lambda: dev.poll() is not None, "the end")
        assert dev.returncode == 0, said.read_text()
        assert not [process for process in processes if alive(process)]
        assert not of_home(home)
        assert lifecycle.status(home).phase == "stopped"
    finally:
        dev.kill()
        dev.wait()
