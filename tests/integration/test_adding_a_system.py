"""The guide for a system of one's own, typed as it stands, from an empty folder to a proof."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from clilab import search_client
from confluent_kafka.admin import AdminClient

from platform_assets.core.settings import Settings

pytestmark = pytest.mark.services

GUIDE = Path(__file__).parents[2] / "docs" / "adding-a-system.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def place(services: Settings) -> Iterator[tuple[str, Path]]:
    """A name that nobody else has, and an empty folder; what the name has made on the services is removed."""
    folder = Path(tempfile.mkdtemp(prefix="assay-guide-"))
    system = f"g{uuid.uuid4().hex[:8]}"
    yield system, folder
    admin = AdminClient(services.kafka_conf("admin"))
    for future in admin.delete_topics([f"{system}.events"]).values():
        future.result(20)
    client = search_client(services)
    client.indices.delete(index=f"{system}-*")
    client.close()
    shutil.rmtree(folder)


def test_the_guide_works_as_it_is_written(services: Settings, place: tuple[str, Path]) -> None:
    system, folder = place
    script = "\n".join(BLOCK.findall(GUIDE.read_text(encoding="utf-8")))
    assert script.count("assay dev\n") == 1, "it runs until Ctrl-C, and has a test of its own"
    script = re.sub(r"\bshop(?=\b|_)", system, script.replace("assay dev\n", "assay dev --help\n"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASSAY_")}
    environment |= {
        "ASSAY_HOME": str(services.home),
        "ASSAY_LAKE": str(folder / "lake"),
        "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}",
    }
    more = f"""
assay status {system} --json > status.json
assay alerts list {system} --json > alerts.json
assay search {system} refused --table events --json > found.json
"""
    done = subprocess.run(
        ["bash", "-eux", "-c", script + more], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (status,) = json.loads((folder / "status.json").read_text())["systems"]
    (table,) = status["tables"]
    assert (table["rows"], table["quarantined"]) == (5, 1)
    assert "card refused" in (folder / "found.json").read_text()
    assert "many_failed" in (folder / "alerts.json").read_text()
    assert "till-2" in (folder / "day.html").read_text()
