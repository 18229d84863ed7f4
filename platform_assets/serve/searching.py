"""Routes that find events: search, by person, and around a document.

Belongs here: pages over one table or several, cursors. Does not belong here: queries (`index/`).
"""

import json
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Body, Depends, Path, Query, Request
from opensearchpy import OpenSearch
from starlette.responses import Response

from platform_assets.contracts.export import row_schema
from platform_assets.contracts.model import Contract, Table
from platform_assets.core.coordinates import parse_document_id
from platform_assets.index.asking import Deadline
from platform_assets.index.charts import Counts, count
from platform_assets.index.errors import QueryError, too_long
from platform_assets.index.query import Page, search
from platform_assets.index.surroundings import surroundings
from platform_assets.index.syntax import Clause, Value
from platform_assets.index.times import parse_time
from platform_assets.serve.access import Caller, allow
from platform_assets.serve.backend import Backend
from platform_assets.serve.keys import Role
from platform_assets.serve.limits import MAX_PAGE_BYTES, SEARCH_TIMEOUT_S
from platform_assets.serve.params import PersonalParams, SearchParams, masked_fields, models
from platform_assets.serve.problems import Json, add_get, refuse, responses
from platform_assets.serve.tables import CONTENT, csv_response, search_columns, wants_csv
from platform_assets.transform.masking import masker

_NARROWED = "narrowed by"
"""No field has such a name: what is hashed under it is never the pseudonym of a value."""
_T = TypeVar("_T")
_EXAMPLE = {
    "hits": [{"id": "1a2B3c4D.0.42", "_table": "events", "event_time": "2026-01-15T09:30:00.123456Z"}],
    "total": {"value": 1, "exact": True},
    "tables": ["events"],
    "from": "2026-01-15T00:00:00+00:00",
    "to": "2026-01-16T00:00:00+00:00",
    "took_ms": 12,
    "cursor": None,
}


def _answers(contract: Contract, *problems: int) -> dict[int | str, dict[str, Any]]:
    """What the routes for searching answer, for their documentation; `problems` besides the usual ones."""
    text = {"type": "string"}
    hits = [row_schema(table) for table in contract.tables]
    for hit in hits:
        hit["properties"] |= {"id": text, "_table": text}
        hit["required"] += ["id", "_table"]
    schema = {
        "type": "object",
        "properties": {
            "hits": {"type": "array", "items": {"anyOf": hits}},
            "total": {
                "type": "object",
                "properties": {"value": {"type": "integer"}, "exact": {"type": "boolean"}},
                "description": "How many there are in all; no less than that when it is not exact.",
            },
            "tables": {"type": "array", "items": text},
            "from": text,
            "to": text,
            "took_ms": {"type": "integer"},
            "cursor": {"type": ["string", "null"], "description": "For the next page; null after the last."},
            "histogram": {"type": "object", "description": "By table: the interval and its buckets, when asked for."},
        },
    }
    content = {"application/json": {"schema": schema, "example": _EXAMPLE}, **CONTENT}
    return {
        200: {"description": "The newest matches first.", "content": content},
        **responses(401, 403, *problems, 422, 429, 503),
    }


def router(backend: Backend, contract: Contract) -> APIRouter:
    """The routes of one system."""
    system = contract.system
    found = models(contract)
    made = APIRouter(prefix=f"/v1/{system}", tags=[system])
    reader = allow(backend, Role.READER, system=system)

    def search_events(request: Request, asked: SearchParams, caller: Annotated[Caller, Depends(reader)]) -> Response:
        """Find events, newest first. A cursor goes on behind a page, whatever has arrived since."""
        run = _Search(backend, contract, caller, asked, asked.clauses(), asked.question())
        return _shown(request, contract, asked, run.answer(run.begin()))

    search_events.__annotations__["asked"] = Annotated[found.search, Query()]
    made.add_api_route(
        "/search",
        search_events,
        methods=["GET"],
        summary=f"Search {system}",
        responses=_answers(contract),
        response_model=None,
    )

    def around(
        id: Annotated[str, Path(max_length=64, examples=["1a2B3c4D.0.42"])],
        caller: Annotated[Caller, Depends(reader)],
        size: Annotated[int, Query(ge=1, le=100, description="Rows on either side.")] = 10,
    ) -> Json:
        """What the same origin (the table's `origin` fields) wrote before and behind a document, oldest first."""
        try:
            parse_document_id(id)
        except ValueError:
            raise QueryError("this is no document id", "it looks like 1a2B3c4D.0.42") from None
        client = backend.client(caller.key)
        deadline = Deadline(SEARCH_TIMEOUT_S)
        for table in contract.tables:
            seen = surroundings(client, table, id, size=size, most=MAX_PAGE_BYTES, deadline=deadline)
            if seen is not None:
                return Json(
                    {
                        "table": table.name,
                        "same": seen.same,
                        "before": seen.before,
                        "document": seen.row,
                        "behind": seen.behind,
                    }
                )
        raise refuse(404, f"{system} has no such document, or this key may not see it")

    add_get(made, "/context/{id}", around, "What happened around a document")
    if found.personal is not None:
        _add_personal(made, backend, contract, found.personal)
    return made


