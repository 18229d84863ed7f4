"""Who calls, and whether the route is theirs.

Belongs here: finding the key of a request, roles, systems. Does not belong here: what documents a caller sees: the index
itself decides that by the caller's token (`index/callers.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import Headers

from platform_assets.serve.backend import Backend
from platform_assets.serve.keys import Key, Role
from platform_assets.serve.problems import refuse


@dataclass(frozen=True, slots=True)
class Caller:
    """The key of a request, and the request's id."""

    key: Key
    request: str


def presented(headers: Headers) -> str:
    """The key that a request shows, in `Authorization: Bearer` or `X-API-Key`; empty when it shows none."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


def runs_platform(key: Key) -> bool:
    """Whether the platform itself is the key's business, and not only a system on it: an administrator of every system."""
    return key.role is Role.ADMIN and key.system is None


def allow(
    backend: Backend,
    *roles: Role,
    system: str | None = None,
    unlimited: bool = False,
    personal: bool = False,
    audited: str = "",
) -> Callable[[Request], Caller]:
    """A dependency that lets in administrators and `roles`, for one system when it is named.

    `unlimited` refuses keys that are limited to some rows, `personal` those without that privilege. A refusal of what is
    `audited` is in the trail too.
    """

    def check(request: Request) -> Caller:
        key: Key = request.state.key
        reason = ""
        if key.role is not Role.ADMIN and key.role not in roles:
            reason = f"this is not for a {key.role.value}"
        elif system is not None and key.system not in (None, system):
            reason = f"this key is not for the system {system}"
        elif unlimited and key.only is not None:
            reason = "this is not for a key that is limited to some rows"
        elif personal and not key.personal_data:
            reason = "this needs the privilege for personal data"
        if reason:
            if audited:
                backend.audit.write(key.id, audited, {"system": system}, f"refused: {reason}", request.state.id)
            raise refuse(403, reason)
        return Caller(key, request.state.id)

    return check
