"""The API and its page for `assay dev`: a server of our own, and a key that lasts as long.

Belongs here: starting and ending it. Does not: what it serves (`serve/`), or how people start it (`assay serve`).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from platform_assets.core.errors import AssayError
from platform_assets.core.files import PRIVATE, make_folder, write_text
from platform_assets.core.settings import inherited_environment
from platform_assets.local.dagster import HOST, free_port
from platform_assets.local.layout import RunAs
from platform_assets.local.patience import Patience, family, sizes, work
from platform_assets.local.process import Command, spawn, stop
from platform_assets.local.progress import waiting_for
from platform_assets.serve.keys import FOLDER, KeyStore, Role

USUAL_PORT = 8080
KEY_NAME = "dev"
_KEY_ID = "dev.key"
"""Names the key, beside the others: a person may have a key of that name too."""


@dataclass
class Page:
    """The server as it runs, and the key that it lets in. Its representation does not show the key."""

    home: Path
    port: int
    key: str
    process: subprocess.Popen[bytes]

    def __repr__(self) -> str:
        return f"Page({self.url})"

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.port}"

    def end(self) -> None:
        """Take the key back and end the server."""
        _take_back(self.home)
        stop(self.process, 15)


def start_page(home: Path) -> Page:
    """Start the server on port 8080, or any free one, and wait until it answers; it dies with the calling process.

    Main thread only. The key of a platform that was killed is taken back. Raises AssayError when it does not start.
    """
    _take_back(home)
    port = free_port(None, USUAL_PORT)
    output = make_folder(home / FOLDER, 0o700) / "server.out"
    command = [sys.executable, "-m", "platform_assets.cli", "serve", "--home", str(home), "--port", str(port)]
    ourselves = RunAs(os.geteuid(), os.getegid(), "")
    folder = Path(__file__).resolve().parents[2]
    process = spawn(Command(command, folder, output, home, inherited_environment()), ourselves)
    key, text = KeyStore(home).add(KEY_NAME, Role.ADMIN, personal_data=True, lifetime=timedelta(days=1))
    write_text(home / FOLDER / _KEY_ID, key.id, PRIVATE)
    page = Page(home, port, text, process)
    patience = Patience(lambda: (sizes([output]), work(family(process.pid))))
    with waiting_for("Starting the page and the API") as tell:
        while not _answers(page.url):
            if process.poll() is not None or patience.exhausted():
                page.end()
                raise AssayError("the API did not start", f"see {output}")
            tell("")
            time.sleep(0.1)
    return page


def _take_back(home: Path) -> None:
    """Revoke the key of the last platform that was started here, if it is there yet."""
    path = home / FOLDER / _KEY_ID
    if path.is_file():
        store, known = KeyStore(home), path.read_text(encoding="utf-8")
        if known in {key.id for key in store.all()}:
            store.revoke(known)
        path.unlink()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=5) as response:  # noqa: S310 (loopback)
            return int(response.status) == 200
    except (urllib.error.URLError, OSError):
        return False
