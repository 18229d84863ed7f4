"""What was answered to a submission, so that a repetition is answered the same and publishes nothing.

Belongs here: keeping answers by caller and `Idempotency-Key`, bounded in number and time, beyond a restart (SQLite).
Does not belong here: publishing.
"""

from __future__ import annotations

import hmac
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from platform_assets.errors import AssayError
from platform_assets.local.files import PRIVATE, make_folder

KEPT_S = 24 * 3600
MAX_ANSWERS = 100_000
_FILE = "idempotency.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    caller TEXT NOT NULL, key TEXT NOT NULL, digest BLOB NOT NULL, answer TEXT NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (caller, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answers_at ON answers (at);
"""


class KeyReused(AssayError):
    """The same key came with another body."""


class InProgress(AssayError):
    """The first request with this key has not been answered yet."""


class Answers:
    """The answers of a home, in `<home>/api/idempotency.sqlite` (0600). Threads may share it.

    Bodies are kept as keyed digests: they hold personal data. An answer that was never stored (a crash between the broker's
    acknowledgement and the store) publishes again; a table with a key drops the second event.
    """

    def __init__(self, folder: Path, secret: bytes, *, kept_s: float = KEPT_S, limit: int = MAX_ANSWERS) -> None:
        self._path = make_folder(folder, 0o700) / _FILE
        self._secret = hmac.digest(secret, b"assay api idempotency", "sha256")
        self._kept_s, self._limit = kept_s, limit
        self._lock = threading.Lock()
        self._running: set[tuple[str, str]] = set()
        self._path.touch(PRIVATE)
        with closing(self._connect()) as db, db:
            db.executescript(_SCHEMA)

    @contextmanager
    def once(self, caller: str, key: str, body: bytes) -> Iterator[_Slot]:
        """The slot of this key: it holds the earlier answer, or takes the one that the block makes.

        Raises KeyReused for another body, InProgress while the first is being answered.
        """
        mine = (caller, key)
        with self._lock:
            if mine in self._running:
                raise InProgress(
                    "the first request with this Idempotency-Key is still being answered", "try again soon"
                )
            self._running.add(mine)
        try:
            digest = hmac.digest(self._secret, body, "sha256")
            slot = _Slot(self._find(caller, key, digest))
            yield slot
            if slot.fresh is not None:
                self._store(caller, key, digest, slot.fresh)
        finally:
            with self._lock:
                self._running.discard(mine)

    def _find(self, caller: str, key: str, digest: bytes) -> dict[str, Any] | None:
        with closing(self._connect()) as db:
            row = db.execute(
                "SELECT digest, answer FROM answers WHERE caller = ? AND key = ? AND at > ?",
                (caller, key, time.time() - self._kept_s),
            ).fetchone()
        if row is None:
            return None
        if not hmac.compare_digest(row[0], digest):
            raise KeyReused("this Idempotency-Key was used with another body", "take a new key for each submission")
        answer: dict[str, Any] = json.loads(row[1])
        return answer

    def _store(self, caller: str, key: str, digest: bytes, answer: dict[str, Any]) -> None:
        now = time.time()
        with closing(self._connect()) as db, db:
            db.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", (caller, key, digest, json.dumps(answer), now)
            )
            db.execute("DELETE FROM answers WHERE at <= ?", (now - self._kept_s,))
            db.execute(
                "DELETE FROM answers WHERE at <= (SELECT at FROM answers ORDER BY at DESC LIMIT 1 OFFSET ?)",
                (self._limit,),
            )

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=5)
        db.execute("PRAGMA journal_mode = WAL")
        return db


class _Slot:
    """`known` is the earlier answer; `fresh` is set by whoever made one now."""

    def __init__(self, known: dict[str, Any] | None) -> None:
        self.known = known
        self.fresh: dict[str, Any] | None = None
