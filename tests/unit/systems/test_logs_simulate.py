"""The simulator keeps to the contract, except where it is asked not to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from itertools import islice
from typing import Any

import pytest

from platform_assets.contracts.model import FieldType
from platform_assets.contracts.read import load_contracts
from platform_assets.systems.logs.simulate import BURST_EVERY_S, SERVICES, SPOILS, Record, simulate

START = 1_750_000_000.0
TYPES = {FieldType.STRING: str, FieldType.INTEGER: int, FieldType.NUMBER: float, FieldType.TIMESTAMP: str}


def ticking(step: float) -> Callable[[], float]:
    """A clock that goes on by `step` at each look."""
    now = START

    def clock() -> float:
        nonlocal now
        now += step
        return now

    return clock


def events(batches: list[list[Record]]) -> list[dict[str, Any]]:
    return [json.loads(value) for batch in batches for _, value in batch if value is not None]


@pytest.fixture(scope="module")
def minutes() -> list[dict[str, Any]]:
    return events(list(simulate(2000, 0.2 * BURST_EVERY_S, seed=7, clock=ticking(1.0))))


def test_as_many_as_asked_for_in_tenths_of_a_second() -> None:
    batches = list(simulate(1000, 2.55, seed=1))
    assert [len(batch) for batch in batches] == [100] * 25 + [50]
    assert len(list(islice(simulate(None, seed=1), 2))[1]) == 20_000
    assert [len(batch) for batch in simulate(3, 1, seed=1)] == [1, 1, 1]


def test_events_keep_the_contract(minutes: list[dict[str, Any]]) -> None:
    table = load_contracts()["logs"].table("events")
    for field in table.fields:
        values = [event[field.source] for event in minutes if field.source in event]
        assert all(type(value) is TYPES[field.type] for value in values), field.name
        assert len(values) == len(minutes) or not field.required, field.name
        assert set(values) <= set(field.enum) or not field.enum
        assert field.minimum is None or min(values) >= field.minimum
        assert field.maximum is None or max(values) <= field.maximum
        assert field.max_length is None or max(map(len, values)) <= field.max_length
    assert {name for event in minutes for name in event} - {field.source for field in table.fields} == {"route"}


def test_ids_are_unique_also_across_runs(minutes: list[dict[str, Any]]) -> None:
    assert len({event["event_id"] for event in minutes}) == len(minutes)
    one, two = (events([next(simulate(1000))]) for _ in range(2))
    assert not {event["event_id"] for event in one} & {event["event_id"] for event in two}


def test_the_same_seed_and_clock_give_the_same_bytes() -> None:
    def first(seed: int) -> list[list[Record]]:
        return list(islice(simulate(500, seed=seed, bad=0.1, duplicates=0.1, clock=ticking(0.1)), 3))

    assert first(3) == first(3)
    assert first(3) != first(4)


def test_times_rise_and_end_at_now() -> None:
    batches = list(simulate(1000, 1, seed=1, clock=ticking(0.1)))
    stamps = [datetime.fromisoformat(event["event_time"]).timestamp() for event in events(batches)]
    assert stamps == sorted(stamps)
    assert stamps[0] >= START
    for number, batch in enumerate(batches):
        newest = datetime.fromisoformat(json.loads(batch[-1][1] or b"")["event_time"]).timestamp()
        assert newest == pytest.approx(START + 0.1 * (number + 2), abs=1e-5)


def test_traces_cross_services_for_one_user(minutes: list[dict[str, Any]]) -> None:
    services: dict[str, set[str]] = {}
    users: dict[str, set[str]] = {}
    for event in minutes:
        services.setdefault(event["trace_id"], set()).add(event["service"])
        users.setdefault(event["trace_id"], set()).add(event["user_id"])
    sizes = Counter(len(found) for found in services.values())
    assert sizes[3] > 0.2 * len(services)
    assert all(len(found) == 1 for found in users.values())
    assert {event["service"] for event in minutes} == set(SERVICES)


def test_errors_come_in_bursts(minutes: list[dict[str, Any]]) -> None:
    seconds = Counter(event["event_time"][:19] for event in minutes)
    errors = Counter(event["event_time"][:19] for event in minutes if event["level"] == "ERROR")
    shares = sorted(errors[second] / count for second, count in seconds.items() if count > 100)
    assert shares[len(shares) // 2] < 0.05
    assert shares[-1] > 0.1
    calm = events(list(simulate(1000, 5, seed=7, burst="always", clock=ticking(0.1))))
    assert sum(event["level"] == "ERROR" for event in calm) > 0.08 * len(calm)


def test_a_service_has_trouble_for_as_long_as_asked() -> None:
    drawn = events(list(simulate(1000, 30, seed=7, burst="payments:10", clock=ticking(0.1))))
    shares = []
    for first, last in ((0, 10), (11, 30)):
        wanted = [e for e in drawn if first <= datetime.fromisoformat(e["event_time"]).timestamp() - START < last]
        mine = [e["level"] in ("ERROR", "FATAL") for e in wanted if e["service"] == "payments"]
        shares.append(sum(mine) / len(mine))
    assert shares[0] > 0.3 and shares[1] < 0.15  # later it may have its turn
    for wrong in ("payments", "nobody:10", "payments:soon"):
        with pytest.raises(ValueError, match="is no burst"):
            next(simulate(10, 1, burst=wrong))


def test_personal_data_stands_in_some_texts(minutes: list[dict[str, Any]]) -> None:
    texts = [event["message"] for event in minutes]
    assert 0.001 < sum("@example." in text for text in texts) / len(texts) < 0.1
    assert any("4111111111111111" in text for text in texts)


def test_about_the_size_that_benchmarks_are_made_for() -> None:
    sizes = [len(value or b"") for _, value in next(simulate(None, seed=5))]
    assert 265 < sum(sizes) / len(sizes) < 295


def test_bad_input_on_request() -> None:
    records = [record for batch in simulate(10_000, 1, seed=2, bad=0.05) for record in batch]
    spoilt = sum(not _sound(value) for _, value in records)
    assert 0.03 < spoilt / len(records) < 0.07
    clean = [record for batch in simulate(10_000, 1, seed=2) for record in batch]
    assert all(_sound(value) for _, value in clean)


@pytest.mark.parametrize("name", SPOILS)
def test_every_way_of_spoiling_spoils(name: str) -> None:
    value = next(simulate(100, seed=1))[0][1]
    assert value is not None
    assert not _sound(SPOILS[name](value, START))


def _sound(value: bytes | None) -> bool:
    """Whether a record would pass, by rules written independently of the platform's."""
    if not value or b"\x00" in value:
        return False
    try:
        event = json.loads(value.decode(), parse_constant=lambda _: pytest.fail)
        json.dumps(event, ensure_ascii=False).encode()
    except (ValueError, TypeError):
        return False
    if not isinstance(event, dict) or not all(
        type(event.get(name)) is str for name in ("event_id", "service", "event_time")
    ):
        return False
    if type(event.get("latency_ms", 1.0)) is not float or type(event.get("status", 200)) is not int:
        return False
    if event.get("status", 200) > 599 or event["level"] == "LOUD":
        return False
    return (
        event["event_time"] < "9999" and abs(datetime.fromisoformat(event["event_time"]).timestamp() - START) != 86_400
    )


def test_duplicates_on_request() -> None:
    records = [record for batch in simulate(10_000, 1, seed=2, duplicates=0.1) for record in batch]
    assert 10_800 < len(records) < 11_200
    assert len({value for _, value in records}) == 10_000


@pytest.mark.parametrize("values", [{"rate": 0}, {"rate": -1}, {"rate": 1, "bad": 2}, {"rate": 1, "duplicates": -0.1}])
def test_impossible_requests(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must be|between"):
        next(simulate(**values))