def _shown(request: Request, contract: Contract, asked: SearchParams, answer: dict[str, Any]) -> Response:
    """A page in the form that was asked for."""
    if not wants_csv(request, asked.format):
        return Json(answer)
    columns = search_columns(contract, asked.table)
    return csv_response(columns, answer["hits"], f"{contract.system}-search", answer["cursor"])


def _add_personal(made: APIRouter, backend: Backend, contract: Contract, model: type[PersonalParams]) -> None:
    """The search by a clear value, which never appears in an address, a log, an error or the audit trail."""
    action = "search_person"
    may = allow(backend, Role.READER, system=contract.system, personal=True, audited=action)
    tables = masked_fields(contract)

    def search_person(request: Request, asked: PersonalParams, caller: Annotated[Caller, Depends(may)]) -> Response:
        """Find what belongs to a person, by a clear value. Needs the privilege for personal data; each call is audited."""
        masks = masker(backend.settings)
        hashes = tuple(masks.mask(asked.value, asked.field, key) for key in masks.key_ids)
        what: dict[str, Any] = {
            "system": contract.system,
            "table": asked.table,
            "field": asked.field,
            "pseudonym": hashes[0],
            "following": asked.cursor is not None,
        }
        # Whoever holds the masking key can tell whether a question is this one; nobody can read it here.
        if narrowed := asked.narrowed():
            what["narrowed"] = masks.mask(json.dumps(narrowed, sort_keys=True), _NARROWED)
        person = Clause(asked.field, tuple(Value(one, quoted=True) for one in hashes))
        question = {**asked.question(), "pseudonyms": hashes}
        run = _Search(backend, contract, caller, asked, [*asked.clauses(), person], question)
        with backend.audit.refusals(caller.key.id, action, what, caller.request):
            backend.counter.take(backend.rates.personal, "personal", caller.key.id)
            if asked.table and all(table.name != asked.table for table in tables[asked.field]):
                raise QueryError(f"{contract.system}.{asked.table} has no field {asked.field}")
            state = run.begin()
        what |= {"from": state["from"], "to": state["to"]}
        with backend.audit.action(caller.key.id, action, what, caller.request) as audited:
            answer = run.answer(state)
            audited.found["hits"] = len(answer["hits"])
        return _shown(request, contract, asked, answer)

    search_person.__annotations__["asked"] = Annotated[model, Body()]
    made.add_api_route(
        "/search/user",
        search_person,
        methods=["POST"],
        summary="Search by personal data",
        responses=_answers(contract, 413),
        response_model=None,
    )


