"""Routes of reports: which there are, and a day's as JSON, CSV or a page.

Belongs here: asking `reports/` for a caller. Does not belong here: figures for dashboards (`reporting.py`).
"""

from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query
from starlette.responses import Response

from platform_assets.contracts.model import Contract
from platform_assets.reports.build import build
from platform_assets.reports.declare import load_reports
from platform_assets.reports.render import RENDERERS
from platform_assets.serve.access import Caller, allow
from platform_assets.serve.backend import Backend
from platform_assets.serve.keys import Role
from platform_assets.serve.marts import IndexMarts
from platform_assets.serve.params import NAME
from platform_assets.serve.problems import Json, add_get, refuse


def router(backend: Backend, contract: Contract) -> APIRouter:
    """The routes of one system."""
    system = contract.system
    made = APIRouter(prefix=f"/v1/{system}", tags=[system])
    known = load_reports(system)

    def reports(caller: Annotated[Caller, Depends(allow(backend, Role.READER, system=system))]) -> Json:
        """The reports that this system declares."""
        return Json({"reports": [{"name": r.name, "title": r.title, "about": r.about} for r in known.values()]})

    def report(
        name: Annotated[str, Path(pattern=NAME, examples=["errors"])],
        day: Annotated[date, Path(examples=["2026-01-15"])],
        caller: Annotated[Caller, Depends(allow(backend, Role.READER, system=system))],
        form: Annotated[Literal["json", "csv", "html"], Query(alias="format", description="HTML has charts.")] = "json",
    ) -> Response:
        """A report of one day (UTC), from the rows that the caller may see."""
        if name not in known:
            raise refuse(404, f"{system} has no report {name}")
        if not 1970 <= day.year <= 9000:
            raise refuse(404, f"there is no report of the year {day.year}")
        built = build(system, known[name], day, IndexMarts(backend.client(caller.key), system))
        media, render = RENDERERS[form]
        made = render(built)
        return Json(made) if form == "json" else Response(made, media_type=f"{media}; charset=utf-8")

    add_get(made, "/reports", reports, "Reports")
    add_get(made, "/reports/{name}/{day}", report, "A report of a day")
    return made
