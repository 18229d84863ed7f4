"""What a node's error means for whoever asked: as the node of OpenSearch 3.4 answered."""

from __future__ import annotations

from typing import Any

import pytest
from opensearchpy.exceptions import RequestError, TransportError

from platform_assets.index.errors import SearchError, TimeExceeded, TooManyClauses, translate


def answered(status: int, kind: str, reason: str) -> TransportError:
    cause = {"type": kind, "reason": reason}
    error: dict[str, Any] = {
        "root_cause": [cause],
        "type": "search_phase_execution_exception",
        "reason": "all shards failed",
        "phase": "query",
        "grouped": True,
        "failed_shards": [{"shard": 0, "index": "logs-events-2026-11-21-000001", "reason": cause}],
    }
    made = RequestError if status == 400 else TransportError
    return made(status, error["type"], {"error": error, "status": status})


NESTED = "Query contains too many nested clauses; maxClauseCount is set to 1024"
EARLY = "failed to create query: maxClauseCount is set to 1024"


@pytest.mark.parametrize(
    ("error", "kind", "hint"),
    [
        (answered(500, "query_phase_execution_exception", "Time exceeded"), TimeExceeded, "a shorter time"),
        (answered(500, "too_many_nested_clauses", NESTED), TooManyClauses, "fewer words or values"),
        (answered(400, "query_shard_exception", EARLY), TooManyClauses, "fewer words or values"),
        (answered(500, "null_pointer_exception", "nothing there"), SearchError, "see its log"),
        # What a caller wrote is in some reasons, and must not pass for the node's own words.
        (answered(400, "parse_exception", "failed to parse [Time exceeded]"), SearchError, "see its log"),
    ],
)
def test_an_error_500_that_the_question_brought_about_is_told_apart(
    error: TransportError, kind: type[SearchError], hint: str
) -> None:
    found = translate(error, "searching logs.events")
    assert type(found) is kind
    assert hint in found.hint
    assert "searching logs.events" in found.message
