"""The audit trail: who looked at what only few may look at, and who changed keys.

Belongs here: the one writer of `<home>/audit/<day>.jsonl`. Does not belong here: what must be audited (the routes say so).

A line is written and on disk before the answer leaves; what cannot be written is not served. Personal values appear as their
pseudonyms only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import HTTPException

from platform_assets.core.errors import AssayError
from platform_assets.core.files import PRIVATE, make_folder

FOLDER = "audit"


class AuditUnavailable(AssayError):
    """The trail cannot be written, so that what must be in it is refused."""


@dataclass
class Action:
    """An action under audit; what the block learns goes into `found` and is part of the last line."""

    found: dict[str, Any] = field(default_factory=dict)


class Audit:
    """Appends to the day's file (UTC). Threads and processes may share a home's trail."""

    def __init__(self, home: Path) -> None:
        self._folder = home / FOLDER

    def write(self, who: str, action: str, what: Mapping[str, Any], outcome: str, request: str = "") -> None:
        """One line: time, key id, action, what, outcome, request id. Raises AuditUnavailable."""
        now = datetime.now(UTC)
        entry = {
            "time": now.isoformat(timespec="milliseconds"),
            "key": who,
            "action": action,
            "what": dict(what),
            "outcome": outcome,
            "request": request,
        }
        line = (json.dumps(entry) + "\n").encode()
        try:
            self._append(self._folder / f"{now:%Y-%m-%d}.jsonl", line)
        except OSError as error:
            raise AuditUnavailable(
                f"the audit trail cannot be written: {error.strerror}", f"look at {self._folder}; nothing was shown"
            ) from error

    @contextmanager
    def action(self, who: str, action: str, what: Mapping[str, Any], request: str = "") -> Iterator[Action]:
        """Write `begun` before the block, and `done` or `failed` behind it, before its result can be shown."""
        self.write(who, action, what, "begun", request)
        made = Action()
        try:
            yield made
        except Exception as error:
            self.write(who, action, what, f"failed: {type(error).__name__}", request)
            raise
        self.write(who, action, {**what, **made.found}, "done", request)

    @contextmanager
    def refusals(self, who: str, action: str, what: Mapping[str, Any], request: str = "") -> Iterator[None]:
        """Write `refused` when the block, which comes before the action, does not let it begin.

        Errors by their kind only: their text may hold what was asked.
        """
        try:
            yield
        except Exception as error:
            reason = error.detail if isinstance(error, HTTPException) else type(error).__name__
            self.write(who, action, what, f"refused: {reason}", request)
            raise

    def _append(self, path: Path, line: bytes) -> None:
        if not self._folder.is_dir():
            make_folder(self._folder, 0o700)
        new = not path.exists()
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
        try:
            if os.write(descriptor, line) != len(line):
                os.write(descriptor, b"\n")  # a torn line must not swallow the next one
                raise OSError(28, "No space left on device")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if new:
            folder = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
