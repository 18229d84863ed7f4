"""Runbooks: a page for each rule that tells what it means, where to look, and what to do.

Belongs here: finding them. Their sources are in `docs/runbooks`; a wheel has them within the package. Does not: showing them
(`serve/`), or where a message finds them (`notify.py`).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from platform_assets.alerts.model import AlertError

_PACKAGE = Path(__file__).resolve().parents[1]


@cache
def runbooks() -> dict[str, str]:
    """Markdown by file name (`gap.md`), of all that there are. Raises AlertError when there are none."""
    for folder in (_PACKAGE / "runbooks", _PACKAGE.parent / "docs" / "runbooks"):
        if found := {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.md"))}:
            return found
    raise AlertError("the runbooks are missing", "install the platform from its checkout or wheel")
