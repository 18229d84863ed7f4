"""Bringing a backup back: into a home that has no lake yet, checked file by file, and marked as restored.

Belongs here: the order of the steps. Does not: making the index follow (`ingest/reindex.py`; `assay reindex`).

The mark (`restored`, an application transaction of each table that an index follows) is what tells the index apart: versions
and commits that the restored lake will use were used before, so that an index filled earlier can be ahead of it without a trace
of it in numbers.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from platform_assets.backup.backup import Progress
from platform_assets.backup.copy import copy_file, sync_folders
from platform_assets.backup.manifest import HOME, LAKE, SECRETS, Manifest
from platform_assets.core.errors import AssayError
from platform_assets.core.lake import LAYOUT_FILE, holds_nothing, require_layout
from platform_assets.core.settings import SECRETS_FILE, Settings, read_env_file
from platform_assets.tables.archive import mark_restored
from platform_assets.tables.files import sync

_INDEXED = ("silver/", "gold/", "alerts/")
"""Layers of the lake whose tables are followed by indices."""


@dataclass
class RestoreReport:
    """What came back. `missing_key` is the id of the masking key that the backup's lake used last, when this home lacks it."""

    path: str
    created: str
    assay: str
    tables: dict[str, int] = field(default_factory=dict)  # folder below the lake -> version in the backup
    files: int = 0
    bytes: int = 0
    secrets: bool = False
    missing_key: str | None = None
    seconds: float = 0.0


def restore(
    settings: Settings, source: Path, *, secrets: bool = False, progress: Progress | None = None
) -> RestoreReport:
    """Put a backup's lake and home files in place. Nothing that is there is overwritten.

    Raises AssayError when the backup's lake has another layout, when the home has a lake or one of the files already, when a file
    is not what the manifest says, or when the backup holds no secrets and they are asked for; then the home is as before.
    """
    started = time.perf_counter()
    source = source.absolute()
    manifest = Manifest.read(source)
    if secrets and not manifest.part(SECRETS):
        raise AssayError(f"{source} holds no secrets", "restore without --secrets; `assay backup --secrets` takes them")
    require_layout(source / LAKE)
    places = _places(settings, manifest, secrets)
    report = RestoreReport(
        str(settings.lake_path), manifest.created, manifest.assay, {t.path: t.version for t in manifest.tables}
    )
    work = _Restore(source, manifest, progress or _quiet)
    partial = settings.lake_path.with_name(f".{settings.lake_path.name}.restoring")
    try:
        partial.mkdir(parents=True, mode=0o700)
    except FileExistsError as error:
        raise AssayError(
            f"{partial} is there: another restore is at work, or one was killed", "delete it if so"
        ) from error
    try:
        for name in manifest.part(LAKE):
            work.copy(f"{LAKE}/{name}", partial / name)
        moment = time.time_ns() // 1000
        for table in manifest.tables:
            if table.path.startswith(_INDEXED):
                mark_restored(partial / table.path, moment)
        for name, place in places.items():
            work.copy(name, place)
            sync(place.parent)
        sync_folders(partial)
        if settings.lake_path.exists():
            (settings.lake_path / LAYOUT_FILE).unlink(missing_ok=True)
            settings.lake_path.rmdir()  # empty, or `_places` would have refused
        partial.rename(settings.lake_path)
        sync(settings.lake_path.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        for place in work.made:
            if not place.is_relative_to(partial):
                place.unlink(missing_ok=True)
        raise
    report.files, report.bytes, report.secrets = work.files, work.bytes, secrets
    report.missing_key = _missing_key(settings, manifest)
    report.seconds = time.perf_counter() - started
    return report


def _quiet(_phase: str, _done: int, _total: int) -> None:
    """Nobody watches."""


def _places(settings: Settings, manifest: Manifest, secrets: bool) -> dict[str, Path]:
    """Where files outside of the lake go, by their path in the backup. Raises AssayError when something is in the way."""
    if not holds_nothing(settings.lake_path):
        raise AssayError(f"{settings.lake_path} is not empty", "move it away, or restore into another home (--home)")
    places = {f"{HOME}/{name}": settings.home / name for name in manifest.part(HOME)}
    if secrets:
        places[f"{SECRETS}/{SECRETS_FILE}"] = settings.home / SECRETS_FILE
    for place in places.values():
        if place.exists():
            raise AssayError(f"{place} is there already", "move it away, or restore into another home (--home)")
    return places


def _missing_key(settings: Settings, manifest: Manifest) -> str | None:
    values = {**read_env_file(settings.home / SECRETS_FILE), **settings.values}
    retired = {entry.partition("=")[0].strip() for entry in values.get("ASSAY_HMAC_OLD_KEYS", "").split(",")}
    wanted = manifest.hmac_key_id
    return None if wanted is None or wanted in {values.get("ASSAY_HMAC_KEY_ID"), *retired} else wanted


class _Restore:
    """Copies and checks; remembers what it has made."""

    def __init__(self, source: Path, manifest: Manifest, tell: Progress) -> None:
        self._source = source
        self._manifest = manifest
        self._tell = tell
        self._total = manifest.bytes
        self.made: list[Path] = []
        self.files = 0
        self.bytes = 0

    def copy(self, name: str, target: Path) -> None:
        """Copy one file of the backup. Raises AssayError when it is not what the manifest says."""
        wanted = self._manifest.files[name]
        self.made.append(target)
        try:
            found = copy_file(self._source / name, target, self._count)
        except FileNotFoundError as error:
            raise AssayError(f"{self._source / name} is missing", "the backup is damaged; take another one") from error
        if (found.size, found.sha256) != (wanted.size, wanted.sha256):
            raise AssayError(f"{self._source / name} has changed", "the backup is damaged; take another one")
        self.files += 1

    def _count(self, more: int) -> None:
        self.bytes += more
        self._tell("restoring", self.bytes, self._total)
