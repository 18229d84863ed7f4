"""The dbt project: where it is, and what dbt makes of it.

Belongs here: the folder, its fingerprint, the manifest. Does not: running models (`build.py`).

The manifest, with the SQL of every model, is made by `dbt compile` once for each state of the project's files and kept in
`dbt_project/target`, or, where that cannot be written (a read-only installation), in a private folder of the user under the
system's temporary folder. It is kept in both of dbt's forms: making it costs five seconds of processor time, which a run a minute
must not pay.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path

from platform_assets.contracts.read import load_systems
from platform_assets.core.errors import AssayError, Mistake
from platform_assets.core.settings import Settings, child_environment
from platform_assets.marts import compile as compiling
from platform_assets.marts.assembled import assemble, origin, unread
from platform_assets.marts.broken import without_broken

DATABASE = "ASSAY_GOLD_DATABASE"
"""The environment variable from which `profiles.yml` reads the path of the run's database."""
MANIFEST, PARSED, BROKEN = "manifest.json", "partial_parse.msgpack", "broken.json"
"""What dbt tells others of the project, all that it knows itself, and what it could not read."""
_READ = ("*.sql", "*.yml")
_COMPILE_SECONDS = 600
_FILE_SECONDS = 30
"""Processor time that the Jinja of one model may take; that of the platform's takes milliseconds."""
_SAID = 400
_PACKAGE = Path(__file__).resolve().parents[1]


def project_folder() -> Path:
    """The dbt project of the systems that there are: of those in `$ASSAY_SYSTEMS`, one that is assembled from their folders.

    Raises AssayError when there is no project, or no such folder of systems.
    """
    settings = Settings.load()
    base = settings.dbt_project or _packaged()
    if (systems := settings.systems) is None:
        return base
    systems = systems.absolute()
    return assemble(base, systems, load_systems(systems).contracts, _private() / "projects")


def _packaged() -> Path:
    """The platform's dbt project: beside the package in a checkout, within it when installed. Raises AssayError without one."""
    for folder in (_PACKAGE.parent / "dbt_project", _PACKAGE / "dbt_project"):
        if (folder / "dbt_project.yml").is_file():
            return folder
    raise AssayError("there is no dbt project beside the package", "install the platform from its checkout or wheel")


def has_models(project: Path, system: str) -> bool:
    """Whether the system has a folder of models."""
    return (project / "models" / system).is_dir()


def selection(system: str) -> str:
    """dbt's selector of a system's models with their tests."""
    return f"fqn:assay.{system}"


def fingerprint(project: Path) -> str:
    """Changes whenever a file of the project, or dbt, does."""
    digest = hashlib.sha256(f"{version('dbt-core')} {version('dbt-duckdb')} {project}".encode())
    for path in sorted(p for pattern in _READ for p in project.rglob(pattern) if "target" not in p.parts):
        digest.update(f"{path.relative_to(project)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def manifest_path(project: Path) -> Path:
    """The manifest of the project as it is now, made when there is none yet (about five seconds); `PARSED` is beside it.

    A model that dbt cannot compile has no `compiled_code` in it.

    Files that dbt cannot read are not in it, and `BROKEN` beside it says why (`broken_models`). Raises AssayError with dbt's own
    words when the project itself cannot be parsed.
    """
    mark, target = fingerprint(project), _target(project)
    path = target / mark / MANIFEST
    if all(path.with_name(name).is_file() for name in (MANIFEST, PARSED, BROKEN)):
        return path
    work = Path(tempfile.mkdtemp(prefix=".compile-", dir=target))
    try:
        mistakes: tuple[Mistake, ...] = ()
        try:
            _compile(project, work)
        except AssayError:
            mistakes = without_broken(project, work / "project", lambda copy: _compile(copy, work))
        path.parent.mkdir(exist_ok=True)
        write = json.dumps([asdict(mistake) for mistake in mistakes])
        (work / BROKEN).write_text(write, encoding="utf-8")
        (work / BROKEN).replace(path.with_name(BROKEN))
        (work / PARSED).replace(path.with_name(PARSED))
        return (work / MANIFEST).replace(path)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def broken_models(project: Path, system: str) -> tuple[Mistake, ...]:
    """What dbt cannot read of a system's models and tests, which are left out of the manifest."""
    if not has_models(project, system):
        return ()
    found = json.loads(manifest_path(project).with_name(BROKEN).read_text(encoding="utf-8"))
    folders = [project / "models" / system, project / "tests" / system]
    mistakes = [Mistake(**mistake) for mistake in found]
    own = [m for m in mistakes if any(Path(m.file).is_relative_to(folder) for folder in folders)]
    return (*unread(project, system), *(replace(m, file=str(origin(project, Path(m.file)))) for m in own))


def _target(project: Path) -> Path:
    """Where manifests are kept: beside the models in a checkout, never within an installed package."""
    if project.is_relative_to(_PACKAGE) or not os.access(project, os.W_OK):
        return _private()
    target = project / "target"
    target.mkdir(exist_ok=True)
    return target


@cache
def _private() -> Path:
    """A folder that only this user may write to. Raises AssayError when somebody else has made it."""
    folder = Path(tempfile.gettempdir()) / f"assay-dbt-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or folder.is_symlink():
        raise AssayError(f"{folder} is not private to this user", "remove it, or set TMPDIR to a folder of your own")
    return folder


def flags(project: Path, target: Path) -> list[str]:
    """The options that every call of dbt has here."""
    return [
        "--project-dir", str(project), "--profiles-dir", str(project), "--target-path", str(target),
        "--log-path", str(target), "--log-level-file", "none", "--no-version-check", "--no-use-colors",
    ]  # fmt: skip


def _compile(project: Path, target: Path) -> None:
    """In a process of its own: dbt is heavy, and keeps settings of its last run."""
    # Python's warnings would hide the end of dbt's words, which is quoted.
    command = [
        sys.executable, "-W", "ignore", "-m", compiling.__name__, str(_FILE_SECONDS), "--quiet", "compile",
        "--select", "resource_type:model", "--no-populate-cache",
        *flags(project, target),
    ]  # fmt: skip
    # An empty database, so that SQL which depends on data cannot be compiled.
    environment = child_environment({DATABASE: str(target / "gold.duckdb")})
    try:
        done = subprocess.run(  # noqa: S603 (our own interpreter and project)
            command, capture_output=True, text=True, check=False, timeout=_COMPILE_SECONDS, stdin=subprocess.DEVNULL,
            env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise AssayError(
            f"dbt did not read the project in {project} within {_COMPILE_SECONDS} s",
            "try again when the machine is less busy",
        ) from error
    # Having failed at single models dbt goes on with the others; having stopped, it has compiled none that follows.
    stopped = done.returncode == compiling.STOPPED
    if done.returncode and (stopped or not (target / MANIFEST).is_file()):
        (target / MANIFEST).unlink(missing_ok=True)
        words = " ".join((done.stdout + done.stderr).split())
        if len(words) > 2 * _SAID:  # the beginning names the file and the model, the end what is wrong
            words = f"{words[:_SAID]} … {words[-_SAID:]}"
        raise AssayError(f"dbt cannot read the project in {project}: {words}", "put the project right and try again")
