"""Taking a backup: freeze, copy, check, and only then give it its name.

Belongs here: the order of the steps. Does not: what is copied (`contents.py`), or bringing it back (`restore.py`).

Works beside running workers. Until it is complete the copy lies beside its place under a name of its own.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from deltalake import DeltaTable

from platform_assets.backup.contents import freeze_lake, home_files, lake_files
from platform_assets.backup.copy import (
    Copied,
    copy_database,
    copy_file,
    describe,
    is_database,
    sync_folders,
)
from platform_assets.backup.manifest import HOME, LAKE, SECRETS, Manifest, TableEntry
from platform_assets.core.errors import AssayError
from platform_assets.core.settings import SECRETS_FILE, Settings
from platform_assets.core.transactions import SEQ
from platform_assets.tables.archive import FrozenTable, live_files, transaction
from platform_assets.tables.files import sync

Progress = Callable[[str, int, int], None]
"""Called with a phase (`copying`, `checking`), bytes done and bytes in all."""


@dataclass
class BackupReport:
    """What a backup holds. `seconds` is how long it took, `frozen_seconds` how long the tables were looked at."""

    path: str
    tables: dict[str, int] = field(default_factory=dict)  # folder below the lake -> version
    files: int = 0
    bytes: int = 0
    secrets: bool = False
    seconds: float = 0.0
    frozen_seconds: float = 0.0


def backup(
    settings: Settings, target: Path, *, link: bool = False, secrets: bool = False, progress: Progress | None = None
) -> BackupReport:
    """Copy lake and home to the new folder `target`.

    `link`: hard-link the tables' files instead of copying them (one file system; no help when that is lost). `secrets`: take
    `secrets.env` too. Raises AssayError when there is no lake, when `target` is there already, or when a copy is not equal.
    """
    target = target.absolute()
    started = time.perf_counter()
    if not settings.lake_path.is_dir():
        raise AssayError(f"there is no lake in {settings.lake_path}", "name its home with --home, or ASSAY_LAKE")
    if target.exists():
        raise AssayError(f"{target} is there already", "name a new folder: a backup is never changed")
    for root in (settings.lake_path, settings.home):
        if target.is_relative_to(root):
            raise AssayError(f"{target} is inside of {root}", "back up to another place, best to another disk")
    partial = target.with_name(f".{target.name}.partial")
    try:
        partial.mkdir(parents=True, mode=0o700)
    except FileExistsError as error:
        raise AssayError(
            f"{partial} is there: another backup is at work, or one was killed", "delete it if so"
        ) from error
    try:
        report = _Backup(settings, partial, link, progress or _quiet).run(secrets)
        partial.rename(target)
        sync(target.parent)
    except FileNotFoundError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise AssayError(
            f"{error.filename} went away during the backup",
            "copying took longer than files are kept (a day); try --link",
        ) from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    report.path = str(target)
    report.seconds = time.perf_counter() - started
    return report


def _quiet(_phase: str, _done: int, _total: int) -> None:
    """Nobody watches."""


class _Backup:
    """One backup on its way into `into`."""

    def __init__(self, settings: Settings, into: Path, link: bool, tell: Progress) -> None:
        self._settings = settings
        self._into = into
        self._link = link
        self._tell = tell
        self._done = 0
        self._total = 0
        self._manifest = Manifest(
            datetime.now(UTC).isoformat(timespec="seconds"), version("assay"), settings.values.get("ASSAY_HMAC_KEY_ID")
        )

    def run(self, secrets: bool) -> BackupReport:
        lake, home = self._settings.lake_path, self._settings.home
        clock = time.perf_counter()
        frozen = freeze_lake(lake, self._save_log)
        frozen_seconds = time.perf_counter() - clock
        self._total = sum((table.path / name).stat().st_size for table in frozen for name in table.data)
        for table in frozen:
            for name in table.data:
                self._copy(table.path / name, self._in_lake(table.path / name), link=self._link)
        for path in lake_files(lake):
            self._copy_plain(lake / path, f"{LAKE}/{path.as_posix()}")
        for path in home_files(home, lake):
            self._copy_plain(home / path, f"{HOME}/{path.as_posix()}")
        if secrets:
            self._copy(self._secrets_file(), f"{SECRETS}/{SECRETS_FILE}")
        self._check(frozen)
        sync_folders(self._into)
        self._manifest.write(self._into)
        tables = {entry.path: entry.version for entry in self._manifest.tables}
        files = self._manifest.files
        return BackupReport("", tables, len(files), self._manifest.bytes, secrets, frozen_seconds=frozen_seconds)

    def _secrets_file(self) -> Path:
        path = self._settings.home / SECRETS_FILE
        if not path.is_file():
            raise AssayError(f"there is no {path}", "leave out --secrets: they come from the environment here")
        return path

    def _in_lake(self, path: Path) -> str:
        return f"{LAKE}/{path.relative_to(self._settings.lake_path).as_posix()}"

    def _save_log(self, table: FrozenTable) -> None:
        """Copy a table's log now, in the place of an earlier try's."""
        prefix = self._in_lake(table.path)
        for name in [name for name in self._manifest.files if name.startswith(f"{prefix}/")]:
            del self._manifest.files[name]
        shutil.rmtree(self._into / prefix, ignore_errors=True)
        for name in table.log:
            self._copy(table.path / name, f"{prefix}/{name}")

    def _copy_plain(self, source: Path, name: str) -> None:
        """Copy a file that others may replace, add to or delete meanwhile."""
        try:
            if is_database(source):
                self._manifest.files[name] = copy_database(source, self._into / name, self._count)
            else:
                self._copy(source, name)
        except FileNotFoundError:
            (self._into / name).unlink(missing_ok=True)  # deleted since it was listed: it is not part of this state

    def _copy(self, source: Path, name: str, *, link: bool = False) -> None:
        self._manifest.files[name] = copy_file(source, self._into / name, self._count, link=link)

    def _count(self, more: int) -> None:
        self._done += more
        self._tell("copying", self._done, max(self._total, self._done))

    def _check(self, frozen: list[FrozenTable]) -> None:
        """Read the copy again, and open each table in it."""
        total, done = self._manifest.bytes, 0

        def count(more: int) -> None:
            nonlocal done
            done += more
            self._tell("checking", done, total)

        for name, copied in self._manifest.files.items():
            _require(self._into / name, copied, describe(self._into / name, count))
        for table in frozen:
            folder = self._into / self._in_lake(table.path)
            opened = DeltaTable(str(folder))
            if opened.version() != table.version or live_files(opened) != table.data:
                raise AssayError(
                    f"the copy of {table.path} is not the table", "this is a fault of the program; keep both"
                )
            path = table.path.relative_to(self._settings.lake_path).as_posix()
            self._manifest.tables.append(TableEntry(path, table.version, transaction(folder, SEQ)))


def _require(path: Path, wanted: Copied, found: Copied) -> None:
    if (wanted.size, wanted.sha256) != (found.size, found.sha256):
        raise AssayError(f"{path} was not copied as it was read", "check the disk of the backup")
