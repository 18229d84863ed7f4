"""The server below the app: connections, how many there are, and how long each may keep us waiting.

Belongs here: uvicorn's settings, and its protocol with limits of time. Does not belong here: requests (`guard.py`).

uvicorn times a connection between two requests only, and refuses all requests when there are too many connections: as many
silent ones would be the end of the service for everybody else.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from platform_assets.core.errors import AssayError

MAX_CONNECTIONS = 256
HEADERS_S = 10.0
"""From the beginning of a connection, or of a request on it, to the end of the request's headers."""
READ_S = 30.0
READ_BYTES = 64 * 1024
"""So much of a large answer is read in so many seconds, or the rest is not sent."""


class Connection(H11Protocol):
    """A connection that ends when its peer is too slow; one that waits for a request makes room for a new one.

    h11 bounds the size of a request's headers, which httptools does not.
    """

    _idle_since = 0.0
    _headers_due: asyncio.TimerHandle | None = None
    _reading_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A peer has come."""
        super().connection_made(transport)
        self._watch()
        if len(self.connections) >= MAX_CONNECTIONS:
            others = [one for one in self.connections if isinstance(one, Connection) and one._idle and one is not self]
            if others:
                min(others, key=lambda one: one._idle_since)._end()

    def data_received(self, data: bytes) -> None:
        """A part of a request, or several of them."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """The answer is on its way; uvicorn limits the time to the first byte behind it."""
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """More of an answer is left than the peer reads just now."""
        super().pause_writing()
        self._look_again()

    def resume_writing(self) -> None:
        """The peer has read it."""
        super().resume_writing()
        _cancel(self._reading_due)

    def connection_lost(self, exc: Exception | None) -> None:
        """The peer is gone, or was sent away."""
        _cancel(self._headers_due)
        super().connection_lost(exc)
        _cancel(self._reading_due)

    @property
    def _idle(self) -> bool:
        """Whether no request on it is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _watch(self) -> None:
        """Limit the time of a request's headers as long as they are not whole."""
        if not self._idle:
            _cancel(self._headers_due)
            self._headers_due = None
        elif self._headers_due is None:
            self._idle_since = self.loop.time()
            self._headers_due = self.loop.call_later(HEADERS_S, self._end)

    def _look_again(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._reading_due = self.loop.call_later(READ_S, self._check_reading, left)

    def _check_reading(self, before: int) -> None:
        if self.transport.get_write_buffer_size() > before - READ_BYTES:
            self._end()
        else:
            self._look_again()

    def _end(self) -> None:
        self.connections.discard(self)  # at once: whoever is counted next must not find it there
        self.transport.abort()


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes a free one. Raises AssayError when the address cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        hint = "give another --port" if error.errno == errno.EADDRINUSE else "give another --host or --port"
        # Python adds the address to the system's own words, and a name that is not found has others.
        why = os.strerror(error.errno) if error.errno and error.errno in errno.errorcode else str(error)
        raise AssayError(f"cannot listen on {host}, port {port}: {why}", hint) from error


def make_server(
    app: ASGIApp,
    host: str,
    port: int,
    *,
    certificate: Path | None = None,
    private_key: Path | None = None,
    log_config: dict[str, Any] | None = None,
) -> uvicorn.Server:
    """A server for the app, not yet started; with a certificate and its key it speaks TLS and nothing else."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host,
            port,
            http=Connection,
            ws="none",
            access_log=False,  # its lines would hold what people search for; ours hold the route
            log_config=log_config,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=10,
            h11_max_incomplete_event_size=64 * 1024,
            ssl_certfile=certificate,
            ssl_keyfile=private_key,
        )
    )


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
