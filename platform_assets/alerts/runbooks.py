"""Runbooks: a page for each rule that tells what it means, where to look, and what to do.

Belongs here: finding them. Those of the platform are in `docs/runbooks`, and within the package in a wheel; those of a system are
in its own folder, `<systems>/<system>/runbooks`. Does not: showing them (`serve/`), or where a message finds them (`notify.py`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from platform_assets.alerts.model import AlertError
from platform_assets.contracts.read import packaged_systems

NAME = re.compile(r"[a-z0-9][a-z0-9_-]*\.md")
MAX_BYTES = 256 * 1024
_log = logging.getLogger("assay.alerts")
_PACKAGE = Path(__file__).resolve().parents[1]


@cache
def runbooks() -> dict[str, str]:
    """The platform's: Markdown by file name (`gap.md`). Raises AlertError when there are none."""
    for folder in (_PACKAGE / "runbooks", _PACKAGE.parent / "docs" / "runbooks"):
        if found := {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.md"))}:
            return found
    raise AlertError("the runbooks are missing", "install the platform from its checkout or wheel")


def runbooks_of(system: str, root: Path | None = None) -> dict[str, str]:
    """A system's own: Markdown by `<system>/<file name>`. Files of other names, too large or unreadable are left out."""
    folder = (root or packaged_systems()) / system / "runbooks"
    found = {}
    for path in sorted(folder.glob("*.md")) if folder.is_dir() else ():
        if NAME.fullmatch(path.name) and path.is_file() and path.stat().st_size <= MAX_BYTES:
            try:
                found[f"{system}/{path.name}"] = path.read_text(encoding="utf-8", errors="replace")
            except OSError as error:
                _log.warning("the runbook %s cannot be read: %s", path, error.strerror)
    return found


def all_runbooks(systems: Iterable[str], root: Path | None = None) -> dict[str, str]:
    """The platform's, and those of these systems."""
    return runbooks() | {name: text for system in systems for name, text in runbooks_of(system, root).items()}


def known(page: str) -> bool:
    """Whether there is such a page: a system's own was found when its rule was read."""
    return "/" in page or page in runbooks()
