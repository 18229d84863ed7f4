"""Routes that report: gold marts, alerts, the state of the platform.

Belongs here: figures for dashboards. Does not belong here: single events (`searching.py`), whole reports (`reports.py`).
"""

from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from opensearchpy import OpenSearch
from pydantic import Field
from starlette.responses import Response

from platform_assets.alerts.index import alerts_alias
from platform_assets.alerts.platform import PLATFORM_SYSTEM
from platform_assets.contracts.model import Contract, FieldType
from platform_assets.index.asking import Deadline
from platform_assets.index.errors import QueryError
from platform_assets.index.marts import describe, incidents, rows
from platform_assets.index.percentiles import add_percentiles
from platform_assets.index.stats import Function, Question, add_examples
from platform_assets.index.stats import figures as compute
from platform_assets.index.times import parse_duration
from platform_assets.marts.marts import Mart, load_marts
from platform_assets.marts.project import project_folder
from platform_assets.serve.access import Caller, allow, runs_platform
from platform_assets.serve.backend import Backend
from platform_assets.serve.figures import FUNCTIONS, Wanted, every_of, wanted
from platform_assets.serve.keys import Role
from platform_assets.serve.limits import MAX_PAGE, MAX_TOP, SEARCH_TIMEOUT_S
from platform_assets.serve.marts import find_mart
from platform_assets.serve.params import NAME, Text, TimeRange
from platform_assets.serve.problems import USUAL, Json, add_get, refuse
from platform_assets.serve.tables import Form, csv_response, wants_csv

