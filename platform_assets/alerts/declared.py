"""A system's rules as they can be evaluated: read from its folder, their SQL bound, and what is wrong with the others.

Belongs here: leaving out the rules that do not hold, each by itself. Does not: reading (`read.py`) or binding (`sql.py`) one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from platform_assets.alerts.buckets import session
from platform_assets.alerts.model import Rule
from platform_assets.alerts.read import declared_rules, rules_file
from platform_assets.alerts.runbooks import known
from platform_assets.alerts.sql import check_rules
from platform_assets.contracts.document import Declared, parse_document, read_text
from platform_assets.contracts.model import Contract
from platform_assets.core.errors import Mistake, Mistakes
from platform_assets.core.settings import Settings


def rules_of(settings: Settings, contract: Contract) -> Declared[Rule]:
    """The rules of a system's folder that hold, and the mistakes of the others."""
    read = declared_rules(contract, settings.systems)
    bound = bound_rules(contract, read.valid.values())
    if not bound.mistakes:
        return Declared(bound.valid, read.mistakes)
    path = rules_file(contract.system, settings.systems)
    document = parse_document(read_text(path, "a file of rules"), Mistakes())
    unbound = [document.located(mistake) if document else mistake for mistake in bound.mistakes]
    return Declared(bound.valid, (*read.mistakes, *(replace(mistake, file=str(path)) for mistake in unbound)))


def missing_runbooks(settings: Settings, contract: Contract) -> Iterator[Mistake]:
    """A mistake for each rule that names a page which is not there. The rule is evaluated, and told without a link."""
    path = rules_file(contract.system, settings.systems)
    rules = declared_rules(contract, settings.systems).valid
    document = parse_document(read_text(path, "a file of rules"), Mistakes()) if rules else None
    for rule in rules.values() if document else ():
        place = f"rules.{rule.name}.runbook"
        if document and document.written(place) and not rule.runbook.startswith("https://") and not known(rule.runbook):
            said = f"{place}: there is no page {rule.runbook!r} that can be shown"
            hint = f"write {path.parent / 'runbooks' / rule.runbook}, UTF-8 and of 256 KiB at most, or leave the member out"
            yield replace(document.located(Mistake(said, hint, place)), file=str(path))


def bound_rules(contract: Contract, rules: Iterable[Rule]) -> Declared[Rule]:
    """Those of the rules whose SQL binds to silver, and the mistakes of the others."""
    valid: dict[str, Rule] = {}
    found = Mistakes()
    tables = {table.name: table for table in contract.tables}
    with session() as con:
        for rule in rules:
            with found.go_on():
                check_rules(con, tables[rule.table], [rule])
                valid[rule.name] = rule
    return Declared(valid, tuple(found.found))
