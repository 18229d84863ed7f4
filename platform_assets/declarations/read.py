"""One look at a folder of systems.

Belongs here: putting together what each kind of declaration says of itself. Does not: waiting for changes (`serve/reload.py`).

A look costs some time for each system (the SQL of a contract is bound, dbt reads the models): `valid_systems` reads the
contracts only, for commands that must be quick.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache, partial
from typing import Any

from platform_assets.contracts.document import parse_document, read_text, understood
from platform_assets.contracts.model import Contract, Table
from platform_assets.contracts.read import (
    FILE_NAME,
    Systems,
    load_contract,
    load_systems,
    packaged_systems,
    system_names,
)
from platform_assets.core.errors import AssayError, Mistake, Mistakes
from platform_assets.core.settings import Settings


class Part(StrEnum):
    """What can be wrong with a system. A wrong contract stops the system; of the others only what is wrong stands still."""

    CONTRACT = "contract"
    RULE = "rule"
    REPORT = "report"
    MART = "mart"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake of one system."""

    system: str
    part: Part
    mistake: Mistake

    def __str__(self) -> str:
        return f"{self.system}: {self.mistake}"

    def facts(self) -> dict[str, Any]:
        """For JSON: `{system, part, file, line, place, message, hint}`; `line` is null where it is not known."""
        mistake = self.mistake
        named = {"file": mistake.file, "line": mistake.line, "place": mistake.place}
        return {
            "system": self.system,
            "part": self.part.value,
            **named,
            "message": mistake.message,
            "hint": mistake.hint,
        }


@dataclass(frozen=True)
class Declarations:
    """What a look found: the contracts of the systems that work, and every mistake of every system."""

    contracts: Mapping[str, Contract] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    @property
    def broken(self) -> dict[str, tuple[Mistake, ...]]:
        """The systems that do not work, with the mistakes of their contracts."""
        found: dict[str, list[Mistake]] = {}
        for problem in self.problems:
            if problem.part is Part.CONTRACT:
                found.setdefault(problem.system, []).append(problem.mistake)
        return {system: tuple(mistakes) for system, mistakes in found.items()}


def valid_systems(settings: Settings) -> Systems:
    """Contracts alone: those that are valid, and the mistakes of the others. Raises AssayError when there is no such folder."""
    return load_systems(settings.systems)


def read_systems(settings: Settings, *, models: bool = True) -> Declarations:
    """Every declaration of every system; dbt reads the models unless told not to, as it takes seconds after each change.

    Raises AssayError when there is no such folder.
    """
    systems = load_systems(settings.systems)
    contracts, problems = {}, []
    for name in sorted({*systems.contracts, *systems.broken}):
        found = list(problems_of(settings, name, models=models))
        problems += found
        if not any(problem.part is Part.CONTRACT for problem in found):
            contracts[name] = systems.contracts[name]
    return Declarations(contracts, tuple(problems))


def problems_of(settings: Settings, system: str, *, models: bool = True) -> Iterator[Problem]:
    """Every mistake of one system. Without a valid contract the rest cannot be evaluated."""
    if stops := contract_mistakes(settings, system):
        yield from (Problem(system, Part.CONTRACT, mistake) for mistake in stops)
        return
    contract = load_contract(system, settings.systems)
    yield from (Problem(system, Part.RULE, mistake) for mistake in _rules(settings, contract))
    yield from (Problem(system, Part.REPORT, mistake) for mistake in _reports(settings, contract))
    yield from (Problem(system, Part.MART, mistake) for mistake in _marts(contract, models=models))


def contract_mistakes(settings: Settings, system: str) -> tuple[Mistake, ...]:
    """What stops a system: the mistakes of its contract as the file is now, and of the SQL that it compiles to."""
    try:
        contract = load_contract(system, settings.systems)
    except AssayError as error:
        return error.mistakes
    return tuple(uncompiled(settings, contract))


def stopped(settings: Settings, system: str) -> tuple[Mistake, ...]:
    """The same for a system that was loaded before; none when its folder is not among the systems (any more)."""
    return contract_mistakes(settings, system) if system in system_names(settings.systems) else ()


def uncompiled(settings: Settings, contract: Contract) -> Iterator[Mistake]:
    """What the engine refuses of the SQL that a contract compiles to, each with its own place."""
    mistakes = _refused(contract)
    if not mistakes:
        return
    path = (settings.systems or packaged_systems()) / contract.system / FILE_NAME
    document = parse_document(read_text(path, "a contract"), Mistakes())
    for mistake in mistakes:
        yield replace(document.located(mistake) if document else mistake, file=str(path))


@lru_cache(maxsize=1024)
def _refused(contract: Contract) -> tuple[Mistake, ...]:
    found = Mistakes()
    for table in contract.tables:
        found.get(understood, partial(_probe, table, found))
    return tuple(found.found)


def _probe(table: Table, found: Mistakes) -> None:
    from platform_assets.transform.probe import sql_mistakes

    for below, said in sql_mistakes(table):
        place = f"schema[{table.name}]{below}"
        found.found.append(Mistake(f"{place}: {said}", "see what docs/contracts.md allows", place))


def _rules(settings: Settings, contract: Contract) -> tuple[Mistake, ...]:
    from platform_assets.alerts.declared import missing_runbooks, rules_of

    return (*rules_of(settings, contract).mistakes, *missing_runbooks(settings, contract))


def _reports(settings: Settings, contract: Contract) -> tuple[Mistake, ...]:
    from platform_assets.reports.declare import declared_reports

    return declared_reports(contract.system, settings.systems).mistakes


def _marts(contract: Contract, *, models: bool = True) -> Iterator[Mistake]:
    """Marts whose properties are wrong or that are refused, and files that dbt cannot read; each mart once."""
    from platform_assets.marts.assembled import origin
    from platform_assets.marts.graph import HINT, read_graph
    from platform_assets.marts.marts import declared_marts
    from platform_assets.marts.project import broken_models, has_models, project_folder

    told: tuple[Mistake, ...] = ()
    try:
        project = project_folder()
        if not has_models(project, contract.system):
            return
        told = declared_marts(project, contract.system).mistakes
        yield from told
        if not models:
            return
        known = {(mistake.file, mistake.place) for mistake in told}
        unread = [one for one in broken_models(project, contract.system) if (one.file, one.place) not in known]
        yield from unread
        told = (*told, *unread)
        refused = read_graph(project, contract).refused
    except AssayError as error:
        yield from error.mistakes if not told else ()
        return
    named = {mistake.place for mistake in told}
    folder = project / "models" / contract.system
    for name, why in refused.items():
        if name not in named:
            file = str(origin(project, folder / f"{name}.sql"))
            yield Mistake(f"the mart {name} is refused: {why}", HINT, name, file=file)
