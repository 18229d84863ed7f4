"""What the fault tests share: a lake and a system of a test's own, and its contract for a worker in another process."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import private_settings, private_system

from platform_assets.contracts.compat import to_json
from platform_assets.contracts.model import Contract
from platform_assets.core.settings import Settings


@pytest.fixture
def settings(expendable: Settings, tmp_path: Path) -> Settings:
    return private_settings(expendable, tmp_path)


@pytest.fixture
def contract(settings: Settings) -> Contract:
    return private_system(settings)


@pytest.fixture
def described(contract: Contract, tmp_path: Path) -> Path:
    """The contract in a file, for a worker in a process of its own."""
    path = tmp_path / "contract.json"
    path.write_text(to_json(contract))
    return path
