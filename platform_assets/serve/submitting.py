"""Routes that take events: checked by the contract, published, and answered with their coordinates.

Belongs here: bodies to records, the writer's row policy, idempotency. Does not belong here: the checks (`transform/`), the
producer (`sources/kafka/submit.py`).
"""

import re
import secrets
from collections import Counter
from datetime import UTC, datetime
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
from fastapi import APIRouter, Depends, Header, Query, Request

from platform_assets.contracts.arrow import BRONZE_SCHEMA
from platform_assets.contracts.formats import BodyError, format_of
from platform_assets.contracts.model import Contract, Table
from platform_assets.core.coordinates import Coordinates
from platform_assets.index.errors import QueryError
from platform_assets.serve.access import Caller, allow
from platform_assets.serve.backend import Backend
from platform_assets.serve.keys import Role
from platform_assets.serve.limits import MAX_BODY_BYTES, MAX_RECORDS
from platform_assets.serve.problems import Json, problem, refuse, responses
from platform_assets.transform import Transformer
from platform_assets.transform.masking import masker
from platform_assets.transform.reasons import describe

_SHOWN = 20
_PIECE = 64 * 1024
_IDEMPOTENCY = re.compile(r"[\x21-\x7e]{1,128}")


def router(backend: Backend, contract: Contract) -> APIRouter:
    """The route of one system."""
    made = APIRouter(tags=[contract.system])
    names = [table.name for table in contract.tables]

    async def submit(
        request: Request,
        caller: Annotated[Caller, Depends(allow(backend, Role.WRITER, system=contract.system))],
        table: Annotated[
            str | None,
            Query(
                max_length=64,
                description="Where they belong. May be left out where one table alone takes this Content-Type.",
                json_schema_extra={"enum": names},
            ),
        ] = None,
        idempotency_key: Annotated[
            str | None,
            Header(description="Up to 128 visible characters. The same key and body publish once in 24 hours."),
        ] = None,
    ) -> Json:
        if idempotency_key is not None and not _IDEMPOTENCY.fullmatch(idempotency_key):
            raise QueryError("an Idempotency-Key has 1 to 128 visible ASCII characters")
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        chosen = _chosen(contract, table, media)
        body = await request.body()
        return await backend.submissions.run(_submit, backend, chosen, caller, body, idempotency_key)

    submit.__doc__ = (
        f"One event or several: JSON, or lines of text. At most {MAX_RECORDS} events and {MAX_BODY_BYTES // 2**20} MB a request; "
        "one that the contract refuses refuses them all, and nothing is published. The answer comes when every replica has them."
    )
    made.add_api_route(
        f"/v1/{contract.system}",
        submit,
        methods=["POST"],
        status_code=201,
        name=f"submit_{contract.system}",
        summary="Submit events",
        responses={
            201: {
                "description": "Published. `id` is what `trace` and the events' documents are called by.",
                "content": {
                    "application/json": {
                        "example": {
                            "topic": contract.tables[0].topic,
                            "records": [_told(contract.tables[0], Coordinates("1a2B3c4D", 0, 42))],
                        }
                    }
                },
            },
            **responses(401, 403, 409, 413, 415, 422, 429, 503),
        },
        openapi_extra={"requestBody": {"required": True, "content": _content(contract)}},
        response_model=None,
    )
    return made


def _chosen(contract: Contract, name: str | None, media: str) -> Table:
    """The table of that name, or the only one that takes such a body."""
    takers = [table for table in contract.tables if format_of(table).media_type == media]
    if name is not None:
        named = next((table for table in contract.tables if table.name == name), None)
        if named is None:
            known = ", ".join(table.name for table in contract.tables)
            raise QueryError(f"{contract.system} has no table {name[:40]!r}", f"it has {known}")
        if named not in takers:
            raise refuse(415, f"{named.qualified_name} takes {format_of(named).media_type}")
        return named
    if not takers:
        types = " or ".join(sorted({format_of(table).media_type for table in contract.tables}))
        raise refuse(415, f"{contract.system} takes {types}")
    if len(takers) > 1:
        choice = " or ".join(f"table={table.name}" for table in takers)
        raise QueryError(f"several tables of {contract.system} take {media}", f"say which: {choice}")
    return takers[0]


