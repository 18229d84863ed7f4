"""Pinned artifacts: which files make up each service, and their checksums.

Belongs here: reading `versions.toml` and `artifacts.lock`, and making the lock anew
(`python -m platform_assets.local.lock`). Does not: downloading for a start (`artifacts.py`).

With the lock a start walks no dependency graph, knows how many bytes are due, and accepts only the very bytes that
were tested.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jgo.maven import MavenContext

_HERE = Path(__file__).parent
LOCK_FILE = _HERE / "artifacts.lock"

# Module name -> (artifact, class of the plugin).
OPENSEARCH_MODULES = {
    "analysis-common": ("analysis-common", "org.opensearch.analysis.common.CommonAnalysisModulePlugin"),
    "transport-netty4": ("transport-netty4-client", "org.opensearch.transport.Netty4ModulePlugin"),
    "lang-painless": ("lang-painless", "org.opensearch.painless.PainlessModulePlugin"),
    "mapper-extras": ("mapper-extras-client", "org.opensearch.index.mapper.MapperExtrasModulePlugin"),
    "reindex": ("reindex-client", "org.opensearch.index.reindex.ReindexModulePlugin"),
}
SECURITY_FOLDER = "opensearch/plugins/opensearch-security"


@dataclass(frozen=True)
class Artifact:
    """One file of a service: `folder` is relative to the runtime, `size` in bytes, `sha256` in hex."""

    folder: str
    group: str
    name: str
    version: str
    packaging: str
    size: int
    sha256: str

    @property
    def filename(self) -> str:
        """The file's name in a Maven repository."""
        return f"{self.name}-{self.version}.{self.packaging}"


@cache
def versions() -> dict[str, dict[str, Any]]:
    """The content of `versions.toml`."""
    return tomllib.loads((_HERE / "versions.toml").read_text(encoding="utf-8"))


def read_lock(path: Path = LOCK_FILE) -> list[Artifact]:
    """The artifacts of a lock, by default `artifacts.lock`."""
    return [Artifact(**row) for row in json.loads(path.read_text(encoding="utf-8"))]


def wanted(context: MavenContext) -> Iterable[tuple[str, list[Any]]]:
    """Resolve what `versions.toml` asks for: pairs of folder and jgo artifacts, dependencies included."""
    kafka, opensearch = versions()["kafka"], versions()["opensearch"]
    release = opensearch["version"]

    def closure(group: str, name: str, version: str) -> list[Any]:
        dependency = context.create_dependency(f"{group}:{name}:{version}")
        # One root at a time: jgo lets each root's POM manage the versions of the others.
        inputs, transitive = context.resolver.resolve([dependency])
        return [d.artifact for d in (*inputs, *(t for t in transitive if t.scope in ("compile", "runtime")))]

    def alone(group: str, name: str, version: str, packaging: str = "jar") -> list[Any]:
        return [context.project(group, name).at_version(version).artifact(packaging=packaging)]

    yield "kafka/lib", closure("org.apache.kafka", f"kafka_{kafka['scala']}", kafka["version"])
    yield "kafka/lib", alone("org.apache.logging.log4j", "log4j-slf4j-impl", kafka["log4j"])
    core = [
        *closure("org.opensearch", "opensearch", release),
        *alone("org.opensearch", "opensearch-plugin-classloader", release),
        *alone("org.apache.logging.log4j", "log4j-core", opensearch["log4j"]),
        *alone("com.ibm.icu", "icu4j", opensearch["icu"]),
        *alone("com.ibm.icu", "icu4j-localespi", opensearch["icu"]),
    ]
    yield "opensearch/lib", core
    yield "opensearch/agent", closure("org.opensearch", "opensearch-agent", release)
    # A module that carries a jar of the core again is refused as "jar hell".
    shared = {(a.groupId, a.artifactId) for a in core}
    for module, (name, _) in OPENSEARCH_MODULES.items():
        artifacts = closure("org.opensearch.plugin", name, release)
        yield f"opensearch/modules/{module}", [a for a in artifacts if (a.groupId, a.artifactId) not in shared]
    yield SECURITY_FOLDER, alone("org.opensearch.plugin", "opensearch-security", opensearch["security"], "zip")
    yield SECURITY_FOLDER, alone("org.apache.commons", "commons-collections4", opensearch["commons-collections4"])


def write_lock(path: Path, wanted: Callable[[MavenContext], Iterable[tuple[str, list[Any]]]]) -> None:
    """Resolve and download what `wanted` names once, into a scratch folder, measure it, and write the lock."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        context = MavenContext(repo_cache=Path(scratch), timeout=120)
        for folder, artifacts in wanted(context):
            for artifact in artifacts:
                data = Path(artifact.resolve()).read_bytes()
                rows.append(
                    Artifact(
                        folder=folder,
                        group=artifact.groupId,
                        name=artifact.artifactId,
                        version=artifact.version,
                        packaging=artifact.packaging,
                        size=len(data),
                        sha256=hashlib.sha256(data).hexdigest(),
                    )
                )
    rows.sort(key=lambda row: (row.folder, row.group, row.name))
    lines = ",\n".join(json.dumps(asdict(row)) for row in rows)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    write_lock(LOCK_FILE, wanted)
