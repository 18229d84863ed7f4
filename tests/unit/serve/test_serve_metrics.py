"""The platform's facts: asked for by one caller, while others are told what is known."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from platform_assets.contracts.read import load_contracts
from platform_assets.core.settings import Settings
from platform_assets.serve import metrics
from platform_assets.serve.limits import Busy
from platform_assets.serve.metrics import Metrics


def test_a_service_that_does_not_answer_keeps_one_caller_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    asking, go = threading.Event(), threading.Event()

    def facts(*_: object) -> dict[str, Any]:
        asked.append(len(asked))
        asking.set()
        assert go.wait(20)
        return {"system": "logs", "tables": [{"table": "events", "rows": 10 * len(asked)}]}

    monkeypatch.setattr(metrics, "system_facts", facts)
    monkeypatch.setattr(metrics, "_FIRST_S", 0.05)
    made = Metrics(Settings(tmp_path, tmp_path, {}), [load_contracts()["logs"]])
    platform = made.platform
    with ThreadPoolExecutor(1) as pool:
        try:
            first = pool.submit(platform.facts, "logs")
            assert asking.wait(10)
            with pytest.raises(Busy):
                platform.facts("logs")
            assert b"assay_silver_rows{" not in generate_latest(
                made.registry
            )  # the server's own figures come all the same
            go.set()
            assert first.result(10)["tables"][0]["rows"] == 10
            assert platform.facts("logs")["age_s"] < 10
            assert asked == [0]
            monkeypatch.setattr(metrics, "KEPT_S", 0.0)
            asking.clear()
            go.clear()
            second = pool.submit(platform.facts, "logs")
            assert asking.wait(10)
            assert platform.facts("logs")["tables"][0]["rows"] == 10
            text = made.render()
            assert b'assay_silver_rows{system="logs",table="events"} 10.0' in text
            assert b'assay_facts_age_seconds{system="logs"}' in text
            go.set()
            assert second.result(10)["tables"][0]["rows"] == 20
        finally:
            go.set()
