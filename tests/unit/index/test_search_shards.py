"""What the cluster says of its shards, and what we make of it. The limit itself is tried on a real node."""

from __future__ import annotations

from pathlib import Path

import pytest
from opensearchpy.exceptions import RequestError

from platform_assets.core.errors import AssayError
from platform_assets.core.settings import Settings
from platform_assets.index.budget import ShardBudget
from platform_assets.index.errors import SearchError, ShardLimit, Unavailable, translate

# As OpenSearch 3.4 answers.
_REFUSED = {
    "root_cause": [
        {
            "type": "validation_exception",
            "reason": "Validation Failed: 1: this action would add [1] total shards, but this cluster currently has "
            "[1000]/[1000] maximum shards open;",
        }
    ],
    "type": "validation_exception",
    "reason": "Validation Failed",
}


def test_an_index_that_finds_no_room_is_not_tried_again_at_once_and_says_what_to_do() -> None:
    error = translate(RequestError(400, "validation_exception", {"error": _REFUSED, "status": 400}), "creating it")
    assert isinstance(error, ShardLimit)
    assert not isinstance(error, Unavailable)
    assert "[1000]/[1000] maximum shards open" in error.message
    assert "cluster.max_shards_per_node" in error.hint
    other = {"type": "validation_exception", "reason": "Validation Failed: 1: no mapping"}
    refused = translate(RequestError(400, "validation_exception", {"error": other, "status": 400}), "creating it")
    assert type(refused) is SearchError


@pytest.mark.parametrize(("opened", "exceeded"), [(0, False), (1600, False), (1601, True), (2000, True)])
def test_the_budget_is_exceeded_above_its_share(opened: int, exceeded: bool) -> None:
    budget = ShardBudget(opened, 2000, share=0.8)
    assert budget.to_dict() == {"open": opened, "limit": 2000, "share": 0.8, "exceeded": exceeded}
    assert str(budget) == f"{opened:,} of 2,000 shards are open"


@pytest.mark.parametrize("text", ["0", "1.5", "-1", "half", "nan"])
def test_a_share_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    assert Settings(tmp_path, tmp_path, {}).index_shards_share == 0.8
    with pytest.raises(AssayError, match="ASSAY_INDEX_SHARDS_SHARE is not a number"):
        _ = Settings(tmp_path, tmp_path, {"ASSAY_INDEX_SHARDS_SHARE": text}).index_shards_share
