"""What is told of a Dagster that does not answer. No services."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from platform_assets.local.dagster import Dagster


def test_a_web_server_that_starts_is_told_without_the_words_of_a_library(tmp_path: Path) -> None:
    with socket.socket() as taken, subprocess.Popen([sys.executable, "-c", ""]) as ended:
        taken.bind(("127.0.0.1", 0))  # bound, so that nobody else listens there, and not listening itself
        found = Dagster(tmp_path, taken.getsockname()[1], ended).problem()
    assert found == "the web server does not listen yet"
