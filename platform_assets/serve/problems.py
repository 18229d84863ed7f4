"""Errors as RFC 9457 has them (`application/problem+json`): a status, a reason, never an internal.

Belongs here: which status an error has, and what a caller is told. Does not belong here: raising them.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from opensearchpy.exceptions import RequestError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import JSONResponse

from platform_assets.core.errors import AssayError
from platform_assets.index.errors import QueryError, SearchError, TimeExceeded, TooManyClauses, Unavailable
from platform_assets.serve.audit import AuditUnavailable
from platform_assets.serve.figures import WrongAggregate
from platform_assets.serve.idempotency import AnswersUnavailable, InProgress, KeyReused
from platform_assets.serve.limits import Busy, TooMany
from platform_assets.sources.base import SourceError

LOG = logging.getLogger("assay.api")
USUAL = (401, 403, 404, 422, 429, 503)
"""The problems of a route that finds something by name for a caller with a key."""
_RETRY_S = "5"
_SCHEMA = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong, in one line."},
        "hint": {"type": "string", "description": "What to do next."},
        "position": {"type": "integer", "description": "Where in `q` the mistake is, in characters from 0."},
        "errors": {"type": "array", "items": {"type": "object"}},
        "request": {"type": "string", "description": "The request's id, for the operator."},
    },
    "required": ["type", "title", "status", "detail"],
}


class Json(JSONResponse):
    """JSON in ASCII: whatever text was stored can be sent, and arrives as it was."""

    def render(self, content: Any) -> bytes:
        """The body."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


def problem(request_id: str, status: int, detail: str, hint: str = "", **more: Any) -> Json:
    """A problem as a response; 429 and 503 say when to try again."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    body |= {name: value for name, value in {"hint": hint, "request": request_id}.items() if value}
    headers = {"Retry-After": _RETRY_S} if status == 503 else {}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="assay"'
    return Json({**body, **more}, status, headers, "application/problem+json")


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems that a route may answer with, for its documentation."""
    content = {"application/problem+json": {"schema": _SCHEMA}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def add_get(
    router: APIRouter, path: str, work: Callable[..., Any], summary: str, problems: Sequence[int] = USUAL
) -> None:
    """A route for reading, documented with the problems that it may answer with."""
    router.add_api_route(
        path, work, methods=["GET"], summary=summary, responses=responses(*problems), response_model=None
    )


def from_error(error: AssayError, request_id: str) -> Json:
    """The problem that an error of ours is."""
    match error:
        case TooMany():
            found = problem(request_id, 429, error.message, error.hint)
            found.headers["Retry-After"] = str(error.retry_after_s)
            return found
        case WrongAggregate():
            return problem(request_id, 400, error.message, error.hint)
        case QueryError() if error.position is not None:
            return problem(request_id, 422, error.message, error.hint, position=error.position)
        case QueryError() | TooManyClauses() | KeyReused():
            return problem(request_id, 422, error.message, error.hint)
        case InProgress():
            return problem(request_id, 409, error.message, error.hint)
        case SearchError() if isinstance(error.__cause__, RequestError):
            return problem(request_id, 422, "the index does not take this question", "ask it more simply")
        case TimeExceeded() | Busy():  # the hint is for the caller, not for the operator
            return problem(request_id, 503, error.message, error.hint)
        case Unavailable() | AuditUnavailable():
            LOG.warning("%s %s", request_id, error)
            return problem(request_id, 503, error.message)
        case AnswersUnavailable():
            LOG.warning("%s %s", request_id, error)
            return problem(request_id, 503, "the answer to a submission cannot be kept now", error.hint)
        case SourceError():
            LOG.warning("%s %s", request_id, error)
            return problem(
                request_id, 503, "the topic takes no records now", "send it again with the same Idempotency-Key"
            )
        case _:
            LOG.error("%s %s", request_id, error)
            return problem(
                request_id, 503, "this part of the platform is not ready", "its operator finds why in the log"
            )


def unexpected(error: Exception, request_id: str) -> Json:
    """A fault of ours: the log gets its place and kind, and nobody its text, which may hold what was asked."""
    places = "".join(traceback.format_tb(error.__traceback__))
    LOG.error("%s %s\n%s", request_id, type(error).__name__, places)
    return problem(request_id, 500, "a fault of the program", "its operator finds it in the log by the request's id")


def install(app: FastAPI) -> None:
    """Every error of the app becomes a problem."""

    async def ours(request: Request, error: Exception) -> Json:
        assert isinstance(error, AssayError)  # noqa: S101 - registered for nothing else
        return from_error(error, request.state.id)

    async def http(request: Request, error: Exception) -> Json:
        assert isinstance(error, StarletteHTTPException)  # noqa: S101
        found = problem(request.state.id, error.status_code, str(error.detail))
        found.headers.update(error.headers or {})
        return found

    async def invalid(request: Request, error: Exception) -> Json:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        # Without the input: it may be somebody's personal data.
        errors = [{"where": ".".join(map(str, one["loc"])), "what": one["msg"]} for one in error.errors()]
        first = f"{errors[0]['where']}: {errors[0]['what']}" if errors else "the request is malformed"
        return problem(request.state.id, 422, first[:300], errors=errors[:20])

    app.add_exception_handler(AssayError, ours)
    app.add_exception_handler(StarletteHTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)


def refuse(status: int, detail: str) -> HTTPException:
    """An exception that becomes that problem."""
    return HTTPException(status, detail)
