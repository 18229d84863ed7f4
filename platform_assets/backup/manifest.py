"""The manifest of a backup: what it holds, with sizes and SHA-256, written last. A folder without one is no backup.

Belongs here: its form, reading, writing. Does not: copying (`copy.py`).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from platform_assets.backup.copy import Copied, write_durably
from platform_assets.core.errors import AssayError

NAME = "manifest.json"
FORMAT = 1
LAKE, HOME, SECRETS = "lake", "home", "secrets"
"""The parts of a backup, each a folder of it. `secrets` is there only when it was asked for."""


@dataclass(frozen=True)
class TableEntry:
    """One Delta table: its folder below the lake, its version and, where it has one, the last bronze commit in it."""

    path: str
    version: int
    seq: int | None


@dataclass
class Manifest:
    """What a backup holds. `files` maps a path in the backup to its size and checksum; times are ISO 8601 in UTC."""

    created: str
    assay: str
    hmac_key_id: str | None
    tables: list[TableEntry] = field(default_factory=list)
    files: dict[str, Copied] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(copied.size for copied in self.files.values())

    def part(self, name: str) -> dict[str, Copied]:
        """The files of one part, by path below it."""
        prefix = f"{name}/"
        return {path.removeprefix(prefix): copied for path, copied in self.files.items() if path.startswith(prefix)}

    def write(self, folder: Path) -> None:
        """Write it into the backup's folder, synced."""
        text = json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"
        write_durably(folder / NAME, text.encode())

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read it from a backup's folder. Raises AssayError when there is none, or one that we cannot trust."""
        path = folder / NAME
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if found.get("format") != FORMAT:
                raise AssayError(
                    f"{path} has format {found.get('format')}, not {FORMAT}", "use the release that wrote it"
                )
            files = {name: Copied(**copied) for name, copied in found.pop("files").items()}
            tables = [TableEntry(**table) for table in found.pop("tables")]
            manifest = cls(**found, tables=tables, files=files)
        except FileNotFoundError as error:
            raise AssayError(
                f"{folder} is no backup: it has no {NAME}", "name the folder that `assay backup` made"
            ) from error
        except OSError as error:
            raise AssayError(f"cannot read {path}: {error.strerror}", "run as the user who owns it") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AssayError(f"{path} is damaged", "take an older backup") from error
        for name in (*manifest.files, *(table.path for table in manifest.tables)):
            parts = PurePosixPath(name).parts
            if PurePosixPath(name).is_absolute() or ".." in parts or not parts:
                raise AssayError(f"{path} names a file outside of the backup: {name}", "do not restore it")
        return manifest
