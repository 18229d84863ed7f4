"""What there is to ask: systems, tables, fields, marts, reports, runbooks, and what the caller's key may do.

Belongs here: contracts, marts, reports and runbooks as the page for operators needs them. Does not belong here: data.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from platform_assets.contracts.field_roles import visibility
from platform_assets.contracts.model import Contract, Mask, SeverityRank, Table
from platform_assets.contracts.types import type_name
from platform_assets.index.mappings import flat
from platform_assets.marts.marts import Mart, load_marts
from platform_assets.marts.project import project_folder
from platform_assets.reports.declare import Report, load_reports
from platform_assets.serve.access import Caller, allow
from platform_assets.serve.backend import Backend
from platform_assets.serve.figures import possible
from platform_assets.serve.keys import Role
from platform_assets.serve.problems import Json, add_get


def router(backend: Backend, runbooks: Collection[str]) -> APIRouter:
    """The one route; `runbooks` are the names of the pages that there are."""
    made = APIRouter(tags=["platform"])
    project = project_folder()
    told = {
        name: _system(contract, load_marts(project, name), load_reports(name, backend.settings.systems))
        for name, contract in backend.contracts.items()
    }

    def systems(caller: Annotated[Caller, Depends(allow(backend, Role.READER, Role.WRITER))]) -> Json:
        """The systems that the key is for, with their tables, marts and reports; the key itself, without its secret; runbooks.

        A runbook is a page at `/runbooks/<name>`. `mistakes` are what is wrong with declarations of these systems: a wrong
        contract stops its system, any other mistake only the rule, report or mart. Administrators see the files' whole paths.
        """
        own = [found for name, found in told.items() if caller.key.system in (None, name)]
        return Json(
            {
                "key": caller.key.public(),
                "systems": own,
                "mistakes": _mistakes(backend, caller),
                "runbooks": [name for name in runbooks if _may_see(caller, name)],
            }
        )

    add_get(made, "/v1/systems", systems, "What there is to ask", (401, 403, 429, 503))
    return made


def _may_see(caller: Caller, runbook: str) -> bool:
    """Whether a runbook is the platform's, or of a system that the key is for."""
    system, slash, _ = runbook.partition("/")
    return not slash or caller.key.system in (None, system)


def _mistakes(backend: Backend, caller: Caller) -> list[dict[str, Any]]:
    """The mistakes in what the caller's systems declare; with the name of the file alone unless an administrator asks."""
    own = [problem.facts() for problem in backend.problems if caller.key.system in (None, problem.system)]
    if caller.key.role is Role.ADMIN:
        return own
    return [_without_folders(facts) for facts in own]


def _without_folders(facts: dict[str, Any]) -> dict[str, Any]:
    path = Path(facts["file"])
    said = facts["message"].replace(f"{path.parent}/", "") if facts["file"] else facts["message"]
    return {**facts, "file": path.name, "message": said}


def _system(contract: Contract, marts: tuple[Mart, ...], reports: Mapping[str, Report]) -> dict[str, Any]:
    return {
        "system": contract.system,
        "version": contract.version,
        "description": contract.description,
        "owner": contract.owner,
        "tables": [_table(table) for table in contract.tables],
        "marts": [_mart(mart) for mart in marts if mart.index],
        "severities": [rank.value for rank in reversed(SeverityRank)],
        "reports": [{"name": one.name, "title": one.title, "about": one.about} for one in reports.values()],
    }


def _table(table: Table) -> dict[str, Any]:
    return {
        "table": table.name,
        "description": table.description,
        "event_time": table.event_time,
        "row_policy": table.row_policy,
        "visibility": visibility(table.row_policy),
        "severity": _severity(table),
        "origin": list(table.origin),
        "display": list(table.display),
        "coordinates": asdict(table.shown),
        "attributes": table.attributes,
        "attributes_searchable": bool(table.attributes) and flat(table),
        "freshness_warn_s": table.freshness_warn.total_seconds(),
        "freshness_fail_s": table.freshness_fail.total_seconds(),
        "retention_s": table.retention.total_seconds(),
        "fields": [
            {
                "name": field.name,
                "type": type_name(field),
                "index": field.index.value,
                "description": field.description,
                "enum": list(field.enum),
                "pseudonym": field.mask is Mask.HMAC,
                "computed": field.computed,
            }
            for field in table.fields
        ],
    }


def _severity(table: Table) -> dict[str, Any] | None:
    """The field that says how severe a row is, and the rank of its values."""
    if table.severity is None:
        return None
    return {"field": table.severity.field, "scale": {value: rank.value for value, rank in table.severity.ranks}}


def _mart(mart: Mart) -> dict[str, Any]:
    return {
        "mart": mart.name,
        "description": mart.description,
        "grain": mart.grain.value,
        "time": mart.grain.value,
        "key": list(mart.key),
        "example": mart.example,
        "main": mart.main,
        "row_policy": mart.row_policy,
        "visibility": visibility(mart.row_policy),
        "columns": [
            {"name": c.name, "type": c.type, "description": c.description, "figures": list(possible(mart, c))}
            for c in mart.columns
        ],
    }
