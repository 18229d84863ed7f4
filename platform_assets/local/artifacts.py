"""From pinned artifacts to runnable trees of Kafka and OpenSearch.

Belongs here: downloading what the lock names, checking it, laying it out as each server wants it.
Does not: which artifacts those are (`lock.py`), configuration (`kafka.py`, `opensearch.py`).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from jgo.config import GlobalSettings
from jgo.maven import MavenContext, PythonResolver
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from platform_assets.core.errors import AssayError
from platform_assets.core.files import locked, open_to_all, write_text
from platform_assets.local.layout import cache_folder, runtime_folder
from platform_assets.local.lock import LOCK_FILE, OPENSEARCH_MODULES, SECURITY_FOLDER, Artifact, read_lock, versions

_DOWNLOADS = 4
_TIMEOUT_S = 60
_MARK = ".complete"


@dataclass(frozen=True)
class Runtime:
    """Assembled programs, readable by every user and writable by their owner only."""

    root: Path

    @property
    def kafka(self) -> Path:
        """Kafka: `lib/*.jar`."""
        return self.root / "kafka"

    @property
    def opensearch(self) -> Path:
        """OpenSearch: `lib`, `agent`, `modules`, `plugins`."""
        return self.root / "opensearch"


def ensure_runtime(console: Console | None = None) -> Runtime:
    """Download what is missing (with a progress bar on `console`), check it, and assemble it once.

    A second call needs no network. Raises AssayError when an artifact cannot be had or is not the one that was pinned.
    """
    # The assembling code is part of the tree's identity: another way to lay files out makes another tree.
    identity = LOCK_FILE.read_bytes() + Path(__file__).read_bytes()
    root = runtime_folder() / hashlib.sha256(identity).hexdigest()[:16]
    if (root / _MARK).is_file():
        return Runtime(root)
    with locked(cache_folder() / "download.lock"):
        if not (root / _MARK).is_file():
            artifacts = read_lock()
            release = f"Kafka {versions()['kafka']['version']} and OpenSearch {versions()['opensearch']['version']}"
            files = download(artifacts, release, console or Console(stderr=True))
            _assemble(root, list(zip(artifacts, files, strict=True)))
    return Runtime(root)


def download(artifacts: Sequence[Artifact], what: str, console: Console) -> list[Path]:
    """The files of `artifacts` in the cache, in their order; what is missing is fetched, and every one of them checked.

    `what` names them on the console. Raises AssayError when one cannot be had or is not the one that was pinned.
    """
    repository = cache_folder() / "maven"
    total = sum(artifact.size for artifact in artifacts)
    with _progress(console, f"Fetching {what}", total) as advance:
        context = MavenContext(
            resolver=PythonResolver(progress_callback=_silent),
            repo_cache=repository,
            # A person's jgo settings may name mirrors; without any, jgo's own default holds.
            remote_repos=GlobalSettings.load().repositories or None,
            timeout=_TIMEOUT_S,
        )

        def fetch(artifact: Artifact) -> Path:
            path = _fetch(context, artifact)
            advance(artifact.size)
            return path

        with ThreadPoolExecutor(_DOWNLOADS) as pool:
            return list(pool.map(fetch, artifacts))


def _fetch(context: MavenContext, artifact: Artifact) -> Path:
    """One file of the repository cache, downloaded when absent, and when it is not what the lock says once more."""
    wanted = (
        context.project(artifact.group, artifact.name)
        .at_version(artifact.version)
        .artifact(packaging=artifact.packaging)
    )
    for _ in range(2):
        try:
            path = Path(wanted.resolve())
        except (requests.RequestException, RuntimeError, OSError) as error:
            raise AssayError(
                f"cannot download {artifact.filename}: {type(error).__name__}",
                "check the network and the free space of the cache, then try again",
            ) from error
        if hashlib.sha256(path.read_bytes()).hexdigest() == artifact.sha256:
            return path
        path.unlink()  # An interrupted download leaves a part under the final name.
    raise AssayError(
        f"{artifact.filename} is not the file that was pinned (its checksum differs)",
        "the repository or a proxy serves something else; nothing was started",
    )


def _assemble(root: Path, files: list[tuple[Artifact, Path]]) -> None:
    """Lay the files out under `root`; a broken attempt is begun again, `.complete` comes last."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for artifact, path in files:
        folder = root / artifact.folder
        folder.mkdir(parents=True, exist_ok=True)
        if artifact.packaging == "zip":
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folder)
        else:
            _place(path, folder / artifact.filename)
    release = versions()["opensearch"]["version"]
    minimum = versions()["java"]["minimum"]
    for module, (_, plugin) in OPENSEARCH_MODULES.items():
        write_text(
            root / "opensearch" / "modules" / module / "plugin-descriptor.properties",
            f"name={module}\ndescription={module}\nversion={release}\nclassname={plugin}\n"
            f"java.version={minimum}\nopensearch.version={release}\nextended.plugins=\nhas.native.controller=false\n",
        )
    # The plugin names a module that is not published; nothing in it is needed without that module.
    descriptor = root / SECURITY_FOLDER / "plugin-descriptor.properties"
    text = re.sub(r"^extended\.plugins=.*$", "extended.plugins=", descriptor.read_text(encoding="utf-8"), flags=re.M)
    write_text(descriptor, text)
    # OpenSearch creates these when they are absent, which the service user may not.
    for name in ("bin", "config", "extensions"):
        (root / "opensearch" / name).mkdir()
    open_to_all(root)
    (root / _MARK).touch()


def _place(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # Another file system, or links forbidden.
        shutil.copyfile(source, target)


@contextmanager
def _silent(_filename: str, _size: int) -> Iterator[Callable[[int], None]]:
    """Keep jgo from drawing: one bar for everything is drawn here."""
    yield lambda _count: None


@contextmanager
def _progress(console: Console, title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar for a person; two lines in a log."""
    if not console.is_terminal:
        console.print(f"{title} ({total / 1e6:.0f} MB) ...", highlight=False)
        yield lambda _count: None
        console.print("Fetched and checked.", highlight=False)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=total)
        yield lambda count: progress.advance(task, count)
