"""A dbt project without the files that dbt cannot read: one system's mistake must not stop the marts of the others.

Belongs here: finding those files by what dbt says, and the copy of the project without them. Does not: running dbt.

dbt reads a project as a whole and stops at the first file that it cannot read. So that file is left out and dbt asked again. A
properties file takes its system's models with it, because a mart is nothing without its properties.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from platform_assets.errors import AssayError, Mistake

MOST_FILES = 25
"""So many files are left out, one after the other; with more of them the project itself is wrong."""
_NAMED = re.compile(r"\b((?:models|tests)/[\w./-]+\.(?:sql|ya?ml))\b")
_READING = re.compile(r"Error reading \w+: ([\w./-]+\.ya?ml)\b")
_TWICE = re.compile(r"found two|conflict|duplicate|ambiguous", re.IGNORECASE)


def without_broken(project: Path, copy: Path, read: Callable[[Path], None]) -> tuple[Mistake, ...]:
    """Make `copy` of the project without the files that dbt's `read` refuses; what was left out, and why.

    Raises AssayError with dbt's own words when no file can be blamed.
    """
    shutil.copytree(project, copy, ignore=shutil.ignore_patterns("target"))
    mistakes: list[Mistake] = []
    for _ in range(MOST_FILES):
        try:
            read(copy)
        except AssayError as error:
            path = _blamed(error.message, copy)
            if path is None:
                raise
            words = error.message.partition(": ")[2] or error.message
            mistakes.append(Mistake(f"dbt cannot read it: {words}", "put the model right", file=str(project / path)))
            _leave_out(copy, path)
        else:
            return tuple(mistakes)
    raise AssayError(f"dbt cannot read more than {MOST_FILES} files of {project}", "see the project")


def _blamed(words: str, project: Path) -> Path | None:
    """The file, relative to the project, that dbt's words name; of two in each other's way the one that was written last."""
    named = [Path("models") / found for found in _READING.findall(words)] or [Path(f) for f in _NAMED.findall(words)]
    there: list[Path] = [path for path in dict.fromkeys(named) if (project / path).is_file()]
    if len(there) > 1 and _TWICE.search(words):
        written: dict[int, Path] = {(project / path).stat().st_mtime_ns: path for path in there}
        return written[max(written)]
    return there[0] if there else None


def _leave_out(copy: Path, path: Path) -> None:
    if path.suffix == ".sql":
        (copy / path).unlink()
        return
    system = copy / path.parts[0] / path.parts[1]
    if system.is_dir():
        shutil.rmtree(system)
    else:
        (copy / path).unlink()
