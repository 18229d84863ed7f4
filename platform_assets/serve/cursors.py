"""Cursors of the API: opaque, signed, and good for the same key and the same question only.

Belongs here: sealing and opening them. Does not belong here: what a page's position is (`index/query.py`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from typing import Any

from platform_assets.index.errors import QueryError

MAX_LENGTH = 8192
"""Of a cursor as text: room for the positions in some fifty tables of a system."""
_TAG_BYTES = 16
_NOT_OURS = ("this cursor is not of this search", "begin again without a cursor")


class CursorSeal:
    """Seals states with a key derived from `secret`."""

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, b"assay api cursor", "sha256")

    def seal(self, state: dict[str, Any], key_id: str, question: Any) -> str:
        """A cursor for `state`, bound to the caller's key and to the question (anything that JSON takes)."""
        body = json.dumps(state, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._tag(body, key_id, question) + body).decode().rstrip("=")

    def open(self, cursor: str, key_id: str, question: Any) -> dict[str, Any]:
        """The state in a cursor. Raises QueryError when it was altered, or is another key's or another question's."""
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise QueryError(*_NOT_OURS) from None
        tag, body = raw[:_TAG_BYTES], raw[_TAG_BYTES:]
        if not hmac.compare_digest(tag, self._tag(body, key_id, question)):
            raise QueryError(*_NOT_OURS)
        state: dict[str, Any] = json.loads(body)  # ours: the tag says so
        return state

    def _tag(self, body: bytes, key_id: str, question: Any) -> bytes:
        asked = hashlib.sha256(json.dumps(question, sort_keys=True, default=str).encode()).digest()
        return hmac.digest(self._key, key_id.encode() + b"\0" + asked + body, "sha256")[:_TAG_BYTES]
