"""Services that belong to a process end with it, also when it is killed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from platform_assets.local import lifecycle

OWNER = """
import time
from platform_assets.local import lifecycle
with lifecycle.temporary("assay-test-owned-") as home:
    print(home, flush=True)
    time.sleep(300)
"""


@pytest.mark.services
@pytest.mark.faults
@pytest.mark.timeout(200)
def test_owned_services_end_with_a_killed_owner() -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        home = Path(owner.stdout.readline().strip())
        servers = [service.pid for service in lifecycle.status(home).services]
        assert len(servers) == 2
        owner.kill()
    try:
        deadline = time.monotonic() + 60
        while lifecycle.status(home).phase != "stopped" and time.monotonic() < deadline:
            time.sleep(0.2)
        assert lifecycle.status(home).phase == "stopped"
        assert not [pid for pid in servers if pid is not None and psutil.pid_exists(pid)]
    finally:
        lifecycle.down(home)
        shutil.rmtree(home)
