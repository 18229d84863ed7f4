"""The dbt project of systems outside the package: the platform's macros and tests with the marts in the systems' folders.

Belongs here: which files make up that project, and where each comes from. Does not: what dbt makes of it (`project.py`).

A project is assembled once for each state of its files, in a folder that is named by their contents and never changed, so that
a run reads the same models from its beginning to its end whatever is edited meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from platform_assets.contracts.document import parse_document, read_text
from platform_assets.contracts.export import MACROS, macros_text, sources_text
from platform_assets.contracts.model import Contract
from platform_assets.core.errors import AssayError, Mistake, Mistakes

MARTS, TESTS = "marts", "tests"
"""A system's folder of models, and within it the folder of its singular tests."""
_SHARED = ("dbt_project.yml", "profiles.yml", "macros/**/*.sql", "tests/generic/**/*.sql")
_SYSTEMS = "systems.txt"
"""In an assembled project: the folder of systems that it was made from."""
_MODELS = (".sql", ".yml", ".yaml")
_UNREAD = "unread.json"
"""In an assembled project: the mistakes of files that were left out, by system."""
_KEPT_SECONDS = 7 * 86_400
"""A project that nothing has asked for so long is removed."""


@dataclass(frozen=True, slots=True)
class _File:
    """One file of the project; `written` is the time of its last change, in nanoseconds, 0 of what is generated."""

    content: bytes
    written: int = 0


def assemble(base: Path, systems: Path, contracts: Mapping[str, Contract], folder: Path) -> Path:
    """The project of these systems within `folder`, made if it is not there yet.

    A system's models are those of its folder `marts`, and the tests of `marts/tests`; without that folder, those that `base`
    has for it. Its `sources.yml` is made from its contract. A file that cannot be read is left out, and `unread` says why: dbt
    stops at it without naming it, for all systems.
    """
    files = dict(_shared(base))
    left_out: dict[str, list[dict[str, object]]] = {}
    for system, contract in contracts.items():
        found = Mistakes()
        files |= _system(base, systems, system, contract, found)
        left_out[system] = [asdict(mistake) for mistake in found.found]
    files[MACROS] = _File(macros_text().encode())
    files[_UNREAD] = _File(json.dumps(left_out).encode())
    files[_SYSTEMS] = _File(str(systems).encode())
    project = folder / _digest(files)
    if not all((project / name).is_file() for name in files):
        _make(files, project)
    os.utime(project)
    return project


def origin(project: Path, path: Path) -> Path:
    """Where a file of a project was copied from; the file itself when the project was not assembled, or the file is generated."""
    marker = project / _SYSTEMS
    if not path.is_relative_to(project) or not marker.is_file():
        return path
    kind, system, *rest = path.relative_to(project).parts
    own = Path(marker.read_text(encoding="utf-8")) / system / MARTS
    found = (own / TESTS if kind == TESTS else own).joinpath(*rest)
    return found if found.is_file() else path


def _shared(base: Path) -> Iterator[tuple[str, _File]]:
    for pattern in _SHARED:
        for path in base.glob(pattern):
            yield str(path.relative_to(base)), _read(path)


def unread(project: Path, system: str) -> tuple[Mistake, ...]:
    """What was left out of an assembled project of a system's folder, because it cannot be read."""
    path = project / _UNREAD
    found = json.loads(path.read_text(encoding="utf-8")).get(system, []) if path.is_file() else []
    return tuple(Mistake(**mistake) for mistake in found)


def _system(base: Path, systems: Path, system: str, contract: Contract, found: Mistakes) -> dict[str, _File]:
    own = systems / system / MARTS
    has = _is_folder(own, found)
    models, tests = (own, own / TESTS) if has else (base / "models" / system, base / TESTS / system)
    if not has and not models.is_dir() and not found.found:
        return {}
    files: dict[str, _File] = {}
    for folder, kind, patterns in ((models, "models", ("*.sql", "*.yml")), (tests, TESTS, ("*.sql",))):
        if _is_folder(folder, found):
            for path in (path for pattern in patterns for path in sorted(folder.glob(pattern))):
                if (file := found.get(_readable, path)) is not None:
                    files[f"{kind}/{system}/{path.name}"] = file
    for path in sorted(models.glob("*.yaml")):
        found.found.append(Mistake("is not read", f"name it {path.stem}.yml", file=str(path)))
    found.found += _below(models, tests)
    return files | {f"models/{system}/sources.yml": _File(sources_text(contract).encode())}


def _below(models: Path, tests: Path) -> Iterator[Mistake]:
    """Models and tests in folders of these folders, where nobody looks for them."""
    for folder in (models, tests):
        for below in sorted(folder.iterdir()) if folder.is_dir() else ():
            if not below.is_dir() or below == tests or below.name.endswith(_MODELS):
                continue
            # What a link leads to may be anything, and of any size.
            inside = [below] if below.is_symlink() else [p for p in below.rglob("*") if p.name.endswith(_MODELS)]
            for path in sorted(inside):
                yield Mistake("is not read in a folder of its own", f"move it to {folder}", file=str(path))


def _is_folder(path: Path, found: Mistakes) -> bool:
    """Whether there is such a folder; something else of that name, or one that cannot be entered, is a mistake."""
    try:
        if path.is_dir():
            next(path.iterdir(), None)
            return True
        wrong = "is no folder" if path.exists() or path.is_symlink() else None
    except OSError as error:
        wrong = f"cannot be read ({error.strerror})"
    if wrong:
        found.found.append(Mistake(wrong, "it is the folder of the system's models", file=str(path)))
    return False


def _readable(path: Path) -> _File:
    """A file as dbt can take it: UTF-8, of a size that can be read, and YAML where it says so. Raises AssayError."""
    content = read_text(path, "a properties file of dbt" if path.suffix == ".yml" else "a model, in SQL,")
    if path.suffix == ".yml":
        wrong = Mistakes()
        if parse_document(content, wrong) is None:
            raise AssayError("", mistakes=[replace(mistake, file=str(path)) for mistake in wrong.found])
    return _File(content.encode(), path.stat().st_mtime_ns)


def _read(path: Path) -> _File:
    return _File(path.read_bytes(), path.stat().st_mtime_ns)


def _digest(files: Mapping[str, _File]) -> str:
    digest = hashlib.sha256()
    for name, file in sorted(files.items()):
        digest.update(f"{name}\0{len(file.content)}\0".encode() + file.content)
    return digest.hexdigest()[:16]


def _make(files: Mapping[str, _File], project: Path) -> None:
    project.parent.mkdir(parents=True, exist_ok=True)
    _remove_old(project.parent)
    work = Path(tempfile.mkdtemp(prefix=".assemble-", dir=project.parent))
    try:
        for name, file in files.items():
            path = work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.content)
            # Of two files in each other's way, `broken.py` leaves out the one that was written last.
            os.utime(path, ns=(file.written, file.written))
        if project.is_dir():  # files were removed from it, by a cleaner of temporary folders perhaps
            shutil.rmtree(project, ignore_errors=True)
        try:
            work.rename(project)
        except OSError:  # another process was faster, with the same contents
            if not project.is_dir():
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _remove_old(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and path.stat().st_mtime < time.time() - _KEPT_SECONDS:
            shutil.rmtree(path, ignore_errors=True)
