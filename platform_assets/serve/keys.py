"""API keys: who may call, in which role, and for what.

Belongs here: making, keeping, finding and revoking keys. Does not belong here: what a role may do on a route (`access.py`).

A key is `assay_<id>_<secret>` and shown once. The file keeps its SHA-256: the secret is 32 random bytes, which no dictionary
holds, so that stretching would only slow each request down.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from platform_assets.core.errors import AssayError
from platform_assets.core.files import locked, make_folder, write_private

FOLDER = "api"
_FILE = "keys.json"
_NAME = re.compile(r"[\w.@ -]{1,64}")
_VALUE = re.compile(r"[^\x00-\x1f\x7f,]{1,256}")
_KEY = re.compile(r"assay_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_MAX_KEYS = 10_000


class Role(StrEnum):
    """What a key is for."""

    READER = "reader"  # search, stats, alerts, reports
    WRITER = "writer"  # submit
    ADMIN = "admin"  # everything, trace, quarantine and replay included


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is kept. `system` None means every system; `only` the values of the row policy that it is limited to."""

    id: str
    name: str
    role: Role
    hash: str
    created_at: datetime
    system: str | None = None
    only: tuple[str, ...] | None = None
    personal_data: bool = False
    expires_at: datetime | None = None

    def expired(self, now: datetime) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and now >= self.expires_at

    def public(self) -> dict[str, Any]:
        """What may be shown of it."""
        return {name: value for name, value in _plain(self).items() if name != "hash"}


class KeyStore:
    """The keys of a home, in `<home>/api/keys.json` (0600). Threads may share it; other processes' changes are seen at once."""

    def __init__(self, home: Path) -> None:
        self._folder = home / FOLDER
        self._path = self._folder / _FILE
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._keys: dict[str, Key] = {}

    def find(self, presented: str, now: datetime | None = None) -> Key | None:
        """The key that somebody presents; None when it is unknown, wrong, revoked or expired.

        Raises AssayError when the file cannot be read: then nobody is let in.
        """
        match = _KEY.fullmatch(presented)
        if match is None:
            return None
        key = self._read().get(match[1])
        # An unknown id takes as long as a wrong secret.
        same = hmac.compare_digest(_hash(presented), key.hash if key else _hash(""))
        return key if key is not None and same and not key.expired(now or datetime.now(UTC)) else None

    def all(self) -> list[Key]:
        """Every key, the oldest first. Raises AssayError when the file cannot be read."""
        return sorted(self._read().values(), key=lambda key: key.created_at)

    def add(
        self,
        name: str,
        role: Role,
        *,
        system: str | None = None,
        only: tuple[str, ...] | None = None,
        unlimited: bool = False,
        personal_data: bool = False,
        lifetime: timedelta | None = None,
    ) -> tuple[Key, str]:
        """A new key and its only clear text. A writer that is not limited to some values must be `unlimited`.

        Raises AssayError for rights that make no sense together.
        """
        _check(name, role, only, unlimited, personal_data)
        key_id, now = secrets.token_hex(6), datetime.now(UTC)
        text = f"assay_{key_id}_{secrets.token_urlsafe(32)}"
        expires = now + lifetime if lifetime else None
        key = Key(key_id, name, role, _hash(text), now, system, only, personal_data, expires)
        with self._changing() as keys:
            if len(keys) >= _MAX_KEYS:
                raise AssayError(f"there are {_MAX_KEYS} keys already", "revoke those that nobody uses")
            keys[key_id] = key
        return key, text

    def revoke(self, key_id: str) -> Key:
        """Remove a key; it ends at once, running servers included. Raises AssayError when there is none of that id."""
        with self._changing() as keys:
            if key_id not in keys:
                raise AssayError(f"there is no key {key_id!r}", "`assay keys list` shows those there are")
            return keys.pop(key_id)

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Key]]:
        """The keys, under the home's lock, written back when the block ends well."""
        make_folder(self._folder, 0o700)
        with locked(self._folder / "keys.lock"):
            keys = dict(self._read())
            yield keys
            document = {"keys": [_plain(key) for key in keys.values()]}
            write_private(self._path, (json.dumps(document, indent=1) + "\n").encode())

    def _read(self) -> dict[str, Key]:
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_ino, status.st_size)
            with self._lock:
                if seen != self._seen:
                    found = json.loads(self._path.read_text(encoding="utf-8"))
                    self._keys = {one["id"]: _parse(one) for one in found["keys"]}
                    self._seen = seen
                return self._keys
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise AssayError(
                f"cannot read the keys in {self._path}", "restore the file, or delete it and add keys anew"
            ) from error


def _check(name: str, role: Role, only: tuple[str, ...] | None, unlimited: bool, personal_data: bool) -> None:
    if not _NAME.fullmatch(name):
        raise AssayError(f"not a name for a key: {name!r}", "up to 64 letters, digits and . _ - @")
    if only is not None and unlimited:
        raise AssayError("a key is limited to some values or to none", "leave one of the two out")
    if role is Role.WRITER and only is None and not unlimited:
        raise AssayError(
            "a writer is limited to values of the row policy",
            "name them with --only, or say --unlimited: it can then write any row",
        )
    if only is not None and role is Role.ADMIN:
        raise AssayError("an administrator is not limited to some rows", "make a reader or a writer")
    if only is not None and not only:
        raise AssayError("a limited key needs a value", "name one, or leave the list out")
    for value in only or ():
        if not _VALUE.fullmatch(value):
            raise AssayError(f"not a value of a row policy: {value!r}", "as it is in the rows, up to 256 characters")
    if personal_data and role is Role.WRITER:
        raise AssayError("a writer reads nothing, personal data neither", "make a reader")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(key: Key) -> dict[str, Any]:
    found = asdict(key)
    found["created_at"] = key.created_at.isoformat()
    found["expires_at"] = key.expires_at.isoformat() if key.expires_at else None
    found["only"] = list(key.only) if key.only is not None else None
    return found


def _parse(found: dict[str, Any]) -> Key:
    key = Key(**found)
    return replace(
        key,
        role=Role(key.role),
        created_at=datetime.fromisoformat(found["created_at"]),
        expires_at=datetime.fromisoformat(found["expires_at"]) if found["expires_at"] else None,
        only=tuple(found["only"]) if found["only"] is not None else None,
    )
