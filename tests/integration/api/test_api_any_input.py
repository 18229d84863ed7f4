"""Anything that a program may send."""

from __future__ import annotations

import pytest
import schemathesis
from apilab import Api
from caller_requests import faults, recorded
from hypothesis import HealthCheck, given, settings

pytestmark = pytest.mark.services


def test_nothing_that_a_program_sends_is_a_fault_of_ours(api: Api, admin: dict[str, str]) -> None:
    """Every route with what its description allows, and what it does not."""
    described = schemathesis.openapi.from_asgi("/openapi.json", api.client.app)
    tried = 0
    for found in described.get_all_operations():
        operation = found.ok()

        @given(
            case=operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE) | operation.as_strategy()
        )
        @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        def run(case: schemathesis.Case) -> None:
            answer = case.call(headers=admin)
            assert answer.status_code < 500, (case.as_curl_command(), answer.text[:500])
            if answer.status_code >= 400:
                assert answer.headers["content-type"] == ["application/problem+json"], answer.text[:500]

        with recorded() as asked:
            run()
        assert {fault for one in asked if one.bearer for fault in faults(one)} == set(), operation.label
        tried += 1
    assert tried == len(api.client.app.openapi()["paths"])
