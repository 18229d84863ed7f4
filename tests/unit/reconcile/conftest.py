"""Fixtures of the reconcile tests; the lake that they damage is made in `prooflab.py`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from prooflab import Lab, event

from platform_assets.contracts.model import Contract
from platform_assets.contracts.read import load_contracts


@pytest.fixture
def logs() -> Contract:
    """The packaged logs contract."""
    return load_contracts()["logs"]


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of logs.events: accepted, rejected and repeated records, a marker, four commits, two Kafka partitions."""
    root = tmp_path_factory.mktemp("pristine")
    made = Lab(root, load_contracts()["logs"], "events")
    made.run([event(n) for n in range(20)])
    made.run([event(n) for n in range(15, 25)] + [b"{broken", None, event(25, level="LOUD")], partition=1)
    made.run([None], kind="skipped", span=3)
    made.run([event(n) for n in range(30, 40)] + [event(30)])
    return root


@pytest.fixture
def lab(tmp_path: Path, pristine: Path, logs: Contract) -> Lab:
    """A copy of the pristine lake, to do with as one likes."""
    shutil.copytree(pristine, tmp_path, dirs_exist_ok=True)
    made = Lab(tmp_path, logs, "events")
    made.next = {0: 34, 1: 13}
    return made
