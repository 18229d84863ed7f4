"""Routes of reports: which there are, and a day's as JSON, CSV or a page.

Belongs here: asking `reports/` for a caller. Does not belong here: figures for dashboards (`reporting.py`).
"""

from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query
from starlette.responses import Response

from platform_assets.index.asking import Deadline
from platform_assets.index.errors import QueryError
from platform_assets.marts.marts import load_marts
from platform_assets.marts.project import project_folder
from platform_assets.reports.build import build
from platform_assets.reports.declare import load_reports
from platform_assets.reports.render import RENDERERS
from platform_assets.serve.access import Caller, allow
from platform_assets.serve.backend import Backend
from platform_assets.serve.keys import Role
from platform_assets.serve.limits import REPORT_TIMEOUT_S
from platform_assets.serve.marts import IndexMarts
from platform_assets.serve.params import NAME
from platform_assets.serve.problems import Json, add_get, refuse

_System = Annotated[
    str | None, Query(pattern=NAME, description="Of this system only: needed where two have a report of that name.")
]


def router(backend: Backend) -> APIRouter:
    """The routes: reports have names, systems are named where two have one of the same name."""
    made = APIRouter(tags=["platform"])
    known = {system: load_reports(system, backend.settings.systems) for system in backend.contracts}
    marts = {system: load_marts(project_folder(), system) for system in known}
    reader = allow(backend, Role.READER)

    def own(caller: Caller, system: str | None) -> list[str]:
        return [name for name in known if caller.key.system in (None, name) and system in (None, name)]

    def reports(caller: Annotated[Caller, Depends(reader)], system: _System = None) -> Json:
        """The reports that systems declare."""
        found = [(name, one) for name in own(caller, system) for one in known[name].values()]
        return Json(
            {"reports": [{"system": name, "name": r.name, "title": r.title, "about": r.about} for name, r in found]}
        )

    def report(
        name: Annotated[str, Path(pattern=NAME, examples=["errors"])],
        day: Annotated[date, Path(examples=["2026-01-15"])],
        caller: Annotated[Caller, Depends(reader)],
        system: _System = None,
        form: Annotated[Literal["json", "csv", "html"], Query(alias="format", description="HTML has charts.")] = "json",
    ) -> Response:
        """A report of one day (UTC), from the rows that the caller may see."""
        having = [one for one in own(caller, system) if name in known[one]]
        if not having:
            raise refuse(404, f"there is no report {name}, or this key is not for it")
        if len(having) > 1:
            raise QueryError(f"several systems have a report {name}", "say whose: system=" + " or ".join(having))
        if not 1970 <= day.year <= 9000:
            raise refuse(404, f"there is no report of the year {day.year}")
        [chosen] = having
        read = IndexMarts(backend.client(caller.key), marts[chosen], Deadline(REPORT_TIMEOUT_S))
        built = build(chosen, known[chosen][name], day, read)
        media, render = RENDERERS[form]
        made = render(built)
        return Json(made) if form == "json" else Response(made, media_type=f"{media}; charset=utf-8")

    add_get(made, "/v1/reports", reports, "Reports", (401, 403, 422, 429, 503))
    add_get(made, "/v1/reports/{name}/{day}", report, "A report of a day")
    return made
