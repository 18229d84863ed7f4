"""The real services that integration tests run against, started once for the whole session.

Belongs here: the `services` and `expendable` fixtures. Does not: what only one package's tests need.

Tests share the services, so each takes names of its own for topics and indices. `ASSAY_TEST_HOME` names a home whose
services are up already and stay up: developers iterate without waiting for a start. Others may use those services too,
so tests that kill or limit services start a second set unless `ASSAY_TEST_EXPENDABLE=1` releases that home for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import psutil
import pytest
import support

from platform_assets.core.settings import Settings
from platform_assets.local import lifecycle

# The same examples in each run, so that a check fails for what was changed; `make fuzz` draws new ones.
hypothesis.settings.register_profile("repeatable", derandomize=True, database=None)
hypothesis.settings.load_profile("repeatable")

# Small enough for two sets of services beside the tests on one machine.
_HEAPS = {"ASSAY_OPENSEARCH_HEAP_MB": "1024", "ASSAY_KAFKA_HEAP_MB": "512"}


_KEPT = {
    *("ASSAY_TEST_HOME", "ASSAY_TEST_EXPENDABLE"),  # the tests' own
    *("ASSAY_KILLS", "ASSAY_SEED", "ASSAY_SLEEP", "ASSAY_SHARED_DATA"),
    *("ASSAY_CACHE", "ASSAY_JAVA_HOME", "ASSAY_RUN_AS"),  # the machine's
}


def _forget_environment(patch: pytest.MonkeyPatch) -> None:
    """Settings in a developer's shell must not change what is tested, nor send tests to other services."""
    for name in list(os.environ):
        if name.startswith("ASSAY_") and name not in _KEPT:
            patch.delenv(name)


def _end_in_order(home: Path) -> None:
    """The ordinary end leaves no process behind."""
    servers = [psutil.Process(service.pid) for service in lifecycle.status(home).services if service.pid]
    assert servers
    assert lifecycle.down(home)
    assert not [server for server in servers if support.alive(server)]
    assert not lifecycle.down(home)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test that kills processes and might be given services that others use."""
    for item in items:
        names = getattr(item, "fixturenames", ())
        if item.get_closest_marker("faults") and "services" in names and "expendable" not in names:
            raise pytest.UsageError(f"{item.nodeid} is marked `faults`: it must use `expendable`, not `services`")


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
        if not reused:
            _end_in_order(home)


@pytest.fixture(scope="session")
def _expendable(services: Settings) -> Iterator[Settings]:
    if "ASSAY_TEST_HOME" not in os.environ or os.environ.get("ASSAY_TEST_EXPENDABLE") == "1":
        yield services
        return
    with lifecycle.temporary("assay-test-") as home:
        yield Settings.load(home)


@pytest.fixture
def expendable(_expendable: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of healthy services that a test may kill or limit: never those that others may be using.

    `ASSAY_HOME` points at their home as long as the test lasts.
    """
    monkeypatch.setenv("ASSAY_HOME", str(_expendable.home))
    return _expendable