def _content(contract: Contract) -> dict[str, Any]:
    """The bodies that the route takes, by media type, with an example of each table."""
    made: dict[str, Any] = {}
    for table in contract.tables:
        format_ = format_of(table)
        media = made.setdefault(format_.media_type, {"schema": {"anyOf": []}, "examples": {}})
        known = media["schema"]["anyOf"]
        known += [schema for schema in format_.body_schemas(table, MAX_RECORDS) if schema not in known]
        media["examples"][table.name] = {"summary": table.description, "value": format_.example(table)}
    return made


def _submit(backend: Backend, table: Table, caller: Caller, body: bytes, key: str | None) -> Json:
    if key is None:
        return _publish(backend, table, caller, body)[0]
    with backend.answers.once(f"{caller.key.id} {table.qualified_name}", key, body) as slot:
        if slot.known is not None:
            return Json(slot.known, 201, {"Idempotency-Replayed": "true"})
        answer, slot.fresh = _publish(backend, table, caller, body)
        return answer


def _publish(backend: Backend, table: Table, caller: Caller, body: bytes) -> tuple[Json, dict[str, Any] | None]:
    """The answer, and what of it is kept for a repetition: nothing of a refusal."""
    records = _records(table, body)
    refused = _evaluate(backend, table, caller, records)
    if refused is not None:
        return refused, None
    topic = backend.submitter.topic(table.topic)
    placed = backend.submitter.publish(table.topic, secrets.token_bytes(8), records)
    told = [_told(table, Coordinates(topic.id, shard, position)) for shard, position in placed]
    fresh = {"topic": table.topic, "records": told}
    return Json(fresh, 201), fresh


def _told(table: Table, placed: Coordinates) -> dict[str, Any]:
    return {"id": placed.document_id, table.shown.shard: placed.shard, table.shown.position: placed.position}


def _evaluate(backend: Backend, table: Table, caller: Caller, records: list[bytes]) -> Json | None:
    """The problem that these records have by the worker's own checks; None when they would all be accepted."""
    with Transformer(table, masker(backend.settings), threads=1, memory_limit="256MB") as transformer:
        transformed = transformer.transform(_as_bronze(records))
    if transformed.rejected.num_rows:
        rows = transformed.rejected.select(["_position", "reason"]).to_pylist()
        reasons = Counter(row["reason"] for row in rows)
        errors = [
            {"event": row["_position"], "reason": row["reason"], "what": describe(table, row["reason"])} for row in rows
        ]
        common = describe(table, reasons.most_common(1)[0][0])
        detail = f"{len(rows)} of {len(records)} events do not keep the contract: {common}"
        return problem(caller.request, 422, detail, "nothing was published", errors=errors[:_SHOWN])
    allowed = caller.key.only
    if allowed is not None:
        if table.row_policy is None:
            raise refuse(
                403, f"{table.qualified_name} has no row policy: it is not for a key that is limited to some rows"
            )
        named = transformed.accepted[table.row_policy]
        inside = pc.fill_null(pc.is_in(named, value_set=pa.array(allowed, named.type)), False)
        if not pc.all(inside).as_py():
            raise refuse(403, f"this key writes for {', '.join(allowed)} only; nothing was published")
    return None


def _as_bronze(records: list[bytes]) -> pa.Table:
    """Records as they will lie in bronze; the position is the place in the request."""
    n = len(records)
    now = datetime.now(UTC)
    columns: dict[str, Any] = {
        "_source": ["submitted"] * n,
        "_shard": [0] * n,
        "_position": range(n),
        "_span": [1] * n,
        "kind": ["record"] * n,
        "record_time": [now] * n,
        "key": [None] * n,
        "value": records,
        "headers": [None] * n,
        "seq": [0] * n,
        "landed_at": [now] * n,
        "landed_date": [now.date()] * n,
    }
    return pa.table({f.name: pa.array(columns[f.name], f.type) for f in BRONZE_SCHEMA}, schema=BRONZE_SCHEMA)


def _records(table: Table, body: bytes) -> list[bytes]:
    try:
        records = format_of(table).records(table, body, MAX_RECORDS)
    except BodyError as error:
        raise QueryError(str(error)) from None
    events = len(records)
    if not 1 <= events <= MAX_RECORDS:
        raise QueryError(f"a request has 1 to {MAX_RECORDS} events, this one has {'more' if events else 'none'}")
    return records
