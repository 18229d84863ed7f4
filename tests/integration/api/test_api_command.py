"""The server as a command starts it."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from typing import Any

import httpx
import pytest

from platform_assets.core.settings import Settings
from platform_assets.local.dagster import free_port

pytestmark = pytest.mark.services


def test_the_command_serves_and_sees_a_revoked_key(services: Settings) -> None:
    # Below the ports of outgoing connections, one of which could take it before the server does.
    port = free_port(None, random.randrange(20_000, 30_000))

    def run(*arguments: str) -> Any:
        command = [sys.executable, "-m", "platform_assets.cli", *arguments, "--home", str(services.home), "--json"]
        return json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    made = run("keys", "add", "shell", "--role", "reader", "--system", "logs", "--expires", "1h")
    command = [sys.executable, "-m", "platform_assets.cli", "serve", "--port", str(port), "--home", str(services.home)]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"X-API-Key": made["key"]}) as client:
            while server.poll() is None:
                try:
                    assert client.get("/healthz").status_code == 200
                    break
                except httpx.ConnectError:
                    time.sleep(0.1)
            answer = client.get("/v1/logs/search", params={"q": "nobody-logs-this"})
            assert (answer.status_code, answer.json()["hits"]) == (200, [])
            assert "server" not in answer.headers
            assert run("keys", "revoke", made["id"])["revoked"] == made["id"]
            assert client.get("/v1/logs/search").status_code == 401
    finally:
        server.send_signal(signal.SIGINT)
        _, log = server.communicate()
    assert server.returncode == 0
    assert "/v1/logs/search 200" in log
    assert "nobody-logs-this" not in log
    assert made["key"] not in log
    assert [one for one in run("keys", "list") if one["id"] == made["id"]] == []
