"""The compose project as Compose reads it, and what the real `init` makes for it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

COMPOSE = Path(__file__).parents[3] / "deploy" / "compose"


def interpolated(text: str) -> str:
    """As Compose would read it where no variable is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text).replace("$$", "$")


@pytest.fixture(scope="session")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(interpolated((COMPOSE / "compose.yaml").read_text(encoding="utf-8")))
    return found


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the real `init` makes."""
    folder = tmp_path_factory.mktemp("compose") / "generated"
    subprocess.run([str(COMPOSE / "init"), str(folder)], check=True, capture_output=True, text=True)
    return folder
