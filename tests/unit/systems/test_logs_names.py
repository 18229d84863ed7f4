"""Shared packages name no field of logs: who may see a row, how severe it is and who wrote it are properties of a contract."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import platform_assets

PACKAGE = Path(platform_assets.__file__).parent
FIELDS = {"service", "level", "host"}
ELSEWHERE = {  # words of other things
    ("cli/serve.py", "level"),  # of a logger
    ("cli/status.py", "service"),  # Kafka, OpenSearch
    ("local/dagster_processes.py", "host"),  # where Dagster listens
}
PAGE = re.compile(r"""["'`.](service|level|host)\b""")


def test_no_shared_module_names_a_field_of_logs() -> None:
    assert set(_named()) <= ELSEWHERE


def test_the_page_names_no_field_of_logs() -> None:
    own = [path for kind in ("js", "css") for path in (PACKAGE / "serve" / "static" / kind).iterdir()]
    assert len(own) > 15
    found = {(path.name, match[0]) for path in own for match in PAGE.finditer(path.read_text(encoding="utf-8"))}
    assert found == set()


def _named() -> Iterator[tuple[str, str]]:
    """(module, text) of every constant that is such a name alone."""
    modules = [path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[:2] != ("systems", "logs")]
    assert len(modules) > 250
    for path in modules:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and node.value in FIELDS:
                yield str(path.relative_to(PACKAGE)), node.value
