"""Folders that live as long as one run: databases that models are built in, what a proof spills.

Belongs here: where they lie, and the end of those that a killed run left. Backups leave them out.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from platform_assets.core.lake import require_layout
from platform_assets.tables.files import older

RUNS = "_runs"
"""The folder beside the tables that holds them."""
_FORGOTTEN_S = 86_400


@contextmanager
def run_folder(lake: Path, name: str) -> Iterator[Path]:
    """A folder in the lake, open to its owner only (it holds rows); it goes away with the context."""
    runs = require_layout(lake) / RUNS
    runs.mkdir(parents=True, exist_ok=True, mode=0o700)
    for dead in older(runs.iterdir(), time.time() - _FORGOTTEN_S):
        shutil.rmtree(dead, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=runs))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
