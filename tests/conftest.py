"""The real services that integration tests run against, started once for the whole session.

Belongs here: the `services` fixture. Does not: what only one room's tests need.

Tests share the services, so each takes names of its own for topics and indices. `ASSAY_TEST_HOME` names a home whose
services are up already and stay up: developers iterate without waiting for a start.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import support

from platform_assets.local import lifecycle
from platform_assets.settings import Settings

# Small enough for two sets of services beside the tests on one machine.
_HEAPS = {"ASSAY_OPENSEARCH_HEAP_MB": "1024", "ASSAY_KAFKA_HEAP_MB": "512"}


def _forget_environment(patch: pytest.MonkeyPatch) -> None:
    """Settings in a developer's shell must not send tests to other services."""
    for name in list(os.environ):
        if name.startswith(("ASSAY_KAFKA_", "ASSAY_OPENSEARCH_", "ASSAY_HMAC_", "ASSAY_LAKE")):
            patch.delenv(name)


@pytest.fixture(autouse=True)
def _begin() -> None:
    support.begin()


@pytest.fixture(scope="session")
def services() -> Iterator[Settings]:
    """Settings of healthy services; `ASSAY_HOME` points at their home as long as the session lasts."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        _forget_environment(patch)
        for name, value in _HEAPS.items():
            patch.setenv(name, value)
        if reused := os.environ.get("ASSAY_TEST_HOME"):
            home = Path(reused)
            assert lifecycle.status(home).healthy, f"ASSAY_TEST_HOME={home} names no healthy services"
        else:
            # Not below pytest's own folder: that one is closed to the user as whom a root launcher runs the services.
            home = stack.enter_context(lifecycle.temporary("assay-test-"))
        patch.setenv("ASSAY_HOME", str(home))
        yield Settings.load(home)