@dataclass
class _Search:
    """One page over the tables of a system."""

    backend: Backend
    contract: Contract
    caller: Caller
    asked: SearchParams
    clauses: Sequence[Clause]
    question: dict[str, Any]

    def begin(self) -> dict[str, Any]:
        """Where the page begins, as its cursor has it; nothing is asked. Raises QueryError for a wrong time or cursor."""
        asked = self.asked
        if asked.cursor is not None:
            return self.backend.seal.open(asked.cursor, self.caller.key.id, self.question)
        since, until = asked.span()
        names = [table.name for table in self.contract.tables if asked.table in (None, table.name)]
        return {"from": since.isoformat(), "to": until.isoformat(), "at": dict.fromkeys(names, ""), "total": None}

    def answer(self, state: dict[str, Any]) -> dict[str, Any]:
        """The page. Raises QueryError, TooManyClauses, Unavailable, SearchError."""
        began = time.perf_counter()
        asked = self.asked
        since, until = parse_time(state["from"]), parse_time(state["to"])
        client = self.backend.client(self.caller.key)
        deadline = Deadline(SEARCH_TIMEOUT_S)
        tables = [table for table in self.contract.tables if table.name in state["at"]]
        # A table's cursor is empty before its first page and null behind its last.
        left = [table for table in tables if state["at"][table.name] is not None]
        counted = tables if asked.cursor is None or asked.histogram else []
        start = self.backend.threads.submit
        most = MAX_PAGE_BYTES // max(1, len(left))
        pages = {t.name: start(self._page, client, t, since, until, state["at"][t.name], most, deadline) for t in left}
        counts = {t.name: start(self._count, client, t, since, until, deadline) for t in counted}
        try:
            got = self._results(pages, deadline)
            numbers = self._results(counts, deadline)
        finally:
            started: list[Future[Any]] = [*pages.values(), *counts.values()]
            for future in started:  # some may wait for a thread yet, and nobody for them
                future.cancel()
        if asked.cursor is None:
            state["total"] = {
                "value": sum(n.total for n in numbers.values()),
                "exact": all(n.exact for n in numbers.values()),
            }
        hits, at = self._merge(got, state["at"])
        state["at"] = {**dict.fromkeys(state["at"]), **at}
        more = any(at is not None for at in state["at"].values())
        answer = {
            "hits": hits,
            "total": state["total"],
            "tables": list(got),
            "from": state["from"],
            "to": state["to"],
            "cursor": self.backend.seal.seal(state, self.caller.key.id, self.question) if more else None,
        }
        if asked.histogram:
            answer["histogram"] = {name: {"interval": n.interval, "buckets": n.buckets} for name, n in numbers.items()}
        answer["took_ms"] = round((time.perf_counter() - began) * 1000)
        return answer

    def _page(
        self,
        client: OpenSearch,
        table: Table,
        since: datetime,
        until: datetime,
        cursor: str,
        most: int,
        deadline: Deadline,
    ) -> Page:
        return search(
            client,
            table,
            self.asked.q,
            since=since,
            until=until,
            limit=self.asked.size,
            cursor=cursor or None,
            more=self.clauses,
            most=most,
            deadline=deadline,
        )

    def _count(self, client: OpenSearch, table: Table, since: datetime, until: datetime, deadline: Deadline) -> Counts:
        over_time = self.asked.histogram
        return count(
            client,
            table,
            self.asked.q,
            since=since,
            until=until,
            more=self.clauses,
            over_time=over_time,
            deadline=deadline,
        )

    def _results(self, asked: dict[str, Future[_T]], deadline: Deadline) -> dict[str, _T]:
        """The answers of the tables that have the question's fields. Raises QueryError when none has."""
        got: dict[str, _T] = {}
        refused: QueryError | None = None
        for name, future in asked.items():
            try:
                got[name] = _wait(future, deadline)
            except QueryError as error:
                refused = refused or error
        if refused is not None and not got:
            raise refused
        return got

    def _merge(
        self, got: dict[str, Page], before: dict[str, str | None]
    ) -> tuple[list[dict[str, Any]], dict[str, str | None]]:
        """The newest rows of all pages, and where each table goes on; `before` is where they stood."""
        times = {table.name: table.event_time for table in self.contract.tables}
        rows = [(name, {"_table": name, **row}) for name, page in got.items() for row in page.rows]

        def when(one: tuple[str, dict[str, Any]]) -> str:
            return str(one[1][times[one[0]]])

        rows.sort(key=when, reverse=True)  # stable: a table's own order stays
        # Behind a page that goes on may be rows that are newer than the others' next ones.
        whole = max((str(page.rows[-1][times[name]]) for name, page in got.items() if page.cursor), default="")
        rows = [one for one in rows if when(one) >= whole][: self.asked.size]
        at: dict[str, str | None] = {}
        for name, page in got.items():
            taken = sum(1 for table, _ in rows if table == name)
            if taken == len(page.rows):
                at[name] = page.cursor
            elif taken:
                at[name] = page.cursors[taken - 1]
            else:
                at[name] = before[name]
        return [row for _, row in rows], at


def _wait(future: Future[_T], deadline: Deadline) -> _T:
    """Its result. Raises what it raised, and TimeExceeded when it was not even begun in time."""
    try:
        return future.result(deadline.patience)
    except TimeoutError:
        raise too_long("the search") from None
