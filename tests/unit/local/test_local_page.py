"""The page of `assay dev`: its key, without a server."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from platform_assets.local import page
from platform_assets.serve.keys import KeyStore, Role


def test_only_keys_that_assay_dev_made_are_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next start takes back the key of a platform that was killed, never one that a person made and named alike."""

    def server(*_: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["sleep", "60"])

    monkeypatch.setattr(page, "spawn", server)
    monkeypatch.setattr(page, "_answers", lambda _url: True)
    store = KeyStore(tmp_path)
    theirs = store.add(page.KEY_NAME, Role.READER)[0].id
    killed = page.start_page(tmp_path)
    killed.process.kill()
    killed.process.wait()
    running = page.start_page(tmp_path)
    assert store.find(killed.key) is None
    assert store.find(running.key)
    running.end()
    assert [key.id for key in store.all()] == [theirs]
