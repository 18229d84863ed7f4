"""What was answered to a submission, so that a repetition is answered the same and publishes nothing.

Belongs here: keeping answers by caller and `Idempotency-Key` for a time, so many of each caller, beyond a restart (SQLite).
Does not belong here: publishing.
"""

from __future__ import annotations

import hmac
import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from platform_assets.core.errors import AssayError
from platform_assets.core.files import PRIVATE, make_folder
from platform_assets.serve.limits import TooMany

KEPT_S = 24 * 3600
MAX_ANSWERS = 1_000_000
"""Of one caller: 11 a second all day. An answer takes 0.3 KB, and 0.07 KB more for each further event."""
_FULL_RETRY_S = 60
_BUSY_S = 5.0
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


class AnswersUnavailable(AssayError):
    """The answers cannot be read or written now: whether an earlier request published is not known."""


class Answers:
    """The answers of a home, in `<home>/api/idempotency.sqlite` (0600). Threads may share it, processes may not.

    Bodies are kept as keyed digests: they hold personal data. An answer that was never stored (a crash between the broker's
    acknowledgement and the store) publishes again; a table with a key drops the second event. No answer makes room for
    another before its time is over. Raises AnswersUnavailable wherever the file is at fault.
    """

    def __init__(self, folder: Path, secret: bytes, *, kept_s: float = KEPT_S, limit: int = MAX_ANSWERS) -> None:
        self._secret = hmac.digest(secret, b"assay api idempotency", "sha256")
        self._kept_s, self._limit = kept_s, limit
        self._lock = threading.Lock()
        self._running: set[tuple[str, str]] = set()
        self._path = folder / _FILE
        with _translated():
            make_folder(folder, 0o700)
            self._path.touch(PRIVATE)
        with self._open() as db:
            db.executescript(_SCHEMA)
            self._kept = Counter(dict(db.execute("SELECT caller, count(*) FROM answers GROUP BY caller").fetchall()))

    @contextmanager
    def once(self, caller: str, key: str, body: bytes) -> Iterator[_Slot]:
        """The slot of this key: it holds the earlier answer, or takes the one that the block makes.

        Raises KeyReused for another body, InProgress while the first is being answered, TooMany when the caller has used too
        many keys; in none of these cases, nor when the disk is full, does the block begin.
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
            slot = _Slot(self._begin(caller, key, digest))
            yield slot
            if slot.fresh is not None:
                self._store(caller, key, slot.fresh)
        finally:
            with self._lock:
                self._running.discard(mine)

    def _begin(self, caller: str, key: str, digest: bytes) -> dict[str, Any] | None:
        """The earlier answer; else None, and there is a row that waits for one (its answer is empty).

        The row comes before anything is published, for then a disk that takes none is noticed in time. Where nothing came of
        the request it stays, and means nothing.
        """
        over = time.time() - self._kept_s
        with self._open() as db:
            row = db.execute(
                "SELECT digest, answer FROM answers WHERE caller = ? AND key = ? AND at > ?", (caller, key, over)
            ).fetchone()
        if row is not None and row[1]:
            if not hmac.compare_digest(row[0], digest):
                raise KeyReused("this Idempotency-Key was used with another body", "take a new key for each submission")
            answer: dict[str, Any] = json.loads(row[1])
            return answer
        with self._open() as db:
            gone = Counter(one for (one,) in db.execute("DELETE FROM answers WHERE at <= ? RETURNING caller", (over,)))
            full = row is None and self._kept[caller] - gone[caller] >= self._limit
            if not full:
                db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, '', ?)", (caller, key, digest, time.time()))
        with self._lock:
            self._kept.subtract(gone)
            self._kept[caller] += row is None and not full
        if full:
            raise TooMany(
                f"more than {self._limit} Idempotency-Keys in {self._kept_s // 3600:.0f} hours, for which their answers are "
                "kept: nothing was published; send more events in a request",
                _FULL_RETRY_S,
            )
        return None

    def _store(self, caller: str, key: str, answer: dict[str, Any]) -> None:
        with self._open() as db:
            db.execute(
                "UPDATE answers SET answer = ?, at = ? WHERE caller = ? AND key = ?",
                (json.dumps(answer), time.time(), caller, key),
            )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection, and a transaction that ends with the block."""
        with _translated(), closing(sqlite3.connect(self._path, timeout=_BUSY_S)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            with db:
                yield db


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise AnswersUnavailable(
            f"the answers to submissions cannot be kept now ({error})", "send it again with the same Idempotency-Key"
        ) from error


class _Slot:
    """`known` is the earlier answer; `fresh` is set by whoever made one now."""

    def __init__(self, known: dict[str, Any] | None) -> None:
        self.known = known
        self.fresh: dict[str, Any] | None = None
