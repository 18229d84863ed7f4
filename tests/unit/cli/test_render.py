"""Values as people and programs see them."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from platform_assets.cli import render
from platform_assets.core.ansi import SEQUENCE
from platform_assets.core.serialization import plain
from platform_assets.marts.project import project_folder
from platform_assets.serve import page


def test_data_cannot_steer_the_terminal() -> None:
    hostile = "a\x1b[2Jb\rc\x9b31m\u202ed"
    shown = render.one_line(hostile)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or c == "\u202e" for c in shown)
    assert shown == "ab c\\x202ed"
    assert render.one_line("a\x1b]0;title\x07b\x1b(B\x1b7c\x1bP1;2q\x1b\\d \x1b]0;no end") == "abcd \\x1b]0;no end"


def test_a_noun_agrees_with_its_number() -> None:
    assert [render.counted(number, "record") for number in (0, 1, 1200)] == ["0 records", "1 record", "1,200 records"]


def test_colours_are_the_same_everywhere() -> None:
    shown = Path(page.__file__).with_name("static") / "js" / "text.js"
    for file in (shown, project_folder() / "macros" / "texts.sql"):
        assert SEQUENCE in file.read_text(encoding="utf-8")


def test_a_caret_points_at_a_place() -> None:
    assert render.pointed("level:ERROR lvel:x", 12) == f"  level:ERROR lvel:x\n  {' ' * 12}^"
    assert render.pointed("漢字 x", 3) == f"  漢字 x\n  {' ' * 5}^"
    assert render.pointed("a", 1) == "  a\n   ^"
    line, caret = render.pointed("w " * 100 + "\x1b(" + " z" * 100, 201).split("\n")
    assert (line[caret.index("^")], line[2], line[-1]) == ("(", "…", "…")


def test_json_carries_every_character_and_no_raw_control(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"text": 'ü"\x1b\x9b\u202e\n', 1: [Path("/x"), date(2026, 1, 2), Counter(a=1), timedelta(seconds=2)]}
    render.emit(value)
    out = capsys.readouterr().out
    assert not any(c in out for c in "\x1b\x9b\u202e")
    assert json.loads(out) == {"text": 'ü"\x1b\x9b\u202e\n', "1": ["/x", "2026-01-02", {"a": 1}, 2.0]}


def test_dataclasses_become_objects() -> None:
    @dataclass
    class Report:
        when: datetime
        ranges: dict[int, tuple[int, int]]
        seconds: defaultdict[str, float]  # `dataclasses.asdict` of Python 3.11 cannot copy one

    made = plain(Report(datetime(2026, 1, 2, tzinfo=UTC), {3: (0, 9)}, defaultdict(float, a=1.0)))
    assert made == {"when": "2026-01-02T00:00:00+00:00", "ranges": {"3": [0, 9]}, "seconds": {"a": 1.0}}


@pytest.mark.parametrize(
    ("seconds", "shown"), [(1.25, "1.2 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (9e5, "10 d")]
)
def test_durations(seconds: float, shown: str) -> None:
    assert render.duration(seconds) == shown


def test_times_ahead_are_not_ago() -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    assert render.ago(now + timedelta(seconds=5), now) == "5.0 s ahead"
    assert render.ago(None) == "-"


@pytest.mark.parametrize(
    ("number", "shown"), [(999, "999 B"), (1500, "1.5 KB"), (2_370_789, "2.4 MB"), (3e12, "3.0 TB")]
)
def test_sizes(number: float, shown: str) -> None:
    assert render.size(number) == shown
