"""A receiver of webhooks on this machine, which tests can make fail."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "s3cr3t-t0ken"


@dataclass
class Receiver:
    """Answers with `status`; `url` is what ASSAY_ALERT_URLS takes, with a token in user and path."""

    url: str = ""
    status: int = 200
    bodies: list[bytes] = field(default_factory=list)

    def titles(self) -> list[str]:
        """Of the messages that came, in their order."""
        return [json.loads(body)["title"] for body in self.bodies]


@contextmanager
def receiver(status: int = 200) -> Iterator[Receiver]:
    """A receiver for the block."""
    found = Receiver(status=status)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(found.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    found.url = f"json://{TOKEN}@127.0.0.1:{server.server_port}/{TOKEN}"
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
