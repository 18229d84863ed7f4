"""Routes that change an alert: acknowledge it, mute it.

Belongs here: who may, and telling `alerts/`. Does not belong here: listing alerts (`reporting.py`), their life (`alerts/`).
"""

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Path
from pydantic import BaseModel, ConfigDict, Field

from platform_assets.alerts.incident import Alert
from platform_assets.alerts.index import document
from platform_assets.alerts.platform import PLATFORM_SYSTEM
from platform_assets.alerts.service import AlertService
from platform_assets.index.errors import QueryError, SearchError
from platform_assets.index.times import parse_duration
from platform_assets.serve.access import Caller, allow
from platform_assets.serve.backend import Backend
from platform_assets.serve.keys import Key, Role
from platform_assets.serve.problems import LOG, Json, refuse, responses

MAX_MUTE = timedelta(days=30)
_Id = Annotated[str, Path(pattern=r"^[0-9a-f]{1,64}$", examples=["5ee470b2de2fd9063110"])]


class MuteRequest(BaseModel):
    """For how long nobody is told."""

    model_config = ConfigDict(extra="forbid")

    length: str | None = Field(
        max_length=10, description="30m, 2h, 1d; at most 30 days. null ends it.", examples=["2h"]
    )


def router(backend: Backend, system: str) -> APIRouter:
    """The routes of one system, or of the platform itself, whose alerts are for administrators only."""
    platform = system == PLATFORM_SYSTEM
    made = APIRouter(prefix=f"/v1/{system}/alerts", tags=["platform" if platform else system])
    action = "alert"
    acknowledger = allow(backend, *([] if platform else [Role.READER]), system=system, audited=action)

    def acknowledge(alert_id: _Id, caller: Annotated[Caller, Depends(acknowledger)]) -> Json:
        """Say that you look after an alert: no more reminders. A second time changes nothing."""
        return _change(
            backend,
            system,
            alert_id,
            caller,
            "acknowledge",
            lambda alert_service, who: alert_service.acknowledge(alert_id, who),
        )

    def mute(
        alert_id: _Id,
        caller: Annotated[Caller, Depends(allow(backend, system=system, audited=action))],
        asked: Annotated[MuteRequest, Body()],
    ) -> Json:
        """Send no messages about an alert for a while. It is stored and shown all the same."""
        length = parse_duration(asked.length) if asked.length else timedelta(0)
        if length > MAX_MUTE:
            raise QueryError(
                f"an alert is muted for {MAX_MUTE.days} days at most", "what is never to be told needs no rule"
            )
        until = datetime.now(UTC) + length
        return _change(
            backend,
            system,
            alert_id,
            caller,
            "mute",
            lambda alert_service, who: alert_service.mute(alert_id, who, until),
            until=until.isoformat(timespec="seconds"),
        )

    for work, summary in ((acknowledge, "Acknowledge an alert"), (mute, "Mute an alert")):
        made.add_api_route(
            f"/{{alert_id}}/{work.__name__}",
            work,
            methods=["POST"],
            summary=summary,
            responses=responses(401, 403, 404, 413, 422, 429, 503),
            response_model=None,
        )
    return made


def _change(
    backend: Backend,
    system: str,
    alert_id: str,
    caller: Caller,
    action: str,
    change: Callable[[AlertService, str], Alert],
    **more: str,
) -> Json:
    """Do it, under audit: `more` is told of it besides which alert it is."""
    key = caller.key
    with closing(AlertService(backend.settings, system)) as alert_service:
        known = alert_service.store.load().get(alert_id)
        if known is None or not _sees(key, known):
            raise refuse(404, f"{system} has no such alert, or this key may not see it")
        what = {"system": system, "alert": alert_id, **more}
        with backend.audit.action(key.id, action, what, caller.request):
            changed = change(alert_service, f"{key.name} ({key.id})")
        try:
            alert_service.publish()
        except SearchError as error:  # it is stored; the worker brings the index up to it
            LOG.warning("%s the index of alerts is behind: %s", caller.request, error.message)
    return Json({"alert": document(changed)})


def _sees(key: Key, alert: Alert) -> bool:
    """As the index holds a limited key to its rows."""
    return key.only is None or alert.visible_to in key.only
