"""What a demonstration suggests to ask: questions that the page and the contracts understand."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qs

import pytest

from platform_assets.cli.demo import questions
from platform_assets.contracts.read import load_contracts
from platform_assets.core.errors import AssayError
from platform_assets.core.settings import Settings
from platform_assets.index.clauses import to_query
from platform_assets.local.demo import SAMPLE_DAY, demonstration, sampled_day
from platform_assets.marts.marts import load_marts
from platform_assets.marts.project import project_folder

LOGS = load_contracts()["logs"]
NOON = datetime(2026, 3, 5, 12, tzinfo=UTC)


@pytest.mark.parametrize("sampled", [None, SAMPLE_DAY])
def test_every_question_is_one_that_the_page_understands(sampled: str | None) -> None:
    found = questions(NOON, sampled)
    marts = {mart.name for mart in load_marts(project_folder(), "logs") if mart.index}
    for place in found.values():
        path, _, query = place.partition("?")
        asked = {name: values[0] for name, values in parse_qs(query).items()}
        assert path in {"logs/search", "logs/figures", "logs/alerts"}
        assert asked.get("mart", "errors_hour") in marts
        to_query(LOGS.table(asked.get("table", "events")), asked.get("q", ""))
    assert found["payment errors today"].endswith("&last=24h&as_of=2026-03-05")
    assert [place for place in found.values() if "2015" in place] == (
        [] if sampled is None else ["logs/search?table=access&last=24h&as_of=2015-05-20"]
    )


def test_the_real_day_is_named_only_where_it_was_sent(tmp_path: Path) -> None:
    demo = cast(Any, SimpleNamespace(settings=Settings(tmp_path, tmp_path / "lake", {}), contract=LOGS))
    assert sampled_day(demo, {}) is None
    assert sampled_day(demo, {"logs.broker": 4}) is None
    assert sampled_day(demo, {LOGS.table("access").topic: 10_000}) == SAMPLE_DAY


def test_a_demonstration_without_its_system_names_the_command_for_ones_own(tmp_path: Path) -> None:
    settings = Settings(tmp_path, tmp_path / "lake", {})
    with (
        pytest.raises(AssayError) as raised,
        demonstration(settings, {"shop": LOGS}, rate=1, port=None, say=print),
    ):
        pytest.fail("the demonstration has started")
    assert "'logs'" in raised.value.message
    assert "shop" in raised.value.message
    assert "assay dev" in raised.value.hint
