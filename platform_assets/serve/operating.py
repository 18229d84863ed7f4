"""Routes for administrators: trace, quarantine, replay. Every call is in the audit trail.

Belongs here: asking `reconcile/` on an administrator's behalf. Does not belong here: events for readers (`searching.py`).
"""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from platform_assets.contracts.model import Contract, Table
from platform_assets.index.times import parse_as_of, parse_duration
from platform_assets.reconcile.rejects import rejects
from platform_assets.reconcile.replay import replay
from platform_assets.reconcile.trace import UnknownDocument, trace
from platform_assets.serve.access import Caller, allow
from platform_assets.serve.backend import Backend
from platform_assets.serve.limits import MAX_RANGE
from platform_assets.serve.problems import Json, add_get, refuse, responses


class ReplayRequest(BaseModel):
    """What a replay may be told."""

    model_config = ConfigDict(extra="forbid")

    dry_run: bool = Field(False, description="Tell what would become of each reject and change nothing.")


def router(backend: Backend, contract: Contract) -> APIRouter:
    """The routes of one system."""
    system = contract.system
    made = APIRouter(prefix=f"/v1/{system}", tags=[system])
    tracer = allow(backend, system=system, audited="trace")
    revealer = allow(backend, system=system, personal=True, audited="trace_revealed")

    def follow(
        document_id: Annotated[str, Path(max_length=100, examples=["1a2B3c4D.0.42"])],
        caller: Annotated[Caller, Depends(tracer)],
    ) -> Json:
        """Follow a document, row or reject back to its topic, partition and offset."""
        return _trace(backend, contract, document_id, caller, reveal=False)

    def reveal(
        document_id: Annotated[str, Path(max_length=100, examples=["1a2B3c4D.0.42"])],
        caller: Annotated[Caller, Depends(revealer)],
    ) -> Json:
        """As `trace`, with the bytes that arrived: they hold personal data in clear. Needs that privilege."""
        what = {"system": system, "id": document_id}
        with backend.audit.refusals(caller.key.id, "trace_revealed", what, caller.request):
            backend.counter.take(backend.rates.personal, "personal", caller.key.id)
        return _trace(backend, contract, document_id, caller, reveal=True)

    for path, work, summary in (
        ("/trace/{document_id}", follow, "Trace a document"),
        ("/trace/{document_id}/revealed", reveal, "Trace a document to its bytes"),
    ):
        add_get(made, path, work, summary)
    _add_quarantine(made, backend, contract)
    for table in contract.tables:
        _add_replay(made, backend, contract, table)
    return made


def _trace(backend: Backend, contract: Contract, document_id: str, caller: Caller, *, reveal: bool) -> Json:
    what = {"system": contract.system, "id": document_id}
    action = "trace_revealed" if reveal else "trace"
    with backend.audit.action(caller.key.id, action, what, caller.request) as audited:
        try:
            found = trace(backend.settings, contract, document_id, reveal=reveal)
        except UnknownDocument as error:
            raise refuse(404, error.message) from error
        audited.found["verdict"] = found.verdict
    return Json(found.to_dict())


def _add_quarantine(made: APIRouter, backend: Backend, contract: Contract) -> None:
    action = "quarantine"
    may = allow(backend, system=contract.system, audited=action)

    def quarantine(
        caller: Annotated[Caller, Depends(may)],
        table: Annotated[str | None, Query(max_length=64, description="Only this table.")] = None,
        reason: Annotated[str | None, Query(max_length=200, description="Rows of this reason only.")] = None,
        last: Annotated[str, Query(max_length=10, description="Landed in the last 24h, 7d, …")] = "24h",
        as_of: Annotated[
            str,
            Query(max_length=40, description="When `last` is counted back from: `now`, a time, or the end of a day."),
        ] = "now",
        size: Annotated[int, Query(ge=1, le=200, description="Rows of a table.")] = 20,
    ) -> Json:
        """Rejects: counts by reason and the latest with their scrubbed excerpts."""
        what = {"system": contract.system, "table": table, "reason": reason, "last": last, "as_of": as_of}
        with backend.audit.refusals(caller.key.id, action, what, caller.request):
            tables = [one for one in contract.tables if table in (None, one.name)]
            if not tables:
                raise refuse(404, f"{contract.system} has no such table")
            until = parse_as_of(as_of)
            since = until - min(parse_duration(last), MAX_RANGE)
        answer = {}
        with backend.audit.action(caller.key.id, action, what, caller.request) as audited:
            for one in tables:
                found = rejects(backend.settings, one, since, until, reason=reason, limit=size)
                answer[one.name] = {"reasons": found.counts, "latest": found.rows}
            audited.found["rows"] = sum(len(one["latest"]) for one in answer.values())
        return Json({"from": since.isoformat(), "to": until.isoformat(), "tables": answer})

    add_get(made, "/quarantine", quarantine, "Rejects by reason")


def _add_replay(made: APIRouter, backend: Backend, contract: Contract, table: Table) -> None:
    action = "replay"
    may = allow(backend, system=contract.system, audited=action)

    def run(caller: Annotated[Caller, Depends(may)], asked: Annotated[ReplayRequest | None, Body()] = None) -> Json:
        """Put rejects through the present contract again. One at a time; a second replay changes nothing."""
        dry_run = asked is not None and asked.dry_run
        what = {"system": contract.system, "table": table.name, "dry_run": dry_run}
        with backend.audit.refusals(caller.key.id, action, what, caller.request):
            if not backend.replaying.acquire(blocking=False):
                raise refuse(409, "another replay is running")
        try:
            with backend.audit.action(caller.key.id, action, what, caller.request) as audited:
                report = replay(backend.settings, contract, [table.name], dry_run)
                audited.found["changed"] = report.changed
        finally:
            backend.replaying.release()
        return Json(report.to_dict())

    made.add_api_route(
        f"/{table.name}/replay",
        run,
        methods=["POST"],
        name=f"replay_{table.system}_{table.name}",
        summary=f"Replay {table.qualified_name}",
        responses=responses(401, 403, 409, 413, 422, 429, 503),
        response_model=None,
    )
