"""Audit trail, cursors, rates, turns, kept answers, bodies: each alone."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import sqlite3
import stat
import threading
import tracemalloc
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limits import parse

from platform_assets.contracts.read import load_contracts
from platform_assets.core.errors import AssayError
from platform_assets.core.settings import Settings
from platform_assets.index.errors import QueryError, TooManyClauses, too_long
from platform_assets.serve import idempotency
from platform_assets.serve.audit import Audit, AuditUnavailable
from platform_assets.serve.cursors import CursorSeal
from platform_assets.serve.idempotency import Answers, AnswersUnavailable, InProgress, KeyReused
from platform_assets.serve.limits import AtOnce, Busy, RateCounter, Rates, TooMany, Turns
from platform_assets.serve.problems import from_error
from platform_assets.serve.submitting import _records

STATE = {"at": {"events": "abc", "access": None}, "total": {"value": 3, "exact": True}}
EVENTS = load_contracts()["logs"].table("events")
SECRET = b"s" * 64


def entries(home: Path) -> list[dict[str, object]]:
    return [json.loads(line) for path in (home / "audit").iterdir() for line in path.read_text().splitlines() if line]


def test_an_action_is_in_the_trail_before_and_behind(tmp_path: Path) -> None:
    audit = Audit(tmp_path)
    with audit.action("k1", "trace", {"id": "a.0.1"}, "r1") as found:
        assert [e["outcome"] for e in entries(tmp_path)] == ["begun"]
        found.found["verdict"] = "silver"
    with pytest.raises(KeyError), audit.action("k1", "trace", {"id": "a.0.2"}, "r2"):
        raise KeyError("the clear value")
    begun, done, again, failed = entries(tmp_path)
    assert (begun["key"], begun["action"], begun["request"]) == ("k1", "trace", "r1")
    assert done["what"] == {"id": "a.0.1", "verdict": "silver"}
    assert (again["outcome"], failed["outcome"]) == ("begun", "failed: KeyError")
    [path] = (tmp_path / "audit").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_cannot_be_audited_is_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audit = Audit(tmp_path)
    audit.write("k1", "trace", {}, "done")
    before = entries(tmp_path)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    reached = False
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(AuditUnavailable, match="No space"), audit.action("k1", "trace", {}):
            reached = True
    assert not reached
    audit.write("k2", "trace", {}, "done")
    assert entries(tmp_path)[0] == before[0]
    assert entries(tmp_path)[-1]["key"] == "k2"


@given(flip=st.integers(0, 10_000), key=st.sampled_from(["k1", "k2"]), question=st.sampled_from(["a", "b"]))
def test_a_cursor_opens_for_its_key_and_question_only(flip: int, key: str, question: str) -> None:
    seal = CursorSeal(SECRET)
    cursor = seal.seal(STATE, "k1", {"q": "a"})
    assert seal.open(cursor, "k1", {"q": "a"}) == STATE
    if (key, question) != ("k1", "a"):
        with pytest.raises(QueryError):
            seal.open(cursor, key, {"q": question})
    at = flip % (len(cursor) - 1)  # the last character has bits that mean nothing
    altered = cursor[:at] + ("A" if cursor[at] != "A" else "B") + cursor[at + 1 :]
    with pytest.raises(QueryError):
        seal.open(altered, "k1", {"q": "a"})
    with pytest.raises(QueryError):
        CursorSeal(b"other" * 13).open(cursor, "k1", {"q": "a"})


@given(st.text(max_size=60))
def test_no_text_is_a_cursor(text: str) -> None:
    with pytest.raises(QueryError):
        CursorSeal(SECRET).open(text, "k1", {})


def test_a_rate_is_counted_for_each_caller_and_says_when_to_come_back() -> None:
    counter, rate = RateCounter(), parse("3/minute")
    for _ in range(3):
        counter.take(rate, "requests", "k1")
    with pytest.raises(TooMany) as refused:
        counter.take(rate, "requests", "k1")
    assert 1 <= refused.value.retry_after_s <= 60
    counter.take(rate, "requests", "k2")


@pytest.mark.parametrize(("name", "value"), [("ASSAY_API_RATE", "often"), ("ASSAY_API_AT_ONCE", "0")])
def test_a_malformed_limit_is_named(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(AssayError, match=f"{name} is not a ") as refused:
        Rates.of(Settings(tmp_path, tmp_path, {name: value}))
    assert value not in str(refused.value).replace("3000/minute", "")


def test_what_is_asked_at_once_is_counted_for_each_caller_until_it_ends() -> None:
    running = AtOnce(2)
    with running.one("k1"), running.one("k2"):
        with pytest.raises(RuntimeError), running.one("k1"):
            raise RuntimeError
        with running.one("k1"), pytest.raises(TooMany) as refused, running.one("k1"):
            pass
        assert refused.value.retry_after_s == 1
        with running.one("k1"):
            pass


def test_a_turn_that_does_not_come_is_refused_and_not_begun() -> None:
    go, begun = threading.Event(), []

    def work(name: str) -> str:
        begun.append(name)
        assert go.wait(10)
        return name

    async def three() -> list[str | BaseException]:
        turns = Turns(1, wait_s=0.2)
        try:
            first, second = (asyncio.create_task(turns.run(work, name)) for name in ("first", "second"))
            await asyncio.wait([second])
            go.set()
            return await asyncio.gather(first, second, turns.run(work, "third"), return_exceptions=True)
        finally:
            turns.close()

    first, second, third = asyncio.run(three())
    assert (first, third, begun) == ("first", "third", ["first", "third"])
    assert isinstance(second, Busy)
    answer = from_error(second, "r")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_a_question_that_costs_too_much_says_what_to_do() -> None:
    late, large = from_error(too_long("the search"), "r"), from_error(TooManyClauses("too many parts", "ask less"), "r")
    assert (late.status_code, json.loads(late.body)["hint"]) == (503, "narrow it: a shorter time, another field")
    assert (large.status_code, json.loads(large.body)["hint"]) == (422, "ask less")


def test_a_mistake_in_a_query_has_a_position() -> None:
    found = from_error(QueryError("no field", "known: a", position=7), "r")
    assert (found.status_code, json.loads(found.body)["position"]) == (422, 7)
    assert "position" not in json.loads(from_error(QueryError("a time range"), "r").body)


def test_the_events_of_a_body_are_counted_before_more_is_made_of_them() -> None:
    cannot_be_written = b'"\\ud800"'
    with pytest.raises(QueryError, match="1 to 1000 events, this one has more"):
        _records(EVENTS, b"[" + b",".join([cannot_be_written] * 1001) + b"]")
    body = b"x\n" * 2_000_000
    tracemalloc.start()
    try:
        with pytest.raises(QueryError, match="1 to 1000 events, this one has more"):
            _records(load_contracts()["logs"].table("access"), body)
        assert tracemalloc.get_traced_memory()[1] < len(body)
    finally:
        tracemalloc.stop()


def test_an_answer_is_kept_beyond_a_restart_and_for_its_body_only(tmp_path: Path) -> None:
    with Answers(tmp_path, SECRET).once("k1 t", "i1", b"body") as slot:
        assert slot.known is None
        slot.fresh = {"records": [1]}
    again = Answers(tmp_path, SECRET)
    with again.once("k1 t", "i1", b"body") as slot:
        assert slot.known == {"records": [1]}
        with pytest.raises(InProgress), again.once("k1 t", "i1", b"body"):
            pass
    with pytest.raises(KeyReused), again.once("k1 t", "i1", b"Body"):
        pass
    with again.once("k2 t", "i1", b"other") as slot:
        assert slot.known is None
    assert b"body" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_a_failed_request_leaves_no_answer_and_old_ones_go(tmp_path: Path) -> None:
    answers = Answers(tmp_path, SECRET)
    with pytest.raises(RuntimeError), answers.once("k", "i", b"x") as slot:
        slot.fresh = {}
        raise RuntimeError
    with answers.once("k", "i", b"y") as slot:
        assert slot.known is None
        slot.fresh = {"n": 1}
    with Answers(tmp_path, SECRET, kept_s=0).once("k", "i", b"z") as slot:
        assert slot.known is None


def test_a_caller_who_used_too_many_keys_is_refused_and_nobody_s_answer_goes(tmp_path: Path) -> None:
    def take(answers: Answers, caller: str, key: str) -> dict[str, object] | None:
        with answers.once(caller, key, b"x") as slot:
            slot.fresh = {"key": key}
        return slot.known

    answers = Answers(tmp_path, SECRET, limit=3)
    for key in ("i0", "i1", "i2"):
        assert take(answers, "k1", key) is None
    for again in (answers, Answers(tmp_path, SECRET, limit=3)):  # a restart forgets nobody
        with pytest.raises(TooMany, match="more than 3 Idempotency-Keys in 24 hours"):
            take(again, "k1", "i3")
        assert take(again, "k1", "i0") == {"key": "i0"}
    assert take(answers, "k2", "i3") is None
    later = Answers(tmp_path, SECRET, limit=3, kept_s=0)
    for key in ("i4", "i5", "i6", "i7"):
        assert take(later, "k1", key) is None


def test_answers_that_cannot_be_kept_are_noticed_before_anything_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "_BUSY_S", 0.01)
    answers = Answers(tmp_path, SECRET)
    published = []
    with closing(sqlite3.connect(tmp_path / "idempotency.sqlite")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(AnswersUnavailable) as refused, answers.once("k", "i", b"x"):
            published.append("before")
        other.rollback()
        with pytest.raises(AnswersUnavailable), answers.once("k", "i", b"x") as slot:
            slot.fresh = {"n": 1}
            other.execute("BEGIN IMMEDIATE")
        other.rollback()
    assert published == []
    answer = from_error(refused.value, "r")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert json.loads(answer.body)["hint"] == "send it again with the same Idempotency-Key"
    with answers.once("k", "i", b"x") as slot:
        assert slot.known is None
    (tmp_path / "idempotency.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(AnswersUnavailable):
        Answers(tmp_path, SECRET)


@pytest.mark.parametrize(
    "event", [b'{"a":1234567890.12345678}', b'{"a":[0.10,1e-7,12345678901234567890123],"b":"0.10"}']
)
def test_numbers_of_a_submission_are_published_as_written(event: bytes) -> None:
    assert _records(EVENTS, event) == [event]
    assert _records(EVENTS, b"[" + event + b"," + event + b"]") == [event, event]
