"""What holds for every request, before any route: id, key, rates, sizes, headers, figures.

Belongs here: the outermost layer, in plain ASGI. Does not belong here: what one route needs (`access.py`).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from contextlib import ExitStack

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from platform_assets.core.errors import AssayError
from platform_assets.serve.access import presented
from platform_assets.serve.backend import Backend
from platform_assets.serve.limits import MAX_BODY_BYTES, MAX_QUESTION_BYTES
from platform_assets.serve.page import PREFIX, RUNBOOKS
from platform_assets.serve.problems import LOG, from_error, problem, unexpected

MAX_QUERY_BYTES = 16 * 1024
BODY_TIMEOUT_S = 30.0
_OPEN = ("/", "/healthz", "/docs", "/openapi.json")
_HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


class Guard:
    """Wraps the app."""

    def __init__(self, app: ASGIApp, backend: Backend) -> None:
        self._app = app
        self._backend = backend
        self._submissions = {f"/v1/{system}" for system in backend.contracts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = secrets.token_hex(8)
        state = scope.setdefault("state", {})
        state["id"] = request_id
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():  # the page's files have some of their own
                    headers.setdefault(name, value)
                headers["X-Request-ID"] = request_id
            await send(message)

        limit = MAX_BODY_BYTES if scope["path"] in self._submissions else MAX_QUESTION_BYTES
        try:
            with ExitStack() as counted:
                refused = self._refuse(scope, request_id, limit, counted)
                if refused is not None:
                    await refused(scope, receive, answer)
                else:
                    await self._app(scope, _Body(receive, limit), answer)
        except Exception as error:
            found = unexpected(error, request_id)
            if not status:  # else half an answer is out, and the server ends the connection
                await found(scope, receive, answer)
        finally:
            seconds = time.perf_counter() - began
            route = getattr(scope.get("route"), "path", "none")
            self._backend.metrics.count(_method(scope), route, status, seconds)
            who = state["key"].id if "key" in state else "-"
            # Never the path or the query as written: they hold what somebody looks for.
            LOG.info("%s %s %s %s %d %.0f ms", request_id, who, _method(scope), route, status, seconds * 1000)

    def _refuse(self, scope: Scope, request_id: str, limit: int, counted: ExitStack) -> Response | None:
        """The answer to a request that no route shall see; None lets it through, `counted` until that ends.

        `limit` is that of its body, in bytes.
        """
        headers = Headers(scope=scope)
        if len(scope.get("query_string", b"")) > MAX_QUERY_BYTES:
            return problem(request_id, 414, f"the query is longer than {MAX_QUERY_BYTES} bytes")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:12]) > limit:
            return problem(request_id, 413, f"the body is larger than {limit} bytes")
        if scope["path"] in _OPEN or scope["path"].startswith((PREFIX, RUNBOOKS)):
            return None
        backend = self._backend
        try:
            key = backend.keys.find(presented(headers))
            if key is None:
                client = scope.get("client")
                backend.counter.take(backend.rates.refused, "refused", client[0] if client else "")
                return problem(request_id, 401, "a valid API key is needed", "Authorization: Bearer assay_…")
            scope["state"]["key"] = key
            backend.counter.take(backend.rates.requests, "requests", key.id)
            counted.enter_context(backend.at_once.one(key.id))
        except AssayError as error:
            return from_error(error, request_id)
        return None


class _Body:
    """Receives no more than the limit, and waits no longer for the whole of it than a slow line needs."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = self._left = limit
        self._until = time.monotonic() + BODY_TIMEOUT_S
        self._done = False

    async def __call__(self) -> Message:
        """The next message."""
        if self._done:  # what comes now is the end of the connection, whenever that is
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, self._until - time.monotonic()))
        except TimeoutError:
            raise HTTPException(408, f"the body did not arrive within {BODY_TIMEOUT_S:.0f} s") from None
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise HTTPException(413, f"the body is larger than {self._limit} bytes")
        self._done = not message.get("more_body", False)
        return message


def _method(scope: Scope) -> str:
    """The method, if it is one that we know: labels must not grow with what people send."""
    method = str(scope["method"])
    return method if method in {"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"} else "other"
