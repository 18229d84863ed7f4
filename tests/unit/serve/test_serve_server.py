"""The server on real sockets: greedy callers, silent ones, slow ones, and what all the others notice of them."""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import uvicorn
from waiting import eventually

from platform_assets.contracts.read import load_contracts
from platform_assets.core.errors import AssayError
from platform_assets.core.settings import Settings
from platform_assets.index import asking
from platform_assets.local.tls import ensure_certificates
from platform_assets.serve import searching, server
from platform_assets.serve.app import create_app
from platform_assets.serve.keys import KeyStore, Role
from platform_assets.serve.page import FOLDER

KEY = base64.b64encode(b"k" * 64).decode()
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
AT_ONCE = 45  # more than the threads that the routes share


@dataclass
class Served:
    """A running server, and how to reach it; what a test opens is closed behind it."""

    running: uvicorn.Server
    home: Path
    opened: ExitStack
    authority: Path | None  # of its certificate; None: it speaks plain HTTP

    @property
    def port(self) -> int:
        return int(self.running.servers[0].sockets[0].getsockname()[1])

    def connect(self, *, receive_buffer: int | None = None) -> socket.socket:
        """A new connection."""
        raw = socket.socket()
        if receive_buffer is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.settimeout(20)
        raw.connect(("127.0.0.1", self.port))
        if self.authority is not None:
            raw = ssl.create_default_context(cafile=self.authority).wrap_socket(raw, server_hostname="localhost")
        return self.opened.enter_context(raw)

    def client(self) -> httpx.Client:
        """A client with a new key."""
        key = KeyStore(self.home).add("test", Role.READER)[1]
        url = f"http://127.0.0.1:{self.port}"
        return self.opened.enter_context(httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=600))

    def health(self) -> int:
        """The status that somebody gets who comes now."""
        with self.connect() as line:
            line.sendall(HEALTH)
            return status_of(line)


def status_of(line: socket.socket) -> int:
    answer = http.client.HTTPResponse(line)
    answer.begin()
    answer.read()
    return answer.status


def ended(line: socket.socket) -> None:
    """Wait until the server ends the connection; pytest's own limit ends a test that waits in vain."""
    try:
        while line.recv(65536):
            pass
    except OSError:  # TLS without a goodbye, or a reset
        pass


@contextmanager
def serving(home: Path, *, node: int = 9, tls: bool = False) -> Iterator[Served]:
    """The server as the command makes it; OpenSearch is looked for at the port `node`."""
    made = ensure_certificates(home / "tls", servers={"api": []})
    certificate, private_key = made.server("api") if tls else (None, None)
    values = {
        "ASSAY_OPENSEARCH_URL": f"https://127.0.0.1:{node}",
        "ASSAY_OPENSEARCH_CA": str(made.ca),
        "ASSAY_OPENSEARCH_JWT_KEY": KEY,
        "ASSAY_API_AT_ONCE": str(AT_ONCE),
    }
    app = create_app(Settings(home, home / "lake", values), load_contracts())
    running = server.make_server(app, "127.0.0.1", 0, certificate=certificate, private_key=private_key)
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        eventually(lambda: running.started)
        with ExitStack() as opened:
            yield Served(running, home, opened, made.ca if tls else None)
    finally:
        running.should_exit = True
        thread.join()


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path, tls=request.param) as made:
        yield made


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path) as made:
        yield made


def test_silent_connections_do_not_take_the_place_of_others(either: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEADERS_S", 3600.0)
    known = either.connect()
    silent = [either.connect() for _ in range(server.MAX_CONNECTIONS + 20)]
    assert either.health() == 200
    ended(known)  # the one that waited longest made room
    silent[-1].sendall(HEALTH)
    assert status_of(silent[-1]) == 200


def test_headers_have_a_deadline_and_bodies_one_of_their_own(either: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEADERS_S", 1.0)
    silent, drip, again, slow = (either.connect() for _ in range(4))
    again.sendall(HEALTH)
    assert status_of(again) == 200
    key = KeyStore(either.home).add("test", Role.ADMIN)[1]
    head = f"POST /v1/logs HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Type: application/json\r\n"
    slow.sendall(f"{head}Content-Length: 5\r\n\r\n".encode())
    over: set[socket.socket] = set()
    while over != {drip, again}:
        for line, byte in ((drip, b"G"), (again, b"G")):
            try:
                line.sendall(byte)
            except OSError:
                over.add(line)
        time.sleep(0.1)
    ended(silent)
    slow.sendall(b"{oops")
    assert status_of(slow) == 422


def test_headers_without_end_are_refused_by_their_size(plain: Served) -> None:
    line = plain.connect()
    sent = 0
    with pytest.raises(ConnectionError):
        line.sendall(b"GET / HTTP/1.1\r\n")
        while sent < 64 * 2**20:
            line.sendall(b"X-More: " + b"x" * 65536 + b"\r\n")
            sent += 65536
    assert sent < 16 * 2**20


def test_an_answer_that_nobody_reads_is_given_up_and_a_slow_reader_gets_all(
    plain: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "READ_S", 0.5)
    [largest] = sorted(FOLDER.rglob("*.js"), key=lambda path: path.stat().st_size)[-1:]
    page = httpx.get(f"http://127.0.0.1:{plain.port}/docs").text
    digest = page.split("/static/", 1)[1].split("/", 1)[0]
    path = f"/static/{digest}/{largest.relative_to(FOLDER).as_posix()}"
    ask = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    deaf, slow = (plain.connect(receive_buffer=4096) for _ in range(2))
    deaf.sendall(ask * 20)  # more than the kernel keeps for it
    for _ in range(3):
        slow.sendall(ask)
        answer = http.client.HTTPResponse(slow)
        answer.begin()
        body = b""
        while piece := answer.read(100_000):
            body += piece
            time.sleep(0.1)
        assert body == largest.read_bytes()
    eventually(lambda: len(plain.running.server_state.connections) == 1)


def test_a_key_that_asks_for_much_at_once_delays_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind them is a node that takes every connection and never says a word."""
    monkeypatch.setattr(searching, "SEARCH_TIMEOUT_S", 8.0)
    monkeypatch.setattr(asking, "_ANSWER_S", 0.5)
    with (
        socket.create_server(("127.0.0.1", 0), backlog=512) as node,
        serving(tmp_path, node=node.getsockname()[1]) as served,
        ThreadPoolExecutor(AT_ONCE + 1) as pool,
    ):
        greedy, other = served.client(), served.client()
        began = time.monotonic()
        asked = [pool.submit(greedy.get, "/v1/logs/search?table=events") for _ in range(AT_ONCE + 1)]
        refused = next(as_completed(asked)).result()
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert other.get("/healthz").status_code == 200
        assert other.get("/v1/nothing").status_code == 404
        assert sum(one.done() for one in asked) == 1, "the others are still waiting"
        assert sorted(one.result().status_code for one in asked) == [429, *[503] * AT_ONCE]
        assert time.monotonic() - began < 20  # one deadline for all requests of a search
        assert greedy.get("/v1/systems").status_code == 200


def test_an_address_that_cannot_be_had_is_said_in_one_line() -> None:
    with server.listening("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            AssayError, match=f"cannot listen on 127.0.0.1, port {port}: Address already in use"
        ) as found:
            server.listening("127.0.0.1", port)
    assert found.value.hint == "give another --port"
    with pytest.raises(AssayError, match=r"cannot listen on 192\.0\.2\.1, port 0"):
        server.listening("192.0.2.1", 0)