_COLUMN = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]
_PERCENTILE = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}(:[0-9]{1,3}(\.[0-9]{1,3})?)?$")]
_WHERE = Annotated[Text, Field(min_length=3, max_length=1200, pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}:[\s\S]+$")]


class StatsParams(TimeRange):
    """What a mart is asked."""

    mart: Annotated[str, Field(pattern=NAME)] | None = Field(
        None, description="The mart; the system's main one unless another is named.", examples=["errors_hour"]
    )
    where: list[_WHERE] = Field(
        [],
        max_length=20,
        description="`column:value`; several of one column mean any of them.",
        examples=[["region:north"]],
    )
    by: list[_COLUMN] = Field(
        [], max_length=5, description="Columns to group by; the time is one.", examples=[["hour"]]
    )
    every: str | None = Field(
        None,
        max_length=10,
        description="Steps in which the time is grouped: a multiple of the mart's own.",
        examples=["6h"],
    )
    sum: list[_COLUMN] = Field([], max_length=20, description="Columns to sum for each group.", examples=[["errors"]])
    mean: list[_COLUMN] = Field([], max_length=20, description="Means, weighted as the mart declares.")
    min: list[_COLUMN] = Field([], max_length=20, description="Least values.")
    max: list[_COLUMN] = Field([], max_length=20, description="Greatest values.")
    count: list[_COLUMN] = Field([], max_length=20, description="How many rows of the mart have a value there.")
    distinct: list[_COLUMN] = Field(
        [],
        max_length=20,
        description="How many different values: of a column of the key; another's of its own rows only.",
    )
    percentile: list[_PERCENTILE] = Field(
        [],
        max_length=20,
        description="Percentiles, from merged histograms: a column that is one, or `histogram:95`.",
        examples=[["p95_ms"]],
    )
    top: int | None = Field(
        None,
        ge=1,
        le=MAX_TOP,
        description="Only so many groups, the largest first figure first; with an example each if the mart has them.",
    )
    size: int = Field(100, ge=1, le=MAX_PAGE, description="Rows, when no figure is asked for.")
    format: Form | None = Field(None, description="`csv`: a file. By default as `Accept` says.")


class AlertParams(TimeRange):
    """Which alerts."""

    system: list[Annotated[str, Field(pattern=NAME)]] = Field(
        [],
        max_length=20,
        description=f"Of these systems only. `{PLATFORM_SYSTEM}` is the platform itself, for administrators of every system.",
    )
    state: Literal["open", "resolved"] | None = Field(
        None, description="Open at the end of the time range, or resolved within it."
    )
    severity: Text | None = Field(None, min_length=1, max_length=32, description="Of this severity only.")
    visible_to: Text | None = Field(
        None, min_length=1, max_length=256, description="Only those that a key limited to this value sees."
    )
    size: int = Field(100, ge=1, le=MAX_PAGE, description="Alerts at most.")


def system_router(backend: Backend, contract: Contract) -> APIRouter:
    """The routes of one system."""
    system = contract.system
    made = APIRouter(prefix=f"/v1/{system}", tags=[system])
    tables = {table.name for table in contract.tables}
    marts = {mart.name: mart for mart in load_marts(project_folder(), system)}
    main = next((mart.name for mart in marts.values() if mart.main), None)

    def stats(
        request: Request,
        asked: Annotated[StatsParams, Query()],
        caller: Annotated[Caller, Depends(allow(backend, Role.READER, system=system))],
    ) -> Response:
        """Rows of a gold mart, newest first; or figures of its columns, grouped.

        What a column's values become together, the mart declares (`/v1/systems` tells it). A figure that would be wrong is
        refused with 400 and what is possible: a mean is not summed, and different users of hours are not those of a day.
        Decimals are strings with all their digits.
        """
        name = asked.mart or main
        if name is None:
            raise QueryError(f"{system} has no main mart", "name one with mart=")
        if name in tables:
            raise refuse(404, f"{name} is a table of events: search it")
        if name not in marts:
            raise refuse(404, f"{system} has no mart {name}")
        answer = answer_stats(backend.client(caller.key), marts[name], asked)
        if not wants_csv(request, asked.format):
            return Json(answer)
        return csv_response(stats_columns(marts[name], asked), answer["rows"], f"{system}-{name}")

    add_get(made, "/stats", stats, "Figures of a gold mart", (400, *USUAL))
    return made


def answer_stats(client: OpenSearch, mart: Mart, asked: StatsParams) -> dict[str, Any]:
    """What a mart says to a question, and the types of its columns."""
    if asked.top and not asked.by:
        raise QueryError("`top` are the largest groups", "name the columns to group by")
    figures = wanted(mart, asked.by, {function: getattr(asked, function) for function in FUNCTIONS})
    if asked.by and not figures.names:
        raise QueryError("`by` groups figures", f"name one: {', '.join(FUNCTIONS)}")
    every = every_of(mart, asked.every, asked.by)
    since, until = asked.span()
    deadline = Deadline(SEARCH_TIMEOUT_S)
    found = find_mart(client, mart, deadline)
    where = _equal(asked.where)
    if figures.names:
        question = Question(found, since, until, where, asked.by, deadline, every)
        shown = _grouped(client, mart, question, figures, asked)
    else:
        shown = rows(client, found, since=since, until=until, where=where, limit=asked.size, deadline=deadline)
    span = {"from": since.isoformat(), "to": until.isoformat()}
    return {"mart": mart.name, **span, "rows": shown, "columns": found.types}


def stats_columns(mart: Mart, asked: StatsParams) -> dict[str, bool]:
    """The columns of an answer, whatever it finds: groups and figures, or the mart's own; and which of them hold decimals."""
    exact = {column.name: column.kind is FieldType.DECIMAL for column in mart.columns}
    figures = wanted(mart, asked.by, {function: getattr(asked, function) for function in FUNCTIONS})
    if not figures.names:
        return exact
    numbers = (Function.COUNT, Function.DISTINCT)
    found = {name: exact.get(name, False) for name in asked.by}
    found |= {one.name: exact[one.column] and one.function not in numbers for one in figures.figures}
    found |= {one.name: False for one in figures.percentiles}
    return found | ({mart.example: False} if asked.top and asked.sum and mart.example else {})


def _grouped(
    client: OpenSearch, mart: Mart, question: Question, figures: Wanted, asked: StatsParams
) -> list[dict[str, Any]]:
    groups = compute(client, question, figures.figures)
    if figures.percentiles:
        step = parse_duration(asked.every) if asked.every else None
        groups = add_percentiles(client, question, mart.key, step, figures.percentiles, groups)
    if asked.top is None:
        return groups
    first = figures.names[0]
    # Stable: equal ones stay in the order of their values. Nothing is less than any number.
    groups = sorted(groups, key=lambda row: (row[first] is None, -Decimal(row[first] or 0)))[: asked.top]
    summed = next((one.column for one in figures.figures if one.function is Function.SUM), None)
    if mart.example and groups and summed:
        return add_examples(client, question, groups, summed, mart.example)
    return groups


def router(backend: Backend) -> APIRouter:
    """The routes that are not of one system."""
    made = APIRouter(tags=["platform"])

    def alerts(
        asked: Annotated[AlertParams, Query()], caller: Annotated[Caller, Depends(allow(backend, Role.READER))]
    ) -> Json:
        """Alerts that were open at some time in the time range, the latest change first. They are shown as they are now."""
        known = [*backend.contracts, *([PLATFORM_SYSTEM] if runs_platform(caller.key) else [])]
        own = [
            name for name in known if caller.key.system in (None, name) and (not asked.system or name in asked.system)
        ]
        if not own:
            raise refuse(404, "there is no such system, or this key is not for it")
        given = {"severity": asked.severity, "visible_to": asked.visible_to}
        where = {name: [value] for name, value in given.items() if value}
        since, until = asked.span()
        client = backend.client(caller.key, platform_alerts=PLATFORM_SYSTEM in own)
        deadline = Deadline(SEARCH_TIMEOUT_S)
        index = describe(client, ",".join(map(alerts_alias, own)), deadline)
        if index is None:
            raise refuse(404, f"there is no index of alerts yet of {', '.join(own)}")
        found = incidents(
            client,
            index,
            since=since,
            until=None if asked.live else until,
            state=asked.state,
            where=where,
            limit=asked.size,
            deadline=deadline,
        )
        return Json({"alerts": found, "from": since.isoformat(), "to": until.isoformat()})

    def status(caller: Annotated[Caller, Depends(allow(backend, Role.READER, unlimited=True))]) -> Json:
        """Lag, watermark, quarantine and index of every table, `age_s` old: ten seconds, or more while a service is slow."""
        own = [name for name in backend.contracts if caller.key.system in (None, name)]
        return Json({"systems": [backend.metrics.platform.facts(name) for name in own]})

    def metrics(caller: Annotated[Caller, Depends(allow(backend, Role.READER, unlimited=True))]) -> Response:
        """Figures for Prometheus, of this server and of the platform. For keys of every system."""
        if caller.key.system is not None:
            raise refuse(403, "this is for keys of every system")
        return Response(backend.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def healthz() -> Json:  # takes none of the threads that searches wait in
        """Whether the server answers. Needs no key and says nothing more."""
        return Json({"status": "ok"})

    for path, work, summary, problems in (
        ("/v1/alerts", alerts, "Alerts", (401, 403, 404, 422, 429, 503)),
        ("/v1/status", status, "State of the platform", (401, 403, 429, 503)),
        ("/metrics", metrics, "Figures for Prometheus", (401, 403, 429, 503)),
        ("/healthz", healthz, "Health", ()),
    ):
        add_get(made, path, work, summary, problems)
    return made


def _equal(where: list[str]) -> dict[str, list[str]]:
    """`column:value` by column."""
    found: dict[str, list[str]] = {}
    for one in where:
        column, _, value = one.partition(":")
        found.setdefault(column, []).append(value)
    return found
