"""One `dbt build` over a system's models, in this process.

Belongs here: calling dbt, and what its answer means. Does not: the database (`prepare.py`), publishing.

dbt keeps settings of a run in global variables: one build at a time in a process. The manifest is made once for each state of
the project and handed over, since dbt parses anew whenever the path of the database changes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from platform_assets.errors import AssayError
from platform_assets.gold.project import DATABASE, fingerprint, flags

_ONE_AT_A_TIME = threading.Lock()
_manifests: dict[str, Any] = {}


class BuildFailed(AssayError):
    """A model or a test failed; nothing is published. `failures` maps its name to what dbt says of it."""

    def __init__(self, system: str, failures: dict[str, str]) -> None:
        names = ", ".join(failures)
        first = next(iter(failures.values()))
        super().__init__(
            f"gold of {system}: {names} failed ({first}); nothing was published",
            "correct the model, or the rows that the test found",
        )
        self.failures = failures


def build_arguments(system: str, names: Sequence[str] = ()) -> list[str]:
    """dbt's command for a system's models with their tests, all or those named; silver's own tests are the contract's."""
    chosen = [f"path:models/{system},resource_type:model"] if not names else list(names)
    return ["build", "--select", *chosen, "--exclude", "source:*"]


def build(project: Path, database: Path, target: Path, system: str, names: Sequence[str] = ()) -> None:
    """Build and test the models in the run's database. Raises BuildFailed; AssayError when dbt itself cannot."""
    from dbt.cli.main import dbtRunner

    with _ONE_AT_A_TIME:
        before = os.environ.get(DATABASE)
        os.environ[DATABASE] = str(database)
        try:
            with redirect_stdout(StringIO()):
                done = dbtRunner(manifest=_parsed(project, target)).invoke(
                    ["--quiet", *build_arguments(system, names), *flags(project, target)]
                )
        finally:
            _restore(before)
            _close()
    if done.exception is not None:
        raise AssayError(
            f"dbt could not build gold of {system}: {done.exception}", "see the models"
        ) from done.exception
    results = getattr(done.result, "results", ())
    failures = {
        result.node.name: " ".join((result.message or str(result.status)).split())[:300]
        for result in results
        if result.status in ("error", "fail", "runtime error")
    }
    if failures:
        raise BuildFailed(system, failures)
    if not done.success:
        raise AssayError(f"dbt could not build gold of {system}", "see the models")


def _restore(before: str | None) -> None:
    if before is None:
        os.environ.pop(DATABASE, None)
    else:
        os.environ[DATABASE] = before


def _close() -> None:
    """Let go of the database: dbt keeps its connection for a next command."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    DuckDBConnectionManager.close_all_connections()


def _parsed(project: Path, target: Path) -> Any:
    """The manifest as dbt's own object, made once for each state of the project (the file `manifest.json` lacks parts of it)."""
    from dbt.cli.main import dbtRunner

    mark = fingerprint(project)
    if mark not in _manifests:
        done = dbtRunner().invoke(["--quiet", "parse", *flags(project, target)])
        if not done.success:
            raise AssayError(f"dbt cannot read the project in {project}: {done.exception}", "put the project right")
        _manifests.clear()
        _manifests[mark] = done.result
    return _manifests[mark].deepcopy()  # a build writes into the one it is given
