"""Answers as CSV for whoever asks for it: `format=csv`, or `Accept: text/csv`.

Belongs here: the choice, the columns of a search, the response. Does not belong here: cells (`core/serialization.py`), reports.

A CSV answer is one page like a JSON answer, so its size is bounded alike; the cursor of the next page is in a header.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from fastapi import Request
from starlette.responses import Response

from platform_assets.contracts.model import Contract, FieldType, Table
from platform_assets.core.serialization import csv_text

CURSOR = "X-Next-Cursor"
Form = Literal["json", "csv"]
CONTENT = {"text/csv": {"schema": {"type": "string"}}}
"""For the description of routes."""


def wants_csv(request: Request, form: Form | None) -> bool:
    """Whether the answer is CSV: as the parameter says, or by `Accept` when it says nothing."""
    if form is not None:
        return form == "csv"
    media = [one.partition(";")[0].strip() for one in request.headers.get("accept", "").split(",")]
    return "text/csv" in media and "application/json" not in media


def csv_response(
    columns: Mapping[str, bool], rows: Iterable[Mapping[str, Any]], name: str, cursor: str | None = None
) -> Response:
    """Rows as a file `name`.csv, of these columns (name: whether it holds decimals).

    The header X-Next-Cursor has the cursor of the next page when there is one.
    """
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'} | ({CURSOR: cursor} if cursor else {})
    body = csv_text(list(columns), rows, {one for one, exact in columns.items() if exact}).encode(
        "utf-8", "backslashreplace"
    )
    return Response(body, headers=headers, media_type="text/csv; charset=utf-8; header=present")


def search_columns(contract: Contract, only: str | None) -> dict[str, bool]:
    """The columns of a search, whatever it finds: those of every table that is asked, in the contract's order."""
    found = {"id": False, "_table": False}
    for table in contract.tables:
        if only in (None, table.name):
            found |= table_columns(table)
    return found


def table_columns(table: Table) -> dict[str, bool]:
    """The columns of a table's rows, and which of them hold decimals."""
    columns = {field.name: field.type is FieldType.DECIMAL for field in table.fields}
    return columns | ({table.attributes: False} if table.attributes else {})
