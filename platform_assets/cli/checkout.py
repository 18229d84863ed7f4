"""Where the project's own files are, for the commands that only make sense in a checkout."""

from __future__ import annotations

from pathlib import Path

from platform_assets.core.errors import AssayError


def checkout(command: str) -> Path:
    """The root of the checkout that this package runs from. Raises AssayError when it was installed without one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / "pyproject.toml").is_file():
        raise AssayError(f"`{command}` works in a checkout of the project only", "clone it and run the command there")
    return root
