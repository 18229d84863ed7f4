"""A lab for each kind of source: one more kind is one more branch here."""

from __future__ import annotations

import pytest
from sourcelab import KafkaLab, SourceLab

KINDS = ("kafka",)


def _lab(kind: str, request: pytest.FixtureRequest, services: str) -> SourceLab:
    match kind:
        case "kafka":
            return KafkaLab(request.getfixturevalue(services))
        case _:
            raise ValueError(kind)


@pytest.fixture(params=KINDS)
def lab(request: pytest.FixtureRequest) -> SourceLab:
    """Each kind in turn, over services that others may be using."""
    return _lab(request.param, request, "services")


@pytest.fixture(params=KINDS)
def expendable_lab(request: pytest.FixtureRequest) -> SourceLab:
    """Each kind in turn, over services that a test may kill."""
    return _lab(request.param, request, "expendable")
