"""The app: every route of every system behind one guard.

Belongs here: putting it together, and its description. Does not belong here: what a route does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from platform_assets.alerts.platform import PLATFORM_SYSTEM
from platform_assets.alerts.runbooks import all_runbooks
from platform_assets.contracts.model import Contract
from platform_assets.core.settings import Settings
from platform_assets.serve import (
    describing,
    handling,
    operating,
    page,
    problems,
    reporting,
    reports,
    searching,
    submitting,
)
from platform_assets.serve.backend import Backend
from platform_assets.serve.guard import Guard

_ABOUT = """Events of every system: search, submit, trace and report. Each caller sees what its key may see, and the index itself
holds it to that. Errors are `application/problem+json` (RFC 9457). Keys come from `assay keys add`."""


def create_app(settings: Settings, contracts: Mapping[str, Contract], backend: Backend | None = None) -> FastAPI:
    """The app for these systems. Nothing is asked of a service until a request needs it.

    A `backend` that is given serves these systems already, and outlasts the app; else the app has one of its own.
    """
    backend = backend or Backend(settings, contracts)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        backend.close()

    app = FastAPI(
        title="Assay",
        description=_ABOUT,
        version="1",
        docs_url=None,
        redoc_url=None,
        lifespan=life,
        # Behind a proxy that speaks TLS it would send people, and the bodies that they repeat, to an address without.
        redirect_slashes=False,
    )
    app.add_middleware(Guard, backend=backend)
    problems.install(app)
    for contract in contracts.values():
        app.include_router(searching.router(backend, contract))
        app.include_router(reporting.system_router(backend, contract))
        app.include_router(operating.router(backend, contract))
        app.include_router(handling.router(backend, contract.system))
        app.include_router(submitting.router(backend, contract))
    app.include_router(handling.router(backend, PLATFORM_SYSTEM))
    app.include_router(reporting.router(backend))
    app.include_router(reports.router(backend))
    pages = all_runbooks(contracts, settings.systems)
    app.include_router(describing.router(backend, pages.keys()))
    app.include_router(page.router(pages))

    def openapi() -> dict[str, Any]:
        """The description, with the two ways to show a key."""
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            made.setdefault("components", {})["securitySchemes"] = {
                "bearer": {"type": "http", "scheme": "bearer", "description": "`assay_<id>_<secret>`"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            }
            made["security"] = [{"bearer": []}, {"header": []}]
            made["paths"]["/healthz"]["get"]["security"] = []
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    return app
