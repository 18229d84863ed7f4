"""The benchmark beside Spark, as far as it goes without Spark: what it refuses, and that its measuring is right."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.peer import compare
from bench.peer.compare import Counts, check_counts, full_java
from bench.peer.worker import Worker
from platform_assets.core.errors import AssayError

# Answers each line after a child of its own has worked for a third of a second; ends upon "end".
BUSY = """
import subprocess, sys
work = "import time; until = time.process_time() + 0.3\\nwhile time.process_time() < until: pass"
for line in sys.stdin:
    if "end" in line:
        sys.exit("out of work")
    subprocess.run([sys.executable, "-c", work])
    print('{"done": true}', flush=True)
"""


def test_without_spark_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compare, "VENV", tmp_path)
    with pytest.raises(AssayError, match=r"Spark is not installed - run `make peer` first"):
        compare.run()


def test_a_reduced_java_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").touch(mode=0o755)
    monkeypatch.setenv("ASSAY_JAVA_HOME", str(tmp_path))
    for modules, full in (("java.base java.sql", False), ("java.base jdk.incubator.vector", True)):
        (tmp_path / "release").write_text(f'JAVA_VERSION="21.0.1"\nMODULES="{modules}"\n')
        if full:
            assert full_java().home == tmp_path
        else:
            with pytest.raises(AssayError, match=r"Spark needs a full JDK .* is a reduced Java - install one"):
                full_java()


@pytest.mark.parametrize(
    ("spark", "assay", "said"),
    [
        (Counts(99, 90, 0), Counts(100, 90, 0), "Spark has 99 of 100 records in bronze"),
        (Counts(100, 90, 0), Counts(101, 90, 0), "the worker has 101 of 100 records in bronze"),
        (Counts(100, 91, 0), Counts(100, 90, 0), "the sides differ"),
        (Counts(100, 90, 1), Counts(100, 90, 0), "the sides differ"),
    ],
)
def test_figures_of_unlike_work_are_refused(spark: Counts, assay: Counts, said: str) -> None:
    check_counts(100, Counts(100, 90, 0), Counts(100, 90, 0))
    with pytest.raises(AssayError, match=said):
        check_counts(100, spark, assay)


def test_a_workers_children_are_counted_and_its_end_is_told(tmp_path: Path) -> None:
    with Worker("the worker", [sys.executable, "-c", BUSY], log=tmp_path / "log", cwd=tmp_path) as worker:
        first, second = worker.ask({}), worker.ask({})
        assert min(first.cpu_s, second.cpu_s) >= 0.3
        assert first.answer == {"done": True}
        assert min(first.seconds, second.seconds) >= 0.3
        with pytest.raises(AssayError, match=r"the worker did not finish its work: out of work - see .*log"):
            worker.ask({"end": True})
