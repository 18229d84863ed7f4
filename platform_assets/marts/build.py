"""One `dbt build` over a system's models, in this process; or their SQL as dbt would run it.

Belongs here: calling dbt, and what its answer means. Does not: the database (`prepare.py`), publishing.

dbt keeps settings of a run in global variables: one build at a time in a process. What dbt knows of the project is kept
(`project.py`) and handed over, since dbt parses anew whenever the path of the database changes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from platform_assets.core.errors import AssayError, one_line
from platform_assets.core.settings import exported
from platform_assets.marts.project import DATABASE, PARSED, flags, manifest_path

_ONE_AT_A_TIME = threading.Lock()
_BAD = frozenset({"error", "fail", "runtime error"})


@dataclass(frozen=True, slots=True)
class NodeResult:
    """What became of one model or test. `rows` is how many rows a test objects to."""

    name: str
    is_test: bool
    status: str
    message: str
    rows: int
    seconds: float

    @property
    def ran(self) -> bool:
        """Whether it came to a verdict; what depends on a failed model is skipped."""
        return self.status != "skipped"

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return self.status not in _BAD


class BuildFailed(AssayError):
    """A model or a test failed; nothing is published. `results` are those of all models and tests."""

    def __init__(self, system: str, results: Sequence[NodeResult]) -> None:
        failed = [result for result in results if not result.passed]
        names = ", ".join(result.name for result in failed)
        super().__init__(
            f"gold of {system}: {names} failed ({failed[0].message}); nothing was published",
            "correct the model, or the rows that the test found",
        )
        self.results = tuple(results)


def build(
    project: Path,
    database: Path,
    target: Path,
    system: str,
    names: Collection[str],
    told: Callable[[str], None] | None = None,
) -> list[NodeResult]:
    """Build and test these models of the system in the run's database; silver's own tests are the contract's.

    `told` is called with the name of each model and test that dbt has done. Raises BuildFailed, and AssayError when dbt itself
    cannot.
    """
    # `buildable`: no test that reads a mart which is not built.
    command = ["build", "--indirect-selection", "buildable", "--select", *names]
    done = _invoke(project, database, target, system, command, told)
    results = [_result(found) for found in getattr(done.result, "results", ())]
    if not all(result.passed for result in results):
        raise BuildFailed(system, results)
    if not (done.success and results):
        raise AssayError(f"dbt built nothing of gold of {system}", "see its models")
    return results


def compiled(project: Path, database: Path, target: Path, system: str, name: str) -> dict[str, str]:
    """The SQL of a model and of all models that it is built from, by name, in the order in which they are built.

    Ephemeral models are part of the SQL that reads them. Raises AssayError when dbt cannot.
    """
    done = _invoke(project, database, target, system, ["compile", "--select", f"+{name}"])
    nodes = [found.node for found in getattr(done.result, "results", ())]
    texts = {str(node.name): node.compiled_code for node in nodes if str(node.resource_type) == "model"}
    if not done.success or not texts.get(name):
        raise AssayError(f"dbt gave no SQL for {name} of {system}", "see the models")
    return texts


def _invoke(
    project: Path,
    database: Path,
    target: Path,
    system: str,
    command: Sequence[str],
    told: Callable[[str], None] | None = None,
) -> Any:
    """dbt's answer to one command; silver's own tests are left out."""
    from dbt.cli.main import dbtRunner

    # Nobody reads what dbt would write of the run.
    whole = ["--quiet", "--no-write-json", *command, "--exclude", "source:*", *flags(project, target)]
    with _ONE_AT_A_TIME, exported(DATABASE, str(database)):
        try:
            with redirect_stdout(StringIO()):
                done = dbtRunner(manifest=_parsed(project), callbacks=[_listener(told)] if told else []).invoke(whole)
        finally:
            _close()
    if done.exception is not None:
        raise AssayError(
            f"dbt could not build gold of {system}: {done.exception}", "see the models"
        ) from done.exception
    return done


def _listener(told: Callable[[str], None]) -> Callable[[Any], None]:
    """Hears dbt's events, and passes on the names of what is done."""

    def hear(event: Any) -> None:
        if event.info.name == "NodeFinished":
            told(str(event.data.node_info.node_name))

    return hear


def _result(found: Any) -> NodeResult:
    words = one_line(found.message or found.status)
    is_test = str(found.node.resource_type) == "test"
    return NodeResult(found.node.name, is_test, str(found.status), words, found.failures or 0, found.execution_time)


def _close() -> None:
    """Let go of the database: dbt keeps its connection in this process for a next command."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    manager: Any = DuckDBConnectionManager
    manager.close_all_connections()


def _parsed(project: Path) -> Any:
    """The manifest as dbt's own object, a new one each time: a build writes into the one it is given."""
    from dbt.contracts.graph.manifest import Manifest

    manifest: Any = Manifest.from_msgpack(manifest_path(project).with_name(PARSED).read_bytes())
    manifest.build_flat_graph()
    return manifest
