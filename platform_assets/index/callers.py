"""Callers who come with a token of their own: what it says, and a client that carries it.

Belongs here: the claims that the index's roles rely on, and binding them to a client. Does not belong here: who may have a token.

The node checks signature, issuer, audience and expiry, and filters documents itself: what is asked with such a client is answered
from what its caller may see. Some requests look past the filter in OpenSearch 3.4: `global` aggregations, suggesters, `terms`
from another index, scripts, `explain`, `_termvectors`, `_field_caps`. No package asks for any of them (the tests hold each
request that leaves against a list of those known to be filtered), and no token leaves the server.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import jwt
from opensearchpy import OpenSearch, Transport

from platform_assets.index.client import make_client

API_READER = "assay_api_reader"
API_LIMITED = "assay_api_row_limited"
JWT_ISSUER = "assay"
JWT_AUDIENCE = "assay-opensearch"
LIFETIME_S = 60
# As the security plugin writes a regular expression: neither its own indices nor the platform's, save perhaps its alerts.
_EVERY_SYSTEM = r"/(?!\.|assay-).*/"
_AND_PLATFORM_ALERTS = r"/(?!\.|assay-(?!alerts)).*/"


def token(
    key: bytes, subject: str, system: str | None, only: Sequence[str] | None, *, platform_alerts: bool = False
) -> str:
    """A signed token for a minute. `system` None means every system, `only` None every document of it.

    `only` are the values that an index's row policy (`mappings.ROW`) may have in what the caller sees.

    System names hold no hyphen, so that `logs-*` are the indices of one system and of no other. `platform_alerts` adds the alerts
    that the platform raises on itself; it is for callers of every system.
    """
    every = _AND_PLATFORM_ALERTS if platform_alerts else _EVERY_SYSTEM
    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": JWT_ISSUER,
        "aud": JWT_AUDIENCE,
        "sub": f"api:{subject}",
        "iat": now,
        "nbf": now - 1,
        "exp": now + LIFETIME_S,
        "indices": f"{system}-*" if system else every,
        "roles": [API_READER if only is None else API_LIMITED],
    }
    if only is not None:
        claims["only"] = list(only)
    return jwt.encode(claims, key, algorithm="HS512")


class CallerPool:
    """Connections that all callers share; none of them carries a password."""

    def __init__(self, url: str, ca: Path | None = None, *, timeout_s: float, size: int) -> None:
        self._client = make_client(url, ca, timeout_s=timeout_s, pool=size)

    def client(self, bearer: str) -> OpenSearch:
        """A client that shows this token with every request. It is cheap, and needs no closing."""
        return OpenSearch(transport_class=_Bound, shared=self._client.transport, bearer=bearer)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class _Bound(Transport):
    """The shared transport, with a caller's token in every request."""

    def __init__(self, _hosts: object, shared: Transport, bearer: str) -> None:
        self._shared = shared
        self.serializer = shared.serializer
        self._header = f"Bearer {bearer}"

    def perform_request(
        self,
        method: str,
        url: str,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        timeout: float | None = None,
        ignore: Collection[int] = (),
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """As the shared one does it."""
        headers = {**(headers or {}), "authorization": self._header}
        return self._shared.perform_request(method, url, params, body, timeout, ignore, headers)
