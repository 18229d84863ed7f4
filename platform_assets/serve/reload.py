"""The app as the declared files are now: a new one takes over when a file has changed, without a restart.

Belongs here: watching the files, and exchanging the app between two requests. Does not belong here: routes (`app.py`), or finding
mistakes (`registry`).

A request stays with the app that it began on. All apps share one `Backend`: rates, figures and connections outlast a change. When
a new app cannot be built, the present one goes on and the log says why.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from fastapi import FastAPI
from starlette.routing import Router
from starlette.types import Receive, Scope, Send

from platform_assets.contracts.read import packaged_systems
from platform_assets.core.errors import AssayError
from platform_assets.core.settings import Settings
from platform_assets.declarations import read_systems
from platform_assets.marts.project import project_folder
from platform_assets.serve.app import create_app
from platform_assets.serve.backend import Backend
from platform_assets.serve.problems import LOG

LOOK_S = 1.0
"""So often the files are looked at, in seconds."""
_DECLARED = (".yaml", ".yml", ".sql", ".md")
State = frozenset[tuple[str, int, int, int]]
"""Each file of declarations: path, inode, size, time of its last change in ns."""


class Reloading:
    """The app of `assay serve`, in ASGI: hands each request to the app of the files as they were last read."""

    def __init__(self, settings: Settings) -> None:
        """Build the first app. Raises AssayError when there is no folder of systems."""
        self._settings = settings
        self._state = files_state(settings)
        self._backend = Backend(settings, {})
        self._life = Router(lifespan=self._living)
        self._app = self._build()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the life of the server."""
        await (self._life if scope["type"] == "lifespan" else self._app)(scope, receive, send)

    def _build(self) -> FastAPI:
        found = read_systems(self._settings, models=False)
        for problem in found.problems:
            LOG.warning("left out of %s, a %s: %s", problem.system, problem.part, problem.mistake)
        before = self._backend.contracts, self._backend.problems
        self._backend.serve(found.contracts, found.problems)
        try:
            app = create_app(self._settings, found.contracts, self._backend)
            app.openapi()  # now, not while the first reader of the description waits
        except Exception:
            self._backend.serve(*before)
            raise
        return app

    @asynccontextmanager
    async def _living(self, _: object) -> AsyncIterator[None]:
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            self._backend.close()

    async def _watch(self) -> None:
        """Exchange the app whenever a file has changed. One attempt for each state of the files."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                state = await asyncio.to_thread(files_state, self._settings)
                if state == self._state:
                    continue
                self._state = state
                self._app = await asyncio.to_thread(self._build)
                LOG.info("declarations changed: serving %s", ", ".join(self._backend.contracts) or "no system")
            except AssayError as error:
                LOG.error("declarations changed, and the systems stay as they were: %s", error)
            except Exception:  # watching goes on, whatever one state of the files does
                LOG.exception("declarations changed, and the systems stay as they were")


def files_state(settings: Settings) -> State:
    """The files of all systems and of their marts."""
    folders = [settings.systems or packaged_systems()]
    if settings.systems is None:  # else a system's models are in its own folder
        with suppress(AssayError):  # without a project there are no marts
            folders.append(project_folder() / "models")
    return frozenset(entry for folder in folders for entry in _entries(folder))


def _entries(folder: Path) -> Iterator[tuple[str, int, int, int]]:
    for base, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if name[0] != "."]
        yield base, 0, 0, 0  # an empty folder is a system too
        for name in names:
            if name.endswith(_DECLARED):
                path = os.path.join(base, name)  # noqa: PTH118 (a look each second: paths as text are cheaper)
                with suppress(OSError):  # just removed
                    found = os.stat(path)  # noqa: PTH116
                    yield path, found.st_ino, found.st_size, found.st_mtime_ns
