"""The layout version of a lake: which names, columns and hashes its tables have.

A lake says its version in `lake.json`, beside its tables. One of another version is refused before anything in it is read or
written, since nothing converts it. Whoever changes a schema, a transaction's name or a hash raises `LAYOUT`.

Belongs here: reading, checking and recording the version. Does not: the paths of tables (`tables/layout.py`).
"""

from __future__ import annotations

import json
from pathlib import Path

from platform_assets.core.errors import AssayError
from platform_assets.core.files import write_private

LAYOUT = 1
"""The version that this release reads and writes."""
LAYOUT_FILE = "lake.json"

_HINT = "run the release that made it, or move it away: this release begins a new lake"


def require_layout(root: Path) -> Path:
    """The root of a lake that fits, or where there is none yet; writes nothing.

    Raises AssayError when there is a lake that this release must not touch.
    """
    found = _recorded(root)
    if found is None and _has_tables(root):
        found = _recorded(root)  # another process may have begun the lake meanwhile
        if found is None:
            raise AssayError(f"the lake in {root} has tables and does not say which layout they have", _HINT)
    if found is not None and found != LAYOUT:
        raise AssayError(f"the lake in {root} has layout {found}; this release has layout {LAYOUT}", _HINT)
    return root


def begin_lake(root: Path) -> None:
    """Record the layout of a lake before the first thing is written in it. Raises AssayError as `require_layout` does."""
    require_layout(root)
    if _recorded(root) is None:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(root / LAYOUT_FILE, json.dumps({"layout": LAYOUT}).encode())


def holds_nothing(root: Path) -> bool:
    """Whether the folder is absent or empty, but for the record of its layout."""
    return not root.exists() or (root.is_dir() and all(path.name == LAYOUT_FILE for path in root.iterdir()))


def _recorded(root: Path) -> int | None:
    """The version that the lake says; None when it says none. Raises AssayError when it cannot be understood."""
    path = root / LAYOUT_FILE
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise AssayError(f"cannot read {path}: {error.strerror}", "run as the user who owns the lake") from error
    except ValueError:
        found = None
    layout = found.get("layout") if isinstance(found, dict) else None
    if not isinstance(layout, int):
        raise AssayError(f"{path} does not say which layout the lake has", "restore the file from a backup of the lake")
    return layout


def _has_tables(root: Path) -> bool:
    return next(root.rglob("_delta_log"), None) is not None
