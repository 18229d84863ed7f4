"""A dbt project without the files that dbt cannot read: one system's mistake must not stop the marts of the others.

Belongs here: finding those files by what dbt says, and the copy of the project without them. Does not: running dbt.

dbt reads a project as a whole and stops at the first file that it cannot read. So that file is left out and dbt asked again.
Where dbt names one model's entry in a properties file, the entry and the model's SQL are left out; the rest of the file stays.
The models of a properties file that cannot be read at all have no properties, so they are refused (`graph.py`).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import yaml

from platform_assets.contracts.document import parse_document
from platform_assets.core.errors import AssayError, Mistake, Mistakes

MOST_FILES = 25
"""So many files are left out, one after the other; with more of them the project itself is wrong."""
_NAMED = re.compile(r"\b((?:models|tests)/[\w./-]+\.(?:sql|ya?ml))\b")
_READING = re.compile(r"Error reading \w+: ([\w./-]+\.ya?ml)\b")
_ENTRY = re.compile(r"@ models: \{(?:'\w+': '[^']*', )*?'name': '(\w+)'|for the same resource named (\w+)")
_MODEL = re.compile(r"\bmodel\.\w+\.(\w+)")
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
            model = _leave_out(copy, path, error.message)
            said = f"dbt cannot read it: {words}"
            mistakes.append(Mistake(said, "put the model right", place=model, file=str(project / path)))
        else:
            return tuple(mistakes)
    raise AssayError(f"dbt cannot read more than {MOST_FILES} files of {project}", "see the project")


def _blamed(words: str, project: Path) -> Path | None:
    """The file, relative to the project, that dbt's words name; of two in each other's way the one that was written last."""
    cycle = words.partition("Found a cycle: ")[2]
    within = [
        found.relative_to(project) for name in _MODEL.findall(cycle) for found in project.glob(f"models/*/{name}.sql")
    ]
    named = (
        within
        or [Path("models") / found for found in _READING.findall(words)]
        or [Path(f) for f in _NAMED.findall(words)]
    )
    there: list[Path] = [path for path in dict.fromkeys(named) if (project / path).is_file()]
    if len(there) > 1 and (within or _TWICE.search(words)):
        written: dict[int, Path] = {(project / path).stat().st_mtime_ns: path for path in there}
        return written[max(written)]
    return there[0] if there else None


def _leave_out(copy: Path, path: Path, words: str) -> str:
    """Remove what dbt's words blame; the name of the model when it is an entry of a properties file, else empty."""
    # Loaded when needed: it brings the engines, and the code location loads without them.
    from platform_assets.marts.marts import declared_marts

    if path.suffix != ".sql" and path.parts[0] == "models":
        entry = _ENTRY.search(words)
        name = entry[1] or entry[2] if entry else ""
        wrong = {name} if name else {mistake.place for mistake in declared_marts(copy, path.parts[1]).mistakes}
        if _without_entries(copy / path, wrong):
            return name
    (copy / path).unlink()
    return ""


def _without_entries(path: Path, wrong: set[str]) -> bool:
    """Remove these models, and entries without a name, from a properties file, and their SQL; whether there was any."""
    document = parse_document(path.read_text(encoding="utf-8"), Mistakes())
    models = document.value.get("models") if document and isinstance(document.value, dict) else None
    if document is None or not isinstance(models, list):
        return False
    names = [one.get("name") if isinstance(one, dict) else None for one in models]
    kept = [one for one, name in zip(models, names, strict=True) if isinstance(name, str) and name not in wrong]
    for name in wrong.intersection(name for name in names if isinstance(name, str)):
        path.with_name(f"{name}.sql").unlink(missing_ok=True)
    path.write_text(yaml.safe_dump({**document.value, "models": kept}, sort_keys=False), encoding="utf-8")
    return len(kept) < len(models)
